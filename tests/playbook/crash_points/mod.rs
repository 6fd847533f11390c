//! Kills the real binary with SIGKILL at every named crash point, for every kind of change and every kind of selection.
//!
//! The binary has no code for these tests. The test reaches a crash point from outside: the proxy holds a request, so
//! the process waits at that point. To kill the process before a record becomes durable, the test locks the state file
//! during this wait. Then it releases the request, and kills the process, which could not store anything.

mod kinds;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backfill::internals::item::{Item, Projection};
use backfill::internals::local::Fault;
use backfill::internals::local::proxy::{FaultRule, RequestGate};
use backfill::internals::state::sqlite::StateFile;
use backfill::internals::state::{CrashPoint, StateSummary};
use futures::StreamExt as _;
use nix::sys::signal::Signal;
use rusqlite::Connection;

use crate::harness::tool::{RunningTool, ToolOutput};
use crate::harness::{Harness, index, key_of, to_sdk};
use kinds::{Case, KEYS, PROGRAM, cases, items};

/// The name of the migration.
const NAME: &str = "killed-at";

/// Each page has one item, so that the first write completes its page.
const PAGES: &str = "[scan]\nsegments = 1\npage_limit = 1\n[retry]\nbase = \"2ms\"\ncap = \"20ms\"\n\
                     [limits]\nmax_wcu = 100000\n";

/// The time for which a process runs with a locked state file before it is killed. The tool itself waits 5 s for a
/// locked state file.
const BLOCKED: Duration = Duration::from_millis(400);

/// The maximum time that the test waits until a process reaches its crash point.
const PATIENCE: Duration = Duration::from_secs(60);

/// The number of cells that run at the same time. A cell spends most of its time waiting.
const AT_ONCE: usize = 4;

/// The operations that write items.
const WRITES: &[&str] = &["UpdateItem", "DeleteItem", "PutItem", "TransactWriteItems", "BatchExecuteStatement"];

/// Returns the reason why a run of this plan never reaches a crash point. Returns `None` if a run can reach the crash
/// point.
fn impossible(case: &Case, point: CrashPoint) -> Option<&'static str> {
    let puts = case.name == "Put";
    // Puts of derived items use the crash points of deletes. The tool confirms such a put like a delete. The removal of
    // a derived item is recorded like the restoration of a deleted item.
    let deletes = case.name == "Delete" || puts;
    match point {
        CrashPoint::BaselineUnrecorded | CrashPoint::BaselineRecorded | CrashPoint::BaselineCompletion => {
            (!case.has_baseline).then_some("no baseline")
        }
        CrashPoint::ProgramAsked => (case.name != "Exec").then_some("no program"),
        CrashPoint::DeleteUnconfirmed | CrashPoint::PutBackUnmarked => (!deletes).then_some("no delete"),
        CrashPoint::PriorValuesUnrecorded | CrashPoint::PriorValuesRecorded => {
            (!case.has_prior_values).then_some("no prior values")
        }
        // For puts, the test cannot distinguish this point from `DeleteUnconfirmed`: in both, the process cannot store
        // anything after a write.
        CrashPoint::PageUncommitted => puts.then_some("the confirmation is stored first"),
        CrashPoint::WriteUnanswered | CrashPoint::PageCommitted | CrashPoint::CapacityReserved => None,
    }
}

/// A table, a plan and a state file.
struct Bench {
    harness: Harness,
    case: Case,
    has_journal: bool,
    table: String,
    plan: PathBuf,
}

impl Bench {
    async fn new(case: Case, point: CrashPoint) -> Bench {
        let harness = Harness::embedded();
        let by_group = index("by-group", &[("group", "S")], Projection::KeysOnly, false);
        let table = harness.create_indexed_table(&[by_group]).await;
        harness.load(&table, items().into_iter()).await;
        std::fs::write(harness.dir().join("program.py"), PROGRAM).unwrap();
        std::fs::write(harness.dir().join("keys.csv"), KEYS).unwrap();
        // Without a journal, the tool records no confirmation of a delete. So the first record after the delete is the
        // commit.
        let has_journal = case.name != "Delete" || point != CrashPoint::PageUncommitted;
        let journal = if has_journal { "" } else { "journal = \"none\"\n" };
        let rest = format!("{PAGES}{}{journal}", case.plan);
        let plan = harness.plan(NAME, &table, case.migration, &rest);
        Bench { harness, case, has_journal, table, plan }
    }

    fn run_options(&self) -> &'static str {
        if self.has_journal { self.case.run } else { "--accept deletes-items --accept no-way-back" }
    }

    fn start(&self, command: &str, options: &str) -> RunningTool {
        let mut words = self.harness.command();
        words.arg(command).arg(&self.plan).arg("--yes").args(options.split_whitespace());
        words.arg("--state").arg(self.state());
        RunningTool::start(words)
    }

    /// Runs a command until it exits.
    async fn complete(&self, command: &str, options: &str) -> ToolOutput {
        let tool = self.start(command, options);
        tokio::task::spawn_blocking(move || tool.end()).await.unwrap()
    }

    fn state(&self) -> PathBuf {
        self.harness.dir().join("state.db")
    }

    fn summary(&self) -> StateSummary {
        StateFile::open(&self.state()).unwrap().summary().unwrap()
    }

    /// Returns the number of items in committed pages of the newest run.
    fn committed(&self) -> u64 {
        self.summary().current.map_or(0, |current| current.totals.counts.scanned)
    }

    /// Forwards the first `pass` requests of these operations. Holds all later ones until the gate opens.
    fn hold(&self, operations: &'static [&'static str], pass: u64) -> RequestGate {
        let gate = RequestGate::closed();
        let held = gate.clone();
        let rule: FaultRule = Arc::new(move |request| {
            let is_held = operations.contains(&request.operation.as_str()) && request.operation_sequence >= pass;
            if is_held { Fault::Hold(held.clone()) } else { Fault::Pass }
        });
        self.harness.proxy().set_faults(Some(rule));
        self.harness.proxy().reset_tally();
        gate
    }

    fn requests(&self, operations: &[&str]) -> u64 {
        let tally = self.harness.proxy().tally();
        operations.iter().map(|name| tally.operation(name).requests).sum()
    }

    fn answered(&self, operation: &str) -> u64 {
        self.harness.proxy().tally().operation(operation).ok
    }

    /// Waits until a condition is true. Panics if the process ends first.
    async fn wait(&self, tool: &mut RunningTool, what: &str, is_true: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_true() {
            let is_late = began.elapsed() > PATIENCE;
            assert!(!is_late && !tool.has_ended(), "{}: never {what}: {}", self.case.name, tool.stderr_so_far());
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// Locks the state file, so that no process can store anything.
    fn lock(&self) -> Connection {
        let lock = Connection::open(self.state()).unwrap();
        lock.busy_timeout(Duration::from_secs(10)).unwrap();
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
        lock
    }

    /// Kills the process.
    async fn kill(&self, tool: RunningTool) {
        tool.signal(Signal::SIGKILL);
        let ended = tokio::task::spawn_blocking(move || tool.end()).await.unwrap();
        assert_eq!(ended.code, -1, "{} ended before it was killed: {ended:?}", self.case.name);
        self.harness.proxy().set_faults(None);
    }

    /// Releases the process with a locked state file, and kills it before it can store anything.
    async fn kill_before_it_stores(&self, tool: RunningTool, gate: RequestGate, written: u64) {
        let lock = self.lock();
        let mut tool = tool;
        gate.open();
        if written > 0 {
            self.wait(&mut tool, "written", || WRITES.iter().map(|name| self.answered(name)).sum::<u64>() >= written)
                .await;
        }
        tokio::time::sleep(BLOCKED).await;
        self.kill(tool).await;
        drop(lock);
    }

    /// Kills a command at this point. Returns the state file's counts for the test's output.
    async fn kill_at(&self, point: CrashPoint) -> String {
        let run = self.run_options();
        let writes = WRITES;
        let reads: &'static [&'static str] = &["Scan", "GetItem"];
        match point {
            CrashPoint::BaselineUnrecorded => {
                let gate = self.hold(reads, 0);
                let mut tool = self.start("run", run);
                self.wait(&mut tool, "read", || self.requests(reads) > 0).await;
                self.kill_before_it_stores(tool, gate, 0).await;
                assert_eq!(self.requests(writes), 0, "a write was sent before the baseline was durable");
            }
            CrashPoint::BaselineCompletion => {
                self.hold(writes, 0);
                let mut tool = self.start("run", run);
                self.wait(&mut tool, "written", || self.requests(writes) > 0).await;
                self.kill(tool).await;
                let gate = self.hold(reads, 0);
                let mut tool = self.start("rollback", self.case.rollback);
                self.wait(&mut tool, "read", || self.requests(reads) > 0).await;
                self.kill_before_it_stores(tool, gate, 0).await;
                assert_eq!(self.requests(writes), 0, "a write was sent before the baseline was durable");
            }
            CrashPoint::ProgramAsked => {
                let hang = self.harness.dir().join("hang");
                std::fs::write(&hang, "").unwrap();
                self.hold(writes, 0);
                let mut tool = self.start("run", run);
                let asked = self.harness.dir().join("asked");
                self.wait(&mut tool, "asked", || asked.exists()).await;
                self.kill(tool).await;
                assert_eq!(self.requests(writes), 0);
                std::fs::remove_file(hang).unwrap();
            }
            CrashPoint::PriorValuesUnrecorded => {
                let gate = self.hold(writes, 0);
                let mut tool = self.start("run", run);
                self.wait(&mut tool, "written", || self.requests(writes) > 0).await;
                // A writer changes the items, so that the first write fails and the tool plans a new write.
                self.harness.proxy().set_faults(None);
                let client = crate::harness::client(&self.harness.server_endpoint());
                for mut item in items() {
                    (self.case.race)(&mut item);
                    client.put_item().table_name(&self.table).set_item(Some(to_sdk(&item))).send().await.unwrap();
                }
                let sent = self.requests(writes);
                let recorded = self.summary().pre_images;
                self.kill_before_it_stores(tool, gate, 0).await;
                assert_eq!(self.requests(writes), sent, "a write was sent before its prior values were durable");
                assert_eq!(self.summary().pre_images, recorded);
            }
            CrashPoint::BaselineRecorded | CrashPoint::PriorValuesRecorded => {
                self.hold(writes, 0);
                let mut tool = self.start("run", run);
                self.wait(&mut tool, "written", || self.requests(writes) > 0).await;
                self.kill(tool).await;
                assert_eq!(self.committed(), 0);
            }
            CrashPoint::WriteUnanswered => {
                let gate = RequestGate::closed();
                let held = gate.clone();
                let was_sent = AtomicBool::new(false);
                let puts = self.case.name == "Put";
                let rule: FaultRule = Arc::new(move |request| {
                    let is_write = WRITES.contains(&request.operation.as_str());
                    // After a lost reply, the tool reads the derived item before it resends the transaction.
                    let looks = puts && request.operation == "GetItem" && was_sent.load(Ordering::SeqCst);
                    match (is_write, is_write && !was_sent.swap(true, Ordering::SeqCst)) {
                        (true, true) => Fault::DropReply,
                        (true, false) => Fault::Hold(held.clone()),
                        (false, _) if looks => Fault::Hold(held.clone()),
                        (false, _) => Fault::Pass,
                    }
                });
                self.harness.proxy().set_faults(Some(rule));
                self.harness.proxy().reset_tally();
                let mut tool = self.start("run", run);
                // The first `GetItem` comes before the transaction.
                let is_over = || if puts { self.requests(&["GetItem"]) > 1 } else { self.requests(writes) > 1 };
                self.wait(&mut tool, "sent again", is_over).await;
                self.kill(tool).await;
                assert_eq!(self.committed(), 0);
            }
            CrashPoint::PageUncommitted | CrashPoint::DeleteUnconfirmed => {
                let gate = self.hold(writes, 0);
                let mut tool = self.start("run", run);
                self.wait(&mut tool, "written", || self.requests(writes) > 0).await;
                self.kill_before_it_stores(tool, gate, 1).await;
                assert_eq!(self.committed(), 0, "a page is committed before its result is durable");
            }
            CrashPoint::PutBackUnmarked => {
                let ran = self.complete("run", run).await;
                assert_eq!(ran.code, 0, "{ran:?}");
                let gate = self.hold(writes, 0);
                let mut tool = self.start("rollback", self.case.rollback);
                self.wait(&mut tool, "written", || self.requests(writes) > 0).await;
                self.kill_before_it_stores(tool, gate, 1).await;
            }
            CrashPoint::PageCommitted => {
                self.hold(writes, 1);
                let mut tool = self.start("run", run);
                self.wait(&mut tool, "committed", || self.state().exists() && self.committed() > 0).await;
                self.kill(tool).await;
            }
            CrashPoint::CapacityReserved => {
                self.hold(reads, 0);
                let mut tool = self.start("run", run);
                self.wait(&mut tool, "read", || self.requests(reads) > 0).await;
                self.kill(tool).await;
            }
        }
        format!("{} items committed, {} prior values", self.committed(), self.summary().pre_images)
    }

    /// Completes the commands without further kills, and checks the table.
    async fn finish(&self, point: CrashPoint) {
        let case = &self.case;
        // Requests of the dead process can still arrive.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let is_on_way_back = matches!(point, CrashPoint::BaselineCompletion | CrashPoint::PutBackUnmarked);
        let mut before: BTreeMap<String, Item> =
            items().into_iter().map(|item| (key_of(&item).to_text(), item)).collect();
        if point == CrashPoint::PriorValuesUnrecorded {
            before.values_mut().for_each(case.race);
        }
        if !is_on_way_back {
            let ran = self.complete("run", self.run_options()).await;
            assert_eq!(ran.code, 0, "{} × {point}: {ran:?}", case.name);
            let expected = before.iter().filter_map(|(key, item)| {
                let item = if case.name == "MoveInPlace" { without_new(item) } else { item.clone() };
                Some((key.clone(), (case.after)(&item)?))
            });
            let derived = before.values().filter_map(|item| (case.derived)(item));
            let expected = expected.chain(derived.map(|item| (key_of(&item).to_text(), item)));
            let now = self.harness.dump(&self.table).await;
            assert_eq!(now, expected.collect(), "{} × {point}: after the run", case.name);
        }
        if !self.has_journal {
            // A rollback is not possible.
            return;
        }
        let back = self.complete("rollback", case.rollback).await;
        let mut now = self.harness.dump(&self.table).await;
        let lost = usize::from(case.name == "Delete" && unconfirmed(point));
        // It is unknown who put the derived item, so a rollback keeps it.
        let kept = usize::from(case.name == "Put" && unconfirmed(point));
        let derived: Vec<Item> = before.values().filter_map(|item| (case.derived)(item)).collect();
        let stayed: Vec<Item> = derived.iter().filter_map(|item| now.remove(&key_of(item).to_text())).collect();
        assert!(stayed.len() == kept && stayed.iter().all(|item| derived.contains(item)), "{stayed:?}: {back:?}");
        assert_eq!(back.code, if lost + kept > 0 { 4 } else { 0 }, "{} × {point}: {back:?}", case.name);
        assert_eq!(now.len(), before.len() - lost, "{} × {point}: {back:?}", case.name);
        // A writer can put a value at the target of a copy after the baseline has recorded that the target is missing.
        // A rollback then removes this value, and only the journal contains it.
        let has_late_target =
            |(key, item): (&String, &Item)| before[key].contains_key("new") && !item.contains_key("new");
        let late = now.iter().filter(|entry| has_late_target(*entry)).count();
        assert!(late <= usize::from(case.has_baseline), "{} × {point}: {now:?}", case.name);
        for (key, mut item) in now {
            let was = before.get_mut(&key).unwrap();
            if late > 0 && !item.contains_key("new") {
                was.remove("new");
            }
            // A rollback never lowers the version.
            if case.name == "Bump" {
                was.remove("version");
                item.remove("version");
            }
            assert_eq!(item, *was, "{} × {point}: after the rollback", case.name);
        }
    }
}

/// Returns whether the confirmation of a delete or put can be missing after a kill at this point. If it is missing, a
/// rollback only reports the item.
fn unconfirmed(point: CrashPoint) -> bool {
    matches!(point, CrashPoint::WriteUnanswered | CrashPoint::DeleteUnconfirmed)
}

fn without_new(item: &Item) -> Item {
    let mut item = item.clone();
    item.remove("new");
    item
}

/// `backfill --help`: "You can kill a command at any moment: the same command, started again, resumes where it
/// stopped."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_is_survived_with_every_kind_of_change() {
    let wanted = std::env::var("BACKFILL_TEST_CRASH_POINT").ok();
    let is_wanted = |case: &Case, point: CrashPoint| {
        wanted.as_ref().is_none_or(|wanted| *wanted == case.name || *wanted == format!("{},{point}", case.name))
    };
    let cells: Vec<(usize, CrashPoint)> = cases()
        .iter()
        .enumerate()
        .flat_map(|(n, case)| CrashPoint::ALL.map(|point| (n, case, point)))
        .filter(|(_, case, point)| impossible(case, *point).is_none() && is_wanted(case, *point))
        .map(|(n, _, point)| (n, point))
        .collect();
    let play = |(n, point): (usize, CrashPoint)| async move {
        // A failed cell must not prevent the report of the others.
        let played = tokio::spawn(async move {
            let bench = Bench::new(cases().swap_remove(n), point).await;
            let evidence = bench.kill_at(point).await;
            bench.finish(point).await;
            println!("  {} × {point}: {evidence}", bench.case.name);
        });
        (n, point, played.await.is_ok())
    };
    let played: Vec<(usize, CrashPoint, bool)> =
        futures::stream::iter(cells.clone()).map(play).buffer_unordered(AT_ONCE).collect().await;
    let done: Vec<(usize, CrashPoint)> =
        played.iter().filter(|(.., is_ok)| *is_ok).map(|(n, point, _)| (*n, *point)).collect();
    print_table(&done);
    let failed = cells.iter().filter(|cell| !done.contains(cell)).map(|(n, point)| (cases()[*n].name, point.name()));
    let failed: Vec<_> = failed.collect();
    assert!(failed.is_empty(), "{} of {} cells: {failed:?}", failed.len(), cells.len());
    assert!(wanted.is_some() || done.len() > 100, "only {} cells", done.len());
}

/// Prints one line for each kind. `x` marks a completed cell, and `-` an impossible one.
fn print_table(done: &[(usize, CrashPoint)]) {
    for (n, point) in CrashPoint::ALL.into_iter().enumerate() {
        println!("{:>14} {n:>2} = {point}", "");
    }
    let header: String = (0..CrashPoint::ALL.len()).map(|n| format!("{n:>3}")).collect();
    println!("{:14}{header}", "");
    for (n, case) in cases().iter().enumerate() {
        let cell = |point| match (impossible(case, point), done.contains(&(n, point))) {
            (Some(_), _) => "  -",
            (None, true) => "  x",
            (None, false) => "   ",
        };
        println!("{:14}{}", case.name, CrashPoint::ALL.map(cell).concat());
    }
}

//! Tests the real binary. The tests kill it at random moments, and restart it until it completes.
//!
//! The server runs in the test's process and counts requests. The tool runs in a separate process. After each kill, the
//! test reads the committed progress from the state file. The server's log shows which pages the tool had read.
//!
//! A random seed decides the moments of the kills. The test prints the seed, and `BACKFILL_TEST_SEED` sets it.
#![expect(clippy::print_stdout, reason = "the test prints its figures")]

mod expected;
mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{Harness, bytes_of, in_batches, key_of};
use backfill::internals::change::Outcome;
use backfill::internals::item::{Item, ItemKey, Value};
use backfill::internals::local::proxy::FaultRule;
use backfill::internals::local::{Fault, sample};
use backfill::internals::state::sqlite::StateFile;
use backfill::internals::state::{Counts, Cursor, ListQuery, RunStatus};
use expected::{After, in_place, renamed};
use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pages::{OPEN_AT_MOST, Pages, SessionPages};

/// The maximum number of segments that are active at the same time: four of the run's twelve segments, and the segment
/// of the largest customer in addition. This customer has a fifth of all items.
const ACTIVE: usize = 4 + 1;

/// The plan's scan section. With its fixed page size, a reread page contains the same items.
const SCAN: &str = "[scan]\nsegments = 12\nactive = 4\npage_limit = 50\n[capacity]\nwrite = 4000\nread = 4000\n";

/// Budgets that give every partition key enough capacity, so the run sets no items aside.
const WIDE: &str = "per_key_range = { write = 4000 }\nper_partition_key = { write = 4000 }\n";

/// Budgets so small that the largest customer's items must wait. The run sets these items aside, and continues with the
/// next pages of the segment.
const NARROW: &str = "per_key_range = { write = 4000 }\nper_partition_key = { write = 300 }\n";

/// The maximum number of pages in a segment that are read but not committed: one page that is being written, and one
/// that is being fetched.
const OPEN: usize = 2;

const RENAME: &str = "[[change]]\nmove = \"email\"\nto = \"contact_email\"\n";

const ALL: ListQuery = ListQuery { run: None, open_only: true, after: Cursor::START, limit: u32::MAX };

/// A sample table, a plan for this table, and the expected result.
struct Migration {
    harness: Harness,
    table: String,
    plan: PathBuf,
    state: PathBuf,
    /// Every item before the run, and the result that the plan implies for it.
    items: BTreeMap<String, (Item, After)>,
    pages: Pages,
}

/// The operation that sends batches of statements.
const BATCH: &str = "BatchExecuteStatement";

impl Migration {
    async fn new(
        harness: Harness,
        count: u64,
        seed: u64,
        head: &str,
        changes: &str,
        after: fn(&Item) -> After,
        keys: (&str, usize),
    ) -> Migration {
        let table = harness.create_table().await;
        // An in-place write compares the values that it overwrites or removes, and some engines cannot compare
        // documents. So the moved attribute and its target contain documents only on the embedded engine.
        let any = harness.local().is_some();
        let document = |item: &Item, name| matches!(item.get(name), Some(Value::M(_) | Value::L(_)));
        let plain = |item: &Item| !document(item, "email") && !document(item, "contact_email");
        let items = sample::items(seed, 2 * count).filter(|item| any || plain(item)).take(count as usize);
        assert_eq!(harness.load(&table, items).await, count);
        let before = harness.dump(&table).await;
        assert_eq!(before.len() as u64, count);
        let plan = harness.plan("killed", &table, head, &format!("{changes}{SCAN}{}", keys.0));
        let state = harness.dir().join("state.db");
        let items = before.into_iter().map(|(key, item)| (key, (item.clone(), after(&item)))).collect();
        harness.proxy().reset_tally();
        Migration { harness, table, plan, state, items, pages: Pages::with_open(keys.1) }
    }

    fn start(&self) -> Child {
        let log = File::options().append(true).create(true).open(self.harness.dir().join("log")).unwrap();
        let mut command = self.harness.command();
        command.arg("run").arg(&self.plan).arg("--yes").arg("--state").arg(&self.state);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    /// Returns the number of updates that have reached the server. A batch counts as if it were full.
    fn updates(&self) -> u64 {
        let tally = self.harness.proxy().tally();
        tally.operation("UpdateItem").requests + 25 * tally.operation(BATCH).requests
    }

    /// Waits until `more` further updates have reached the server. Returns false if the process ends first.
    fn wait_for_updates(&self, child: &mut Child, more: u64) -> bool {
        let goal = self.updates() + more;
        while self.updates() < goal {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            sleep(Duration::from_millis(3));
        }
        true
    }

    /// Checks the pages of a session that has ended, and returns their counts.
    fn account(&mut self) -> SessionPages {
        self.settle(&["Scan"]);
        let scans = self.harness.proxy().tally().scans;
        self.pages.session_ended(&scans, &self.state)
    }

    /// Waits until the server has answered all requests for these operations from a process that is now dead. On a busy
    /// machine, such a request can arrive after the process has died.
    fn settle(&self, operations: &[&str]) {
        let mut quiet = 0;
        let mut last = 0;
        while quiet < 40 {
            sleep(Duration::from_millis(3));
            let tally = self.harness.proxy().tally();
            let open = operations.iter().any(|name| {
                let of = tally.operation(name);
                of.requests != of.ok + of.errors.values().sum::<u64>()
            });
            let seen = tally.requests();
            quiet = if open || seen != last { 0 } else { quiet + 1 };
            last = seen;
        }
    }

    /// Repeatedly starts and kills the tool until the run completes. Returns the number of kills and the last exit
    /// status.
    fn run_under_kills(&mut self, most_updates: u64, rng: &mut Rng) -> (u32, ExitStatus) {
        let mut kills = 0;
        loop {
            let mut child = self.start();
            if rng.u8(..6) == 0 {
                // Some kills happen before the first write, while the tool is starting, resuming or reading.
                sleep(Duration::from_millis(rng.u64(..250)));
            } else if self.wait_for_updates(&mut child, rng.u64(..most_updates)) {
                sleep(Duration::from_millis(rng.u64(..25)));
            }
            // This sends SIGKILL, which has no effect if the process has already ended.
            child.kill().unwrap();
            let status = child.wait().unwrap();
            let session_pages = self.account();
            if status.code().is_some() {
                println!("  completed; {} pages read again after the last kill", session_pages.read_again);
                return (kills, status);
            }
            kills += 1;
            println!("  kill {kills}: {}", session_pages.line(ACTIVE));
            assert!(session_pages.open <= session_pages.at_most(ACTIVE), "{session_pages:?}");
        }
    }

    /// Checks every attribute of every item against the plan's implied result, byte for byte.
    async fn check_items(&self) {
        self.settle(&["Scan", "UpdateItem", BATCH]);
        let mut now = self.harness.dump(&self.table).await;
        for (key, (before, after)) in &self.items {
            let found = now.remove(key).unwrap_or_else(|| panic!("{key} is missing"));
            let found = bytes_of(&found);
            let expected = bytes_of(&after.item);
            assert_eq!(found, expected, "\nbefore: {}", bytes_of(before));
        }
        assert!(now.is_empty(), "unexpected items: {:?}", now.keys());
    }

    /// Checks that the totals in the state file count every item once, and that every item that needed a write was
    /// written exactly once.
    fn check_counts(&self) -> Counts {
        let file = StateFile::open(&self.state).unwrap();
        let current = file.summary().unwrap().current.unwrap();
        let counts = current.totals.counts;
        assert_eq!(current.run.status, RunStatus::Complete);
        // With batches, a whole page is in flight at once. So a drain may leave no page half written.
        let is_lower_bound = current.run.lower_bound || in_batches();
        assert!(is_lower_bound, "items that were written before a kill may count as already applied");
        let of = |outcome| self.items.values().filter(|(_, after)| after.outcome == outcome).count() as u64;
        assert_eq!(counts.scanned, self.items.len() as u64);
        assert_eq!(counts.outcomes.iter().sum::<u64>(), counts.scanned);
        for outcome in [Outcome::NothingToDo, Outcome::Diverged] {
            assert_eq!(counts.of(outcome), of(outcome), "{outcome:?}");
        }
        let done = counts.of(Outcome::Applied) + counts.of(Outcome::AlreadyApplied);
        assert_eq!(done, of(Outcome::Applied) + of(Outcome::AlreadyApplied));
        assert!(counts.of(Outcome::Applied) <= of(Outcome::Applied), "the count of applied items is a lower bound");
        // The reply to a batch has no status of its own for each statement.
        let written = self.harness.proxy().tally().operation("UpdateItem").ok;
        assert!(in_batches() || written == of(Outcome::Applied), "each item is written exactly once, not {written}");

        let listed: BTreeMap<String, Vec<String>> = file
            .diverged(ALL)
            .unwrap()
            .into_iter()
            .map(|d| (d.key.to_text(), d.paths.iter().map(ToString::to_string).collect()))
            .collect();
        let diverged = self.items.iter().filter(|(_, (_, after))| after.outcome == Outcome::Diverged);
        let diverged = diverged.map(|(key, _)| (key.clone(), vec!["contact_email".to_owned()]));
        assert_eq!(listed, diverged.collect());
        assert!(file.failures(ALL).unwrap().is_empty());
        counts
    }

    /// Checks that the journal contains exactly the values that the run destroyed.
    async fn check_pre_images(&self) -> (u64, u64) {
        let summary = StateFile::open(&self.state).unwrap().summary().unwrap();
        let store =
            backfill::internals::state::open(&self.state, &summary.identity, || "2026-01-01T00:00:00Z".into()).unwrap();
        let mut destroyed = 0;
        let mut recorded = 0;
        for (key, (before, after)) in &self.items {
            assert_eq!(*key, key_of(before).to_text());
            let rows = store.pre_images(ItemKey::from_text(key).unwrap(), None).await.unwrap();
            recorded += rows.len() as u64;
            destroyed += after.destroyed.len() as u64;
            let text = |path: String, value: &backfill::internals::item::Value| format!("{path} = {}", value.to_json());
            let rows: BTreeSet<String> =
                rows.iter().map(|row| text(row.path.to_string(), row.value.as_ref().unwrap())).collect();
            let lost: BTreeSet<String> = after.destroyed.iter().map(|(p, v)| text(p.to_string(), v)).collect();
            assert_eq!(rows, lost, "{key}");
        }
        assert_eq!(recorded, summary.pre_images, "some pre-images belong to items that are not in the table");
        store.close().await.unwrap();
        (destroyed, recorded)
    }

    /// Checks that a further pass sends no write requests and consumes no write units.
    fn check_second_pass(&self) {
        self.harness.proxy().reset_tally();
        let output = self
            .harness
            .command()
            .arg("run")
            .arg(&self.plan)
            .args(["--again", "--yes", "--state"])
            .arg(&self.state)
            .output()
            .unwrap();
        let tally = self.harness.proxy().tally();
        println!("  second pass: {} WCU, {} requests, {}", tally.write_units(), tally.requests(), output.status);
        assert_eq!(tally.operations.keys().collect::<Vec<_>>(), crate::harness::READ_ONLY_OPERATIONS);
        assert!(tally.write_units() == 0.0);
    }
}

/// Delays one update in two hundred, so that some updates of a killed process are applied after the next process has
/// begun.
fn delay_some_updates() -> FaultRule {
    Arc::new(|request| match request.operation.as_str() {
        "UpdateItem" if request.operation_sequence % 200 == 3 => Fault::Delay(Duration::from_millis(150)),
        BATCH if request.operation_sequence % 8 == 3 => Fault::Delay(Duration::from_millis(150)),
        _ => Fault::Pass,
    })
}

fn seed() -> u64 {
    let seed = std::env::var("BACKFILL_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("BACKFILL_TEST_SEED={seed}");
    seed
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

fn log_of(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap_or_default()
}

/// `backfill --help`: "You can kill a command at any moment: the same command, started again, resumes where it
/// stopped."
/// RUNBOOK: "the state file holds everything that was committed".
#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_at_random_moments_gives_the_same_result() {
    let harness = Harness::start();
    // Five in six items need a write. Each session makes at most `updates` updates, so the run takes more than `enough`
    // kills.
    let (items, updates, enough) = harness.size_for_server((20_000, 700, 20), (700, 150, 3));
    let mut rng = Rng::with_seed(seed());
    let mut migration = Migration::new(harness, items, rng.u64(..), "", RENAME, renamed, (WIDE, OPEN)).await;
    migration.harness.proxy().set_faults(Some(delay_some_updates()));
    let began = Instant::now();
    let (kills, status) = migration.run_under_kills(updates, &mut rng);
    println!("  {kills} kills in {:.1} s", began.elapsed().as_secs_f64());
    assert!(kills >= enough, "only {kills} kills");
    migration.check_items().await;
    assert_eq!(status.code(), Some(5), "some items diverge; {}", log_of(migration.harness.dir()));
    let counts = migration.check_counts();
    println!("  {:?} of {:?}", counts.outcomes, Outcome::ALL);
    migration.check_second_pass();
}

/// An in-place plan destroys values. The tool records every value that it overwrites or removes, even if the run is
/// killed at any moment.
/// RUNBOOK: "contains the only copy of overwritten and removed values".
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_in_place_run_records_every_destroyed_value() {
    let harness = Harness::start();
    let (items, updates, enough) = harness.size_for_server((5_000, 500, 8), (400, 150, 2));
    let mut rng = Rng::with_seed(seed());
    let head = "strategy = \"in-place\"\non_existing = \"overwrite\"";
    let mut migration =
        Migration::new(harness, items, rng.u64(..), head, expected::IN_PLACE, in_place, (NARROW, OPEN_AT_MOST)).await;
    migration.harness.proxy().set_faults(Some(delay_some_updates()));
    let (kills, status) = migration.run_under_kills(updates, &mut rng);
    assert!(kills >= enough, "only {kills} kills");
    migration.check_items().await;
    assert_eq!(status.code(), Some(0), "{}", log_of(migration.harness.dir()));
    migration.check_counts();
    let (destroyed, recorded) = migration.check_pre_images().await;
    println!("  {kills} kills; {destroyed} values destroyed, {recorded} pre-images");
    assert!(destroyed > items / 2, "the plan must destroy many values");
    migration.check_second_pass();
}

/// `backfill --help`: "130 interrupted, resumable".
#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_run_drains_and_resumes() {
    const ITEMS: u64 = 3_000;
    let mut rng = Rng::with_seed(seed());
    let mut migration =
        Migration::new(Harness::embedded(), ITEMS, rng.u64(..), "", RENAME, renamed, (WIDE, OPEN)).await;
    // Delay requests, so that some are in flight when the signal arrives.
    let slow: FaultRule = Arc::new(|request| match request.operation.as_str() {
        "UpdateItem" | BATCH => Fault::Delay(Duration::from_millis(60)),
        _ => Fault::Pass,
    });
    migration.harness.proxy().set_faults(Some(slow));
    for time in 1..=3 {
        let mut child = migration.start();
        assert!(migration.wait_for_updates(&mut child, rng.u64(100..500)), "{}", log_of(migration.harness.dir()));
        signal(&child, [Signal::SIGTERM, Signal::SIGINT][time % 2]);
        let began = Instant::now();
        let status = child.wait().unwrap();
        let took = began.elapsed();
        let update = migration.harness.proxy().tally().operation(if in_batches() { BATCH } else { "UpdateItem" });
        assert_eq!(status.code(), Some(130), "{}", log_of(migration.harness.dir()));
        assert!(took < Duration::from_secs(5), "draining requests of 60 ms took {took:?}");
        assert_eq!(update.requests, update.ok, "a request was in flight when the process ended");
        let session_pages = migration.account();
        println!("  drain {time} in {took:?}: {}", session_pages.line(ACTIVE));
        let run = StateFile::open(&migration.state).unwrap().summary().unwrap().current.unwrap().run;
        assert_eq!((run.status, run.open_session), (RunStatus::Stopped, false));
        assert!(run.stop_reason.unwrap().contains("interrupted"));
    }
    migration.harness.proxy().set_faults(None);
    let mut child = migration.start();
    let status = child.wait().unwrap();
    let session_pages = migration.account();
    println!("  resumed; {} pages read again", session_pages.read_again);
    migration.check_items().await;
    assert_eq!(status.code(), Some(5), "{}", log_of(migration.harness.dir()));
    migration.check_counts();
}

/// "Interrupt again to stop at once": the tool does not wait for requests in flight, and loses nothing.
/// RUNBOOK: "A second signal stops the tool immediately. Nothing is lost then either".
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_immediately_without_loss() {
    const ITEMS: u64 = 2_000;
    let mut rng = Rng::with_seed(seed());
    let mut migration =
        Migration::new(Harness::embedded(), ITEMS, rng.u64(..), "", RENAME, renamed, (WIDE, OPEN)).await;
    let stuck: FaultRule = Arc::new(|request| match request.operation.as_str() {
        "UpdateItem" if request.operation_sequence > 300 => Fault::Delay(Duration::from_secs(3)),
        BATCH if request.operation_sequence > 12 => Fault::Delay(Duration::from_secs(3)),
        _ => Fault::Pass,
    });
    migration.harness.proxy().set_faults(Some(stuck));
    let mut child = migration.start();
    assert!(migration.wait_for_updates(&mut child, 320), "{}", log_of(migration.harness.dir()));
    signal(&child, Signal::SIGTERM);
    sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "the process must wait for the requests in flight");
    let began = Instant::now();
    signal(&child, Signal::SIGTERM);
    let status = child.wait().unwrap();
    let took = began.elapsed();
    assert_eq!(status.code(), Some(130), "{}", log_of(migration.harness.dir()));
    assert!(took < Duration::from_secs(1), "the immediate stop took {took:?}");
    let session_pages = migration.account();
    println!("  stopped in {took:?}: {}", session_pages.line(ACTIVE));
    // Requests that were in flight arrive while the run continues.
    migration.harness.proxy().set_faults(None);
    let status = migration.start().wait().unwrap();
    migration.account();
    migration.check_items().await;
    assert_eq!(status.code(), Some(5), "{}", log_of(migration.harness.dir()));
    migration.check_counts();
}

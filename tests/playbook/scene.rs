//! A test scenario, with a table, a table for the flag, and a plan. The scenario runs commands, and checks after every
//! kill that no value is lost.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::cutover::{Flag, schema};
use backfill::internals::item::{Item, ItemKey, Value};
use backfill::internals::local::Fault;
use backfill::internals::local::proxy::FaultRule;
use backfill::internals::state::sqlite::StateFile;
use fastrand::Rng;
use nix::sys::signal::Signal;

use crate::app::{Application, FlagSource, Habit, NEW, OLD, number, pk, value};
use crate::harness::tool::{RunningTool, SECRET, ToolOutput, item};
use crate::harness::{Harness, from_sdk, to_sdk};
use crate::history::Content;

/// The change that most scenarios' plans make.
pub(crate) const MOVE: &str = "[[change]]\nmove = \"old\"\nto = \"new\"\n";

/// Plan sections with small pages, and with budgets that never delay a request.
pub(crate) const QUICKLY: &str = "[scan]\nsegments = 4\npage_limit = 10\n[retry]\nbase = \"2ms\"\ncap = \"50ms\"\n\
    [capacity]\nwrite = 4000\nread = 8000\nper_key_range = { write = 4000, read = 8000 }\n";

/// The name of the migration, which is also the key of its flag.
pub(crate) const NAME: &str = "rename";

/// The number of instances of the application.
const INSTANCES: u64 = 4;

pub(crate) struct Scene {
    pub(crate) harness: Harness,
    pub(crate) table: String,
    /// The name of the flag table, or an empty string if the plan has no flag.
    pub(crate) flags: String,
    pub(crate) plan: PathBuf,
}

/// Creates items with one value each, except for one item in ten, which has no value.
pub(crate) fn items(count: u64) -> Vec<Item> {
    let one = |n: u64| {
        let pk = format!("P#{n:04}");
        let mut one = item(&pk, "x", [("kept", Value::S(format!("{SECRET} of {pk}")))]);
        if n % 10 != 3 {
            one.insert(OLD.to_owned(), value(1));
        }
        one
    };
    (0..count).map(one).collect()
}

/// Returns a `[cutover]` section with times that are short enough for a test.
pub(crate) fn cutover(flags: &str) -> String {
    format!("[cutover]\ntable = \"{flags}\"\nmax_cache_seconds = 1\nsoak = \"1s\"\nmax_age = \"1h\"\n")
}

impl Scene {
    /// Creates a scenario with a flag. `rest` is the plan's text after the `[table]` section.
    pub(crate) async fn flagged(harness: Harness, items: Vec<Item>, migration: &str, rest: &str) -> Scene {
        let flags = harness.create_flag_table().await;
        let rest = format!("{rest}{}", cutover(&flags));
        Scene { flags, ..Scene::unflagged(harness, items, migration, &rest).await }
    }

    /// Creates a scenario without a flag. `rest` is the plan's text after the `[table]` section.
    pub(crate) async fn unflagged(harness: Harness, items: Vec<Item>, migration: &str, rest: &str) -> Scene {
        let table = harness.create_table().await;
        harness.load(&table, items.into_iter()).await;
        let plan = harness.plan(NAME, &table, migration, rest);
        Scene { harness, table, flags: String::new(), plan }
    }

    /// Starts an application that uses this table and obeys the plan's flag.
    pub(crate) async fn application(&self, habit: Habit) -> Application {
        let flag_source = FlagSource::Flag { table: self.flags.clone(), key: NAME.to_owned() };
        Application::start(&self.harness, &self.table, flag_source, habit, INSTANCES).await
    }

    /// Starts an application that uses this table, and obeys a flag that the test sets directly.
    pub(crate) async fn manual_application(&self, first: crate::example::Flag) -> Application {
        let flag_source = FlagSource::Manual(Arc::new(tokio::sync::RwLock::new(first)));
        Application::start(&self.harness, &self.table, flag_source, Habit::Obedient, INSTANCES).await
    }

    /// Creates a command. `words` does not contain the plan's path, which this function inserts as the second word.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut words = words.split_whitespace();
        let mut command = self.harness.command();
        command.args(words.next()).arg(&self.plan).args(words).arg("-vv");
        command
    }

    /// Runs a command and waits until it ends. Does not block other tasks.
    pub(crate) async fn run_command(&self, words: &str) -> ToolOutput {
        let command = self.command(words);
        let began = Instant::now();
        let ran = tokio::task::spawn_blocking(move || RunningTool::start(command).end()).await.unwrap();
        println!("  {words}: {} after {:.1} s", ran.code, began.elapsed().as_secs_f64());
        ran
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub(crate) fn run_ok(&self, words: &str) -> impl Future<Output = ToolOutput> {
        let place = std::panic::Location::caller();
        async move {
            let ran = self.run_command(words).await;
            assert_eq!(ran.code, 0, "{place}: {words}: {}{:.6000}", ran.stdout, ran.messages());
            ran
        }
    }

    /// Runs a command that is out of order. The command must not change the flag, and must print the next step.
    pub(crate) async fn run_refused(&self, words: &str, next: &str) -> ToolOutput {
        let before = self.raw_flag().await;
        let ran = self.run_command(words).await;
        let said = ran.messages();
        let next = self.command_line(next);
        assert_eq!(ran.code, 3, "{words}: {}{said:.6000}", ran.stdout);
        assert!(said.contains(&next), "{words}: no `{next}` in: {said}");
        assert_eq!(self.raw_flag().await, before, "{words} was refused");
        ran
    }

    /// Delays each page by this time, so that phases take longer. `None` ends the delay.
    pub(crate) fn slow_pages(&self, each: Option<Duration>) {
        let rule = |each| -> FaultRule {
            Arc::new(move |request| if request.operation == "Scan" { Fault::Delay(each) } else { Fault::Pass })
        };
        self.harness.proxy().set_faults(each.map(rule));
    }

    /// Returns a command's text as the tool prints it.
    pub(crate) fn command_line(&self, words: &str) -> String {
        let (command, rest) = words.split_once(' ').unwrap_or((words, ""));
        format!("backfill {command} {} {rest}", self.plan.display()).trim_end().to_owned()
    }

    /// Returns the flag's item, unparsed.
    pub(crate) async fn raw_flag(&self) -> Option<Item> {
        if self.flags.is_empty() {
            return None;
        }
        let get =
            self.harness.client().get_item().table_name(&self.flags).key("id", AttributeValue::S(NAME.to_owned()));
        get.consistent_read(true).send().await.unwrap().item.map(from_sdk)
    }

    /// Returns the flag.
    pub(crate) async fn flag(&self) -> Flag {
        schema::from_item(&self.raw_flag().await.expect("the flag is missing")).unwrap().0
    }

    /// Changes the flag item as a foreign process would, without the tool.
    pub(crate) async fn tamper(&self, change: impl FnOnce(&mut Item)) {
        let mut item = self.raw_flag().await.unwrap();
        change(&mut item);
        let put = self.harness.client().put_item().table_name(&self.flags);
        put.set_item(Some(to_sdk(&item))).send().await.unwrap();
    }

    pub(crate) fn state_path(&self) -> PathBuf {
        self.harness.dir().join(".backfill").join(format!("{NAME}.db"))
    }

    /// Returns every item of the table.
    pub(crate) async fn dump(&self) -> BTreeMap<String, Item> {
        self.harness.dump(&self.table).await
    }

    /// Runs a command and kills it at a random moment, up to `kills` times. Then runs the command to its end, unless
    /// one of the runs ended before its kill. After every kill, the application's last value for each item must be in
    /// the item or in the journal.
    pub(crate) async fn run_with_kills(
        &self,
        words: &str,
        kills: u32,
        rng: &mut Rng,
        app: &Application,
        killed: &mut u32,
    ) -> ToolOutput {
        for attempt in 0..kills {
            if let Some(ended) = self.kill_once(words, attempt, rng).await {
                return ended;
            }
            *killed += 1;
            self.assert_nothing_lost(app).await;
            app.assert_no_wrong_reads(words);
        }
        self.run_command(words).await
    }

    /// Runs a command and kills it. If the command ended before the kill, returns its result. The first attempt is
    /// killed at one of its first requests. Every command sends these requests, so this kill does not depend on the
    /// machine's speed. The other attempts are killed at a random moment.
    pub(crate) async fn kill_once(&self, words: &str, attempt: u32, rng: &mut Rng) -> Option<ToolOutput> {
        if attempt == 0 {
            let requests = || self.harness.proxy().tally().requests();
            let goal = requests() + rng.u64(1..=3);
            let until = Instant::now() + Duration::from_secs(20);
            let due = async {
                while requests() < goal && Instant::now() < until {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            return self.kill_when(words, due).await;
        }
        // Without a kill, such a command runs for at least about `length` milliseconds, so most kills happen before it
        // ends.
        let length = if words.starts_with("rollback") || words.starts_with("contract") { 3_000 } else { 2_000 };
        // Early moments get a higher probability, because resumed commands take less time.
        let wait = Duration::from_millis((length as f64 * rng.f64().powi(2)) as u64);
        self.kill_when(words, tokio::time::sleep(wait)).await
    }

    /// Runs a command and kills it when `due` completes. If the command ended before the kill, returns its result.
    pub(crate) async fn kill_when(&self, words: &str, due: impl Future<Output = ()>) -> Option<ToolOutput> {
        let running = RunningTool::start(self.command(words));
        let began = Instant::now();
        due.await;
        running.signal(Signal::SIGKILL);
        let ran = tokio::task::spawn_blocking(move || running.end()).await.unwrap();
        if ran.code >= 0 {
            println!("  {words}: {} before the kill", ran.code);
            return Some(ran);
        }
        println!("  {words}: killed after {} ms", began.elapsed().as_millis());
        None
    }

    /// Checks that the application's last value for each item is not lost: it must be in the item's old or new
    /// attribute, or in the journal.
    pub(crate) async fn assert_nothing_lost(&self, app: &Application) {
        let began = Instant::now();
        let items = self.dump().await;
        let possible = app.possible(began, Instant::now());
        let items: BTreeMap<&str, &Item> = items.values().map(|item| (pk(item), item)).collect();
        for (key, possible) in possible {
            let item = items.get(key.as_str());
            let at = |name| item.and_then(|item| item.get(name)).and_then(number);
            let copies = [at(OLD), at(NEW)];
            let kept = |content: &Content| match content {
                Content::NoItem | Content::NoValue => true,
                Content::Value(n) => copies.contains(&Some(*n)),
            };
            if possible.iter().any(kept) {
                continue;
            }
            let journal = self.journal(&key).await;
            let in_journal = |content: &Content| matches!(content, Content::Value(n) if journal.iter().any(|value| number(value) == Some(*n)));
            assert!(possible.iter().any(in_journal), "{key} has {copies:?}, but should have one of {possible:?}");
        }
    }

    /// Returns the journal's values for the application's item with this partition key.
    pub(crate) async fn journal(&self, key: &str) -> Vec<Value> {
        self.journal_of(key, "x").await
    }

    /// Returns the journal's values for an item, newest first. Requires that no other process holds the state file.
    pub(crate) async fn journal_of(&self, pk: &str, sk: &str) -> Vec<Value> {
        let Ok(file) = StateFile::open(&self.state_path()) else { return Vec::new() };
        let identity = file.summary().unwrap().identity;
        let store =
            backfill::internals::state::open(&self.state_path(), &identity, || "2026-01-01T00:00:00Z".into()).unwrap();
        let rows = store.pre_images(ItemKey::new(item(pk, sk, [])), None).await.unwrap();
        store.close().await.unwrap();
        rows.into_iter().map(|row| row.value.unwrap()).collect()
    }
}

/// Creates the random number generator that decides when to kill.
pub(crate) fn seeded_rng() -> Rng {
    let seed = std::env::var("BACKFILL_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("BACKFILL_TEST_SEED={seed}");
    Rng::with_seed(seed)
}

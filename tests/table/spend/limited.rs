//! Runs the real binary with `[limits]`, and collects the server's counts. `tests/table/limits.rs` checks the results,
//! and `benches/spend.rs` prints the result of a scene with ten kills.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use backfill::internals::item::Item;
use backfill::internals::state::RunProgress;
use backfill::internals::state::sqlite::StateFile;
use nix::sys::signal::Signal;

use crate::harness::tool::{RunningTool, ToolOutput, item, secret};
use crate::harness::{Harness, bytes_of};

/// The limit `max_wcu` of the run that [`Scene::kill_ten_times`] kills, and the size of a reserved slice. A slice is a
/// hundredth of the limit.
pub(crate) const MAX_WCU: f64 = 1_200.0;
pub(crate) const SLICE: f64 = 12.0;

/// Retry settings that do not slow a test down, and small pages, so that a run has many pages.
const SMALL: &str = "[retry]\nbase = \"2ms\"\ncap = \"50ms\"\n[scan]\nsegments = 4\npage_limit = 10\n";

/// A table of items that all need a write of one unit, and a plan whose limits can be changed between runs.
pub(crate) struct Scene {
    /// The server, and the directory that contains the plan.
    pub(crate) harness: Harness,
    /// The table's name.
    pub(crate) table: String,
    /// The items before any write.
    before: BTreeMap<String, Item>,
    /// The path of the plan.
    pub(crate) plan: PathBuf,
}

impl Scene {
    /// Creates a table with this number of items, and a plan with these `[limits]`.
    pub(crate) async fn new(items: usize, limits: &str) -> Scene {
        Scene::by_key(items, limits, |n| n / 3).await
    }

    /// Creates a scene. The partition key of each item contains the number that `key` returns for the item.
    pub(crate) async fn by_key(items: usize, limits: &str, key: fn(usize) -> usize) -> Scene {
        let harness = Harness::embedded();
        let table = harness.create_table().await;
        let loaded = (0..items).map(|n| item(&format!("P#{}", key(n)), &format!("S#{n:05}"), [("old", secret(n))]));
        harness.load(&table, loaded).await;
        let before = harness.dump(&table).await;
        harness.proxy().reset_tally();
        let scene = Scene { plan: harness.dir().join("limits.toml"), harness, table, before };
        scene.limit(limits);
        scene
    }

    /// Writes the plan with these `[limits]`. The text can also contain later sections.
    pub(crate) fn limit(&self, limits: &str) {
        let changes = "[[change]]\nmove = \"old\"\nto = \"new\"\n";
        self.harness.plan("limits", &self.table, "", &format!("{changes}{SMALL}[limits]\n{limits}\n"));
    }

    /// Starts the tool.
    pub(crate) fn start(&self) -> RunningTool {
        let mut command = self.harness.command();
        command.arg("run").arg(&self.plan).args(["--yes", "--output", "json", "-vv"]);
        RunningTool::start(command)
    }

    /// Runs the tool to its end.
    pub(crate) fn run(&self) -> ToolOutput {
        tokio::task::block_in_place(|| self.start().end())
    }

    /// The run's recorded progress.
    pub(crate) fn status(&self) -> RunProgress {
        StateFile::open(&self.harness.dir().join(".backfill/limits.db")).unwrap().summary().unwrap().current.unwrap()
    }

    /// Number of requests of this operation so far.
    pub(crate) fn requests(&self, operation: &str) -> u64 {
        self.harness.proxy().tally().operation(operation).requests
    }

    /// Waits until the server has answered this number of further writes, while the run continues.
    pub(crate) fn wait_for_writes(&self, more: u64) {
        let goal = self.harness.proxy().tally().operation("UpdateItem").ok + more;
        let began = Instant::now();
        while self.harness.proxy().tally().operation("UpdateItem").ok < goal {
            assert!(began.elapsed() < Duration::from_secs(60), "the run makes no progress");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Starts the tool ten times, and kills it midway each time.
    pub(crate) fn kill_ten_times(&self) {
        for kill in 1..=10 {
            let running = self.start();
            self.wait_for_writes(60 + kill);
            running.signal(Signal::SIGKILL);
            let killed = tokio::task::block_in_place(|| running.end());
            assert_eq!(killed.code, -1, "{killed:?}");
            assert!(killed.stderr.contains("1,200 WCU, reserved 12 WCU at a time"), "{}", killed.stderr);
        }
    }

    /// The number of write units that the proxy in front of the server has counted.
    pub(crate) fn spent(&self) -> f64 {
        self.harness.proxy().tally().write_units()
    }

    /// Asserts that a run without limits completes the plan, and that every item then has the plan's change.
    pub(crate) async fn completes_correctly(&self) {
        self.limit("");
        let json = self.run().exits(0).json();
        assert_eq!(json["totals"]["counts"]["scanned"], self.before.len());
        let now = self.harness.dump(&self.table).await;
        for (key, item) in &self.before {
            let mut item = item.clone();
            item.insert("new".into(), item["old"].clone());
            assert_eq!(bytes_of(&now[key]), bytes_of(&item), "{key}");
        }
    }
}

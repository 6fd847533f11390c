//! An eventful migration: a pause, a crash, throttled requests, a failure, a verification with a mismatch, and an
//! override. All names and reasons that an operator can choose are hostile.

use std::sync::atomic::{AtomicU64, Ordering};

use backfill::internals::item::Value;

use super::super::tool::ToolOutput;
use super::*;

/// Text that, without escaping, would act as markup or mislead a reader.
const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>\u{202e}\u{1b}[2J|`*_";

/// The number of items in the table, one of which is too large.
const ITEMS: usize = 60;

/// A migration, with its table and its plan.
pub(super) struct Eventful {
    pub(super) harness: Harness,
    pub(super) plan: std::path::PathBuf,
}

impl Eventful {
    /// Begins a slow run. Returns when it has written some items.
    pub(super) async fn begin() -> (Eventful, RunningTool) {
        let more = format!("{SLOWLY}[limits]\nmax_wcu = 90000\n[cutover]\nmax_cache_seconds = 1\nsoak = \"0s\"\n");
        let (harness, table, plan) = setup(ITEMS, &more).await;
        let big = Value::S(format!("{SECRET}{}", "x".repeat(250_000)));
        harness.load(&table, [item(HOSTILE, "big", [("old", big)])].into_iter()).await;
        let eventful = Eventful { harness, plan };
        let dual = ["--to", "dual-write", "--dual-writes-since", "2026-01-01T00:00:00Z", "--yes"];
        eventful.tool("cutover", &dual).exits(0);
        let mut command = eventful.harness.command();
        command.args(["run", text(&eventful.plan), "--yes"]);
        let running = RunningTool::start(command);
        while eventful.harness.proxy().tally().operation("UpdateItem").ok < 15 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (eventful, running)
    }

    /// Pauses and resumes the run, and kills its process.
    pub(super) fn crash(&self, running: RunningTool) {
        let pause = ["ctl", "pause", text(&self.plan), "--reason", HOSTILE];
        self.hostile_user(&pause).exits(0);
        self.hostile_user(&["ctl", "resume", text(&self.plan)]).exits(0);
        running.signal(Signal::SIGKILL);
        tokio::task::block_in_place(|| running.end());
    }

    /// Resumes the run, throttles it, and rejects the writes to one item. Then verifies the table, and overrides the
    /// gate.
    pub(super) fn finish(&self) {
        let quick = read(&self.plan).replace("write = 20\n", "");
        std::fs::write(&self.plan, quick).unwrap();
        let throttles = AtomicU64::new(0);
        inject_fault(&self.harness, move |request| {
            let reply = || Fault::Reply {
                status: 400,
                error: "ProvisionedThroughputExceededException".into(),
                message: "slower".into(),
                extra: Map::new(),
            };
            let is_throttled = request.operation == "UpdateItem" && throttles.fetch_add(1, Ordering::Relaxed) < 5;
            if is_throttled { reply() } else { Fault::Pass }
        });
        self.tool("run", &["--yes"]).exits(4);
        self.harness.proxy().set_faults(None);
        self.tool("verify", &["--all"]).exits(5);
        let reason = format!("accepted by the owner {HOSTILE}");
        self.tool("cutover", &["--yes", "--to", "read-new", "--readers-moved", "--force", &reason]).exits(0);
    }

    fn tool(&self, command: &str, args: &[&str]) -> ToolOutput {
        self.hostile_user(&[&[command, text(&self.plan)], args].concat())
    }

    /// Runs the tool as a user whose name is hostile.
    fn hostile_user(&self, args: &[&str]) -> ToolOutput {
        let mut command = self.harness.command();
        command.args(args).env("USER", format!("eve{HOSTILE}"));
        tool::run(command)
    }
}

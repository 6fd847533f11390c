//! Tests the drain, which is the orderly stop of a run. A drain starts no new items and does not wait for permits. It
//! waits only for requests in flight, and at most 10 s. It also works if the rate is 0.

use std::time::Instant;

use backfill::internals::change::Changes;
use backfill::internals::dynamodb::Tables;
use backfill::internals::dynamodb::sdk::{DynamoTable, connect};
use backfill::internals::engine::{Job, StopReason, describe};
use backfill::internals::plan::Access;
use backfill::internals::ratelimit::{Budget, Budgets};
use backfill::internals::state::{BeginMode, Identity, NewRun, RunStatus};

use super::*;

/// The maximum duration of a drain. It includes a margin for a busy machine.
const AT_MOST: Duration = Duration::from_secs(10);

impl Scene {
    /// Waits until this number of writes has been answered.
    async fn wait_for_writes(&self, writes: u64) {
        let began = Instant::now();
        while self.harness.proxy().tally().operation("UpdateItem").ok < writes {
            assert!(began.elapsed() < Duration::from_secs(30), "the run does not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends a signal to a run. Asserts that the run ends in time, can be resumed, and has committed every complete
    /// page.
    async fn drains(&self, running: RunningTool, signal: Signal) -> ToolOutput {
        running.signal(signal);
        let signalled = Instant::now();
        let ran = tokio::task::block_in_place(|| running.end()).exits(130);
        assert!(signalled.elapsed() <= AT_MOST, "it took {:?}", signalled.elapsed());
        assert!(ran.messages().contains("stopping: waiting at most 10 s for requests in flight"), "{}", ran.messages());
        let json = ran.json();
        assert_eq!((&json["run"]["status"], &json["stopped"]), (&json!("stopped"), &json!("it was interrupted")));
        self.remove_faults();
        assert_eq!(counts(&json)["scanned"], self.check_committed().await);
        ran
    }
}

/// The rate drops to 0 during the run. Then a signal asks the run to stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_at_rate_zero_ends() {
    let scene = Scene::with_move(300, QUICK).await;
    let plan = backfill::internals::plan::load("plan", &std::fs::read_to_string(&scene.plan).unwrap()).unwrap().plan;
    let tables = Tables::one(Arc::new(DynamoTable::new(&connect(&plan.table).await.unwrap(), &scene.table)));
    let description = describe(tables.source_metadata.as_ref(), Duration::from_secs(5)).await.unwrap();
    let changes = Changes::for_expand(&plan.changes, plan.strategy, description.key.clone(), Vec::new());
    let identity = Identity::from_plan(&plan, &description);
    let new =
        NewRun { phase: "expand".into(), total_segments: 4, tool_version: "test".into(), table_items_estimate: None };
    let store =
        backfill::internals::state::open(&scene.state_path(), &identity, || "2026-01-01T00:00:00Z".to_owned()).unwrap();
    let session = store.begin(BeginMode::ResumeOrNew, new).await.unwrap();
    let slow = Budget { write: 100.0, read: 1000.0 };
    let budgets = Budgets { table: slow, per_key_range: slow, per_partition_key: slow, indexes: Vec::new() };
    let job = Arc::new(Job::new(plan, Arc::new(changes), tables, description, &budgets));
    let working = {
        let job = Arc::clone(&job);
        let store = store.clone();
        tokio::spawn(async move { job.work(&store, &session).await })
    };
    scene.wait_for_writes(100).await;
    job.scopes.table(Access::Write).set_budget(0.0);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(
        !working.is_finished() && job.scopes.table(Access::Write).waiting() > 0,
        "the run waits for permits that never come"
    );
    let written = scene.harness.proxy().tally().operation("UpdateItem").requests;

    let asked = Instant::now();
    job.stop.stop(StopReason::Interrupted);
    let ended = working.await.unwrap().unwrap();
    assert!(asked.elapsed() <= Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!((ended.stopped, ended.run.status), (Some(StopReason::Interrupted), RunStatus::Stopped));
    assert_eq!(scene.harness.proxy().tally().operation("UpdateItem").requests, written, "nothing more was sent");
    assert!(ended.run.lower_bound, "pages were abandoned before they were complete");
    store.close().await.unwrap();
    drop(job);
    assert!(scene.check_committed().await > 0, "complete pages are committed");
    scene.resumes_correctly().await;
}

/// RUNBOOK: "waits up to 10 s for requests in flight, commits, and exits with 130".
///
/// The rate is one write per second, so that nearly all items of the run wait for permits when SIGTERM arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_permits_ends_on_sigterm() {
    let scene =
        Scene::new(items(200), "", &format!("{MOVE}[scan]\nsegments = 4\npage_limit = 2\n[capacity]\nwrite = 1\n"))
            .await;
    let running = scene.start();
    scene.wait_for_writes(8).await;
    let asked = Instant::now();
    scene.drains(running, Signal::SIGTERM).await;
    // Eight writes were waiting, and would have taken eight seconds. The drain did not wait for them.
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let text = std::fs::read_to_string(&scene.plan).unwrap().replace("write = 1\n", "write = 1000\n");
    std::fs::write(&scene.plan, text).unwrap();
    scene.resumes_correctly().await;
}

/// If the terminal closes or an SSH session breaks, the run receives SIGHUP and drains as on SIGTERM. If SIGHUP is
/// ignored (`nohup`), the run continues.
#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_drains_unless_it_is_ignored() {
    let scene = Scene::new(items(60), "", &format!("{MOVE}{SMALL_PAGES}[capacity]\nwrite = 20\n")).await;
    let running = scene.start();
    scene.wait_for_writes(8).await;
    scene.drains(running, Signal::SIGHUP).await;

    if cfg!(target_os = "linux") {
        let mut command = scene.harness.command();
        let tool = command.get_program().to_owned();
        command.args(["run", scene.plan(), "--yes", "--output", "json", "-vv"]);
        let mut ignoring = std::process::Command::new("sh");
        ignoring.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(tool).args(command.get_args());
        ignoring.current_dir(scene.harness.dir()).env_clear();
        ignoring.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let running = RunningTool::start(ignoring);
        scene.wait_for_writes(30).await;
        running.signal(Signal::SIGHUP);
        let ran = tokio::task::block_in_place(|| running.end()).exits(0);
        assert_eq!(counts(&ran.json())["scanned"], 60);
        scene.assert_table(moved).await;
    }
}

/// When a terminal closes, the shell and the kernel can each send a SIGHUP. The second SIGHUP must not count as the
/// operator's second request to stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_hangup_does_not_cut_a_drain_short() {
    let scene = Scene::new(items(60), "", &format!("{MOVE}{SMALL_PAGES}[capacity]\nwrite = 20\n")).await;
    let running = scene.start();
    scene.wait_for_writes(8).await;
    scene.fault(|request| match request.operation.as_str() {
        "UpdateItem" => Fault::Delay(Duration::from_secs(1)),
        _ => Fault::Pass,
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    running.signal(Signal::SIGHUP);
    tokio::time::sleep(Duration::from_millis(50)).await;
    scene.drains(running, Signal::SIGHUP).await;
    scene.resumes_correctly().await;
}

/// If writes hang during a drain, each attempt times out after five seconds and is not retried.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_writes_hang_ends_on_ctrl_c() {
    let scene = Scene::with_move(200, QUICK).await;
    let passed = AtomicU64::new(0);
    scene.fault(move |request| match request.operation.as_str() {
        "UpdateItem" if passed.fetch_add(1, Ordering::SeqCst) >= 100 => Fault::Delay(Duration::from_secs(60)),
        _ => Fault::Pass,
    });
    let running = scene.start();
    scene.wait_for_writes(100).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    scene.drains(running, Signal::SIGINT).await;
    scene.resumes_correctly().await;
}

/// Abandoning reads is harmless, so a drain does not wait for scans that hang.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_scans_hang_ends_on_sigterm() {
    let scene = Scene::with_move(200, QUICK).await;
    scene.fault(|request| match request.operation.as_str() {
        "Scan" if request.operation_sequence >= 8 => Fault::Delay(Duration::from_secs(60)),
        _ => Fault::Pass,
    });
    let running = scene.start();
    scene.wait_for_writes(40).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = Instant::now();
    scene.drains(running, Signal::SIGTERM).await;
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    scene.resumes_correctly().await;
}

/// The run has set items with a hot key aside, and writes them while the next scan hangs. These writes complete the
/// items' pages. The run commits these pages immediately, without waiting for the scan.
#[tokio::test(flavor = "multi_thread")]
async fn pages_that_waited_for_a_hot_key_are_committed_while_a_scan_hangs() {
    let of_one_key = (0..60).map(|n| item("P", &format!("S#{n:05}"), [("old", secret(n))]));
    let slow = "[scan]\nsegments = 1\npage_limit = 10\n[capacity]\nper_partition_key = { write = 30 }\n";
    let scene = Scene::new(of_one_key, "", &format!("{MOVE}{slow}")).await;
    scene.fault(|request| match request.operation.as_str() {
        "Scan" if request.operation_sequence >= 4 => Fault::Delay(Duration::from_secs(60)),
        _ => Fault::Pass,
    });
    let running = scene.start();
    scene.wait_for_writes(10).await;
    let began = Instant::now();
    let committed =
        || scene.state().summary().map_or(0, |summary| summary.current.map_or(0, |run| run.totals.counts.scanned));
    while committed() < 40 {
        assert!(began.elapsed() < Duration::from_secs(30), "{} items are committed", committed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ran = scene.drains(running, Signal::SIGTERM).await;
    assert_eq!(ran.json()["run"]["abandoned_pages"], 0, "{ran:?}");
    scene.resumes_correctly().await;
}

/// The second signal stops the run immediately. Even then, no data is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_immediately() {
    let scene = Scene::with_move(200, QUICK).await;
    scene.fault(|request| match request.operation.as_str() {
        "UpdateItem" if request.operation_sequence >= 100 => Fault::Delay(Duration::from_secs(60)),
        _ => Fault::Pass,
    });
    let running = scene.start();
    scene.wait_for_writes(100).await;
    // Keep a request in flight, because otherwise the first signal would end the run.
    while scene.harness.proxy().tally().operation("UpdateItem").requests <= 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.signal(Signal::SIGTERM);
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.signal(Signal::SIGTERM);
    let asked = Instant::now();
    let ran = tokio::task::block_in_place(|| running.end()).exits(130);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(ran.messages().contains("Nothing is lost"), "{}", ran.messages());
    scene.remove_faults();
    scene.check_committed().await;
    let status = tool(&scene.harness, &["status", scene.plan()]).exits(0);
    assert!(status.stdout.contains("its process died; `run` resumes it"), "{}", status.stdout);
    scene.resumes_correctly().await;
}

/// The tool records a pre-image just before it sends the write, not when the page begins. An abandoned write that was
/// never sent has destroyed nothing, so a rollback must not find a pre-image for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_leaves_no_pre_image_of_a_write_that_was_not_sent() {
    let both = items(200).map(|mut item| {
        item.insert("new".into(), secret("other"));
        item
    });
    let plan = format!("{MOVE}[scan]\nsegments = 2\npage_limit = 100\n[capacity]\nwrite = 20\n");
    let scene = Scene::new(both, "on_existing = \"overwrite\"", &plan).await;
    let running = scene.start();
    scene.wait_for_writes(20).await;
    scene.drains(running, Signal::SIGTERM).await;
    let written = scene.harness.proxy().tally().operation("UpdateItem").ok;
    assert!((20..200).contains(&written), "{written}");
    assert_eq!(scene.state().summary().unwrap().pre_images, written);
}

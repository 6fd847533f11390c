//! Tests `[limits]` with the real binary. Compares the server's counts with the plan's limits, across kills, resumes
//! and raised limits. After every kind of stop, the run resumes where it stopped and reaches the correct result.
#![expect(clippy::print_stdout, reason = "the test prints its figures")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::tool::{self, ToolOutput};
use crate::spend::limited::{MAX_WCU, SLICE, Scene};
use backfill::internals::dynamodb::Tables;
use backfill::internals::dynamodb::sdk::{DynamoTable, connect};
use backfill::internals::engine::{Job, StopReason, WorkWindow, describe};
use backfill::internals::preflight::run_changes;
use backfill::internals::ratelimit::{Budget, Budgets};
use backfill::internals::state::{BeginMode, Identity, NewRun};
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};
use nix::sys::signal::Signal;

fn stopped(ran: &ToolOutput) -> String {
    ran.json()["stopped"].as_str().unwrap().to_owned()
}

/// RUNBOOK: "even a process that is killed repeatedly spends at most the limit plus one slice".
#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_do_not_exceed_max_wcu() {
    let scene = Scene::new(2_000, &format!("max_wcu = {MAX_WCU}")).await;
    scene.kill_ten_times();
    let dead = scene.status().spend.state;
    assert!(dead.lost.write > 0.0 && dead.lost.write <= 10.0 * SLICE, "{dead:?}");

    let ran = scene.run().exits(6);
    assert!(stopped(&ran).contains("[limits] max_wcu = 1200"), "{ran:?}");
    let lost = format!("(including up to {} only reserved when a process was killed)", dead.lost.write);
    assert!(stopped(&ran).contains(&lost), "{lost}: {ran:?}");
    let spent = scene.spent();
    let known = scene.status().spend.state;
    println!("spent {spent} of {MAX_WCU}; recorded: {known:?}");
    assert!(spent <= MAX_WCU + SLICE, "{spent}");
    // Every write costs one unit, so without kills the run would spend exactly the limit. With each kill, at most the
    // rest of the reserved slice stays unused.
    assert!(spent >= MAX_WCU * 0.75, "{spent}");
    assert_eq!((known.spent.write, known.slice.write), (MAX_WCU, 0.0));

    // With an unchanged limit, the resumed run sends no request at all, not even a read.
    let scans = scene.requests("Scan");
    let writes = scene.requests("UpdateItem");
    let ran = scene.run().exits(6);
    assert!(stopped(&ran).contains("it has spent 1200 write units"), "{ran:?}");
    assert_eq!((scene.requests("Scan"), scene.requests("UpdateItem")), (scans, writes));

    // With a raised limit, the run continues. The units that it spent earlier still count.
    scene.limit("max_wcu = 1300");
    scene.run().exits(6);
    let more = scene.spent() - spent;
    assert!(more > 0.0 && more <= 100.0, "{more}");
    assert_eq!(scene.status().spend.state.spent.write, 1_300.0);
    scene.completes_correctly().await;
    assert_eq!(scene.requests("UpdateItem"), 2_000, "the run wrote each item once");
}

/// After an orderly end, exactly the used units count as spent. `--restart` begins a new run, which has spent nothing
/// yet.
#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_wastes_nothing() {
    let scene = Scene::new(600, "max_wcu = 400\n[capacity]\nwrite = 100").await;
    for _ in 0..3 {
        let running = scene.start();
        scene.wait_for_writes(40);
        running.signal(Signal::SIGTERM);
        let ran = tokio::task::block_in_place(|| running.end()).exits(130);
        let tally = scene.harness.proxy().tally();
        let known = scene.status().spend.state;
        assert_eq!((known.spent.write, known.lost.write), (tally.write_units(), 0.0), "{ran:?}");
        assert_eq!(ran.json()["spend"]["write_units"], tally.write_units());
    }
    scene.limit("max_wcu = 400");
    scene.run().exits(6);
    assert_eq!(scene.harness.proxy().tally().write_units(), 400.0);
    let mut again = scene.harness.command();
    again.arg("run").arg(&scene.plan).args(["--restart", "--yes", "--output", "json"]);
    let ran = tokio::task::block_in_place(|| tool::run(again)).exits(0);
    assert_eq!(
        (scene.harness.proxy().tally().write_units(), &ran.json()["spend"]["write_units"]),
        (600.0, &200.0.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn max_items_is_exact_over_sessions_and_segments() {
    let scene = Scene::new(500, "max_items = 137\n[capacity]\nwrite = 200").await;
    let running = scene.start();
    scene.wait_for_writes(50);
    running.signal(Signal::SIGKILL);
    tokio::task::block_in_place(|| running.end());
    for limit in [137, 138, 250] {
        scene.limit(&format!("max_items = {limit}"));
        let ran = scene.run().exits(6);
        assert!(stopped(&ran).starts_with(&format!("{limit} items have been scanned")), "{ran:?}");
        assert_eq!(ran.json()["totals"]["counts"]["scanned"], limit);
        assert_eq!(ran.json()["run"]["abandoned_pages"], 0, "the run stops between pages");
    }
    let scans = scene.requests("Scan");
    let writes = scene.requests("UpdateItem");
    let ran = scene.run().exits(6);
    assert_eq!((scene.requests("Scan"), scene.requests("UpdateItem")), (scans, writes), "{ran:?}");
    // If the limit exceeds the number of items in the table by one, the run reaches the end of every segment.
    scene.limit("max_items = 501");
    assert_eq!(scene.run().exits(0).json()["run"]["status"], "complete");
    assert_eq!(scene.requests("UpdateItem"), 500);
}

/// RUNBOOK: "After a run that was stopped, `--restart` first reads what that run has not read".
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_begins_a_new_run_after_one_that_reached_max_items() {
    let scene = Scene::new(500, "max_items = 137").await;
    scene.run().exits(6);
    let mut anew = scene.harness.command();
    anew.arg("run").arg(&scene.plan).args(["--restart", "--yes", "--output", "json"]);
    let ran = tokio::task::block_in_place(|| tool::run(anew)).exits(6);
    assert!(stopped(&ran).starts_with("137 items have been scanned"), "{ran:?}");
    assert_eq!((&ran.json()["run"]["id"], scene.status().totals.counts.scanned), (&2.into(), 137));
    scene.completes_correctly().await;
    assert_eq!(scene.requests("UpdateItem"), 500);
}

/// When the run reaches the limit, the last pages still contain unwritten items with a hot key. The run commits these
/// pages before it stops.
#[tokio::test(flavor = "multi_thread")]
async fn max_items_stops_a_run_with_deferred_items() {
    let slow = "max_items = 100\n[capacity]\nper_partition_key = { write = 40 }";
    let scene = Scene::by_key(400, slow, |_| 0).await;
    let ran = scene.run().exits(6);
    assert!(stopped(&ran).starts_with("100 items have been scanned"), "{ran:?}");
    assert_eq!((&ran.json()["run"]["abandoned_pages"], scene.requests("UpdateItem")), (&0.into(), 100));
    assert_eq!(scene.status().totals.counts.scanned, 100);
    scene.completes_correctly().await;
    assert_eq!(scene.requests("UpdateItem"), 400);
}

/// RUNBOOK: "It is an estimate by list price".
#[tokio::test(flavor = "multi_thread")]
async fn max_cost_counts_reads_and_writes() {
    let prices = "[prices]\nwrite_per_million = 2000000\nread_per_million = 500000";
    let scene = Scene::new(400, &format!("max_cost_usd = 300\n{prices}")).await;
    let dollars = || {
        let tally = scene.harness.proxy().tally();
        tally.write_units() * 2.0 + tally.read_units() * 0.5
    };
    let ran = scene.run().exits(6);
    assert!(stopped(&ran).contains("[limits] max_cost_usd = 300 (an estimate, by the plan's [prices])"), "{ran:?}");
    println!("the run has cost ${} of $300", dollars());
    assert!((290.0..=300.0).contains(&dollars()), "{}", dollars());
    let known = scene.status().spend.dollars().unwrap();
    assert!((known - dollars()).abs() < 5.0, "recorded {known}, actually {}", dollars());
    // The run's cost at list prices stays far below the limit. The output labels the cost as an estimate.
    scene.limit("max_cost_usd = 300");
    let ran = scene.run().exits(0);
    assert_eq!(ran.json()["spend"]["price_basis"], "on_demand");
    assert!(ran.stderr.contains("$300.00 (an estimate by the on-demand list price of us-east-1"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_a_deadline_stopped_can_be_resumed() {
    let scene = Scene::new(300, "deadline = 2026-01-01T00:00:00Z").await;
    let ran = scene.run().exits(6);
    assert!(stopped(&ran).contains("[limits] deadline = 2026-01-01T00:00:00Z"), "{ran:?}");
    assert_eq!((scene.requests("Scan"), scene.requests("UpdateItem")), (0, 0));
    let soon = Timestamp::now() + 3.seconds();
    scene.limit(&format!("deadline = {}\n[capacity]\nwrite = 20", backfill::internals::clock::to_text(soon)));
    let ran = scene.run().exits(6);
    assert!(stopped(&ran).contains("has passed"), "{ran:?}");
    assert!((1..300).contains(&scene.requests("UpdateItem")), "{}", scene.requests("UpdateItem"));
    scene.completes_correctly().await;
}

/// RUNBOOK: "it waits until the window opens, then continues".
#[tokio::test(flavor = "multi_thread")]
async fn outside_its_window_a_run_waits_and_stops_on_a_signal() {
    let opens = Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC) + 2.hours();
    let closes = &opens + 1.hours();
    let window = format!("{}-{} UTC", opens.strftime("%H:%M"), closes.strftime("%H:%M"));
    let scene = Scene::new(50, &format!("window = \"{window}\"")).await;
    // The test sends the first signal after 11 seconds, because the first progress line appears after ten seconds.
    for (signal, seconds) in [(Signal::SIGTERM, 11), (Signal::SIGINT, 1)] {
        let running = scene.start();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        assert_eq!((scene.requests("Scan"), scene.requests("UpdateItem")), (0, 0));
        let asked = Instant::now();
        running.signal(signal);
        let ran = tokio::task::block_in_place(|| running.end()).exits(130);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        let waiting = format!("waiting for the window until {} UTC (in 1 h 5", opens.strftime("%H:%M"));
        let progress = ran.stderr.lines().filter(|line| line.contains(&waiting) && line.contains("segments"));
        assert!(seconds < 10 || progress.count() > 0, "{}", ran.stderr);
        assert!(ran.stderr.contains(": nothing is sent until then"), "{}", ran.stderr);
    }
    scene.completes_correctly().await;
}

/// The test sets the wall clock forward three times. The run waits for the window and starts without a new command.
/// When the window closes, the run finishes the requests in flight. When the window opens a second time, the run
/// continues.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_continues_by_itself_when_the_window_opens() {
    let scene = Scene::new(600, "window = \"22:00-06:00 Europe/Paris\"\n[capacity]\nwrite = 150").await;
    let text = std::fs::read_to_string(&scene.plan).unwrap();
    let plan = backfill::internals::plan::load("plan", &text).unwrap().plan;
    let tables = Tables::one(Arc::new(DynamoTable::new(&connect(&plan.table).await.unwrap(), &scene.table)));
    let description = describe(tables.source_metadata.as_ref(), Duration::from_secs(5)).await.unwrap();
    let changes = run_changes(&plan, &description).unwrap();
    let identity = Identity {
        migration: plan.name.clone(),
        fingerprint: plan.fingerprint().to_string(),
        table_arn: description.arn.clone(),
        table_id: description.id.clone(),
        meaning: plan.meaning(),
    };
    let store =
        backfill::internals::state::open(&scene.harness.dir().join("s.db"), &identity, backfill::internals::clock::now)
            .unwrap();
    let new =
        NewRun { phase: "expand".into(), total_segments: 4, tool_version: "t".into(), table_items_estimate: None };
    let session = store.begin(BeginMode::ResumeOrNew, new).await.unwrap();

    let hours = Arc::new(AtomicI64::new(0));
    let noon: Timestamp = "2026-01-10T11:00:00Z".parse().unwrap();
    let clock = {
        let hours = Arc::clone(&hours);
        Arc::new(move || noon + SignedDuration::from_hours(hours.load(Ordering::SeqCst)))
    };
    let all = Budget { write: 150.0, read: 2_000.0 };
    let budgets = Budgets { table: all, per_key_range: all, per_partition_key: all, indexes: Vec::new() };
    let mut job = Job::new(plan, changes, tables, description, &budgets);
    job.work_window = WorkWindow::new(&job.plan.limits, clock);
    let job = Arc::new(job);
    let working = {
        let job = Arc::clone(&job);
        let store = store.clone();
        tokio::spawn(async move { job.work(&store, &session).await })
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((scene.requests("Scan"), working.is_finished()), (0, false));
    assert!(job.work_window.waiting().unwrap().starts_with("waiting for the window until 22:00 Europe/Paris (in 10 h"));

    hours.store(12, Ordering::SeqCst);
    tokio::task::block_in_place(|| scene.wait_for_writes(100));
    hours.store(24, Ordering::SeqCst);
    // Requests that were sent before the window closed still get their replies. After that, the tool sends no request.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let written = scene.requests("UpdateItem");
    assert!((100..400).contains(&written), "{written}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((scene.requests("UpdateItem"), working.is_finished()), (written, false));

    hours.store(36, Ordering::SeqCst);
    let ended = working.await.unwrap().unwrap();
    assert_eq!((ended.stopped, scene.requests("UpdateItem")), (None::<StopReason>, 600));
    store.close().await.unwrap();
}

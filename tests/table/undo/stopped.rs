//! Tests rollbacks after unfinished runs, dry runs of contract and rollback, and phases with failures.

use std::sync::Arc;

use backfill::internals::change::Outcome;
use backfill::internals::engine::{LocalScheduler, StopReason, scan_table};
use backfill::internals::local::{Fault, RequestInfo};
use backfill::internals::passes::{DryRun, PredictedOutcome, Prediction};
use backfill::internals::state::{BeginMode, OpenWork, phase};

use super::quiet::STRATEGIES;
use super::scene::{EVERY_KIND, KillPoint, MOVE, Scene, every_shape, item, map, s};

/// Runs a first pass and kills it midway.
async fn stopped(migration: &str) -> Scene {
    let scene = Scene::new(every_shape(600), migration, EVERY_KIND).await;
    let kill_point = Some(KillPoint { at: 60, fault: Fault::DropReply });
    assert!(scene.session(phase::EXPAND, BeginMode::ResumeOrNew, Some(7), kill_point).await.is_none());
    scene.harness.proxy().set_faults(None);
    scene.wait_until_quiet().await;
    scene
}

/// Returns the outcomes that a dry run predicts for a phase. The state file is opened read-only.
async fn dry_run(scene: &Scene, phase: &str) -> Prediction {
    let job = scene.job(phase, None).await;
    let records = Some(scene.state().into_history_reader());
    let handler = Arc::new(DryRun::new(&job, records));
    let requests = job.requests();
    scan_table(job.read_settings(4), &LocalScheduler::new(4), &requests, handler.clone()).await;
    assert_eq!(job.stop.reason(), None);
    handler.prediction()
}

/// The pass did not reach some items that had a new attribute before the migration. The rollback keeps these
/// attributes.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_a_pass_that_was_stopped_restores_the_table() {
    for migration in STRATEGIES {
        let whole = Scene::new(every_shape(600), migration, EVERY_KIND).await;
        let before = whole.bytes().await;
        let scene = stopped(migration).await;
        let changed = scene.bytes().await.iter().filter(|(key, item)| before[*key] != **item).count() as u64;
        assert!((30..300).contains(&changed), "{migration}: {changed}");
        let (ended, written) = scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
        scene.assert_is(&before, migration).await;
        assert_eq!((written, ended.totals.counts.of(Outcome::Diverged)), (changed, 0), "{migration}");
        assert_eq!(scene.complete(phase::ROLLBACK, BeginMode::Again).await.1, 0, "{migration}");
    }
}

/// The task that completes the baseline is killed, and a second task completes it. Then the run is restarted and rolled
/// back.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_run_can_be_rolled_back_after_its_baseline_is_complete() {
    let scene = stopped("").await;
    let before = Scene::new(every_shape(600), "", EVERY_KIND).await.bytes().await;
    let written = scene.bytes().await;
    for whole in [false, true] {
        let job = Arc::new(scene.job(phase::EXPAND, Some(5)).await);
        let store = scene.store_of(&job).await;
        let baseline_task = {
            let job = Arc::clone(&job);
            let store = store.clone();
            tokio::spawn(async move { job.complete_baseline(&store).await.unwrap() })
        };
        while !whole && job.progress.snapshot().pages < 3 {
            tokio::task::yield_now().await;
        }
        if !whole {
            baseline_task.abort();
            assert!(baseline_task.await.unwrap_err().is_cancelled());
            continue;
        }
        assert!(baseline_task.await.unwrap() && store.baseline_complete().await.unwrap());
        assert!(job.complete_baseline(&store).await.unwrap(), "the baseline is complete");
    }
    assert_eq!(scene.bytes().await, written, "nothing was written");
    scene.complete(phase::EXPAND, BeginMode::Restart).await;
    let store = scene.store().await;
    assert_eq!(store.unrestorable_targets().await.unwrap(), None);
    store.close().await.unwrap();
    scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    scene.assert_is(&before, "begun anew").await;
}

/// On a quiet table, a dry run of a contract or a rollback returns the same counts as the phase itself. The dry run
/// writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_contract_or_rollback_counts_what_the_phase_then_does() {
    for (migration, phase) in STRATEGIES.map(|m| (m, phase::ROLLBACK)).into_iter().chain([("", phase::CONTRACT)]) {
        let scene = Scene::new(every_shape(600), migration, EVERY_KIND).await;
        scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
        scene.harness.proxy().reset_tally();
        let would = dry_run(&scene, phase).await;
        assert_eq!(scene.harness.proxy().tally().operation("UpdateItem").requests, 0);
        let counts = scene.complete(phase, BeginMode::ResumeOrNew).await.0.totals.counts;
        let class = [
            PredictedOutcome::WouldChange,
            PredictedOutcome::AlreadyApplied,
            PredictedOutcome::NothingToDo,
            PredictedOutcome::Diverged,
            PredictedOutcome::Rejected,
        ];
        let did = class.map(|class| counts.of(class.outcome()));
        assert_eq!(class.map(|class| would.of(class)), did, "{migration} {phase}");
        assert!(did[0] > 200, "{migration} {phase}: {did:?}");
        let off = would.write_units / counts.write_units;
        assert!((0.98..1.02).contains(&off), "{migration} {phase}: {} of {}", would.write_units, counts.write_units);
    }
}

/// When an item is retried, the tool uses the changes of the phase in which the item failed.
#[tokio::test(flavor = "multi_thread")]
async fn failures_are_retried_by_phase() {
    let plan = "[[change]]\nmove = \"old\"\nto = \"made.new\"\n[[change]]\nremove = \"doc.x\"\n";
    let large = || s(&"x".repeat(250_000));
    let doc = || ("doc", map(&[("x", large()), ("y", s("y"))]));
    let items = vec![item(0, &[("old", s("v")), ("made", s("no map"))]), item(1, &[("old", s("v")), doc()])];
    let scene = Scene::new(items.clone(), "strategy = \"in-place\"", plan).await;
    scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
    let moved = map(&[("new", s("v"))]);
    let bad = item(1, &[("made", moved.clone()), ("doc", map(&[("y", s("y"))])), ("grown", large())]);
    scene.harness.load(&scene.table, [bad].into_iter()).await;
    scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    let open = async |phase: &str| {
        assert_eq!(
            scene.state().open_work_of_phase(phase).unwrap(),
            scene.store().await.open_work_of_phase(phase).await.unwrap()
        );
        scene.state().open_work_of_phase(phase).unwrap()
    };
    let one = OpenWork { failures: 1, diverged: 0 };
    let none = OpenWork::default();
    assert_eq!((open(phase::EXPAND).await, open(phase::ROLLBACK).await, open(phase::CONTRACT).await), (one, one, none));

    // An operator repairs the item. Only the rollback retries it.
    let repaired = item(1, &[("made", moved), ("doc", map(&[("y", s("y"))]))]);
    scene.harness.load(&scene.table, [repaired].into_iter()).await;
    let job = scene.job(phase::ROLLBACK, None).await;
    let store = scene.store_of(&job).await;
    let run = store.current_run(phase::ROLLBACK).await.unwrap().unwrap();
    let counts = job.retry_failures(&store, &run).await.unwrap().counts;
    assert_eq!((counts.scanned, counts.of(Outcome::Applied)), (1, 1));
    // Each phase must prove by its own run that the plan does not fail for every item. The proof of another phase does
    // not count.
    let proven = async |phase| store.is_proven(phase).await.unwrap();
    assert!(proven(phase::EXPAND).await && proven(phase::ROLLBACK).await && !proven(phase::CONTRACT).await);
    store.close().await.unwrap();
    assert_eq!((open(phase::EXPAND).await, open(phase::ROLLBACK).await), (one, none));
    let after = scene.harness.dump(&scene.table).await;
    assert!(items.iter().all(|item| after.values().any(|found| found == item)), "{after:?}");
}

/// If DynamoDB rejects all writes of a phase, the phase stops and records no failures, even after successful writes of
/// an earlier phase.
#[tokio::test(flavor = "multi_thread")]
async fn a_phase_whose_writes_are_all_rejected_stops_early() {
    let scene = Scene::new((0..600).map(|i| item(i, &[("old", s("x"))])).collect(), "", MOVE).await;
    scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
    for phase in [phase::CONTRACT, phase::ROLLBACK] {
        scene.harness.proxy().set_faults(Some(Arc::new(|request: &RequestInfo| match request.operation.as_str() {
            "UpdateItem" => Fault::Reply {
                status: 400,
                error: "ValidationException".into(),
                message: "no".into(),
                extra: serde_json::Map::new(),
            },
            _ => Fault::Pass,
        })));
        let ended = scene.session(phase, BeginMode::ResumeOrNew, Some(10), None).await.unwrap();
        assert!(matches!(ended.stopped, Some(StopReason::AllFailing { .. })), "{phase}: {:?}", ended.stopped);
        assert_eq!(scene.state().open_work_of_phase(phase).unwrap(), OpenWork::default(), "{phase}");
        scene.complete(phase, BeginMode::ResumeOrNew).await;
    }
}

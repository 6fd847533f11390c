//! Tests a rollback that is killed and interrupted repeatedly. Some kills happen while it completes the baseline: it
//! reads the items that the first pass did not read.

use std::sync::Arc;

use backfill::internals::engine::StopReason;
use backfill::internals::local::Fault;
use backfill::internals::state::{BeginMode, phase};

use super::quiet::STRATEGIES;
use super::scene::{EVERY_KIND, KillPoint, Scene, every_shape, new_run};

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_is_killed_while_it_completes_the_baseline_restores_the_table() {
    for (number, migration) in STRATEGIES.into_iter().enumerate() {
        let scene = Scene::new(every_shape(600), migration, EVERY_KIND).await;
        let before = scene.bytes().await;
        for fault in [Fault::DropReply, Fault::Reset] {
            let kill_point = Some(KillPoint { at: 40, fault });
            assert!(scene.session(phase::EXPAND, BeginMode::ResumeOrNew, Some(7), kill_point).await.is_none());
        }
        scene.harness.proxy().set_faults(None);
        scene.wait_until_quiet().await;
        let mut rng = fastrand::Rng::with_seed(number as u64);
        for round in 0..8 {
            let page_limit = [3, 5, 11][round % 3];
            stop_a_rollback(&scene, page_limit, rng.u64(0..25), round % 2 == 0).await;
        }
        let store = scene.store().await;
        assert!(
            store.begin(BeginMode::ResumeOrNew, new_run(phase::EXPAND)).await.is_err(),
            "{migration}: never resumed"
        );
        store.close().await.unwrap();
        scene.wait_until_quiet().await;
        scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
        scene.assert_is(&before, migration).await;
    }
}

/// Runs a session of the rollback. After `pages` pages, kills the session if `killed` is true, and otherwise asks it to
/// stop.
async fn stop_a_rollback(scene: &Scene, page_limit: u32, pages: u64, killed: bool) {
    let job = Arc::new(scene.job(phase::ROLLBACK, Some(page_limit)).await);
    let store = scene.store_of(&job).await;
    let session = store.begin(BeginMode::ResumeOrNew, new_run(phase::ROLLBACK)).await.unwrap();
    let work = {
        let job = Arc::clone(&job);
        let store = store.clone();
        tokio::spawn(async move { job.work(&store, &session).await.unwrap() })
    };
    while job.progress.snapshot().pages < pages && !work.is_finished() {
        tokio::task::yield_now().await;
    }
    if killed {
        work.abort();
    } else {
        job.stop.stop(StopReason::Interrupted);
    }
    // A killed session returns an error.
    let _ = work.await;
}

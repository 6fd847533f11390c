//! A look that is killed again and again within a rollback.

use std::sync::Arc;
use std::time::Duration;

use backfill::checkpoint::phase;
use backfill::checkpoint::store::{Begin, NewRun};
use backfill::local::Fault;

use super::quiet::STRATEGIES;
use super::scene::{Cut, EVERY_KIND, Scene, every_shape};

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_whose_look_is_killed_restores_the_table() {
    for (number, migration) in STRATEGIES.into_iter().enumerate() {
        let scene = Scene::of(every_shape(600), migration, EVERY_KIND).await;
        let before = scene.bytes().await;
        for fault in [Fault::DropReply, Fault::Reset] {
            let cut = Some(Cut { at: 40, fault });
            assert!(scene.session(phase::EXPAND, Begin::ResumeOrNew, Some(7), cut).await.is_none());
        }
        scene.bed.front().set_faults(None);
        let mut now = std::collections::BTreeMap::new();
        while now != scene.bytes().await {
            now = scene.bytes().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let mut rng = fastrand::Rng::with_seed(number as u64);
        for round in 0..8 {
            let job = Arc::new(scene.job(phase::ROLLBACK, Some([3, 5, 11][round % 3])).await);
            let store = scene.store_of(&job).await;
            let new = NewRun {
                phase: phase::ROLLBACK.into(),
                total_segments: 4,
                tool_version: "test".into(),
                table_items_estimate: None,
            };
            let session = store.begin(Begin::ResumeOrNew, new).await.unwrap();
            let pages = rng.u64(0..25);
            let mut work = {
                let (job, store) = (Arc::clone(&job), store.clone());
                tokio::spawn(async move { job.work(&store, &session).await.unwrap() })
            };
            loop {
                if job.progress.snapshot().pages >= pages || work.is_finished() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            if round % 2 == 0 {
                work.abort();
            } else {
                job.stop.stop(backfill::engine::StopReason::Interrupted);
            }
            let _ = (&mut work).await;
            drop(store);
        }
        let new = NewRun {
            phase: phase::EXPAND.into(),
            total_segments: 4,
            tool_version: "test".into(),
            table_items_estimate: None,
        };
        let store = scene.store().await;
        assert!(store.begin(Begin::ResumeOrNew, new).await.is_err(), "{migration}: never resumed");
        store.close().await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        scene.complete(phase::ROLLBACK, Begin::ResumeOrNew).await;
        scene.assert_is(&before, migration).await;
    }
}

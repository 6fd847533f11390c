//! Tests that a phase has the same result even if it is killed repeatedly.

use backfill::internals::local::Fault;
use backfill::internals::state::{BeginMode, phase};

use super::quiet::STRATEGIES;
use super::scene::{EVERY_KIND, KillPoint, Scene, every_shape};

/// Completes a phase in several sessions. Every session except the last is killed at a write: before the server applies
/// it, after the server has applied it, or while the reply is in flight. Each session uses a different page size.
/// Returns the number of kills.
async fn run_with_kills(scene: &Scene, phase: &str, seed: u64) -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut kills = 0;
    loop {
        let fault = [Fault::Pass, Fault::Reset, Fault::DropReply][rng.usize(..3)].clone();
        // Some sessions are killed at their first write.
        let kill_point = KillPoint { at: [0, rng.u64(..20), rng.u64(..120)][rng.usize(..3)], fault };
        let kill_point = Some(kill_point).filter(|_| kills < 12);
        let page_limit = Some([3, 7, 10, 25, 40][rng.usize(..5)]);
        if kill_point.is_none() {
            scene.harness.proxy().set_faults(None);
        }
        match scene.session(phase, BeginMode::ResumeOrNew, page_limit, kill_point).await {
            Some(ended) => {
                assert_eq!(ended.stopped, None);
                scene.harness.proxy().set_faults(None);
                return kills;
            }
            None => kills += 1,
        }
    }
}

/// After any number of kills at any point, and with any page size, the tool distinguishes preexisting values from its
/// own values.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_and_a_killed_rollback_restore_the_table() {
    for (number, migration) in (0..).zip(STRATEGIES) {
        let scene = Scene::new(every_shape(500), migration, EVERY_KIND).await;
        let before = scene.bytes().await;
        let kills = run_with_kills(&scene, phase::EXPAND, number).await;
        let expanded = scene.bytes().await;
        assert!(kills >= 3 && expanded != before, "{migration}: {kills} kills");
        assert_eq!(scene.complete(phase::EXPAND, BeginMode::Again).await.1, 0, "{migration}");
        let kills = run_with_kills(&scene, phase::ROLLBACK, 100 + number).await;
        assert!(kills >= 3, "{migration}: {kills} kills");
        scene.assert_is(&before, migration).await;
        assert_eq!(scene.complete(phase::ROLLBACK, BeginMode::Again).await.1, 0, "{migration}");
    }
}

/// A contract that is killed repeatedly has the same result as an undisturbed contract.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_contract_has_the_same_result_as_an_undisturbed_one() {
    let mut ends = Vec::new();
    for killed in [false, true] {
        let scene = Scene::new(every_shape(500), "", EVERY_KIND).await;
        scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
        match killed {
            true => assert!(run_with_kills(&scene, phase::CONTRACT, 7).await >= 3),
            false => assert!(scene.complete(phase::CONTRACT, BeginMode::ResumeOrNew).await.1 > 100),
        }
        assert_eq!(scene.complete(phase::CONTRACT, BeginMode::Again).await.1, 0);
        ends.push(scene.bytes().await);
    }
    assert!(ends[0] == ends[1], "the results differ");
}

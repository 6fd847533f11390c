//! Tests that a verification repairs wrong values, and that a rollback then restores the state before the migration.

use std::sync::Arc;

use backfill::internals::change::Outcome;
use backfill::internals::item::{Item, Path};
use backfill::internals::passes::verify::{TableStage, Truth, TruthByKey, VerifyInput, VerifyReport, begin, verify};
use backfill::internals::state::{BeginMode, VerificationParameters, phase};

use super::scene::{EVERY_KIND, Scene, every_shape, s};

/// Verifies every item against the plan with the history in the state file, and repairs the mismatches.
async fn repair(scene: &Scene) -> VerifyReport {
    let job = scene.job(phase::EXPAND, None).await;
    let store = scene.store_of(&job).await;
    let parameters = VerificationParameters {
        stage: TableStage::Expanded,
        truths: TruthByKey::All(Truth::Old),
        repair: true,
        flag_version: None,
        sample_clusters: None,
    };
    let record = begin(&job, &store, parameters, true, 1).await.unwrap();
    let input = VerifyInput { history: Arc::new(store.clone()), removes: false };
    let verified = verify(&job, &store, &record, input).await.unwrap();
    store.close().await.unwrap();
    verified.report.unwrap().0
}

/// Changes or deletes targets that the migration wrote, in every third item.
fn damage(number: usize, before: &Item, after: &Item) -> Option<Item> {
    let mut damaged = after.clone();
    for name in ["new", "made.inner.\"zip code\"", "marker", "made.version"] {
        let target: Path = name.parse().unwrap();
        if target.get(before).is_some() || target.get(after).is_none() {
            continue;
        }
        match number % 9 {
            0 => assert!(target.set(&mut damaged, s("spoilt"))),
            3 => drop(target.remove(&mut damaged)),
            _ => {}
        }
    }
    (damaged != *after).then_some(damaged)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_undoes_repairs_too() {
    for migration in ["", "on_existing = \"overwrite\""] {
        let scene = Scene::new(every_shape(600), migration, EVERY_KIND).await;
        let first = scene.harness.dump(&scene.table).await;
        let before = scene.bytes().await;
        scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
        let after = scene.harness.dump(&scene.table).await;
        let damaged = after.iter().enumerate().filter_map(|(n, (key, item))| damage(n, &first[key], item));
        let damaged: Vec<Item> = damaged.collect();
        assert!(damaged.len() > 50, "{migration}: {}", damaged.len());
        scene.harness.load(&scene.table, damaged.clone().into_iter()).await;

        let report = repair(&scene).await;
        // The repair also overwrites diverged values, which the earlier passes left unchanged.
        assert!(report.repaired >= damaged.len() as u64, "{migration}: {report:?}");
        assert!(report.repaired > damaged.len() as u64 || !migration.is_empty(), "{report:?}");
        assert_eq!(report.mismatches, 0, "{migration}: {report:?}");
        assert_eq!(repair(&scene).await.repaired, 0);

        let (ended, _) = scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
        scene.assert_is(&before, migration).await;
        assert_eq!(ended.totals.counts.of(Outcome::Diverged), 0, "{migration}");
        assert_eq!(scene.complete(phase::ROLLBACK, BeginMode::Again).await.1, 0);
    }
}

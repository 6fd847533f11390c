//! Tests verifications of all items and of samples. They must find exactly the planted defects, and repair them.

use super::*;

/// RUNBOOK: "finds every item that differs"
#[tokio::test(flavor = "multi_thread")]
async fn verify_all_finds_exactly_the_planted_defects() {
    let scene = Scene::new(40_000, "segments = 16").await;
    scene.harness.proxy().reset_tally();
    let (_, verified) = scene.verify(ALL, 1).await;
    let tally = scene.harness.proxy().tally();
    let found = report(&verified);
    assert_eq!((found.compared, found.matching), (40_000, 40_000 - 3 * PLANTED as u64));
    assert_eq!([found.missing, found.stale, found.unexpected], [PLANTED as u64; 3]);
    assert_eq!((found.raced, found.mismatches, found.repaired), (0, 3 * PLANTED as u64, 0));
    for kind in [PlantedDefect::Missing, PlantedDefect::Stale, PlantedDefect::Unexpected] {
        assert_eq!(scene.recorded(&verified, verdict_of(kind).unwrap()), scene.keys(kind), "{kind:?}");
    }
    // The report includes all 16 segments.
    assert_eq!((found.segments_read, found.segments.len()), (16, 16));
    assert_eq!(found.segments.iter().map(|s| s.compared).sum::<u64>(), 40_000);
    assert_eq!(found.segments.iter().map(|s| s.missing + s.stale + s.unexpected).sum::<u64>(), 3 * PLANTED as u64);
    assert_eq!(found.examples.len(), 30);
    assert_stored(&scene, &verified);
    // A verification writes nothing, and reads every suspect a second time.
    assert_eq!((tally.write_units(), tally.operation("UpdateItem").requests), (0.0, 0));
    assert_eq!(tally.operation("GetItem").requests, 3 * PLANTED as u64);
    assert_eq!(verified.spend.state.spent.write, 0.0);
    assert!((verified.spend.state.spent.read - tally.read_units()).abs() < 0.01 * tally.read_units());

    sampled(&scene, tally.read_units()).await;
    repaired(&scene).await;
}

/// Checks a sample of the same table. Its cost per item is half of a full verification's. Its findings are correct.
async fn sampled(scene: &Scene, units_of_all: f64) {
    scene.harness.proxy().reset_tally();
    let (record, verified) = scene.verify(VerificationParameters { sample_clusters: Some(600), ..ALL }, 7).await;
    let tally = scene.harness.proxy().tally();
    let found = report(&verified);
    let sample = found.sample.as_ref().unwrap();
    assert_eq!((record.segments_to_read, sample.drawn, sample.clusters), (600, 600, 4_992));
    let mismatches = found.missing + found.stale + found.unexpected;
    assert!(mismatches > 30 && u64::from(sample.differing) <= mismatches, "{found:?}");
    // Each suspect was read a second time before it counted as a mismatch. Preexisting new values were not among the
    // suspects.
    assert_eq!(tally.operation("GetItem").requests, mismatches);
    for kind in [PlantedDefect::Missing, PlantedDefect::Stale, PlantedDefect::Unexpected] {
        assert!(scene.recorded(&verified, verdict_of(kind).unwrap()).is_subset(&scene.keys(kind)), "{kind:?}");
    }
    // The engine distinguishes 4,096 ranges of the hash. Many of the 4,992 clusters are therefore empty, and the report
    // says so.
    assert!(sample.empty > 60 && sample.at_most_percent_of_filled.unwrap() > sample.at_most_percent);
    let scanned = tally.read_units() - mismatches as f64;
    let share = found.compared as f64 / 40_000.0;
    assert!(scanned < units_of_all * share * 0.5 + 600.0 * 0.5, "{scanned} units for a share of {share}");
    assert_eq!(tally.write_units(), 0.0);
    assert_stored(scene, &verified);
}

/// Repairs a quiet table. Checks that every defect is gone, that overwritten values are recorded, and that nothing else
/// changes.
async fn repaired(scene: &Scene) {
    let (_, verified) = scene.verify(VerificationParameters { repair: true, ..ALL }, 2).await;
    let found = report(&verified);
    assert_eq!((found.repaired, found.mismatches), (3 * PLANTED as u64, 0));
    assert_stored(scene, &verified);
    let now = scene.harness.dump(&scene.table).await;
    assert_eq!(now.len(), scene.items.len());
    let job = scene.job().await;
    let store = scene.store(&job);
    for (key, (before, what)) in &scene.items {
        let mut expected = before.clone();
        match what {
            PlantedDefect::Missing | PlantedDefect::Stale => drop(expected.insert("new".into(), before["old"].clone())),
            PlantedDefect::Unexpected => drop(expected.remove("new")),
            _ => {}
        }
        assert_eq!(bytes_of(&now[key]), bytes_of(&expected), "{key}");
        if matches!(what, PlantedDefect::Stale | PlantedDefect::Unexpected) {
            let journal = store.pre_images(ItemKey::from_text(key).unwrap(), None).await.unwrap();
            assert_eq!(journal.len(), 1, "{key}");
            assert_eq!(
                (journal[0].path.clone(), journal[0].value.as_ref()),
                (Path::attribute("new"), before.get("new"))
            );
        }
    }
    assert_eq!(StateFile::open(&scene.state).unwrap().summary().unwrap().pre_images, 2 * PLANTED as u64);
    store.close().await.unwrap();
    scene.harness.proxy().reset_tally();
    let (_, verified) = scene.verify(ALL, 3).await;
    assert_eq!((report(&verified).mismatches, scene.harness.proxy().tally().operation("GetItem").requests), (0, 0));
}

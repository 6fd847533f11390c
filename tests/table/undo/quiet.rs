//! Tests that a rollback restores the table byte for byte if there are no live writers.

use backfill::internals::change::Outcome;
use backfill::internals::state::{BeginMode, phase};

use super::scene::{EVERY_KIND, MOVE, Scene, every_shape, item, s};

/// Every strategy of a plan.
pub(super) const STRATEGIES: [&str; 4] = [
    "",
    "on_existing = \"overwrite\"",
    "strategy = \"in-place\"",
    "strategy = \"in-place\"\non_existing = \"overwrite\"",
];

/// Runs two passes and then a rollback. After that, a second rollback finds nothing to do and sends no write.
/// RUNBOOK: "The rollback restores every item, byte for byte"
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_every_kind_of_change_restores_the_table() {
    for migration in STRATEGIES {
        let scene = Scene::new(every_shape(600), migration, EVERY_KIND).await;
        let before = scene.bytes().await;
        let (_, written) = scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
        assert!(written > 200, "{migration}: {written}");
        assert_eq!(scene.complete(phase::EXPAND, BeginMode::Again).await.1, 0, "{migration}");
        let changed = scene.bytes().await.iter().filter(|(key, item)| before[*key] != **item).count() as u64;
        assert_eq!(changed, written);

        let (ended, undone) = scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
        scene.assert_is(&before, migration).await;
        assert_eq!(undone, changed, "{migration}: items that need no write get none");
        assert_eq!(ended.totals.counts.of(Outcome::Applied), changed);
        assert_eq!(ended.totals.counts.of(Outcome::Diverged), 0, "{migration}");
        assert_eq!(scene.complete(phase::ROLLBACK, BeginMode::Again).await.1, 0, "{migration}");
        scene.assert_is(&before, "again").await;
    }
}

/// An old application continues to write, and passes with `on_existing = "overwrite"` copy its values. After the
/// rollback, the new attributes have their values from before the migration, and the old attributes have the
/// application's values.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_does_not_restore_values_that_earlier_passes_wrote() {
    let scene = Scene::new(every_shape(240), "on_existing = \"overwrite\"", MOVE).await;
    let before = scene.harness.dump(&scene.table).await;
    scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
    let old = |round: usize, n: usize| match (n + round) % 4 {
        0 => None,
        1 => Some(s(&format!("{round}"))),
        _ => before.values().nth(n).and_then(|item| item.get("old").cloned()),
    };
    for round in 0..4 {
        let mut items = scene.harness.dump(&scene.table).await;
        for (n, item) in items.values_mut().enumerate() {
            item.remove("old");
            item.extend(old(round, n).map(|old| ("old".to_owned(), old)));
        }
        scene.harness.load(&scene.table, items.into_values()).await;
        if round < 3 {
            assert!(scene.complete(phase::EXPAND, BeginMode::Again).await.1 > 40);
        }
    }
    let (ended, undone) = scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    assert_eq!(ended.totals.counts.of(Outcome::Diverged), 0);
    assert!(undone > 150, "{undone}");
    let after = scene.harness.dump(&scene.table).await;
    for (n, (key, prior)) in before.iter().enumerate() {
        assert_eq!((after[key].get("old"), after[key].get("new")), (old(3, n).as_ref(), prior.get("new")), "{key}");
    }
    assert_eq!(scene.complete(phase::ROLLBACK, BeginMode::Again).await.1, 0);
}

/// After a complete rollback, a second migration begins. The tool then ignores the records of the first one.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_can_be_run_and_rolled_back_a_second_time() {
    let scene = Scene::new(every_shape(200), "", EVERY_KIND).await;
    let before = scene.bytes().await;
    let (_, first) = scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
    scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    let (_, again) = scene.complete(phase::EXPAND, BeginMode::Again).await;
    assert_eq!(again, first);
    scene.complete(phase::ROLLBACK, BeginMode::Again).await;
    scene.assert_is(&before, "again").await;
}

/// If an item is inserted with both attributes after the first pass, its new attribute does not count as preexisting.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_pass_records_preexisting_values() {
    let mut items: Vec<_> = (0..60).map(|i| item(i, &[("old", s("x"))])).collect();
    items.push(item(60, &[("old", s("x")), ("new", s("x"))]));
    let scene = Scene::new(items, "", MOVE).await;
    scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
    let late = [item(100, &[("old", s("y")), ("new", s("y"))]), item(101, &[("new", s("only"))])];
    scene.harness.load(&scene.table, late.into_iter()).await;
    scene.complete(phase::EXPAND, BeginMode::Again).await;
    let store = scene.store().await;
    assert_eq!(store.preexisting_count().await.unwrap(), 1);
    store.close().await.unwrap();
    scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    let after = scene.harness.dump(&scene.table).await;
    let with_new: Vec<_> = after.values().filter(|item| item.contains_key("new")).collect();
    assert_eq!(with_new, [&item(60, &[("old", s("x")), ("new", s("x"))])]);
    // One inserted item had only a new value. The rollback recorded this value before it removed the value.
    let store = scene.store().await;
    let key = crate::harness::key_of(&item(101, &[]));
    assert_eq!(store.pre_images(key, None).await.unwrap()[0].value, Some(s("only")));
}

/// Applications wrote only the new attribute. The step back copies the new values to the old attribute.
#[tokio::test(flavor = "multi_thread")]
async fn new_only_writes_reach_the_old_attribute() {
    let items: Vec<_> = (0..300).map(|i| item(i, &[("old", s("x")), ("rest", s("r"))])).collect();
    let scene = Scene::new(items, "", MOVE).await;
    scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
    // Applications have changed a third of the items and inserted a few items, in both cases only under the new name.
    // They have removed both attributes of a few other items.
    let late = (0..100).map(|i| item(i, &[("old", s("x")), ("new", s("later")), ("rest", s("r"))]));
    let gone = (100..110).map(|i| item(i, &[("rest", s("r"))]));
    let fresh = (300..310).map(|i| item(i, &[("new", s("fresh"))]));
    scene.harness.load(&scene.table, late.chain(gone).chain(fresh)).await;

    let (_, writes) = scene.complete(phase::OLD_EQUAL_NEW, BeginMode::ResumeOrNew).await;
    assert_eq!(writes, 110);
    assert_eq!(scene.complete(phase::OLD_EQUAL_NEW, BeginMode::Again).await.1, 0);
    let (ended, writes) = scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    assert_eq!((writes, ended.totals.counts.of(Outcome::Diverged)), (300, 0));
    let after = scene.harness.dump(&scene.table).await;
    for i in 0..310 {
        let key = crate::harness::key_of(&item(i, &[]));
        let expected = match i {
            0..100 => item(i, &[("old", s("later")), ("rest", s("r"))]),
            100..110 => item(i, &[("rest", s("r"))]),
            110..300 => item(i, &[("old", s("x")), ("rest", s("r"))]),
            _ => item(i, &[("old", s("fresh"))]),
        };
        assert_eq!(after[&key.to_text()], expected);
    }
    let store = scene.store().await;
    for i in [0, 99] {
        let kept = store.pre_images(crate::harness::key_of(&item(i, &[])), None).await.unwrap();
        assert_eq!(kept.iter().map(|pre| &pre.value).collect::<Vec<_>>(), [&Some(s("x"))], "{i}");
    }
}

//! Tests rollbacks after new-only writes. Some items have no new value, and the shape of some items has changed.

use backfill::internals::change::Outcome;
use backfill::internals::state::{BeginMode, Cursor, ListQuery, phase};

use super::scene::{MOVE, Scene, item, map, s};
use crate::harness::key_of;

/// An item can have only an old value for three reasons: no pass has expanded it, its expansion failed, or an
/// application wrote only the old attribute.
/// RUNBOOK: "An old value without a new one stays where it is, and is reported"
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_never_expanded_survives_a_rollback() {
    let plan = format!("{MOVE}[[change]]\ncopy = \"kept\"\nto = \"copied\"\n");
    for expanded in [false, true] {
        let alone = || (0..100).map(|i| item(i, &[("old", s("current")), ("kept", s("k"))]));
        let scene = Scene::new(if expanded { Vec::new() } else { alone().collect() }, "", &plan).await;
        if expanded {
            scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
            scene.harness.load(&scene.table, alone()).await;
        }
        let before = scene.bytes().await;
        let (ended, writes) = scene.complete(phase::OLD_EQUAL_NEW, BeginMode::ResumeOrNew).await;
        assert_eq!((ended.totals.counts.of(Outcome::Diverged), writes), (100, 0), "each item is reported");
        let open = ListQuery { run: None, open_only: true, after: Cursor::START, limit: 200 };
        let paths = scene.state().diverged(open).unwrap().into_iter().map(|found| found.paths.len());
        assert_eq!(paths.collect::<Vec<_>>(), [2; 100]);
        assert_eq!(scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await.1, 0);
        scene.assert_is(&before, "never expanded").await;
        assert_eq!(scene.state().summary().unwrap().pre_images, 0, "nothing was removed");
    }
}

/// For one change, the item has an old value but no new value, so the pass cannot make the two values equal. For the
/// other changes, the pass makes the old attributes equal to the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_value_without_a_new_one_does_not_block_other_changes() {
    let plan = format!("{MOVE}[[change]]\ncopy = \"kept\"\nto = \"copied\"\n");
    let first = item(0, &[("old", s("current")), ("kept", s("k")), ("copied", s("later"))]);
    let scene = Scene::new(vec![first.clone()], "", &plan).await;
    scene.complete(phase::OLD_EQUAL_NEW, BeginMode::ResumeOrNew).await;
    let after = scene.harness.dump(&scene.table).await;
    let expected = item(0, &[("old", s("current")), ("kept", s("later")), ("copied", s("later"))]);
    assert_eq!(after[&key_of(&first).to_text()], expected);
}

/// A live writer changed an item's shape, so a removed value can no longer be restored at its path. The value stays in
/// the journal, and the phase completes.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_cannot_be_restored_at_its_path_is_reported() {
    let doc = || ("doc", map(&[("x", s("v"))]));
    for plan in ["[[change]]\nremove = \"doc.x\"\n", "[[change]]\nmove = \"doc.x\"\nto = \"new\"\n"] {
        let scene = Scene::new((0..5).map(|i| item(i, &[doc()])).collect(), "strategy = \"in-place\"", plan).await;
        scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
        let mut changed = scene.harness.dump(&scene.table).await[&key_of(&item(0, &[])).to_text()].clone();
        changed.insert("doc".into(), s("rewritten by the application"));
        scene.harness.load(&scene.table, [changed.clone()].into_iter()).await;
        let (ended, _) = scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
        let counts = [Outcome::Applied, Outcome::Diverged, Outcome::Rejected];
        assert_eq!(counts.map(|outcome| ended.totals.counts.of(outcome)), [4, 1, 0], "{plan}");
        let after = scene.harness.dump(&scene.table).await;
        assert_eq!(after[&key_of(&changed).to_text()], changed);
        let store = scene.store().await;
        // A move in place records no value, because the value is at the new path.
        let values = store.pre_images(key_of(&changed), None).await.unwrap().len();
        assert_eq!(values, usize::from(plan.contains("remove")), "the journal keeps the removed value");
        store.close().await.unwrap();
    }
}

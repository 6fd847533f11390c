//! Tests that a rollback counts every item that it does not restore exactly.

use std::sync::Arc;

use backfill::internals::change::{BaselinePair, Leftover, Outcome};
use backfill::internals::engine::{LocalScheduler, scan_table};
use backfill::internals::item::Item;
use backfill::internals::local::Fault;
use backfill::internals::passes::DryRun;
use backfill::internals::state::{BeginMode, phase};

use super::scene::{KillPoint, MOVE, Scene, item, new_run, s};

/// Creates items. One tenth has an equal pair, one tenth has an unequal pair, and one tenth has only the new attribute.
fn mixed() -> Vec<Item> {
    let of = |n: usize| match n % 10 {
        0 => item(n, &[("old", s("x")), ("new", s("x"))]),
        1 => item(n, &[("old", s("x")), ("new", s("theirs"))]),
        2 => item(n, &[("new", s("alone"))]),
        _ => item(n, &[("old", s("x"))]),
    };
    (0..100).map(of).collect()
}

/// Completes a pass, with or without dual writes by applications. Returns the result of the pass's last session.
async fn pass(
    scene: &Scene,
    phase: &str,
    mode: BeginMode,
    dual_writes: bool,
) -> backfill::internals::engine::SessionResult {
    let mut job = scene.job(phase, None).await;
    job.changes = Arc::new(job.changes.as_ref().clone().with_dual_writes(dual_writes));
    let store = scene.store_of(&job).await;
    let session = store.begin(mode, new_run(phase)).await.unwrap();
    let ended = job.work(&store, &session).await.unwrap();
    assert_eq!(ended.stopped, None);
    store.close().await.unwrap();
    ended
}

/// Returns the number of unrestored items that a dry run of a phase predicts, by reason.
async fn predicted_leftovers(scene: &Scene, phase: &str) -> Vec<(Leftover, u64)> {
    let job = scene.job(phase, None).await;
    let handler = Arc::new(DryRun::new(&job, Some(scene.state().into_history_reader())));
    scan_table(job.dry_run_read_settings(4), &LocalScheduler::new(4), &job.requests(), handler.clone()).await;
    let leftovers = handler.prediction().leftovers;
    leftovers.into_iter().map(|(leftover, group)| (leftover, group.items)).collect()
}

/// Returns the number of items that a run did not restore, and their keys.
async fn leftovers_after(scene: &Scene, ended: &backfill::internals::engine::SessionResult) -> (u64, Vec<String>) {
    let old_made = ended.run.phase == phase::OLD_EQUAL_NEW;
    leftovers_for(scene, ended, if old_made { Leftover::OldCreated } else { Leftover::NewRemoved }).await
}

/// Returns the number of items that a run did not restore for this reason, and their keys.
async fn leftovers_for(
    scene: &Scene,
    ended: &backfill::internals::engine::SessionResult,
    leftover: Leftover,
) -> (u64, Vec<String>) {
    let store = scene.store().await;
    let listed = store.leftovers(ended.run.id, leftover, 1_000).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(listed.count, listed.first.len() as u64);
    (listed.count, listed.first.into_iter().map(|(key, _)| key.to_text()).collect())
}

/// RUNBOOK: "byte for byte, except those that it counts as *not as before*"
#[tokio::test(flavor = "multi_thread")]
async fn pairs_that_were_equal_before_the_migration_are_counted_under_dual_writes() {
    for dual_writes in [false, true] {
        let scene = Scene::new(mixed(), "", MOVE).await;
        let before = scene.bytes().await;
        pass(&scene, phase::EXPAND, BeginMode::ResumeOrNew, dual_writes).await;
        let baseline = |kind| scene.state().baseline_pairs(kind, 1_000).unwrap().unwrap().count;
        let equal = u64::from(dual_writes) * 10;
        assert_eq!((baseline(BaselinePair::Equal), baseline(BaselinePair::NewAlone)), (equal, 10));
        let expected = if dual_writes { vec![(Leftover::NewRemoved, 10)] } else { Vec::new() };
        assert_eq!(predicted_leftovers(&scene, phase::ROLLBACK).await, expected);
        let ended = pass(&scene, phase::ROLLBACK, BeginMode::ResumeOrNew, dual_writes).await;
        assert_eq!(ended.totals.counts.of(Outcome::Diverged), 0);
        let (count, keys) = leftovers_after(&scene, &ended).await;
        // The pass must count exactly the items that differ from their state before the migration.
        let after = scene.bytes().await;
        let changed: Vec<&String> = before.keys().filter(|key| after.get(*key) != before.get(*key)).collect();
        assert_eq!(
            (count, keys.iter().collect::<std::collections::BTreeSet<_>>()),
            (equal, changed.into_iter().collect())
        );
    }
}

/// An item with two pairs that are not restored counts as one item.
#[tokio::test(flavor = "multi_thread")]
async fn leftovers_count_items_and_not_pairs() {
    let plan = format!("{MOVE}[[change]]\ncopy = \"kept\"\nto = \"copied\"\n");
    let both = ["old", "new", "kept", "copied"].map(|name| (name, s("x")));
    let scene = Scene::new((0..7).map(|n| item(n, &both)).collect(), "", &plan).await;
    pass(&scene, phase::EXPAND, BeginMode::ResumeOrNew, true).await;
    let baseline = scene.state().baseline_pairs(BaselinePair::Equal, 1_000).unwrap().unwrap();
    assert_eq!((baseline.count, baseline.first.len()), (7, 14));
    assert_eq!(predicted_leftovers(&scene, phase::ROLLBACK).await, [(Leftover::NewRemoved, 7)]);
    let ended = pass(&scene, phase::ROLLBACK, BeginMode::ResumeOrNew, true).await;
    let store = scene.store().await;
    let leftovers_after = store.leftovers(ended.run.id, Leftover::NewRemoved, 1_000).await.unwrap();
    store.close().await.unwrap();
    assert_eq!((leftovers_after.count, leftovers_after.first.len()), (7, 14));
}

/// If no run has been made, no baseline exists. The rollback then counts every item from which it removes a new
/// attribute, because this attribute could be older than the dual writes.
#[tokio::test(flavor = "multi_thread")]
async fn pairs_that_no_run_has_read_are_counted() {
    let scene = Scene::new(mixed(), "", MOVE).await;
    let ended = pass(&scene, phase::ROLLBACK, BeginMode::ResumeOrNew, true).await;
    assert_eq!(leftovers_after(&scene, &ended).await.0, 10);
}

/// A rollback that is killed repeatedly counts each item once.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_rollback_counts_each_item_once() {
    let scene = Scene::new(mixed(), "", MOVE).await;
    pass(&scene, phase::EXPAND, BeginMode::ResumeOrNew, true).await;
    for fault in [Fault::DropReply, Fault::Reset, Fault::DropReply] {
        let kill_point = Some(KillPoint { at: 15, fault });
        assert!(scene.session(phase::ROLLBACK, BeginMode::ResumeOrNew, Some(5), kill_point).await.is_none());
        scene.harness.proxy().set_faults(None);
        scene.wait_until_quiet().await;
    }
    let ended = pass(&scene, phase::ROLLBACK, BeginMode::ResumeOrNew, true).await;
    assert_eq!(leftovers_after(&scene, &ended).await.0, 10);
}

/// A step back creates old attributes in items that had only the new attribute. If such an item existed before the
/// migration, the step back counts the item.
#[tokio::test(flavor = "multi_thread")]
async fn old_attributes_that_are_created_after_new_only_writes_are_counted() {
    let scene = Scene::new(mixed(), "", MOVE).await;
    pass(&scene, phase::EXPAND, BeginMode::ResumeOrNew, false).await;
    scene.harness.load(&scene.table, (100..107).map(|n| item(n, &[("new", s("inserted"))]))).await;
    assert_eq!(predicted_leftovers(&scene, phase::OLD_EQUAL_NEW).await, [(Leftover::OldCreated, 10)]);
    let ended = pass(&scene, phase::OLD_EQUAL_NEW, BeginMode::ResumeOrNew, false).await;
    let (count, keys) = leftovers_after(&scene, &ended).await;
    assert_eq!((count, keys.len()), (10, 10));
    assert_eq!(ended.totals.counts.of(Outcome::Applied), 10 + 10 + 7);
}

/// Runs an expansion. Then damages the state file with the SQL in `damage`, and makes old values equal to new ones.
async fn old_equals_new_after(
    damage: impl Fn(&rusqlite::Connection),
) -> (Scene, backfill::internals::engine::SessionResult) {
    let scene = Scene::new(mixed(), "", MOVE).await;
    pass(&scene, phase::EXPAND, BeginMode::ResumeOrNew, false).await;
    damage(&rusqlite::Connection::open(scene.state_path()).unwrap());
    let ended = pass(&scene, phase::OLD_EQUAL_NEW, BeginMode::ResumeOrNew, false).await;
    assert_eq!(ended.totals.counts.of(Outcome::Applied), 10 + 10);
    for item in scene.harness.dump(&scene.table).await.into_values() {
        assert_eq!(item.get("old"), item.get("new"), "{item:?}");
    }
    (scene, ended)
}

/// The pass that makes old values equal to new ones depends only on the current items. So it accepts a state file in
/// which an index lacks a row. A rollback refuses such a file.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_file_does_not_block_the_way_back_after_new_only_writes() {
    let (scene, ended) = old_equals_new_after(|file| {
        file.execute_batch(
            "INSERT INTO pre_images (run, key, path, kind, at) VALUES (1, '{}', 'a', 'nothing', ''); \
             CREATE TEMP TABLE held AS SELECT * FROM sqlite_schema WHERE name = 'pre_images_by_item'; \
             PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'pre_images_by_item'; \
             PRAGMA writable_schema = RESET; UPDATE pre_images SET key = '{\"pk\":{}}'; PRAGMA writable_schema = ON; \
             INSERT INTO sqlite_schema SELECT * FROM temp.held; PRAGMA writable_schema = RESET",
        )
        .unwrap();
        let found: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert!(found.contains("missing from index pre_images_by_item"), "{found}");
    })
    .await;
    assert_eq!(leftovers_after(&scene, &ended).await.0, 10);
}

/// RUNBOOK: "If the record of such an item is damaged, the report counts the item as *unknown*"
#[tokio::test(flavor = "multi_thread")]
async fn items_whose_record_cannot_be_read_are_counted_as_unknown() {
    let (scene, ended) = old_equals_new_after(|file| {
        file.execute_batch(
            "DROP TRIGGER there_before_changed; \
             UPDATE there_before SET value = x'0000000000000000' WHERE key LIKE '%\"00051\"%' OR key LIKE '%\"00052\"%'",
        )
        .unwrap();
    })
    .await;
    let known = leftovers_for(&scene, &ended, Leftover::OldCreated).await;
    let unknown = leftovers_for(&scene, &ended, Leftover::Unknown).await;
    assert_eq!((known.0, unknown.0), (9, 1), "{known:?} {unknown:?}");
}

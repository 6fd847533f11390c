//! Tests rollbacks while live writers work. No live writer's write is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::change::Outcome;
use backfill::internals::item::{Item, Value};
use backfill::internals::local::{Fault, RequestInfo};
use backfill::internals::state::{BeginMode, phase};
use tokio::task::JoinSet;

use super::scene::{MOVE, Scene, item, s};
use crate::harness::{key_of, to_sdk};

const ITEMS: usize = 400;

/// The last value that a writer wrote to each item, by key.
type Written = BTreeMap<String, Value>;

/// Writers that set one attribute of random items until they are asked to stop. Each writer has its own items. The
/// proxy delays the tool's writes, so that many of their conditions fail.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Written>,
    writes: Arc<AtomicU64>,
}

impl Writers {
    fn start(scene: &Scene, attribute: &'static str) -> Writers {
        scene.harness.proxy().set_faults(Some(Arc::new(|request: &RequestInfo| {
            match request.body().get("ConditionExpression") {
                Some(_) => Fault::Delay(Duration::from_millis(request.operation_sequence % 30)),
                None => Fault::Pass,
            }
        })));
        let stop = Arc::new(AtomicBool::new(false));
        let writes = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for writer in 0..4_usize {
            let client = scene.harness.client().clone();
            let table = scene.table.clone();
            let stop = Arc::clone(&stop);
            let writes = Arc::clone(&writes);
            tasks.spawn(async move {
                let mut rng = fastrand::Rng::with_seed(writer as u64);
                let mut written = Written::new();
                while !stop.load(Ordering::Relaxed) {
                    let key = key_of(&item(rng.usize(..ITEMS / 4) * 4 + writer, &[]));
                    let text = format!("{writer}.{}", writes.fetch_add(1, Ordering::Relaxed));
                    client
                        .update_item()
                        .table_name(&table)
                        .set_key(Some(to_sdk(key.attributes())))
                        .update_expression("SET #a = :v")
                        .expression_attribute_names("#a", attribute)
                        .expression_attribute_values(":v", AttributeValue::S(text.clone()))
                        .send()
                        .await
                        .unwrap();
                    written.insert(key.to_text(), s(&text));
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                written
            });
        }
        Writers { stop, tasks, writes }
    }

    /// Stops the writers, and returns the values that they wrote. If `must_race` is true, asserts that at least one of
    /// the tool's writes failed because the item had changed.
    async fn stop(mut self, scene: &Scene, must_race: bool) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        let mut written = Written::new();
        while let Some(done) = self.tasks.join_next().await {
            written.extend(done.unwrap());
        }
        assert!(self.writes.load(Ordering::Relaxed) > 100, "the writers had no time to write");
        let errors = scene.harness.proxy().tally().operation("UpdateItem").errors;
        let raced = errors.keys().any(|(_, name)| name == "ConditionalCheckFailedException");
        assert!(raced || !must_race, "no write found a changed item");
        scene.harness.proxy().set_faults(None);
        written
    }
}

async fn expanded(migration: &str) -> Scene {
    let items = (0..ITEMS).map(|i| item(i, &[("old", s("x"))])).collect();
    let scene = Scene::new(items, migration, MOVE).await;
    scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
    scene
}

/// Runs one session of a phase while writers work. Then runs a second pass without writers.
async fn with_writers(scene: &Scene, phase: &str, attribute: &'static str) -> (Written, BTreeMap<String, Item>) {
    scene.harness.proxy().reset_tally();
    let writers = Writers::start(scene, attribute);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let ended = scene.session(phase, BeginMode::ResumeOrNew, Some(20), None).await.unwrap();
    assert_eq!((ended.stopped, ended.totals.counts.failures()), (None, 0));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let written = writers.stop(scene, true).await;
    scene.complete(phase, BeginMode::Again).await;
    (written, scene.harness.dump(&scene.table).await)
}

/// Every application has gone back to the old attribute, and the rollback removes the new one.
/// RUNBOOK: "The rollback never overwrites a value that a live writer has changed; it reports the item"
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_keeps_what_is_written_under_the_old_name() {
    let scene = expanded("").await;
    let (written, after) = with_writers(&scene, phase::ROLLBACK, "old").await;
    for (key, found) in &after {
        assert_eq!(found.get("old"), Some(written.get(key).unwrap_or(&s("x"))), "{key}");
        assert!(!found.contains_key("new"), "{key}");
    }
}

/// Every application reads and writes only the new attribute. This test runs two phases. The first phase makes old
/// values equal to new ones. Its second pass copies the values that applications wrote during its first pass. The
/// second phase is the contract, which removes the old attribute.
#[tokio::test(flavor = "multi_thread")]
async fn new_only_writes_survive_both_directions() {
    let scene = expanded("").await;
    let (written, after) = with_writers(&scene, phase::OLD_EQUAL_NEW, "new").await;
    for (key, found) in &after {
        let last = written.get(key).cloned().unwrap_or(s("x"));
        assert_eq!((found.get("old"), found.get("new")), (Some(&last), Some(&last)), "{key}");
    }
    let scene = expanded("").await;
    let (written, after) = with_writers(&scene, phase::CONTRACT, "new").await;
    for (key, found) in &after {
        assert_eq!((found.get("old"), found.get("new")), (None, Some(written.get(key).unwrap_or(&s("x")))), "{key}");
    }
}

/// A rollback undoes a move in place while writers use the old or the new name. Afterwards, the last value is under the
/// old name, or under the name that its writer used. The rollback reports every item that still has a value under the
/// new name.
#[tokio::test(flavor = "multi_thread")]
async fn the_reverse_of_a_move_in_place_loses_nothing() {
    for attribute in ["old", "new"] {
        let scene = expanded("strategy = \"in-place\"").await;
        scene.harness.proxy().reset_tally();
        let writers = Writers::start(&scene, attribute);
        tokio::time::sleep(Duration::from_millis(100)).await;
        scene.session(phase::ROLLBACK, BeginMode::ResumeOrNew, Some(20), None).await.unwrap();
        // The rollback's write makes DynamoDB copy the current value of the new name. So the write's condition does not
        // require an earlier value, and the write can succeed after a writer has changed the item.
        let written = writers.stop(&scene, attribute == "old").await;
        let (ended, _) = scene.complete(phase::ROLLBACK, BeginMode::Again).await;
        let after = scene.harness.dump(&scene.table).await;
        let mut both = 0;
        for (key, found) in &after {
            let last = written.get(key).cloned().unwrap_or(s("x"));
            assert!(found.get(attribute) == Some(&last) || found.get("old") == Some(&last), "{key}: {found:?}");
            both += u64::from(found.contains_key("new"));
        }
        assert_eq!(both, ended.totals.counts.of(Outcome::Diverged), "{attribute}");
    }
}

/// The rollback restores an overwritten value only if the target still has the tool's own value. It overwrites neither
/// the values that applications have since written to both names, nor the values of a new item with the same key.
/// RUNBOOK: "The rollback never overwrites a value that a live writer has changed; it reports the item"
#[tokio::test(flavor = "multi_thread")]
async fn an_overwritten_value_is_not_restored_over_a_newer_one() {
    let junk = || (0..40).map(|i| item(i, &[("old", s("v")), ("new", s("junk"))]));
    let scene = Scene::new(junk().collect(), "on_existing = \"overwrite\"", MOVE).await;
    scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
    // Replace these items, as if they had been deleted and inserted as new ones. For the tool, this looks like a write
    // to both names.
    let others = || (0..20).map(|i| item(i, &[("old", s("y")), ("new", s("y"))]));
    scene.harness.load(&scene.table, others()).await;
    let (ended, writes) = scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    assert_eq!((ended.totals.counts.of(Outcome::Diverged), writes), (20, 20));
    let after = scene.harness.dump(&scene.table).await;
    for expected in others().chain(junk().skip(20)) {
        assert_eq!(after[&key_of(&expected).to_text()], expected);
    }
}

/// RUNBOOK: "The tool knows an item only by its key"
#[tokio::test(flavor = "multi_thread")]
async fn a_reinserted_item_gets_back_the_removed_value_unless_it_has_its_own() {
    let removes = "[[change]]\nremove = \"legacy\"\n";
    let first = (0..3).map(|i| item(i, &[("legacy", s("of the first"))]));
    let scene = Scene::new(first.collect(), "strategy = \"in-place\"", removes).await;
    scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
    // Delete the items, as if their time to live had ended. Then insert two new items with the keys of deleted items.
    let keys = |i| to_sdk(key_of(&item(i, &[])).attributes());
    for i in 0..3 {
        scene.harness.client().delete_item().table_name(&scene.table).set_key(Some(keys(i))).send().await.unwrap();
    }
    let own = || item(1, &[("legacy", s("its own")), ("owner", s("another"))]);
    scene.harness.load(&scene.table, [item(0, &[("owner", s("another"))]), own()].into_iter()).await;
    let (ended, _) = scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    assert_eq!([Outcome::Applied, Outcome::Diverged].map(|o| ended.totals.counts.of(o)), [1, 1]);
    let after: Vec<Item> = scene.harness.dump(&scene.table).await.into_values().collect();
    let given = item(0, &[("legacy", s("of the first")), ("owner", s("another"))]);
    assert_eq!(after.len(), 2, "a deleted item stays deleted");
    assert!(after.contains(&given) && after.contains(&own()), "{after:?}");
}

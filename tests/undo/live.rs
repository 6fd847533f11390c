//! Live writers are at work while the way back is gone, and nothing of theirs is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use backfill::change::Outcome;
use backfill::checkpoint::phase;
use backfill::checkpoint::store::Begin;
use backfill::item::{Item, Value};
use backfill::local::{Fault, RequestInfo};
use tokio::task::JoinSet;

use super::common::{key_of, to_sdk};
use super::scene::{MOVE, Scene, item, s};

const ITEMS: usize = 400;

/// What each item's last writer wrote, by key.
type Written = BTreeMap<String, Value>;

/// Writers that set this attribute of items here and there, each of its own items, until they are told to stop. The tool's
/// writes are held back, so that many of them meet an item that has changed.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Written>,
    writes: Arc<AtomicU64>,
}

impl Writers {
    fn start(scene: &Scene, attribute: &'static str) -> Writers {
        scene.bed.front().set_faults(Some(Arc::new(|request: &RequestInfo| {
            match request.body().get("ConditionExpression") {
                Some(_) => Fault::Delay(Duration::from_millis(request.operation_sequence % 30)),
                None => Fault::Pass,
            }
        })));
        let (stop, writes, mut tasks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), JoinSet::new());
        for writer in 0..4_usize {
            let (client, table, stop) = (scene.bed.client().clone(), scene.table.clone(), Arc::clone(&stop));
            let writes = Arc::clone(&writes);
            tasks.spawn(async move {
                let (mut rng, mut written) = (fastrand::Rng::with_seed(writer as u64), Written::new());
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

    /// What they wrote. `meets` says that the tool's writes must have met items that had changed.
    async fn stop(mut self, scene: &Scene, meets: bool) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        let mut written = Written::new();
        while let Some(done) = self.tasks.join_next().await {
            written.extend(done.unwrap());
        }
        assert!(self.writes.load(Ordering::Relaxed) > 100, "the writers had no time to write");
        let errors = scene.bed.front().tally().operation("UpdateItem").errors;
        let met = errors.keys().any(|(_, name)| name == "ConditionalCheckFailedException");
        assert!(met || !meets, "no write met a changed item");
        scene.bed.front().set_faults(None);
        written
    }
}

async fn expanded(migration: &str) -> Scene {
    let items = (0..ITEMS).map(|i| item(i, &[("old", s("x"))])).collect();
    let scene = Scene::of(items, migration, MOVE).await;
    scene.complete(phase::EXPAND, Begin::ResumeOrNew).await;
    scene
}

/// A session with the writers at work from before its begin until after its end; and then another pass alone.
async fn with_writers(scene: &Scene, phase: &str, attribute: &'static str) -> (Written, BTreeMap<String, Item>) {
    scene.bed.front().reset_tally();
    let writers = Writers::start(scene, attribute);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let ended = scene.session(phase, Begin::ResumeOrNew, Some(20), None).await.unwrap();
    assert_eq!((ended.stopped, ended.totals.counts.failures()), (None, 0));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let written = writers.stop(scene, true).await;
    scene.complete(phase, Begin::Again).await;
    (written, scene.bed.dump(&scene.table).await)
}

/// Everyone reads and writes the old attribute again, and the new one goes.
/// RUNBOOK: "What a live writer changed since is never overwritten: it is reported"
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_keeps_what_is_written_under_the_old_name() {
    let scene = expanded("").await;
    let (written, after) = with_writers(&scene, phase::ROLLBACK, "old").await;
    for (key, found) in &after {
        assert_eq!(found.get("old"), Some(written.get(key).unwrap_or(&s("x"))), "{key}");
        assert!(!found.contains_key("new"), "{key}");
    }
}

/// Everyone reads and writes the new attribute alone: first the old one follows, and what came while it did comes with
/// another pass; or the old one goes.
#[tokio::test(flavor = "multi_thread")]
async fn new_only_writes_are_kept_by_either_way() {
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

/// A move in place is undone under writers of either name: the last value stands at the old one, or beside it, and then the
/// item is reported.
#[tokio::test(flavor = "multi_thread")]
async fn the_reverse_of_a_move_in_place_loses_nothing() {
    for attribute in ["old", "new"] {
        let scene = expanded("strategy = \"in-place\"").await;
        scene.bed.front().reset_tally();
        let writers = Writers::start(&scene, attribute);
        tokio::time::sleep(Duration::from_millis(100)).await;
        scene.session(phase::ROLLBACK, Begin::ResumeOrNew, Some(20), None).await.unwrap();
        // The new value that is current at the instant of the write is taken: no condition holds the item to another.
        let written = writers.stop(&scene, attribute == "old").await;
        let (ended, _) = scene.complete(phase::ROLLBACK, Begin::Again).await;
        let after = scene.bed.dump(&scene.table).await;
        let mut both = 0;
        for (key, found) in &after {
            let last = written.get(key).cloned().unwrap_or(s("x"));
            assert!(found.get(attribute) == Some(&last) || found.get("old") == Some(&last), "{key}: {found:?}");
            both += u64::from(found.contains_key("new"));
        }
        assert_eq!(both, ended.totals.counts.of(Outcome::Diverged), "{attribute}");
    }
}

/// Proof of a review: a key that was deleted and inserted again is another item, and gets nothing of the one before.
#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_was_inserted_anew_gets_nothing_of_the_one_before() {
    let removes = "[[change]]\nremove = \"legacy\"\n";
    let scene = Scene::of(vec![item(0, &[("legacy", s("of the first"))])], "strategy = \"in-place\"", removes).await;
    scene.complete(phase::EXPAND, Begin::ResumeOrNew).await;
    // Its time to live ends, and somebody else gets the key.
    scene.bed.load(&scene.table, [item(0, &[("owner", s("the second"))])].into_iter()).await;
    let before = scene.bytes().await;
    scene.complete(phase::ROLLBACK, Begin::ResumeOrNew).await;
    let removed = scene.bytes().await == before;

    let overwrites = "on_existing = \"overwrite\"";
    let scene = Scene::of(vec![item(0, &[("old", s("v")), ("new", s("of the first"))])], overwrites, MOVE).await;
    scene.complete(phase::EXPAND, Begin::ResumeOrNew).await;
    scene.bed.load(&scene.table, [item(0, &[("old", s("y")), ("new", s("y"))])].into_iter()).await;
    scene.complete(phase::ROLLBACK, Begin::ResumeOrNew).await;
    let after = scene.bytes().await;
    let overwritten = !after.values().any(|item| item.contains("of the first"));
    assert!(removed && overwritten, "removed: {removed}, overwritten: {overwritten}: {after:?}");
}

//! Live writers are at work while the way back is gone, and nothing of theirs is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::change::Outcome;
use backfill::internals::item::{Item, Value};
use backfill::internals::local::{Fault, RequestInfo};
use backfill::internals::state::{Begin, phase};
use tokio::task::JoinSet;

use super::scene::{MOVE, Scene, item, s};
use crate::harness::{key_of, to_sdk};

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

    /// What they wrote. `must_meet` says that the tool's writes must have met items that had changed.
    async fn stop(mut self, scene: &Scene, must_meet: bool) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        let mut written = Written::new();
        while let Some(done) = self.tasks.join_next().await {
            written.extend(done.unwrap());
        }
        assert!(self.writes.load(Ordering::Relaxed) > 100, "the writers had no time to write");
        let errors = scene.bed.front().tally().operation("UpdateItem").errors;
        let met = errors.keys().any(|(_, name)| name == "ConditionalCheckFailedException");
        assert!(met || !must_meet, "no write met a changed item");
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
/// RUNBOOK: "The rollback never overwrites a value that a live writer changed since; it reports the item"
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

/// What the tool has overwritten comes back over what the tool wrote: not over what applications have written to both names
/// since, nor over what another item has that got the key.
/// RUNBOOK: "The rollback never overwrites a value that a live writer changed since; it reports the item"
#[tokio::test(flavor = "multi_thread")]
async fn what_was_overwritten_does_not_come_back_over_another_value() {
    let junk = || (0..40).map(|i| item(i, &[("old", s("v")), ("new", s("junk"))]));
    let scene = Scene::of(junk().collect(), "on_existing = \"overwrite\"", MOVE).await;
    scene.complete(phase::EXPAND, Begin::ResumeOrNew).await;
    // Deleted and inserted again, or written to both.
    let others = || (0..20).map(|i| item(i, &[("old", s("y")), ("new", s("y"))]));
    scene.bed.load(&scene.table, others()).await;
    let (ended, writes) = scene.complete(phase::ROLLBACK, Begin::ResumeOrNew).await;
    assert_eq!((ended.totals.counts.of(Outcome::Diverged), writes), (20, 20));
    let after = scene.bed.dump(&scene.table).await;
    for expected in others().chain(junk().skip(20)) {
        assert_eq!(after[&key_of(&expected).to_text()], expected);
    }
}

/// RUNBOOK: "The tool knows an item only by its key"
#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_was_inserted_anew_gets_back_what_was_removed_unless_it_has_its_own() {
    let removes = "[[change]]\nremove = \"legacy\"\n";
    let first = (0..3).map(|i| item(i, &[("legacy", s("of the first"))]));
    let scene = Scene::of(first.collect(), "strategy = \"in-place\"", removes).await;
    scene.complete(phase::EXPAND, Begin::ResumeOrNew).await;
    // Their time to live ends, and two of the keys are taken by others.
    let keys = |i| to_sdk(key_of(&item(i, &[])).attributes());
    for i in 0..3 {
        scene.bed.client().delete_item().table_name(&scene.table).set_key(Some(keys(i))).send().await.unwrap();
    }
    let own = || item(1, &[("legacy", s("its own")), ("owner", s("another"))]);
    scene.bed.load(&scene.table, [item(0, &[("owner", s("another"))]), own()].into_iter()).await;
    let (ended, _) = scene.complete(phase::ROLLBACK, Begin::ResumeOrNew).await;
    assert_eq!([Outcome::Applied, Outcome::Diverged].map(|o| ended.totals.counts.of(o)), [1, 1]);
    let after: Vec<Item> = scene.bed.dump(&scene.table).await.into_values().collect();
    let given = item(0, &[("legacy", s("of the first")), ("owner", s("another"))]);
    assert_eq!(after.len(), 2, "what is gone stays gone");
    assert!(after.contains(&given) && after.contains(&own()), "{after:?}");
}

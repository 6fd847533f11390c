//! Tests late writes: a killed process sent them, and the server applies them after the next process has begun. Their
//! values do not count as preexisting. Only a live writer's value does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use backfill::internals::change::{HistoryLookup, ItemHistory, Outcome};
use backfill::internals::engine::SessionResult;
use backfill::internals::item::{Item, Path, Value};
use backfill::internals::local::{Fault, RequestGate, RequestInfo};
use backfill::internals::state::{BeginMode, phase};
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::scene::{MOVE, Scene, item, new_run, s};
use crate::harness::{key_of, to_sdk, value_to_sdk};

const SKIP: &str = "on_existing = \"skip\"";

/// The maximum time that the test waits for a write. A write that has not arrived by then is assumed never to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// A run over one item. The run was killed while its write was in flight.
struct KilledRun {
    scene: Scene,
    one: Item,
    /// The write that is in flight.
    request: Json,
}

impl KilledRun {
    async fn at_first_write(one: Item, migration: &str, changes: &str) -> KilledRun {
        let scene = Scene::new(vec![one.clone()], migration, changes).await;
        let mut sent = sent_writes(&scene, vec![Fault::Reset; 100]);
        let working = start(&scene).await;
        let request = sent.recv().await.unwrap();
        working.abort();
        let _ = working.await;
        KilledRun { scene, one, request }
    }

    /// Sends the killed process's write to the server now. Returns whether the server applied the write.
    async fn deliver(&self) -> bool {
        let text = |name: &str| self.request[name].as_str().unwrap().to_owned();
        let members = |name: &str| self.request[name].as_object().into_iter().flatten();
        let names: HashMap<_, _> = members("ExpressionAttributeNames")
            .map(|(name, to)| (name.clone(), to.as_str().unwrap().to_owned()))
            .collect();
        let values: HashMap<_, _> = members("ExpressionAttributeValues")
            .map(|(name, value)| (name.clone(), value_to_sdk(&Value::from_json(value).unwrap())))
            .collect();
        let reply = self.scene.harness.client().update_item().table_name(&self.scene.table);
        let reply = reply
            .set_key(Some(to_sdk(key_of(&self.one).attributes())))
            .update_expression(text("UpdateExpression"))
            .condition_expression(text("ConditionExpression"))
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values((!values.is_empty()).then_some(values))
            .send()
            .await;
        match reply {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.code(), Some("ConditionalCheckFailedException"), "{error:?}");
                false
            }
        }
    }

    /// The next process continues the run. This function calls `meanwhile` after the process has read the item and
    /// before it writes the item.
    async fn resume(&self, meanwhile: impl AsyncFnOnce(&KilledRun)) -> SessionResult {
        let gate = RequestGate::closed();
        let mut sent = sent_writes(&self.scene, vec![Fault::Hold(gate.clone())]);
        let working = start(&self.scene).await;
        sent.recv().await.unwrap();
        meanwhile(self).await;
        gate.open();
        working.await.unwrap()
    }

    /// A live writer sets one attribute.
    async fn live(&self, name: &str, value: &str) {
        live(&self.scene, &self.one, name, value).await;
    }

    async fn record(&self) -> ItemHistory {
        let store = self.scene.store().await;
        let record =
            store.history_of(vec![key_of(&self.one)], HistoryLookup::ForDecision).await.unwrap().pop().unwrap();
        store.close().await.unwrap();
        record
    }

    async fn roll_back(&self) -> Item {
        self.scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
        now(&self.scene, &self.one).await
    }
}

/// Injects the first fault into the tool's first write, the second fault into the tool's second write, and so on. Sends
/// each write's body to the returned channel.
fn sent_writes(scene: &Scene, faults: Vec<Fault>) -> mpsc::UnboundedReceiver<Json> {
    let (sender, sent_writes) = mpsc::unbounded_channel();
    let seen = AtomicUsize::new(0);
    let sender = Mutex::new(sender);
    scene.harness.proxy().set_faults(Some(Arc::new(move |request: &RequestInfo| {
        // Only the tool's writes have conditions.
        if request.operation != "UpdateItem" || request.body().get("ConditionExpression").is_none() {
            return Fault::Pass;
        }
        // Count before the channel is notified. The test then sends a write of its own, which must not receive this
        // write's fault.
        let position = seen.fetch_add(1, Ordering::Relaxed);
        let _ = sender.lock().unwrap().send(request.body().clone());
        faults.get(position).cloned().unwrap_or(Fault::Pass)
    })));
    sent_writes
}

async fn start(scene: &Scene) -> JoinHandle<SessionResult> {
    let job = scene.job(phase::EXPAND, None).await;
    let store = scene.store_of(&job).await;
    let session = store.begin(BeginMode::ResumeOrNew, new_run(phase::EXPAND)).await.unwrap();
    tokio::spawn(async move { job.work(&store, &session).await.unwrap() })
}

async fn live(scene: &Scene, one: &Item, name: &str, value: &str) {
    let update = scene.harness.client().update_item().table_name(&scene.table).update_expression("SET #name = :value");
    let update = update.set_key(Some(to_sdk(key_of(one).attributes()))).expression_attribute_names("#name", name);
    update.expression_attribute_values(":value", value_to_sdk(&s(value))).send().await.unwrap();
}

async fn now(scene: &Scene, one: &Item) -> Item {
    scene.harness.dump(&scene.table).await.remove(&key_of(one).to_text()).unwrap()
}

fn new() -> Path {
    Path::attribute("new")
}

/// The value of a late write belongs to the migration: it does not count as preexisting, a repair refreshes it, and a
/// rollback removes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_write_is_not_a_preexisting_value() {
    let killed = KilledRun::at_first_write(item(0, &[("old", s("first"))]), SKIP, MOVE).await;
    killed
        .resume(async |killed| {
            assert!(killed.deliver().await);
            killed.live("old", "later").await;
        })
        .await;
    let record = killed.record().await;
    let there = s("first");
    assert_eq!(now(&killed.scene, &killed.one).await["new"], there);
    assert!(!record.is_preexisting(&new()), "the killed process wrote it");
    assert!(record.is_own_value(&new(), &there));
    assert_eq!(killed.roll_back().await, item(0, &[("old", s("later"))]));
}

/// A late write never copies an unrecorded value, because the write's condition requires that the source still has the
/// value that was read.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_write_copies_only_the_value_that_it_read() {
    let killed = KilledRun::at_first_write(item(0, &[("old", s("first"))]), SKIP, MOVE).await;
    killed.live("old", "second").await;
    killed
        .resume(async |killed| {
            killed.deliver().await;
            killed.live("old", "later").await;
        })
        .await;
    let record = killed.record().await;
    let item_now = now(&killed.scene, &killed.one).await;
    assert!(!record.is_preexisting(&new()), "{item_now:?}");
    assert!(record.is_own_value(&new(), &item_now["new"]), "{item_now:?}");
    assert_eq!(killed.roll_back().await, item(0, &[("old", s("later"))]));
}

/// A live writer's value stays, even if a killed process could have written the same attribute.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_value_after_a_killed_write_is_kept() {
    let theirs = item(0, &[("old", s("first")), ("new", s("theirs"))]);
    for between in [false, true] {
        let killed = KilledRun::at_first_write(item(0, &[("old", s("first"))]), SKIP, MOVE).await;
        let ended = if between {
            killed.resume(async |killed| killed.live("new", "theirs").await).await
        } else {
            killed.live("new", "theirs").await;
            killed.scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await.0
        };
        assert_eq!(ended.totals.counts.of(Outcome::Skipped), 1, "{between}");
        assert!(!killed.deliver().await, "the late write must fail, because the target has a value");
        assert!(
            killed.record().await.is_preexisting_value(&new(), &s("theirs")),
            "{between}: the value counts as preexisting"
        );
        assert_eq!(killed.roll_back().await, theirs, "{between}");
    }
}

/// A live writer's value also stays if no process was killed, but a reply was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_value_after_a_lost_reply_is_kept() {
    let one = item(0, &[("old", s("first"))]);
    let scene = Scene::new(vec![one.clone()], SKIP, MOVE).await;
    // The tool does not know whether the first attempt was applied.
    let gate = RequestGate::closed();
    let mut sent = sent_writes(&scene, vec![Fault::Reset, Fault::Hold(gate.clone())]);
    let working = start(&scene).await;
    sent.recv().await.unwrap();
    sent.recv().await.unwrap();
    live(&scene, &one, "new", "theirs").await;
    gate.open();
    assert_eq!(working.await.unwrap().totals.counts.of(Outcome::Skipped), 1);
    scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    assert_eq!(now(&scene, &one).await, item(0, &[("old", s("first")), ("new", s("theirs"))]));
}

/// A source attribute appears in an item while a write for another change of this item is in flight. The tool makes a
/// new plan for the write, which also copies the new source attribute. The baseline contains no record of this source
/// and its target.
#[tokio::test(flavor = "multi_thread")]
async fn a_replanned_copy_is_not_a_preexisting_value() {
    let one = item(0, &[]);
    for migration in ["", SKIP] {
        let changes = format!("{MOVE}[[change]]\nset = \"marker\"\nvalue = 2\n");
        let scene = Scene::new(vec![one.clone()], migration, &changes).await;
        let gate = RequestGate::closed();
        let faults = [vec![Fault::Hold(gate.clone()), Fault::DropReply], vec![Fault::Reset; 100]].concat();
        let mut sent = sent_writes(&scene, faults);
        let working = start(&scene).await;
        sent.recv().await.unwrap();
        live(&scene, &one, "old", "first").await;
        gate.open();
        sent.recv().await.unwrap();
        let applied = async {
            while !now(&scene, &one).await.contains_key("new") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, applied).await.expect("the write is applied");
        working.abort();
        let _ = working.await;
        live(&scene, &one, "old", "later").await;
        scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
        scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
        assert_eq!(now(&scene, &one).await, item(0, &[("old", s("later"))]), "{migration}");
    }
}

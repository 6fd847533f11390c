//! Tests every kind of guarded write on values of every type. In some tests, a live writer has changed the item since
//! the tool read it.

use backfill::internals::change::OnExisting::Keep;
use backfill::internals::change::Strategy::{ExpandContract, InPlace};
use backfill::internals::change::{Action, Condition, Decision, GuardedWrite};
use backfill::internals::dynamodb::memory::rules::{WriteEffect, effect};
use backfill::internals::dynamodb::{Sink, TableError, WriteReply};
use backfill::internals::item::{Item, KeyAttribute, KeySchema, Path};
use futures::StreamExt as _;
use serde_json::{Value as Json, json};

use super::cases::{Case, cases, copy, lists_and_maps, mv, scalars_and_sets, set};
use super::{Table, item, sdk_table, table};
use crate::harness::capabilities::{Capability, Engine};
use crate::harness::{Harness, bytes_of, key_of, to_sdk};

/// Number of concurrent requests in one test.
const CONCURRENCY: usize = 16;

/// The expected effect of a guarded write in DynamoDB. Returns the image after the write, or `None` if a condition
/// fails. The in-memory table uses the same rules, so this test also checks these rules on every engine.
fn model(write: &GuardedWrite, image: &Item) -> Option<Item> {
    let attribute = |name: &str| KeyAttribute { name: name.into(), kind: "S".into() };
    let key = KeySchema { partition: attribute("pk"), sort: Some(attribute("sk")) };
    match effect(write, Some(image), &key, &[]) {
        WriteEffect::Applied(after) => {
            // The tool never removes an attribute that does not exist.
            let removed = |action: &Action| matches!(action, Action::Remove { path } if path.get(image).is_none());
            assert!(!write.actions.iter().any(removed), "{write:?}");
            after
        }
        WriteEffect::ConditionFailed => None,
        WriteEffect::Rejected(why) => panic!("{why}: {write:?}"),
    }
}

/// A table on the server. Tests write to the table with a separate client.
struct Server<'a> {
    harness: &'a Harness,
    name: String,
    table: Table,
}

impl<'a> Server<'a> {
    async fn new(harness: &'a Harness) -> Server<'a> {
        let name = harness.create_table().await;
        let table = table(harness, &name).await;
        Server { harness, name, table }
    }

    /// A table that the lean client accesses, regardless of the environment.
    async fn lean(harness: &'a Harness) -> Server<'a> {
        let name = harness.create_table().await;
        let table = Table::lean(sdk_table(harness, &name).await).await;
        Server { harness, name, table }
    }

    /// A table to which every write goes in a batch of statements, regardless of the environment.
    async fn batch(harness: &'a Harness) -> Server<'a> {
        let name = harness.create_table().await;
        let table = Table::batch(harness, sdk_table(harness, &name).await, &name).await;
        Server { harness, name, table }
    }

    async fn put(&self, item: &Item) {
        self.harness.client().put_item().table_name(&self.name).set_item(Some(to_sdk(item))).send().await.unwrap();
    }

    async fn delete(&self, item: &Item) {
        let key = to_sdk(key_of(item).attributes());
        self.harness.client().delete_item().table_name(&self.name).set_key(Some(key)).send().await.unwrap();
    }

    /// Returns the expected effect on this table of a write that was planned from `image`. In a batch, a write requires
    /// that copied and compared values have not changed.
    fn model(&self, write: &GuardedWrite, image: &Item, raced: &Item) -> Option<Item> {
        let has_changed = |path: &Path| path.get(image) != path.get(raced);
        let copied =
            write.actions.iter().any(|action| matches!(action, Action::SetFrom { from, .. } if has_changed(from)));
        let compared = write.conditions.iter().any(
            |condition| matches!(condition, Condition::PathsEqual(one, other) if has_changed(one) || has_changed(other)),
        );
        let pins = matches!(&self.table, Table::Batch(batched) if batched.batch.can_share_request(write));
        if pins && (copied || compared) { None } else { model(write, raced) }
    }

    async fn get(&self, item: &Item) -> Option<Item> {
        let got = self.table.get(&key_of(item)).await.unwrap();
        assert!(got.units.is_some_and(|units| units > 0.0), "a get reports its consumption");
        got.item
    }

    async fn send(&self, write: &GuardedWrite) -> Result<WriteReply, TableError> {
        let mut replies = self.table.write(&[write]).await;
        assert_eq!(replies.len(), 1);
        replies.remove(0)
    }

    /// Sends a write whose condition must fail. Checks that the item still equals `image`. If the reply contains an
    /// image, this image must equal `image` too.
    async fn assert_condition_fails(&self, what: &str, write: &GuardedWrite, image: Option<&Item>) {
        let reply = self.send(write).await;
        let Ok(WriteReply::ConditionFailed { image: returned }) = reply else { panic!("{what}: {reply:?}") };
        let text = |item: Option<&Item>| item.map(bytes_of);
        let there = self.get(write.key.attributes()).await;
        assert_eq!(text(there.as_ref()), text(image), "{what}: a failed condition changed the item");
        assert_eq!(text(returned.or(there).as_ref()), text(image), "{what}: the image in the reply");
    }

    /// Sends a write three times: to the unchanged item, to the changed item, and after the item was deleted.
    async fn apply(&self, case: &Case, pk: &str) {
        let what = case.what;
        let before = item(pk, &case.before);
        let after = item(pk, &case.after);
        self.put(&before).await;
        let image = self.get(&before).await.unwrap();
        assert_eq!(bytes_of(&image), bytes_of(&before), "{what}: a read returns the item as it was put");
        let write = case.write(&image);
        let reply = self.send(&write).await;
        assert!(
            matches!(reply, Ok(WriteReply::Applied { consumed: Some(ref consumed), .. }) if consumed.total() >= 1.0),
            "{what}: {reply:?}"
        );
        let now = self.get(&before).await.unwrap();
        assert_eq!(bytes_of(&now), bytes_of(&after), "{what}");
        let again = case.changes().decide(&now);
        assert!(matches!(again, Decision::AlreadyApplied | Decision::NothingToDo), "{what}: {again:?}");
        self.assert_condition_fails(what, &write, Some(&after)).await;
        self.delete(&before).await;
        self.assert_condition_fails(what, &write, None).await;
    }

    /// Sends a write to an item that a live writer has changed since the write was planned.
    async fn race(&self, case: &Case, image: &Item, raced: &Item) {
        let write = case.write(image);
        let what = format!("{} on {}", case.what, bytes_of(raced));
        self.put(raced).await;
        let Some(after) = self.model(&write, image, raced) else {
            return self.assert_condition_fails(&what, &write, Some(raced)).await;
        };
        let reply = self.send(&write).await;
        assert!(matches!(reply, Ok(WriteReply::Applied { .. })), "{what}: {reply:?}");
        let now = self.get(raced).await;
        assert_eq!(now.as_ref().map(bytes_of), Some(bytes_of(&after)), "{what}");
    }
}

/// For each type, each kind of write produces exactly the expected image. A second decision then finds nothing to do.
/// If the same write is sent a second time, as after a lost reply, its condition fails. A deleted item stays deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_has_exactly_the_planned_effect_and_only_once() {
    let harness = Harness::start();
    every_write(&Server::new(&harness).await, scalars_and_sets()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_of_lists_and_maps_has_exactly_the_planned_effect() {
    let harness = Harness::start();
    every_write(&Server::new(&harness).await, lists_and_maps()).await;
}

/// The lean client sends the same writes. One type of each kind is enough here, because `BACKFILL_TEST_CLIENT=lean`
/// runs all these tests on the lean client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_of_the_lean_client_has_exactly_the_planned_effect() {
    let harness = Harness::start();
    let values = scalars_and_sets();
    every_write(&Server::lean(&harness).await, vec![values[0].clone(), values[6].clone()]).await;
}

/// Batches of statements have the same effects on values of every type. `BACKFILL_TEST_TRANSPORT=batch` runs all these
/// tests with batches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_in_a_batch_has_exactly_the_planned_effect() {
    if !Engine::current().has(Capability::PartiQl) {
        return;
    }
    let harness = Harness::start();
    let server = Server::batch(&harness).await;
    every_write(&server, scalars_and_sets().into_iter().chain(lists_and_maps()).collect()).await;
    let tally = harness.proxy().tally();
    let (batches, updates) =
        (tally.operation("BatchExecuteStatement").requests, tally.operation("UpdateItem").requests);
    // One kind of write has names that no statement contains.
    assert!(batches > 100 && batches > 8 * updates, "{batches} batches, {updates} updates");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_race_in_a_batch_fails_its_condition_or_applies() {
    if !Engine::current().has(Capability::PartiQl) {
        return;
    }
    let harness = Harness::start();
    let server = Server::batch(&harness).await;
    every_race_on(&server, &[&scalars_and_sets()[1], &lists_and_maps()[1]]).await;
}

async fn every_write(server: &Server<'_>, values: Vec<(Json, Json)>) {
    let all = values
        .into_iter()
        .enumerate()
        .flat_map(|(n, (a, b))| cases(&a, &b).into_iter().enumerate().map(move |(m, case)| (format!("{n}-{m}"), case)));
    futures::stream::iter(all)
        .for_each_concurrent(CONCURRENCY, |(pk, case)| async move { server.apply(&case, &pk).await })
        .await;
}

/// If the item was changed after the read, only two results are allowed: the condition of the write fails, or the write
/// changes the item as the model says. The server never returns a different error. One scalar type and one set type are
/// enough for this test, because conditions treat all scalar types alike and all set types alike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_race_fails_its_condition_or_applies_to_the_current_item() {
    let values = scalars_and_sets();
    every_race(&[&values[0], &values[6]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_race_for_a_document_fails_its_condition_or_applies() {
    every_race(&[&lists_and_maps()[1]]).await;
}

async fn every_race(values: &[&(Json, Json)]) {
    let harness = Harness::start();
    every_race_on(&Server::new(&harness).await, values).await;
}

async fn every_race_on(server: &Server<'_>, values: &[&(Json, Json)]) {
    let mut races = Vec::new();
    for (n, (a, b)) in values.iter().enumerate() {
        for (m, case) in cases(a, b).into_iter().enumerate() {
            let case = std::sync::Arc::new(case);
            let count = case.raced_images(&item("x", &case.before), a, b).len();
            for i in 0..count {
                let pk = format!("{n}-{m}-{i}");
                let image = item(&pk, &case.before);
                let raced = case.raced_images(&image, a, b).swap_remove(i);
                races.push((case.clone(), image, raced));
            }
        }
    }
    let failing =
        races.iter().filter(|(case, image, raced)| server.model(&case.write(image), image, raced).is_none()).count();
    let each = |count: usize| count / values.len();
    assert!(each(failing) > 100 && each(races.len() - failing) > 10, "{failing} of {} races fail", races.len());
    futures::stream::iter(races)
        .for_each_concurrent(
            CONCURRENCY,
            |(case, image, raced)| async move { server.race(&case, &image, &raced).await },
        )
        .await;
}

/// DynamoDB treats some values with different texts as equal. The tool and the server agree about these values.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_compares_as_the_tool_does() {
    check_equal([
        (json!({"N": "1.0"}), json!({"N": "1"})),
        (json!({"N": "1E+2"}), json!({"N": "100"})),
        (json!({"SS": ["b", "a"]}), json!({"SS": ["a", "b"]})),
        (json!({"NS": ["2", "1.0"]}), json!({"NS": ["1", "2"]})),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_compares_lists_and_maps_as_the_tool_does() {
    check_equal([(
        json!({"M": {"x": {"N": "10.0"}, "y": {"L": [{"N": "1"}]}}}),
        json!({"M": {"y": {"L": [{"N": "1.0"}]}, "x": {"N": "10"}}}),
    )])
    .await;
}

async fn check_equal(pairs: impl IntoIterator<Item = (Json, Json)>) {
    let harness = Harness::start();
    let server = Server::new(&harness).await;
    for (n, (old, new)) in pairs.into_iter().enumerate() {
        let case = Case {
            what: "equal values",
            plan: vec![mv("old", "new")],
            strategy: InPlace,
            on_existing: Keep,
            before: json!({"old": old, "new": new}),
            after: json!({"new": new}),
        };
        let before = item(&n.to_string(), &case.before);
        server.put(&before).await;
        let image = server.get(&before).await.unwrap();
        let reply = server.send(&case.write(&image)).await;
        assert!(matches!(reply, Ok(WriteReply::Applied { .. })), "{old} {new}: {reply:?}");
        let now = server.get(&before).await.unwrap();
        assert_eq!(now.keys().collect::<Vec<_>>(), ["new", "pk", "sk"]);
        assert_eq!(now["new"], before["new"]);
    }
}

/// If a write would make an item exceed the size limit, only this item fails, and it stays unchanged. The test covers
/// every way in which an item can grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_item_that_would_exceed_400_kb_is_rejected() {
    let harness = Harness::start();
    let server = Server::new(&harness).await;
    let large = json!({"S": "x".repeat(210 * 1024)});
    let growing = [
        (vec![copy("old", "new")], json!({"old": large})),
        (vec![copy("old", "doc.new")], json!({"old": large})),
        (vec![set("v", &large)], json!({"old": large})),
    ];
    for (n, (plan, before)) in growing.into_iter().enumerate() {
        let case = Case {
            what: "too large",
            plan,
            strategy: ExpandContract,
            on_existing: Keep,
            after: before.clone(),
            before,
        };
        let before = item(&n.to_string(), &case.before);
        server.put(&before).await;
        let reply = server.send(&case.write(&before)).await;
        assert!(matches!(&reply, Err(TableError::Rejected { message }) if !message.contains("xxx")), "{reply:?}");
        assert_eq!(server.get(&before).await, Some(before));
    }
}

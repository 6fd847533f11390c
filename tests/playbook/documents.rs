//! Tests nested attributes, and attributes whose names an expression cannot contain. The real binary moves such
//! attributes, and a rollback restores them byte for byte.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, BillingMode};
use backfill::internals::item::{Item, KeyAttribute, Value};

use crate::harness::tool::secret;
use crate::harness::{Harness, bytes_of, definition, from_sdk, key_elements};
use crate::scene::{NAME, QUICKLY, Scene};

/// The names of the table's key attributes.
const KEY: [&str; 2] = ["p k", "s#k"];

/// The plan's moves. Each one has the path of the enclosing document, the old name, and the new name.
const MOVES: [(&[&str], &str, &str); 14] = [
    (&["payload", "location"], "namespace", "bucket"),
    (&["payload", "location"], "path", "key"),
    (&[], "status#createdAt", "status#updatedAt"),
    (&[], "__typename", "type"),
    (&[], "name", "value"),
    (&["a.b"], "c.d", "x.y"),
    (&[], "😀", "😃"),
    (&[], "quote\"s", "double\"q"),
    (&[], "it's", "its"),
    (&[], ":v", ":w"),
    (&[], "[0]", "[1]"),
    (&[], " lead", "lead"),
    (&[], "0num", "1num"),
    (&[], "back\\slash", "for/ward"),
];

/// Returns a path in the form that a plan uses, with each name in quotes.
fn quoted_path(document: &[&str], name: &str) -> String {
    let quoted = |name: &&str| format!("\"{}\"", name.replace('"', "\"\""));
    let path: Vec<String> = document.iter().chain([&name]).map(quoted).collect();
    format!("'''{}'''", path.join("."))
}

fn plan() -> String {
    let change = |(document, old, new): &(&[&str], &str, &str)| {
        format!("[[change]]\nmove = {}\nto = {}\n", quoted_path(document, old), quoted_path(document, new))
    };
    MOVES.iter().map(change).collect()
}

fn map<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::M(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Returns an object with attributes under the old names.
fn location(n: usize) -> Value {
    map([("namespace", secret("a")), ("path", secret(n)), ("type", secret("ObjectLocation"))])
}

/// Returns an item with this payload, and with attributes whose names resemble those of the attributes that move.
fn one(pk: &str, payload: Option<Value>) -> Item {
    let mut one: Item = MOVES
        .iter()
        .filter(|(document, ..)| document.is_empty())
        .map(|(_, old, _)| ((*old).to_owned(), secret(old)))
        .collect();
    one.extend(KEY.map(|name| (name.to_owned(), Value::S(pk.to_owned()))));
    let neighbours = [("tab\t", secret("tab")), ("aws:rep:updateregion", secret("us-east-1"))];
    one.extend(neighbours.map(|(name, value)| (name.to_owned(), value)));
    one.insert("L".repeat(255), secret("long"));
    one.insert("a.b".to_owned(), map([("c.d", secret("q")), ("e\u{301}", secret("u")), ("c", map([]))]));
    // Without quotes around a name with dots, the path would refer to this value.
    one.insert("a".to_owned(), map([("b", map([("c", map([("d", secret("elsewhere"))]))]))]));
    one.extend(payload.map(|payload| ("payload".to_owned(), payload)));
    one
}

/// Returns items with every shape of the document: with the old names, with the new names, with neither, and without
/// the enclosing document.
fn items() -> Vec<Item> {
    let old = |n: usize| map([("location", location(n)), ("replicas", Value::L(vec![location(n), location(n + 1)]))]);
    let mut items: Vec<Item> = (0..24).map(|n| one(&format!("{n:03}"), Some(old(n)))).collect();
    let new = map([("location", map([("bucket", secret("b")), ("key", secret("k"))])), ("replicas", Value::L(vec![]))]);
    items.extend((0..6).map(|n| one(&format!("new {n}"), Some(new.clone()))));
    items.extend([("empty", Some(map([]))), ("none", None), ("text", Some(secret("raw")))].map(|(pk, p)| one(pk, p)));
    items
}

/// Returns the item that the plan implies, computed without the tool's own code.
fn moved(mut item: Item, removes_old: bool) -> Item {
    for (document, old, new) in MOVES {
        let inside = document.iter().try_fold(&mut item, |inside, name| match inside.get_mut(*name) {
            Some(Value::M(members)) => Some(members),
            _ => None,
        });
        let Some(inside) = inside else { continue };
        let value = if removes_old { inside.remove(old) } else { inside.get(old).cloned() };
        inside.extend(value.map(|value| (new.to_owned(), value)));
    }
    item
}

/// Creates a scenario. Returns it with the items of its table.
async fn scene(strategy: &str) -> (Scene, BTreeMap<String, Item>) {
    let harness = Harness::start();
    let table = format!("documents_{}", fastrand::u32(..));
    let key = KEY.map(|name| KeyAttribute { name: name.into(), kind: "S".into() });
    let create = harness.client().create_table().table_name(&table).billing_mode(BillingMode::PayPerRequest);
    let create = create.set_key_schema(Some(key_elements(&key)));
    create.set_attribute_definitions(Some(key.iter().map(definition).collect())).send().await.unwrap();
    harness.wait_until_active(&table).await;
    harness.load(&table, items().into_iter()).await;
    let rest = format!("{}{QUICKLY}[cutover]\nsoak = \"0s\"\n", plan());
    let path = harness.plan(NAME, &table, strategy, &rest);
    let scene = Scene { harness, table, flags: String::new(), plan: path };
    let before = items_of(&scene).await;
    assert_eq!(before.len(), 33);
    (scene, before)
}

async fn items_of(scene: &Scene) -> BTreeMap<String, Item> {
    let page = scene.harness.client().scan().table_name(&scene.table).consistent_read(true).send().await.unwrap();
    let pk = |item: &HashMap<String, AttributeValue>| item[KEY[0]].as_s().unwrap().clone();
    page.items.unwrap().into_iter().map(|item| (pk(&item), from_sdk(item))).collect()
}

async fn assert_are(scene: &Scene, expected: BTreeMap<String, Item>, when: &str) {
    let bytes = |items: BTreeMap<String, Item>| -> BTreeMap<String, String> {
        items.into_iter().map(|(pk, item)| (pk, bytes_of(&item))).collect()
    };
    assert_eq!(bytes(items_of(scene).await), bytes(expected), "{when}");
}

fn all_moved(before: &BTreeMap<String, Item>, removes_old: bool) -> BTreeMap<String, Item> {
    before.iter().map(|(pk, item)| (pk.clone(), moved(item.clone(), removes_old))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_name_moves_in_place_and_back() {
    let (scene, before) = scene("strategy = \"in-place\"").await;
    let dry = scene.run_ok("run --dry-run --output json").await.json();
    assert_eq!(dry["would_change"], 33, "{dry:#}");
    let ran = scene.run_ok("run --yes --output json").await.json();
    assert_eq!(ran["totals"]["counts"]["applied"], 33, "{ran:#}");
    assert_are(&scene, all_moved(&before, true), "run").await;
    scene.run_ok("verify --all").await;
    scene.run_ok("rollback --yes").await;
    assert_are(&scene, before, "rollback").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_name_moves_back_and_through_contract() {
    let (scene, before) = scene("").await;
    for words in ["run --yes", "verify --all"] {
        scene.run_ok(words).await;
        assert_are(&scene, all_moved(&before, false), words).await;
    }
    scene.run_ok("rollback --yes --readers-back --new-writes-stopped").await;
    assert_are(&scene, before.clone(), "rollback").await;
    for words in [
        "cutover --to dual-write --yes --dual-writes-since 2026-01-01T00:00:00Z",
        "run --yes",
        "verify --all",
        "cutover --to read-new --yes --readers-moved",
        "cutover --to write-new --yes --old-writes-stopped",
        "contract --yes",
    ] {
        // The first state file belongs to the migration that was rolled back, so use a second state file.
        scene.run_ok(&format!("{words} --state again.db")).await;
    }
    assert_are(&scene, all_moved(&before, true), "contract").await;
}

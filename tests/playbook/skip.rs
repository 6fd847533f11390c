//! Tests `on_existing = "skip"`: an existing target value counts as done in every phase of a migration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backfill::internals::item::{Item, Value};
use backfill::internals::local::Fault;
use backfill::internals::local::proxy::FaultRule;
use serde_json::Value as Json;

use crate::harness::tool::{item, secret};
use crate::harness::{Harness, bytes_of, key_of, to_sdk};
use crate::scene::{MOVE, QUICKLY, Scene};

const SKIP: &str = "on_existing = \"skip\"";

/// Returns a plan with a rename and a default value.
fn plan() -> String {
    format!("{MOVE}[[change]]\nset = \"expires\"\nvalue = \"never\"\n{QUICKLY}")
}

/// Returns items of all kinds. In each group of five items, two have only an old value, one has an old value and a
/// different new value, one has only a new value, and one has no value. Every fourth item already has a value in the
/// attribute for the default.
fn items(count: usize) -> Vec<Item> {
    let one = |n: usize| {
        let mut one = item(&format!("P#{n:03}"), "x", []);
        let mut put = |name: &str, what: &str| drop(one.insert(name.to_owned(), secret(format!("{what} {n}"))));
        match n % 5 {
            1 => {
                put("old", "old");
                put("new", "theirs");
            }
            2 => put("new", "theirs"),
            3 => {}
            _ => put("old", "old"),
        }
        if n.is_multiple_of(4) {
            put("expires", "own");
        }
        one
    };
    (0..count).map(one).collect()
}

fn bytes(items: &BTreeMap<String, Item>) -> BTreeMap<String, String> {
    items.iter().map(|(key, item)| (key.clone(), bytes_of(item))).collect()
}

/// Returns the expected item after the run.
fn expanded(mut one: Item) -> Item {
    if let (Some(old), None) = (one.get("old").cloned(), one.get("new")) {
        one.insert("new".to_owned(), old);
    }
    one.entry("expires".to_owned()).or_insert_with(|| Value::S("never".to_owned()));
    one
}

fn counts(json: &Json) -> &Json {
    &json["totals"]["counts"]
}

/// RUNBOOK: "With `on_existing = "skip"` a value that is already at the target counts as done"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_existing_value_counts_as_done_in_every_phase() {
    let scene = Scene::flagged(Harness::start(), items(100), SKIP, &plan()).await;
    let before = scene.dump().await;
    let dry = scene.run_ok("run --dry-run --output json").await.json();
    scene.run_ok("cutover --to dual-write --yes").await;
    let ran = scene.run_ok("run --yes --output json").await.json();
    for (predicted, counted) in [("would_change", "applied"), ("skipped", "skipped"), ("diverged", "diverged")] {
        assert_eq!(dry[predicted], counts(&ran)[counted], "{predicted}: {dry:#} {ran:#}");
    }
    // Three of every twenty items count as skipped. They need no write: they have their own value instead of the
    // default, and no old value to copy.
    assert_eq!((&counts(&ran)["skipped"], &counts(&ran)["diverged"]), (&15.into(), &0.into()), "{ran:#}");
    let after: BTreeMap<String, Item> = before.iter().map(|(key, one)| (key.clone(), expanded(one.clone()))).collect();
    assert_eq!(bytes(&scene.dump().await), bytes(&after));
    let status = scene.run_ok("status --output json").await.json();
    assert_eq!(status["state"]["current"]["totals"]["counts"]["skipped"], 15, "{status:#}");

    // Whichever attribute readers use, verification finds no mismatch, and repair finds nothing to do.
    for steps in [vec![], vec!["cutover --to read-new --percent 50 --yes"], vec!["cutover --to read-new --yes"]] {
        for words in steps {
            scene.run_ok(words).await;
        }
        for words in ["verify --all --output json", "verify --all --repair --yes --output json"] {
            let report = scene.run_ok(words).await.json();
            let found = ["missing", "stale", "unexpected", "repaired", "mismatches"].map(|name| &report[name]);
            assert_eq!(found, [0; 5].map(Json::from).each_ref(), "{words}: {report:#}");
            assert!(report["skipped"].as_u64() >= Some(20), "{words}: {report:#}");
        }
        assert_eq!(bytes(&scene.dump().await), bytes(&after));
    }
    scene.run_ok("cutover --to write-new --yes").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let contracted = scene.run_ok("contract --yes --output json").await.json();
    assert_eq!(counts(&contracted["runs"][0])["skipped"], 20, "{contracted:#}");
    for (key, one) in scene.dump().await {
        let mut expected = after[&key].clone();
        if expected.get("old") == expected.get("new") {
            expected.remove("old");
        }
        assert_eq!(bytes_of(&one), bytes_of(&expected), "a skipped item must keep its old value");
    }
    let report = scene.run_ok("verify --all --output json").await.json();
    assert_eq!(report["mismatches"], 0, "{report:#}");
}

/// A rollback restores the old value of a skipped item if no application wrote the item during new-only writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_from_new_only_writes_restores_skipped_items() {
    let scene = Scene::flagged(Harness::start(), items(60), SKIP, &plan()).await;
    let before = scene.dump().await;
    for words in [
        "cutover --to dual-write --yes",
        "run --yes",
        "verify --all",
        "cutover --to read-new --yes",
        "cutover --to write-new --yes",
    ] {
        scene.run_ok(words).await;
    }
    // An application writes only the new attribute of one skipped item. After the rollback, readers must find the
    // application's value.
    let mut written = before.values().find(|one| one.contains_key("old") && one.contains_key("new")).unwrap().clone();
    written.insert("new".to_owned(), secret("later"));
    scene.harness.client().put_item().table_name(&scene.table).set_item(Some(to_sdk(&written))).send().await.unwrap();
    scene.run_ok("rollback --yes").await;
    for (key, one) in scene.dump().await {
        let mut expected = before[&key].clone();
        match (expected.contains_key("old"), expected.get("new").cloned()) {
            _ if key == key_of(&written).to_text() => {
                expected = written.clone();
                expected.insert("old".to_owned(), secret("later"));
            }
            // A rollback from new-only writes copies the new value to a missing old attribute, as it does without
            // `skip`.
            (false, Some(new)) => drop(expected.insert("old".to_owned(), new)),
            _ => {}
        }
        // Compare complete items, except for the item that the application wrote.
        if key != key_of(&written).to_text() {
            assert_eq!(bytes_of(&one), bytes_of(&expected), "{key}");
        }
        assert_eq!((one.get("old"), one.get("new")), (expected.get("old"), expected.get("new")), "{key}");
    }
}

/// If a value appears between the read and the write, the run skips it, a verification accepts it, and a rollback keeps
/// it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_appears_between_read_and_write_is_skipped() {
    let one = item("P#1", "x", [("old", secret("old"))]);
    let scene = Scene::flagged(Harness::start(), vec![one.clone()], SKIP, &format!("{MOVE}{QUICKLY}")).await;
    let met = Arc::new(AtomicBool::new(false));
    let met_too = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&met);
    let rule: FaultRule = Arc::new(move |request| {
        if request.operation == "UpdateItem" && !seen.swap(true, Ordering::SeqCst) {
            return Fault::Delay(Duration::from_millis(1_500));
        }
        Fault::Pass
    });
    scene.harness.proxy().set_faults(Some(rule));
    let mut theirs = one.clone();
    theirs.insert("new".to_owned(), secret("theirs"));
    let put = async {
        while !met.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let put = scene.harness.client().put_item().table_name(&scene.table).set_item(Some(to_sdk(&theirs)));
        put.send().await.unwrap();
        met_too.store(true, Ordering::SeqCst);
    };
    let (ran, ()) = tokio::join!(scene.run_ok("run --yes --output json"), put);
    scene.harness.proxy().set_faults(None);
    assert!(met_too.load(Ordering::SeqCst));
    assert_eq!(counts(&ran.json())["skipped"], 1, "{}", ran.stdout);
    scene.run_ok("cutover --to dual-write --yes").await;
    let report = scene.run_ok("verify --all --repair --yes --output json").await.json();
    assert_eq!((&report["skipped"], &report["repaired"]), (&1.into(), &0.into()), "{report:#}");
    scene.run_ok("rollback --yes").await;
    assert_eq!(bytes_of(&scene.dump().await[&key_of(&one).to_text()]), bytes_of(&theirs));
}

/// A copy that has become stale is not a preexisting value, so verification finds it, and the repair refreshes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_copy_is_not_skipped() {
    let one = |n: usize| item(&format!("P#{n}"), "x", [("old", secret(n))]);
    let scene = Scene::flagged(Harness::start(), (0..6).map(one).collect(), SKIP, &format!("{MOVE}{QUICKLY}")).await;
    scene.run_ok("run --yes").await;
    let put =
        |item: Item| scene.harness.client().put_item().table_name(&scene.table).set_item(Some(to_sdk(&item))).send();
    // Before dual writes, an application changes only the old value of one item, and only the new value of a second
    // item.
    put(item("P#1", "x", [("old", secret("later")), ("new", secret(1))])).await.unwrap();
    put(item("P#2", "x", [("old", secret(2)), ("new", secret("theirs"))])).await.unwrap();
    scene.run_ok("cutover --to dual-write --yes").await;
    let report = scene.run_command("verify --all --output json").await.exits(5).json();
    assert_eq!((&report["stale"], &report["skipped"]), (&2.into(), &0.into()), "{report:#}");
    let report = scene.run_command("verify --all --repair --yes --output json").await.exits(5).json();
    assert_eq!((&report["repaired"], &report["mismatches"]), (&1.into(), &1.into()), "{report:#}");
    let left = report["examples"].as_array().unwrap().iter().find(|example| example["repaired"] == false).unwrap();
    assert_eq!(left["key"]["pk"]["S"], "P#2", "{report:#}");
    let items = scene.dump().await;
    assert_eq!(items[&key_of(&one(1)).to_text()].get("new"), Some(&secret("later")));
    assert_eq!(
        items[&key_of(&one(2)).to_text()].get("new"),
        Some(&secret("theirs")),
        "the repair must not overwrite the application's value"
    );
}

//! Checks byte for byte how the commands change a quiet table, which is a table without other writers.
//! tests/table/estimate.rs checks that the predictions of a dry run equal the counts of a run.

use std::collections::{BTreeMap, BTreeSet};

use backfill::internals::item::{Item, Num, Value};
use backfill::internals::state::sqlite::StateFile;
use backfill::internals::state::{Cursor, ListQuery};
use serde_json::Value as Json;

use crate::harness::tool::{item, secret};
use crate::harness::{Harness, bytes_of, key_of, to_sdk};
use crate::scene::{MOVE, QUICKLY, Scene};

/// A plan with every kind of change, including a nested source, a target whose parent map is missing, and a name that
/// needs quotes.
pub(crate) const EVERY_KIND: &str = "[[change]]\nmove = \"old\"\nto = \"new\"\n[[change]]\ncopy = \"doc.x\"\n\
    to = 'made.inner.\"zip code\"'\n[[change]]\nset = \"marker\"\nvalue = 2\n[[change]]\nset = \"made.version\"\n\
    value = \"v1\"\n[[change]]\nremove = \"legacy\"\n";

/// Returns items of every shape that matters to the plan [`EVERY_KIND`]. Targets are missing, equal their source,
/// differ from their source, or exist without a source. Some items have neither the source nor the target. The values
/// have every type.
pub(crate) fn every_shape(count: usize) -> Vec<Item> {
    let number = |n: usize| Value::N(Num::parse(&n.to_string()).unwrap());
    let map = |members: Vec<(&str, Value)>| Value::M(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
    let values = [
        secret("text"),
        Value::N(Num::parse("3.140").unwrap()),
        Value::Bool(true),
        Value::Null,
        Value::Ss(vec!["a".into(), "b".into()]),
        Value::L(vec![number(1), map(vec![("k", secret(""))])]),
        map(vec![("deep", map(vec![("er", Value::B(vec![0, 255]))]))]),
    ];
    let of = |n: usize| {
        let mut one = item(&format!("p{}", n % 23), &format!("{n:05}"), []);
        let mut put = |name: &str, value: Value| drop(one.insert(name.to_owned(), value));
        let value = values[n % values.len()].clone();
        let other = values[(n + 1) % values.len()].clone();
        match n % 8 {
            0..=3 => put("old", value),
            4 => {
                put("old", value.clone());
                put("new", value);
            }
            5 => {
                put("old", value);
                put("new", other);
            }
            6 => put("new", value),
            _ => {}
        }
        match n % 5 {
            0 | 1 => put("doc", map(vec![("x", number(n)), ("y", secret("stays"))])),
            2 => {
                put("doc", map(vec![("x", number(n))]));
                put("made", map(vec![]));
            }
            3 => {
                put("doc", map(vec![("x", number(1))]));
                put("made", map(vec![("inner", map(vec![("zip code", number(1))]))]));
            }
            _ => {}
        }
        match n % 3 {
            1 => put("marker", number(2)),
            2 => put("marker", secret(n)),
            _ => {}
        }
        if n % 7 < 4 {
            put("legacy", secret(format!("fax {n}")));
        }
        one
    };
    (0..count).map(of).collect()
}

async fn bytes(scene: &Scene) -> BTreeMap<String, String> {
    scene.dump().await.into_iter().map(|(key, item)| (key, bytes_of(&item))).collect()
}

/// A rollback of every kind of change restores a quiet table byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_of_every_kind_of_change_restores_the_table() {
    for migration in [
        "",
        "on_existing = \"overwrite\"",
        "strategy = \"in-place\"",
        "strategy = \"in-place\"\non_existing = \"overwrite\"",
        "on_existing = \"skip\"",
        "strategy = \"in-place\"\non_existing = \"skip\"",
    ] {
        let rest = format!("{EVERY_KIND}{QUICKLY}");
        let scene = match migration.contains("in-place") {
            true => Scene::unflagged(Harness::start(), every_shape(300), migration, &rest).await,
            false => Scene::flagged(Harness::start(), every_shape(300), migration, &rest).await,
        };
        run_and_roll_back(&scene, migration, &["run --yes"]).await;
    }
}

/// If the plan has a flag, a rollback during dual writes also restores the table. The tool cannot distinguish values
/// that were equal before the migration from values that dual writes made equal. So in this test, no item has equal
/// values before the migration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_during_dual_writes_restores_the_table() {
    for migration in ["", "on_existing = \"overwrite\"", "on_existing = \"skip\""] {
        let mut items = every_shape(300);
        for item in &mut items {
            item.remove("made");
            if item.get("old") == item.get("new") {
                item.remove("new");
            }
        }
        let scene = Scene::flagged(Harness::start(), items, migration, &format!("{EVERY_KIND}{QUICKLY}")).await;
        run_and_roll_back(&scene, migration, &["cutover --to dual-write --yes", "run --yes"]).await;
    }
}

/// Runs these commands and then `rollback`.
async fn run_and_roll_back(scene: &Scene, migration: &str, commands: &[&str]) {
    let before = bytes(scene).await;
    for words in commands {
        let ran = scene.run_command(words).await;
        let diverged = words.starts_with("run") && !migration.contains("on_existing");
        assert_eq!(ran.code, if diverged { 5 } else { 0 }, "{migration}: {words}: {}", ran.messages());
    }
    let changed = bytes(scene).await.iter().filter(|(key, item)| before[*key] != **item).count();
    assert!(changed > 150, "{migration}: {changed}");
    let changed_table = bytes(scene).await;
    let dry = scene.run_ok("rollback --dry-run --output json").await.json();
    assert_eq!(bytes(scene).await, changed_table, "{migration}: a dry run");
    let ran = scene.run_ok("rollback --yes --output json").await.json();
    assert_as_predicted(&dry, &ran);
    let now = bytes(scene).await;
    let wrong: Vec<_> = before.iter().filter(|(key, item)| now.get(*key) != Some(item)).collect();
    let first = wrong.first().map(|(key, item)| (item, now.get(*key)));
    assert!(wrong.is_empty() && now.len() == before.len(), "{migration}: {} differ: {first:?}", wrong.len());
    // The rollback is complete, so a rerun has nothing to do.
    scene.run_ok("rollback --yes").await;
    assert_eq!(bytes(scene).await, before);
}

/// Checks that a run's counts equal the dry run's prediction. This must be true on a quiet table.
fn assert_as_predicted(dry: &Json, ran: &Json) {
    let totals = &ran["runs"].as_array().unwrap().last().unwrap()["totals"]["counts"];
    for (predicted, counted) in [
        ("would_change", "applied"),
        ("nothing_to_do", "nothing_to_do"),
        ("skipped", "skipped"),
        ("diverged", "diverged"),
        ("rejected", "rejected"),
        ("not_computable", "not_computable"),
    ] {
        let predicted = &dry[predicted];
        let counted = &totals[counted];
        assert!(predicted.is_u64() && predicted == counted, "{predicted} {counted}: {dry:#} {ran:#}");
    }
    assert!(totals["applied"].as_u64() > Some(100), "{totals}");
}

/// `contract` removes an old attribute if and only if this is safe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_removes_an_old_value_exactly_if_this_is_safe() {
    let plan =
        format!("{MOVE}[[change]]\ncopy = \"kept\"\nto = \"copied\"\n[[change]]\nremove = \"legacy\"\n{QUICKLY}");
    let one = |n: usize, attributes: &[(&str, &str)]| {
        let mut one = item(&format!("p{n}"), "x", []);
        one.extend(attributes.iter().map(|(name, text)| ((*name).to_owned(), secret(text))));
        one
    };
    let first = |n: usize| match n % 4 {
        0 => one(n, &[("old", "x"), ("kept", "k")]),
        1 => one(n, &[("old", "x"), ("legacy", "fax")]),
        2 => one(n, &[("kept", "k")]),
        _ => one(n, &[("old", "x")]),
    };
    let scene = Scene::flagged(Harness::start(), (0..200).map(first).collect(), "", &plan).await;
    for words in [
        "cutover --to dual-write --yes",
        "run --yes",
        "verify --all",
        "cutover --to read-new --yes",
        "cutover --to write-new --yes",
    ] {
        scene.run_ok(words).await;
    }
    // The application writes a newer value to the new attribute of some items. A writer that ignores the flag adds
    // items with only an old value.
    let later = (3..200).step_by(8).map(|n| one(n, &[("old", "x"), ("new", "later")]));
    let old_alone = (200..210).map(|n| one(n, &[("old", "late")]));
    for item in later.chain(old_alone) {
        let put = scene.harness.client().put_item().table_name(&scene.table);
        put.set_item(Some(to_sdk(&item))).send().await.unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let before = bytes(&scene).await;
    let dry = scene.run_command("contract --dry-run --output json").await.exits(5).json();
    assert_eq!(bytes(&scene).await, before, "a dry run");
    let ran = scene.run_command("contract --yes --output json").await.exits(5).json();
    assert_as_predicted(&dry, &ran);
    let after = scene.dump().await;
    for n in 0..210 {
        let expected = match n {
            200.. => one(n, &[("old", "late")]),
            _ if n % 8 == 3 => one(n, &[("new", "later")]),
            _ if n % 4 == 0 => one(n, &[("new", "x"), ("kept", "k"), ("copied", "k")]),
            _ if n % 4 == 2 => one(n, &[("kept", "k"), ("copied", "k")]),
            _ => one(n, &[("new", "x")]),
        };
        assert_eq!(bytes_of(&after[&key_of(&expected).to_text()]), bytes_of(&expected), "{n}");
    }
    assert_eq!(after.len(), 210);
    // `contract` reports the items with only an old value. The journal contains the old values that differed from the
    // new ones, and the values that the plan removed.
    let state = StateFile::open(&scene.state_path()).unwrap();
    let all = ListQuery { run: None, open_only: true, after: Cursor::START, limit: 1000 };
    let reported: BTreeSet<String> = state.diverged(all).unwrap().iter().map(|d| d.key.to_text()).collect();
    assert_eq!(reported, (200..210).map(|n| key_of(&one(n, &[])).to_text()).collect());
    assert_eq!(scene.journal("p3").await, [secret("x")]);
    assert_eq!(scene.journal("p1").await, [secret("fax")]);
    assert_eq!(scene.journal("p7").await, Vec::<Value>::new());
}

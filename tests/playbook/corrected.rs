//! Tests a rollback from new-only writes. In some items, the rollback cannot make the old value equal to the new one.
//! It reports each of these items with the reason, and leaves the item unchanged. Once the operator has corrected these
//! items, the rollback continues.

use backfill::internals::cutover::ReadFrom;
use backfill::internals::item::{Item, Value};

use crate::harness::tool::{item, secret};
use crate::harness::{Harness, key_of, to_sdk};
use crate::scene::{MOVE, QUICKLY, Scene};

const TO_NEW_ONLY: [&str; 5] = [
    "cutover --to dual-write --yes",
    "run --yes",
    "verify --all",
    "cutover --to read-new --yes",
    "cutover --to write-new --yes",
];

async fn put(scene: &Scene, item: &Item) {
    let put = scene.harness.client().put_item().table_name(&scene.table);
    put.set_item(Some(to_sdk(item))).send().await.unwrap();
}

async fn found(scene: &Scene, item: &Item) -> Item {
    scene.dump().await[&key_of(item).to_text()].clone()
}

fn doc(members: &[(&str, Value)]) -> Value {
    Value::M(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

/// RUNBOOK: "fix them by hand, and run the same command again"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rollback_continues_after_unequal_items_are_corrected_by_hand() {
    let plan = format!(
        "[[change]]\nmove = \"doc.old\"\nto = \"new\"\n[[change]]\ncopy = \"from\"\nto = \"one\"\n[[change]]\n\
         copy = \"from\"\nto = \"two\"\n{QUICKLY}"
    );
    let old = |pk: &str| item(pk, "x", [("doc", doc(&[("old", secret("a"))])), ("from", secret("f"))]);
    let scene = Scene::flagged(Harness::start(), ["P#0", "P#1", "P#2", "P#3", "P#4"].map(old).into(), "", &plan).await;
    for words in &TO_NEW_ONLY[..4] {
        scene.run_ok(words).await;
    }
    // The plan copies one attribute to two targets. Applications can then write different values to them.
    let apart = scene.run_refused(TO_NEW_ONLY[4], "cutover --to write-new --force REASON").await;
    assert!(apart.messages().contains("`one` and `two` can differ"), "{}", apart.messages());
    scene.run_ok(&format!("{} --force none-does", TO_NEW_ONLY[4])).await;
    let large = Value::S("x".repeat(250_000));
    let new = |pk: &str, doc: Value, new: Value, two: &str| {
        let copies = [("from", secret("f")), ("one", secret("f")), ("two", secret(two))];
        let mut one = item(pk, "x", copies);
        one.extend([("doc".to_owned(), doc), ("new".to_owned(), new)]);
        one
    };
    let with_old = || doc(&[("old", secret("a"))]);
    let no_map = new("P#1", secret("text"), secret("b"), "f");
    let too_large = new("P#2", with_old(), large, "f");
    let disagree = new("P#3", with_old(), secret("b"), "g");
    let visible = new("P#4", doc(&[("old", Value::S("visible".into()))]), secret("b"), "f");
    // A writer that ignores the flag wrote only the old attribute, so this is the item's only value.
    let mut alone = new("P#5", with_old(), Value::Null, "f");
    alone.remove("new");
    for item in [&no_map, &too_large, &disagree, &visible, &alone] {
        put(&scene, item).await;
    }

    // A second rollback has the same result as the first one.
    for n in 0..2 {
        let ran = scene.run_command("rollback --yes").await.exits(4);
        for part in ["is not complete", "failures", "by hand", "1 value that this run overwrote or removed"] {
            assert!(ran.stdout.contains(part) || n > 0, "{part}: {}", ran.stdout);
        }
        let listed = scene.run_ok("failures list").await.stdout;
        for (pk, why) in [("P#1", "is of type S, not M"), ("P#2", "size"), ("P#3", "two differs from the value")] {
            let line = listed.lines().find(|line| line.contains(pk)).unwrap_or_else(|| panic!("no {pk} in {listed}"));
            assert!(line.contains(why), "{line}");
        }
        assert!(!listed.contains("P#0"), "{listed}");
        for item in [&no_map, &too_large, &disagree] {
            assert_eq!(found(&scene, item).await, *item, "the rollback must not change the item");
        }
    }
    // `--force` accepts only the failures that the tool has recorded. It has not recorded a failure for the item whose
    // copies differ.
    let ran = scene.run_refused("rollback --yes --force of-no-use", "rollback").await;
    for part in ["3 items still differ", "2 were known", "P#3"] {
        assert!(ran.messages().contains(part), "{part}: {}", ran.messages());
    }
    assert_eq!(scene.flag().await.read, ReadFrom::New);
    put(&scene, &new("P#1", doc(&[]), secret("b"), "f")).await;
    put(&scene, &new("P#2", with_old(), secret("shorter"), "f")).await;
    for _ in 0..2 {
        let ran = scene.run_refused("rollback --yes", "rollback").await;
        for part in ["1 item still differs", "P#3", "by hand"] {
            assert!(ran.messages().contains(part), "{part}: {}", ran.messages());
        }
        let listed = scene.run_ok("failures list").await.stdout;
        assert!(listed.contains("P#3") && !listed.contains("P#1") && !listed.contains("P#2"), "{listed}");
    }
    put(&scene, &new("P#3", with_old(), secret("b"), "f")).await;
    scene.run_ok("rollback --yes").await;
    let end = |pk: &str, value: &str| item(pk, "x", [("doc", doc(&[("old", secret(value))])), ("from", secret("f"))]);
    for (pk, value) in [("P#0", "a"), ("P#1", "b"), ("P#2", "shorter"), ("P#3", "b"), ("P#4", "b"), ("P#5", "a")] {
        let expected = end(pk, value);
        assert_eq!(found(&scene, &expected).await, expected);
    }
    assert_removed_values_are_listed(&scene).await;
}

/// RUNBOOK: "Or leave them as they are: `--force REASON`"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rollback_completes_without_unequal_items_when_forced() {
    let plan =
        format!("[[change]]\ncopy = \"from\"\nto = \"one\"\n[[change]]\ncopy = \"from\"\nto = \"two\"\n{QUICKLY}");
    let old = |pk: &str| item(pk, "x", [("from", secret("f"))]);
    let scene = Scene::flagged(Harness::start(), ["P#0", "P#1"].map(old).into(), "", &plan).await;
    for words in &TO_NEW_ONLY[..4] {
        scene.run_ok(words).await;
    }
    scene.run_ok("cutover --to write-new --yes --force copies-may-differ").await;
    let apart = item("P#1", "x", [("from", secret("f")), ("one", secret("b")), ("two", secret("c"))]);
    put(&scene, &apart).await;
    let ran = scene.run_command("rollback --yes").await.exits(3);
    for part in ["1 item still differs", "P#1", "by hand", "--force REASON"] {
        assert!(ran.messages().contains(part), "{part}: {}", ran.messages());
    }
    assert_eq!(found(&scene, &apart).await, apart);
    let ran = scene.run_ok("rollback --yes --force copies-of-no-use").await;
    assert!(ran.stdout.contains("The rollback is complete"), "{}", ran.stdout);
    // Readers of the old attribute find its original value. The journal contains the values of both removed copies.
    for pk in ["P#0", "P#1"] {
        assert_eq!(found(&scene, &old(pk)).await, old(pk));
    }
    let rows = scene.journal("P#1").await;
    assert!(rows.contains(&secret("b")) && rows.contains(&secret("c")), "{rows:?}");
    let listed = scene.run_ok("failures list").await.stdout;
    assert!(listed.contains("P#1"), "{listed}");
}

/// RUNBOOK: "lists its contents item by item; with `--show-values` it prints the values too"
async fn assert_removed_values_are_listed(scene: &Scene) {
    let listed = scene.run_ok("journal").await.stdout;
    // During new-only writes, the old values of these items differed from the new ones.
    for pk in ["P#2", "P#3", "P#4"] {
        let line = |line: &str| line.contains(pk) && line.contains("doc.old") && line.contains("old-equal-new");
        assert!(listed.lines().any(line), "{pk}: {listed}");
    }
    assert!(!listed.contains("P#0") && !listed.contains("visible"), "{listed}");
    let json = scene.run_ok("journal --limit 2 --output json").await.json();
    let rows = json["values"].as_array().unwrap();
    assert_eq!((rows.len(), rows[0].get("value"), &json["more"]), (2, None, &true.into()), "{json:#}");
    let run = json["values"][0]["run"].to_string();
    assert!(scene.run_ok(&format!("journal --run {run}")).await.stdout.contains("P#4"));
    // No other test prints values.
    let mut shown = scene.command("journal --show-values");
    let shown = tokio::task::spawn_blocking(move || shown.output()).await.unwrap().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.lines().any(|line| line.contains("P#4") && line.contains(r#"{"S":"visible"}"#)), "{shown}");
}

/// During new-only writes, applications change an attribute that the plan sets to a constant, and insert items without
/// this attribute. Such changes do not make old values stale.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constants_that_applications_change_do_not_block_a_rollback() {
    let plan = format!("{MOVE}[[change]]\nset = \"marker\"\nvalue = 2\n{QUICKLY}");
    let old = |pk: &str| item(pk, "x", [("old", secret("a"))]);
    let scene = Scene::flagged(Harness::start(), ["P#0", "P#1"].map(old).into(), "", &plan).await;
    for words in TO_NEW_ONLY {
        scene.run_ok(words).await;
    }
    let changed = item("P#1", "x", [("old", secret("a")), ("new", secret("b")), ("marker", secret("c"))]);
    let inserted = item("P#2", "x", [("new", secret("b"))]);
    for item in [&changed, &inserted] {
        put(&scene, item).await;
    }
    // If a live writer has changed a value since the run, the tool keeps and reports this value.
    let ran = scene.run_command("rollback --yes").await.exits(5);
    assert!(ran.stdout.contains("is complete"), "{}", ran.stdout);
    let flag = scene.flag().await;
    assert!(!flag.old_stale, "{flag:?}");
    let listed = scene.run_ok("failures list").await.stdout;
    assert!(listed.contains("P#1") && !listed.contains("P#2"), "{listed}");
    assert_eq!(found(&scene, &old("P#0")).await, old("P#0"));
    assert_eq!(found(&scene, &inserted).await, item("P#2", "x", [("old", secret("b"))]));
}

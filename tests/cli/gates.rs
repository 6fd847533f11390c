//! Tests the cutover gates from the operator's point of view: the conditions that keep a gate closed, and the
//! conditions that `--force` does not override.

use super::*;
use backfill::internals::item::Value;

const CUTOVER: &str = "[cutover]\nmax_cache_seconds = 1\nsoak = \"0s\"\n";

const DUAL_WRITES: [&str; 3] = ["dual-write", "--dual-writes-since", "2026-01-01T00:00:00Z"];

/// Returns the arguments of a `cutover` command. `step` contains the target stage and the confirmations that this stage
/// needs.
fn cutover_args<'a>(plan: &'a std::path::Path, step: &[&'a str]) -> Vec<&'a str> {
    [&["cutover", text(plan), "--yes", "--to"], step].concat()
}

/// Overwrites the `new` attribute of every item with a different value.
async fn overwrite(harness: &Harness, table: &str) {
    let items: Vec<Item> = harness.dump(table).await.into_values().collect();
    let with = |mut item: Item| {
        item.insert("new".to_owned(), Value::S("another".into()));
        item
    };
    harness.load(table, items.into_iter().map(with)).await;
}

/// If a sample contains defects, the rest of the table probably contains defects too. These remain after the defects in
/// the sample have been repaired.
/// RUNBOOK: "A mismatch that a sample found still counts after a repair"
#[tokio::test(flavor = "multi_thread")]
async fn a_repaired_sample_does_not_open_a_gate() {
    let more = format!("[scan]\nsegments = 200\n{CUTOVER}accept_sample = true\n");
    let (harness, table, plan) = setup(0, &more).await;
    harness.load(&table, (0..400).map(|n| item(&format!("P#{n}"), "x", [("old", secret(n))]))).await;
    tool(&harness, &cutover_args(&plan, &DUAL_WRITES)).exits(0);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    overwrite(&harness, &table).await;

    let sample = ["verify", text(&plan), "--sample", "100", "--repair", "--yes", "--output", "json"];
    let report = tool(&harness, &sample).exits(0).json();
    assert!(report["repaired"].as_u64().unwrap() > 0 && report["mismatches"] == 0, "{report}");
    let differing = harness.dump(&table).await.values().filter(|item| item["old"] != item["new"]).count();
    assert!((1..400).contains(&differing), "{differing}");
    let read_new = cutover_args(&plan, &["read-new", "--readers-moved"]);
    // Both the comparison before the repair and the one after it are samples. The gate uses the sample with more
    // mismatches.
    let refused = refused(&harness, 3, &read_new).says(&["a sampled verification found ", "--all --repair"]);
    let (_, found) = refused.text.split_once("verification found ").unwrap();
    let found: u64 = found.split_once(' ').unwrap().0.parse().unwrap();
    assert!(report["stale"].as_u64().unwrap() <= found && found < 400, "{found} and {report}");
    tool(&harness, &["verify", text(&plan), "--all", "--repair", "--yes"]).exits(0);
    tool(&harness, &read_new).exits(0);
}

/// If expand has not begun, the tool refuses to move readers and writers to the new attribute, even with `--force`.
/// Otherwise, a rollback after such a move would remove every old value.
#[tokio::test(flavor = "multi_thread")]
async fn values_that_were_never_expanded_survive_force_and_rollback() {
    let (harness, table, _) = setup(20, "").await;
    let flags = harness.create_table().await;
    let flag = format!("{CUTOVER}table = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"forced\" }}\n");
    let plan = harness.plan("forced", &table, "", &format!("{MOVE}{flag}"));
    let before = harness.dump(&table).await;
    let forced = |step: &'static str| cutover_args(&plan, &[step, "--force", "in a hurry"]);
    tool(&harness, &forced("dual-write")).exits(0);
    refused(&harness, 3, &forced("read-new")).says(&["expand has not begun", "does not override that", "run"]);
    refused(&harness, 3, &forced("write-new"));
    tool(&harness, &["rollback", text(&plan), "--yes"]).exits(0);
    assert_eq!(harness.dump(&table).await, before);
}

/// Three kinds of changes cannot be copied back: one source with two targets, a source in a list, and a source that is
/// a key attribute.
#[tokio::test(flavor = "multi_thread")]
async fn write_new_warns_if_old_values_could_not_be_restored() {
    for (change, why) in [
        ("copy = \"old\"\nto = \"new\"\n[[change]]\ncopy = \"old\"\nto = \"other\"", "`new` and `other` can differ"),
        ("copy = \"list[0]\"\nto = \"new\"", "an element of a list"),
        ("copy = \"sk\"\nto = \"new\"", "a key attribute"),
    ] {
        let harness = Harness::embedded();
        let table = harness.create_table().await;
        let list = || Value::L(vec![secret(1)]);
        harness
            .load(&table, (0..5).map(|n| item(&format!("P#{n}"), "x", [("old", secret(n)), ("list", list())])))
            .await;
        let before = harness.dump(&table).await;
        let plan = harness.plan("apart", &table, "", &format!("[[change]]\n{change}\n{CUTOVER}"));
        tool(&harness, &cutover_args(&plan, &DUAL_WRITES)).exits(0);
        tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
        tool(&harness, &["verify", text(&plan), "--all"]).exits(0);
        tool(&harness, &cutover_args(&plan, &["read-new", "--readers-moved"])).exits(0);
        let next = format!("Next: backfill cutover {} --to write-new --force REASON", text(&plan));
        refused(&harness, 3, &cutover_args(&plan, &["write-new", "--old-writes-stopped"])).says(&[
            "might fail",
            why,
            &next,
        ]);
        // A rollback is possible as long as applications write both attributes.
        tool(&harness, &["rollback", text(&plan), "--yes", "--readers-back", "--new-writes-stopped"]).exits(0);
        assert_eq!(harness.dump(&table).await, before, "{change}");
    }
}

/// RUNBOOK: "The tool refuses a blank reason"
#[tokio::test(flavor = "multi_thread")]
async fn a_blank_reason_is_refused() {
    let (harness, _, plan) = setup(0, CUTOVER).await;
    for blank in ["", "  ", "\u{200b}\u{feff}"] {
        for command in [&["cutover", "--to", "read-new"][..], &["cutover", "--back"], &["contract"], &["rollback"]] {
            let args = [command, &[text(&plan), "--force", blank]].concat();
            refused(&harness, 2, &args).says(&["--force", "the reason is blank"]);
        }
    }
    assert!(!harness.dir().join(".backfill").exists(), "no file was created");
}

/// If the table is empty, a verification compares nothing. The gate then opens only if the operator accepts the empty
/// table.
/// RUNBOOK: "A verification that compared no item proves nothing"
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_opens_the_gate_only_after_acceptance() {
    let (harness, _, plan) = setup(0, CUTOVER).await;
    tool(&harness, &cutover_args(&plan, &DUAL_WRITES)).exits(0);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    tool(&harness, &["verify", text(&plan), "--all"]).exits(0);
    let read_new = cutover_args(&plan, &["read-new", "--readers-moved"]);
    refused(&harness, 3, &read_new).says(&["compared no item", "--accept empty-table", "Next: backfill cutover"]);
    tool(&harness, &[&read_new[..], &["--accept", "empty-table"]].concat()).exits(0);
    let status = tool(&harness, &["status", text(&plan), "--output", "json"]).exits(0).json();
    assert_eq!(status["playbook"]["overrides"][0]["obstacle"], "empty_table", "{status:#}");
    tool(&harness, &cutover_args(&plan, &["write-new", "--old-writes-stopped"])).exits(0);

    // If all items were deleted after the run, the gate stays closed until a second pass has read the table.
    let harness = Harness::embedded();
    let table_of_two = harness.create_table().await;
    harness.load(&table_of_two, items(2)).await;
    let plan = harness.plan("emptied", &table_of_two, "", &format!("{MOVE}{CUTOVER}"));
    tool(&harness, &cutover_args(&plan, &DUAL_WRITES)).exits(0);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    for found in harness.dump(&table_of_two).await.into_values() {
        let key = crate::harness::to_sdk(crate::harness::key_of(&found).attributes());
        harness.client().delete_item().table_name(&table_of_two).set_key(Some(key)).send().await.unwrap();
    }
    tool(&harness, &["verify", text(&plan), "--all"]).exits(0);
    let read_new = [&cutover_args(&plan, &["read-new", "--readers-moved"])[..], &["--accept", "empty-table"]].concat();
    refused(&harness, 3, &read_new).says(&["compared no item", "the run read 2 items", "run", "--again"]);
    tool(&harness, &["run", text(&plan), "--again", "--yes"]).exits(0);
    tool(&harness, &["verify", text(&plan), "--all"]).exits(0);
    tool(&harness, &read_new).exits(0);
}

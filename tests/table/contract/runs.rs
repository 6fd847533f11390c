//! Tests complete runs of the real binary. The run of each example plan is killed midway and resumed. This file also
//! contains short tests with live writers.
#![expect(clippy::print_stdout, reason = "the test prints which examples an engine cannot run")]

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backfill::internals::item::{Item, Projection};
use backfill::internals::local::{Fault, RequestInfo};
use serde_json::{Value as Json, json};

use super::derived::{DERIVED, ELSEWHERE};
use super::examples::{DELETES, Example, INDEXED, LISTED, example, examples, folder};
use super::item;
use crate::harness::capabilities::Engine;
use crate::harness::{Harness, bytes_of, in_batches, index, key_of};
use crate::live::{LiveFigures, OperationKind, Scenario, Shape, play};

/// The number of copies of each item of an example. With this number of copies, a run takes long enough for a test to
/// kill it midway.
pub(super) const COPIES: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_has_its_documented_result_even_if_it_is_killed_midway() {
    let engine = Engine::current();
    for example in examples().iter().filter(|example| ![DELETES, DERIVED, ELSEWHERE].contains(&example.name.as_str())) {
        match engine.has_all(example.needs) {
            true => killed_and_resumed(example).await,
            false => println!("{} lacks {:?}: {} does not run", engine.title, example.needs, example.name),
        }
    }
}

/// The folder with the programs of the examples.
const PROGRAMS: &str = "programs";

/// The run is killed midway and resumed. Afterwards, exactly the closed orders with a version are gone. A rollback
/// restores each item whose delete was confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_that_deletes_has_its_documented_result() {
    let example = example(DELETES);
    let harness = Harness::start();
    let table = harness.create_table().await;
    let plan = copy_of_plan(&harness, &example, &table);
    let items = copies_of_items(&example);
    harness.load(&table, items.iter().map(|(before, _)| before.clone())).await;
    let before = harness.dump(&table).await;

    kill_after_deletes(&harness, start(&harness, &plan), COPIES as u64 / 3);
    let resumed = finish(start(&harness, &plan));
    assert_eq!(resumed["exit_code"], example.exit_code, "{resumed}");
    assert_eq!(bytes(&harness.dump(&table).await), expected(&items));

    let mut rollback = harness.command();
    rollback.args(["rollback", "--yes", "--force", "the test accepts the rest", "--output", "json"]).arg(&plan);
    let rolled_back = finish(rollback.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let after = harness.dump(&table).await;
    let missing: Vec<&String> = before.keys().filter(|key| !after.contains_key(*key)).collect();
    assert!(after.iter().all(|(key, item)| bytes_of(item) == bytes_of(&before[key])), "{rolled_back}");
    // A delete is unconfirmed only if its reply did not arrive before the kill.
    assert!(missing.len() <= 64, "{} are missing: {rolled_back}", missing.len());
}

/// Writes the example's plan for this table to the harness's folder, with the programs that plans use.
fn copy_of_plan(harness: &Harness, example: &Example, table: &str) -> std::path::PathBuf {
    let file = format!("{}.toml", example.name);
    let text = std::fs::read_to_string(folder().join(&file)).unwrap();
    assert_eq!(text.matches("name = \"shop\"").count(), 1, "{file}");
    std::fs::create_dir_all(harness.dir().join(PROGRAMS)).unwrap();
    for program in folder().join(PROGRAMS).read_dir().unwrap().map(Result::unwrap) {
        std::fs::copy(program.path(), harness.dir().join(PROGRAMS).join(program.file_name())).unwrap();
    }
    let plan = harness.dir().join(file);
    std::fs::write(&plan, text.replace("name = \"shop\"", &format!("name = \"{table}\""))).unwrap();
    plan
}

/// Returns [`COPIES`] of each item of the example, before and after the run.
fn copies_of_items(example: &Example) -> Vec<(Item, Option<Item>)> {
    let copies = |n: usize, (before, after): &(Json, Option<Json>)| {
        let keys = (0..COPIES).map(move |i| format!("{n}-{i}"));
        keys.map(|pk| (item(&pk, before), after.as_ref().map(|after| item(&pk, after)))).collect::<Vec<_>>()
    };
    example.items.iter().enumerate().flat_map(|(n, pair)| copies(n, pair)).collect()
}

/// Returns the table after the run.
fn expected(items: &[(Item, Option<Item>)]) -> BTreeMap<String, String> {
    items.iter().filter_map(|(_, after)| after.as_ref()).map(|item| (key_of(item).to_text(), bytes_of(item))).collect()
}

async fn killed_and_resumed(example: &Example) {
    let name = example.name.as_str();
    let harness = Harness::start();
    let by_mail = index("by-mail", &[("mail_key", "S"), ("rank", "N")], Projection::KeysOnly, false);
    let table = match name {
        INDEXED => harness.create_indexed_table(&[by_mail]).await,
        _ => harness.create_table().await,
    };
    let plan = copy_of_plan(&harness, example, &table);
    let items = copies_of_items(example);
    harness.load(&table, items.iter().map(|(before, _)| before.clone())).await;
    let expected = expected(&items);
    let is_changed = |(before, after): &&(Item, Option<Item>)| after.as_ref().map(bytes_of) != Some(bytes_of(before));
    let changed = || items.iter().filter(is_changed);
    let writes = changed().count() as u64;
    let mut scanned = items.len();
    if name == LISTED {
        let line = |(before, _): &(Item, Option<Item>)| format!("{}\n", key_of(before).to_text());
        let keys: String = changed().map(line).collect();
        std::fs::write(harness.dir().join("listed.ndjson"), keys).unwrap();
        let text = std::fs::read_to_string(&plan).unwrap();
        std::fs::write(&plan, text.replace("listed-keys.csv", "listed.ndjson")).unwrap();
    }
    if [LISTED, INDEXED].contains(&name) {
        scanned = changed().count();
    }

    kill_after(&harness, start(&harness, &plan), writes / 3);
    let half = harness.dump(&table).await;
    assert_ne!(bytes(&half), expected, "{name}: the run was killed too late");

    let resumed = finish(start(&harness, &plan));
    assert_eq!(resumed["exit_code"], example.exit_code, "{name}: {resumed}");
    assert_eq!(resumed["run"]["sessions"], 2, "{name}: {resumed}");
    assert_eq!(resumed["totals"]["counts"]["scanned"], scanned, "{name}: {resumed}");
    assert_eq!(bytes(&harness.dump(&table).await), expected, "{name}");
}

pub(super) fn bytes(dump: &BTreeMap<String, Item>) -> BTreeMap<String, String> {
    dump.iter().map(|(key, item)| (key.clone(), bytes_of(item))).collect()
}

pub(super) fn start(harness: &Harness, plan: &std::path::Path) -> Child {
    let mut command = harness.command();
    command.args(["run", "--yes", "--output", "json", "--endpoint-url", &harness.endpoint()]).arg(plan);
    // These acceptances are necessary only for a conversion under the same name and for a delete.
    command.args(["--accept", "readers-accept-both", "--accept", "writers-write-new"]);
    command.args(["--accept", "deletes-items"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end of a run and returns the printed JSON.
pub(super) fn finish(run: Child) -> Json {
    let output = tokio::task::block_in_place(|| run.wait_with_output().unwrap());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// Forwards this number of updates, delays all later ones, and kills the tool.
fn kill_after(harness: &Harness, run: Child, writes: u64) {
    kill_after_some(harness, run, "UpdateItem", writes);
}

/// Forwards this number of deletes, delays all later ones, and kills the tool.
fn kill_after_deletes(harness: &Harness, run: Child, writes: u64) {
    kill_after_some(harness, run, "DeleteItem", writes);
}

pub(super) fn kill_after_some(harness: &Harness, mut run: Child, operation: &'static str, writes: u64) {
    let seen = AtomicU64::new(0);
    let rule = move |request: &RequestInfo| match request.operation.as_str() {
        name if name == operation && seen.fetch_add(1, Ordering::Relaxed) >= writes => {
            Fault::Delay(Duration::from_secs(3))
        }
        _ => Fault::Pass,
    };
    harness.proxy().set_faults(Some(Arc::new(rule)));
    let deadline = Instant::now() + Duration::from_secs(30);
    while harness.proxy().tally().operation(operation).ok < writes {
        assert!(Instant::now() < deadline && run.try_wait().unwrap().is_none(), "the run did not send enough writes");
        std::thread::sleep(Duration::from_millis(2));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    harness.proxy().set_faults(None);
}

/// An item that would grow past 400 KB is the only failure, and is listed with its key. All other items are done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_is_too_large_fails_alone() {
    let harness = Harness::start();
    let table = harness.create_table().await;
    let large = item("large", &json!({"old": {"S": "x".repeat(300 * 1024)}}));
    let small = (0..20).map(|n| item(&format!("small-{n}"), &json!({"old": {"S": "x"}})));
    harness.load(&table, small.chain([large])).await;
    let plan = harness.plan("large", &table, "", "[[change]]\ncopy = \"old\"\nto = \"new\"\n");
    let run = finish(start(&harness, &plan));
    assert_eq!(run["exit_code"], 4, "{run}");
    assert_eq!(run["totals"]["counts"]["applied"], 20, "{run}");
    assert_eq!(run["totals"]["counts"]["rejected"], 1, "{run}");
    let mut list = harness.command();
    let listed = list.args(["failures", "--output", "json"]).arg(&plan).arg("list").output().unwrap();
    let listed: Json = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["failures"][0]["key"]["pk"]["S"], "large", "{listed}");
    let reason = listed["failures"][0]["reason"].as_str().unwrap();
    assert!(reason.len() < 400 && !reason.contains("xxx"), "{reason}");
}

/// A short form of `tests/table/live_writers.rs` that runs on every server. Some values are lists and maps, and the
/// target is inside a document.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_writers_lose_nothing() {
    let nested = Scenario { strategy: "expand-contract", on_existing: "keep", shape: Shape::Nested, ..LIVE };
    live_writers(nested).await;
}

/// A short form without lists and maps. The plan moves values and overwrites existing target values.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_writers_of_scalars_and_sets_lose_nothing() {
    let flat = Scenario { strategy: "in-place", on_existing: "overwrite", documents: false, ..LIVE };
    live_writers(flat).await;
}

const LIVE: Scenario = Scenario {
    strategy: "",
    on_existing: "",
    shape: Shape::Top,
    documents: true,
    seed: 9,
    items: 500,
    writers: 4,
    write_rate: 200,
};

async fn live_writers(scenario: Scenario) {
    let mut figures = LiveFigures::default();
    figures.add(play(&Harness::start(), scenario).await);
    figures.print("short form");
    // The reply to a batch has no status of its own for each statement.
    assert!(in_batches() || figures.races > 10, "too few races: {}", figures.races);
    let missing: Vec<OperationKind> =
        OperationKind::ALL.into_iter().filter(|kind| !figures.operations.contains_key(kind)).collect();
    assert_eq!(missing, [], "kinds of operation that never occurred");
}

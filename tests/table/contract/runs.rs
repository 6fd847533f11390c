//! Tests whole runs of the real binary. The run of each example plan is killed midway and resumed. This file also
//! contains a short form of the tests with live writers.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backfill::internals::change::input_digest;
use backfill::internals::item::{Item, Projection, item_from_json};
use backfill::internals::local::{Fault, RequestInfo};
use serde_json::{Value as Json, json};

use super::item;
use crate::harness::{Harness, bytes_of, index, key_of};
use crate::live::{LiveFigures, OperationKind, Scenario, Shape, play};

/// The number of copies of each item of an example. A run over this many copies takes long enough for a test to kill it
/// midway.
const COPIES: usize = 30;

/// An example plan with the exit code of its run, and with items before and after the run. The test fails if the folder
/// contains a plan that is not listed.
struct Example {
    file: &'static str,
    exit: i32,
    items: Vec<(Json, Json)>,
}

fn examples() -> Vec<Example> {
    let constants = json!({
        "schema_version": {"N": "2"}, "migrated": {"BOOL": true}, "default_rate": {"N": "0.0725"},
        "labels": {"SS": ["backfilled", "v2"]},
        "preferences": {"M": {"newsletter": {"BOOL": false}, "channels": {"L": [{"S": "mail"}]}}}
    });
    let same = |item: Json| (item.clone(), item);
    let with = |mut item: Json, more: Json| {
        item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        item
    };
    let adds = |item: Json, more: Json| (item.clone(), with(item, more));
    let counted = |inputs: Json, words: u32| {
        let digest = input_digest(&item_from_json(&inputs).unwrap());
        adds(inputs, json!({"words": {"N": words.to_string()}, "words_of": {"S": digest}}))
    };
    vec![
        Example {
            file: "rename-attribute.toml",
            exit: 5,
            items: vec![
                adds(json!({"email": {"S": "a@x"}}), json!({"contact_email": {"S": "a@x"}})),
                adds(json!({"email": {"NULL": true}, "n": {"N": "1"}}), json!({"contact_email": {"NULL": true}})),
                same(json!({"email": {"S": "a"}, "contact_email": {"S": "other"}})),
                same(json!({"contact_email": {"S": "a"}})),
                same(json!({"n": {"N": "1"}})),
            ],
        },
        Example {
            file: "copy-nested.toml",
            exit: 0,
            items: vec![
                adds(json!({"address": {"M": {"zip": {"S": "8000"}}}}), json!({"zip": {"S": "8000"}})),
                adds(
                    json!({"orders": {"L": [{"M": {"placed_at": {"S": "2026"}}}, {"M": {}}]}}),
                    json!({"first_order_at": {"S": "2026"}}),
                ),
                same(json!({"address": {"S": "a street"}, "orders": {"L": []}})),
            ],
        },
        Example {
            file: "move-into-document.toml",
            exit: 4,
            items: vec![
                adds(
                    json!({"street": {"S": "s"}, "zip": {"S": "z"}, "city": {"S": "c"}}),
                    json!({"address": {"M": {"street": {"S": "s"}, "zip": {"S": "z"}, "city": {"S": "c"}}}}),
                ),
                adds(
                    json!({"zip": {"N": "1"}, "address": {"M": {"geo": {"L": []}}}}),
                    json!({"address": {"M": {"geo": {"L": []}, "zip": {"N": "1"}}}}),
                ),
                same(json!({"zip": {"S": "z"}, "address": {"S": "no document"}})),
            ],
        },
        Example {
            file: "quoted-names.toml",
            exit: 0,
            items: vec![
                adds(json!({"e-mail": {"S": "a"}}), json!({"email_address": {"S": "a"}})),
                adds(
                    json!({"billing.address": {"M": {"zip": {"S": "z"}}}}),
                    json!({"billing": {"M": {"zip": {"S": "z"}}}}),
                ),
                adds(json!({"order #": {"M": {"status": {"S": "open"}}}}), json!({"last status": {"S": "open"}})),
            ],
        },
        Example {
            file: "remove-attribute.toml",
            exit: 0,
            items: vec![
                (json!({"legacy": {"BS": ["AA=="]}, "x": {"S": ""}}), json!({"x": {"S": ""}})),
                (
                    json!({"profile": {"M": {"fax": {"S": "1"}, "tel": {"S": "2"}}}}),
                    json!({"profile": {"M": {"tel": {"S": "2"}}}}),
                ),
                same(json!({"profile": {"S": "fax"}})),
            ],
        },
        Example {
            file: "set-constant.toml",
            exit: 0,
            items: vec![
                adds(json!({"x": {"S": "y"}}), constants.clone()),
                (
                    json!({"schema_version": {"N": "1"}, "preferences": {"M": {"x": {"S": "y"}}}, "labels": {"S": "no set"}}),
                    constants.clone(),
                ),
                same(constants),
            ],
        },
        Example {
            file: "set-where-missing.toml",
            exit: 5,
            items: vec![
                adds(
                    json!({"x": {"S": "y"}}),
                    json!({"expires_at": {"N": "1798761600"}, "schema_version": {"N": "2"}}),
                ),
                adds(json!({"expires_at": {"S": "never"}}), json!({"schema_version": {"N": "2"}})),
                same(json!({"expires_at": {"N": "1"}, "schema_version": {"N": "2"}})),
                same(json!({"schema_version": {"N": "1"}})),
            ],
        },
        Example {
            file: "computed-by-a-program.toml",
            exit: 4,
            items: vec![
                counted(json!({"title": {"S": "two words"}, "body": {"S": "and three more"}}), 5),
                counted(json!({"body": {"S": ""}}), 0),
                same(json!({"title": {"N": "1"}})),
                same(json!({"n": {"N": "1"}})),
            ],
        },
        Example {
            file: "composite-index-key.toml",
            exit: 4,
            items: vec![
                adds(
                    json!({"sk": {"S": "ORDER#1"}, "status": {"S": "open"}, "created_at": {"S": "2026-01-02"}}),
                    json!({"gsi1sk": {"S": "open#2026-01-02"}}),
                ),
                same(json!({"sk": {"S": "ORDER#2"}, "status": {"S": "open"}})),
                same(json!({"sk": {"S": "ORDER#3"}, "gsi1sk": {"S": "there"}})),
                same(json!({"sk": {"S": "USER#1"}, "status": {"S": "open"}, "created_at": {"S": "2026-01-02"}})),
            ],
        },
        Example {
            file: "null-as-missing.toml",
            exit: 5,
            items: vec![
                (
                    json!({"street": {"S": "a"}, "zip": {"S": "1"}, "address": {"NULL": true}}),
                    json!({
                        "street": {"S": "a"}, "zip": {"S": "1"},
                        "address": {"M": {"street": {"S": "a"}, "zip": {"S": "1"}}}
                    }),
                ),
                (
                    json!({"street": {"S": "a"}, "address": {"M": {"street": {"NULL": true}, "city": {"S": "c"}}}}),
                    json!({"street": {"S": "a"}, "address": {"M": {"street": {"S": "a"}, "city": {"S": "c"}}}}),
                ),
                same(json!({"street": {"S": "a"}, "address": {"M": {"street": {"S": "other"}}}})),
                same(json!({"address": {"NULL": true}})),
            ],
        },
        Example {
            file: "change-for-some-items.toml",
            exit: 0,
            items: vec![
                adds(json!({"sk": {"S": "ORDER#1"}}), json!({"status": {"S": "unpaid"}})),
                same(json!({"sk": {"S": "ORDER#2"}, "status": {"S": "paid"}})),
                (
                    json!({"sk": {"S": "ORDER#3"}, "phone": {"S": "32"}}),
                    json!({"sk": {"S": "ORDER#3"}, "phone": {"S": "+32"}, "status": {"S": "unpaid"}}),
                ),
                (json!({"phone": {"S": "32"}}), json!({"phone": {"S": "+32"}})),
                same(json!({"phone": {"S": "+32"}})),
                same(json!({"phone": {"N": "32"}})),
            ],
        },
        Example {
            file: "append.toml",
            exit: 4,
            items: vec![
                adds(
                    json!({"sk": {"S": "PROFILE"}}),
                    json!({"tags": {"SS": ["customer"]}, "history": {"L": [{"S": "tagged"}]}}),
                ),
                (
                    json!({"sk": {"S": "PROFILE"}, "tags": {"SS": ["a"]}, "history": {"L": [{"S": "tagged"}]}}),
                    json!({
                        "sk": {"S": "PROFILE"}, "tags": {"SS": ["a", "customer"]}, "history": {"L": [{"S": "tagged"}]}
                    }),
                ),
                same(json!({"sk": {"S": "PROFILE"}, "tags": {"S": "customer"}})),
                same(json!({"tags": {"SS": ["a"]}})),
            ],
        },
        Example {
            file: "text-to-number.toml",
            exit: 4,
            items: vec![
                (
                    json!({"price": {"S": "12.5"}, "version": {"N": "1"}}),
                    json!({"price": {"N": "12.5"}, "version": {"N": "2"}}),
                ),
                same(json!({"price": {"N": "7"}, "version": {"N": "1"}})),
                same(json!({"price": {"S": "twelve"}, "version": {"N": "1"}})),
                same(json!({"price": {"S": "3"}})),
                same(json!({"n": {"N": "1"}})),
            ],
        },
        Example {
            file: "ttl-from-date.toml",
            exit: 4,
            items: vec![
                // Paris is one hour ahead of UTC in winter.
                adds(json!({"expires": {"S": "2026-12-31"}}), json!({"expires_at": {"N": "1798671600"}})),
                adds(json!({"expires": {"S": "2027-01-01T00:00:00Z"}}), json!({"expires_at": {"N": "1798761600"}})),
                same(json!({"expires": {"S": "31/12/2026"}})),
                same(json!({"n": {"N": "1"}})),
            ],
        },
        Example {
            file: "replace-date.toml",
            exit: 4,
            items: vec![
                adds(json!({"expires": {"S": "2026-01-31"}}), json!({"expires_at": {"N": "1769817600"}})),
                adds(json!({"expires": {"S": "1970-01-01"}, "n": {"N": "1"}}), json!({"expires_at": {"N": "0"}})),
                same(json!({"expires": {"S": "2026-01-31"}, "expires_at": {"N": "1769817600"}})),
                same(json!({"expires": {"S": "31/01/2026"}})),
                same(json!({"expires_at": {"N": "1"}})),
                same(json!({"n": {"N": "1"}})),
            ],
        },
        Example {
            file: "replace-computed.toml",
            exit: 5,
            items: vec![
                adds(json!({"phone": {"S": "030123"}}), json!({"phone_international": {"S": "+4930123"}})),
                adds(json!({"phone": {"S": "+3314"}}), json!({"phone_international": {"S": "+3314"}})),
                same(json!({"phone": {"S": "030123"}, "phone_international": {"S": "+1"}})),
                same(json!({"phone_international": {"S": "+1"}})),
                same(json!({"n": {"N": "1"}})),
            ],
        },
        Example {
            file: INDEXED,
            exit: 0,
            items: vec![
                adds(json!({"mail_key": {"S": "a@x"}, "rank": {"N": "1"}}), json!({"needs_review": {"BOOL": true}})),
                same(json!({"mail_key": {"S": "a@x"}})),
            ],
        },
        Example {
            file: LISTED,
            exit: 0,
            items: vec![
                adds(json!({"x": {"S": "y"}}), json!({"needs_review": {"BOOL": true}})),
                same(json!({"x": {"S": "not listed"}})),
            ],
        },
        Example {
            file: "within-limits.toml",
            exit: 0,
            items: vec![
                adds(json!({"phone": {"S": "1"}}), json!({"contact_phone": {"S": "1"}})),
                same(json!({"n": {"N": "1"}})),
            ],
        },
    ]
}

/// The example that deletes items. This test is separate, because an item has no expected attributes afterwards.
const DELETES: &str = "delete-where.toml";
/// The example that reads an index.
const INDEXED: &str = "items-in-an-index.toml";

/// The example with a file of keys. Its test lists the items that change.
const LISTED: &str = "listed-keys.toml";

/// The example whose constants are documents. This test is separate, because some engines cannot compare documents.
const DOCUMENTS: &str = "set-constant.toml";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_has_its_documented_result_even_if_it_is_killed_midway() {
    let examples = examples();
    let mut files: Vec<String> =
        folder().read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.retain(|file| file.ends_with(".toml"));
    files.sort();
    let mut known: Vec<&str> = examples.iter().map(|e| e.file).chain([DELETES]).collect();
    known.sort();
    assert_eq!(files, known, "an example that no test knows");
    for example in examples.iter().filter(|example| example.file != DOCUMENTS) {
        killed_and_resumed(example).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_with_documents_has_its_documented_result() {
    let examples = examples();
    killed_and_resumed(examples.iter().find(|example| example.file == DOCUMENTS).unwrap()).await;
}

/// The folder with the programs of the examples.
const PROGRAMS: &str = "programs";
/// The run is killed midway. In the end, exactly the closed orders with a version are gone. A rollback puts back each
/// delete that was confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_that_deletes_has_its_documented_result() {
    let text = std::fs::read_to_string(folder().join(DELETES)).unwrap();
    let harness = Harness::start();
    let table = harness.create_table().await;
    let plan = harness.dir().join(DELETES);
    std::fs::write(&plan, text.replace("name = \"shop\"", &format!("name = \"{table}\""))).unwrap();
    let order =
        |pk: &str, attributes: Json| (0..COPIES).map(|n| item(&format!("{pk}-{n}"), &attributes)).collect::<Vec<_>>();
    let goes = order("goes", json!({"state": {"S": "closed"}, "version": {"N": "1"}, "total": {"N": "12.50"}}));
    let stays = [
        order("open", json!({"state": {"S": "open"}, "version": {"N": "1"}})),
        order("other", json!({"n": {"N": "1"}})),
        order("unversioned", json!({"state": {"S": "closed"}})),
    ]
    .concat();
    harness.load(&table, goes.iter().chain(&stays).cloned()).await;
    let before = harness.dump(&table).await;

    kill_after_deletes(&harness, start(&harness, &plan), COPIES as u64 / 3);
    let resumed = finish(start(&harness, &plan));
    assert_eq!(resumed["exit_code"], 4, "an item without a version is a failure: {resumed}");
    let expected: BTreeMap<String, String> =
        stays.iter().map(|item| (key_of(item).to_text(), bytes_of(item))).collect();
    assert_eq!(bytes(&harness.dump(&table).await), expected);

    let mut rollback = harness.command();
    rollback.args(["rollback", "--yes", "--force", "the test accepts the rest", "--output", "json"]).arg(&plan);
    let rolled_back = finish(rollback.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let after = harness.dump(&table).await;
    let missing: Vec<&String> = before.keys().filter(|key| !after.contains_key(*key)).collect();
    assert!(after.iter().all(|(key, item)| bytes_of(item) == bytes_of(&before[key])), "{rolled_back}");
    // Only a delete whose reply did not arrive before the kill is not confirmed.
    assert!(missing.len() <= 64, "{} are missing: {rolled_back}", missing.len());
}

fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations-examples")
}

async fn killed_and_resumed(example: &Example) {
    let text = std::fs::read_to_string(folder().join(example.file)).unwrap();
    let harness = Harness::start();
    let by_mail = index("by-mail", &[("mail_key", "S"), ("rank", "N")], Projection::KeysOnly, false);
    let table = match example.file {
        INDEXED => harness.create_indexed_table(&[by_mail]).await,
        _ => harness.create_table().await,
    };
    assert_eq!(text.matches("name = \"shop\"").count(), 1, "{}", example.file);
    let plan = harness.dir().join(example.file);
    std::fs::write(&plan, text.replace("name = \"shop\"", &format!("name = \"{table}\""))).unwrap();
    std::fs::create_dir_all(harness.dir().join(PROGRAMS)).unwrap();
    for program in folder().join(PROGRAMS).read_dir().unwrap().map(Result::unwrap) {
        std::fs::copy(program.path(), harness.dir().join(PROGRAMS).join(program.file_name())).unwrap();
    }
    let both = |n: usize, (before, after): &(Json, Json)| {
        (0..COPIES).map(move |i| format!("{n}-{i}")).map(|pk| (item(&pk, before), item(&pk, after))).collect::<Vec<_>>()
    };
    let items: Vec<(Item, Item)> = example.items.iter().enumerate().flat_map(|(n, pair)| both(n, pair)).collect();
    harness.load(&table, items.iter().map(|(before, _)| before.clone())).await;
    let expected: BTreeMap<String, String> =
        items.iter().map(|(_, after)| (key_of(after).to_text(), bytes_of(after))).collect();
    let changed = || items.iter().filter(|(before, after)| bytes_of(before) != bytes_of(after));
    let writes = changed().count() as u64;
    let mut scanned = items.len();
    if example.file == LISTED {
        let line = |(before, _): &(Item, Item)| format!("{}\n", key_of(before).to_text());
        let keys: String = changed().map(line).collect();
        std::fs::write(harness.dir().join("listed.ndjson"), keys).unwrap();
        let text = std::fs::read_to_string(&plan).unwrap();
        std::fs::write(&plan, text.replace("listed-keys.csv", "listed.ndjson")).unwrap();
    }
    if [LISTED, INDEXED].contains(&example.file) {
        scanned = changed().count();
    }

    kill_after(&harness, start(&harness, &plan), writes / 3);
    let half = harness.dump(&table).await;
    assert_ne!(bytes(&half), expected, "{}: the run was killed too late", example.file);

    let resumed = finish(start(&harness, &plan));
    assert_eq!(resumed["exit_code"], example.exit, "{}: {resumed}", example.file);
    assert_eq!(resumed["run"]["sessions"], 2, "{}: {resumed}", example.file);
    assert_eq!(resumed["totals"]["counts"]["scanned"], scanned, "{}: {resumed}", example.file);
    assert_eq!(bytes(&harness.dump(&table).await), expected, "{}", example.file);
}

fn bytes(dump: &BTreeMap<String, Item>) -> BTreeMap<String, String> {
    dump.iter().map(|(key, item)| (key.clone(), bytes_of(item))).collect()
}

fn start(harness: &Harness, plan: &std::path::Path) -> Child {
    let mut command = harness.command();
    command.args(["run", "--yes", "--output", "json", "--endpoint-url", &harness.endpoint()]).arg(plan);
    // Only a conversion under the same name and a delete need these.
    command.args(["--accept", "readers-accept-both", "--accept", "writers-write-new"]);
    command.args(["--accept", "deletes-items"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end of a run and returns the printed JSON.
fn finish(run: Child) -> Json {
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

fn kill_after_some(harness: &Harness, mut run: Child, operation: &'static str, writes: u64) {
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

/// An item that would grow past 400 KB is one failure, listed with its key. The other items are done.
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

/// A short form without lists and maps. The plan moves values and overwrites existing ones.
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
    assert!(figures.races > 10, "too few races: {}", figures.races);
    let missing: Vec<OperationKind> =
        OperationKind::ALL.into_iter().filter(|kind| !figures.operations.contains_key(kind)).collect();
    assert_eq!(missing, [], "kinds of operation that never occurred");
}

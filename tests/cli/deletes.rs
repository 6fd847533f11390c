//! Tests plans that delete items, with the real binary and a real engine: the deleted and the remaining items, the
//! rollback, and the journal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use backfill::internals::item::{Item, Num, Value, item_from_json};

use super::harness::key_of;
use super::*;

/// Deletes documents that are marked as deleted and older than the date.
const SELECT: &str = "[select]\nwhere = 'item.documentStatus == \"DELETED\" && item.lastUpdated < \"2025-01-01\"'\n";
const FAIL: &str = "on_not_computable = \"fail\"";
const ACCEPT: [&str; 4] = ["--accept", "no-pitr", "--accept", "deletes-items"];

struct Migration {
    harness: Harness,
    table: String,
    plan: String,
    before: BTreeMap<String, Item>,
}

impl Migration {
    async fn new(items: Vec<Item>, rule: &str) -> Migration {
        let harness = Harness::start();
        let table = harness.create_table().await;
        harness.load(&table, items.into_iter()).await;
        // The plan has only one segment, so that the tool reads every item before it deletes the first one.
        let rest = format!("{SELECT}[scan]\nsegments = 1\n[[change]]\ndelete = true\n{rule}\n");
        let plan = harness.plan("deletes", &table, FAIL, &rest);
        let plan = plan.to_str().unwrap().to_owned();
        let before = harness.dump(&table).await;
        Migration { harness, table, plan, before }
    }

    #[track_caller]
    fn command(&self, words: &[&str], code: i32) -> Json {
        let is_group = matches!(words, ["journal", "purge", ..] | ["failures", ..]);
        let split = if is_group { 2 } else { 1 };
        let (first, options) = words.split_at(split);
        let args = [first, &[self.plan.as_str()], options, &["--output", "json"]].concat();
        tool(&self.harness, &args).exits(code).json()
    }

    #[track_caller]
    fn run(&self, more: &[&str], code: i32) -> Json {
        self.command(&[&["run", "--yes"][..], more, &ACCEPT].concat(), code)
    }

    async fn now(&self) -> BTreeMap<String, Item> {
        self.harness.dump(&self.table).await
    }
}

fn document(n: usize) -> Item {
    let status = ["AVAILABLE", "DELETED", "PENDING"][n % 3];
    let mut item = item_from_json(&json!({
        "documentStatus": {"S": status}, "lastUpdated": {"S": format!("202{}-06-01", 3 + n / 3 % 3)},
        "version": {"N": n.to_string()}, "body": {"S": format!("S3CRET-{n}")}, "size": {"N": format!("{n}.50")},
        "tags": {"SS": ["b", "a"]}
    }))
    .unwrap();
    item.insert("pk".to_owned(), Value::S(format!("DOCUMENT-{}", n / 3)));
    item.insert("sk".to_owned(), Value::S(format!("{n:04}")));
    item
}

fn documents() -> Vec<Item> {
    (0..90).map(document).collect()
}

fn goes(item: &Item) -> bool {
    let text = |name: &str| match &item[name] {
        Value::S(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    text("documentStatus") == "DELETED" && text("lastUpdated").as_str() < "2025-01-01"
}

fn bytes(items: &BTreeMap<String, Item>) -> BTreeMap<String, String> {
    items.iter().map(|(key, item)| (key.clone(), bytes_of(item))).collect()
}

/// The run deletes exactly the old documents that are marked as deleted, as the dry run predicts. A second run writes
/// nothing. A rollback restores every byte.
#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_selected_items_are_deleted_and_restored() {
    let rules = [
        "version = \"version\"",
        "attributes = [\"documentStatus\", \"lastUpdated\", \"version\", \"body\", \"size\", \"tags\", \"note\"]",
        "writers = \"stopped\"",
    ];
    for rule in rules {
        let migration = Migration::new(documents(), rule).await;
        let gone = migration.before.values().filter(|item| goes(item)).count();
        assert!(gone > 10);
        let predicted = migration.command(&["run", "--dry-run"], 0);
        // The suggested command contains the option that the run needs. The run below passes it.
        assert!(predicted["next"].as_str().unwrap().contains("--accept deletes-items"), "{predicted:#}");
        let ran = migration.run(&[], 0);
        let counts = &ran["totals"]["counts"];
        assert_eq!((&counts["applied"], &predicted["would_change"]), (&json!(gone), &json!(gone)), "{ran:#}");
        assert_eq!(counts["write_units"], counts["estimated_write_units"], "{ran:#}");
        let left: BTreeMap<String, Item> =
            migration.before.iter().filter(|(_, item)| !goes(item)).map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(bytes(&migration.now().await), bytes(&left), "{rule}");
        let again = migration.run(&["--again"], 0);
        assert_eq!(again["totals"]["counts"]["write_units"], 0.0, "{again:#}");
        let verified = migration.command(&["verify", "--all"], 0);
        let text = tool(&migration.harness, &["verify", &migration.plan, "--all"]).exits(0).stdout;
        assert!(text.contains("No item that the plan selects is left."), "{text}");
        for wrong in ["Parity", "truth", "compared"] {
            assert!(!text.contains(wrong), "{text}");
        }
        let not_selected = (&verified["mismatches"], &verified["not_selected"]);
        assert_eq!(not_selected, (&json!(0), &json!(left.len())), "{verified:#}");
        migration.command(&["rollback", "--yes"], 0);
        assert_eq!(bytes(&migration.now().await), bytes(&migration.before), "{rule}");
    }
}

/// `--yes` does not confirm deletes. Only `--accept deletes-items` confirms them.
#[tokio::test(flavor = "multi_thread")]
async fn yes_alone_deletes_nothing() {
    let migration = Migration::new(documents(), "writers = \"stopped\"\njournal = \"none\"").await;
    for accepted in [&["--accept", "no-pitr"][..], &ACCEPT] {
        let refused = migration.command(&[&["run", "--yes"][..], accepted].concat(), 3);
        let next = refused["next"].as_str().unwrap();
        let refused = refused.to_string();
        assert!(
            ["deletes-items", "no-way-back"].iter().all(|name| next.contains(&format!("--accept {name}"))),
            "{next}"
        );
        assert!(refused.contains("no-way-back"), "{refused}");
        assert_eq!(refused.contains("deletes-items)"), accepted.len() == 2, "{refused}");
    }
    assert_eq!(migration.now().await, migration.before);
    let checked = migration.command(&["check"], 3).to_string();
    assert!(checked.contains("deletes-items") && checked.contains("no-way-back"), "{checked}");
}

/// RUNBOOK: "With `journal = "none"`, `rollback` is refused."
#[tokio::test(flavor = "multi_thread")]
async fn without_a_journal_there_is_no_way_back() {
    let migration = Migration::new(documents(), "writers = \"stopped\"\njournal = \"none\"").await;
    migration.run(&["--accept", "no-way-back"], 0);
    let after = migration.now().await;
    assert!(after.len() < migration.before.len());
    let listed = migration.command(&["journal"], 0);
    assert_eq!(listed["values"], json!([]));
    let refused = migration.command(&["rollback", "--yes"], 3).to_string();
    assert!(refused.contains("journal = \\\"none\\\""), "{refused}");
    assert_eq!(migration.now().await, after);
}

/// After the run, a writer creates an item under the key of a deleted item. The rollback keeps and reports this item.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_replaces_no_item() {
    let migration = Migration::new(documents(), "version = \"version\"").await;
    migration.run(&[], 0);
    let after = migration.now().await;
    let (key, gone) = migration.before.iter().find(|(key, _)| !after.contains_key(*key)).unwrap();
    let mut new = gone.clone();
    new.insert("documentStatus".to_owned(), Value::S("AVAILABLE".to_owned()));
    migration.harness.load(&migration.table, [new.clone()].into_iter()).await;
    let rolled_back = migration.command(&["rollback", "--yes"], 5);
    assert!(rolled_back.to_string().contains("\"diverged\":1"), "{rolled_back:#}");
    let mut expected = migration.before.clone();
    expected.insert(key.clone(), new);
    assert_eq!(bytes(&migration.now().await), bytes(&expected));
}

/// A writer changes two items between the read and the delete. It removes the deletion mark of one item, so this item
/// stays. The other item remains selected, so the tool deletes it and records the changed item.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_writer_that_undeletes_wins() {
    let migration = Migration::new(documents(), "version = \"version\"").await;
    let all: Vec<Item> = migration.before.values().filter(|item| goes(item)).cloned().collect();
    let changed = |item: &Item, name: &str, value: &str| {
        let mut item = item.clone();
        item.insert(name.to_owned(), Value::S(value.to_owned()));
        item.insert("version".to_owned(), Value::N(Num::parse("1000").unwrap()));
        item
    };
    let undeleted = &changed(&all[0], "documentStatus", "AVAILABLE");
    let noted = &changed(&all[1], "note", "S3CRET-note");
    before_the_first_delete(&migration, vec![undeleted.clone(), noted.clone()]);
    let ran = migration.run(&[], 0);
    migration.harness.proxy().set_faults(None);
    let after = migration.now().await;
    let key = |item: &Item| key_of(item).to_text();
    assert_eq!(bytes_of(&after[&key(undeleted)]), bytes_of(undeleted), "{ran:#}");
    assert!(!after.contains_key(&key(noted)), "{ran:#}");
    migration.command(&["rollback", "--yes"], 0);
    let mut expected = migration.before.clone();
    expected.insert(key(undeleted), undeleted.clone());
    expected.insert(key(noted), noted.clone());
    assert_eq!(bytes(&migration.now().await), bytes(&expected), "the note comes back too");
}

/// The plan says that writers have stopped, but a writer still adds an attribute. The delete removes the attribute, but
/// the item is reported as a failure, and a rollback restores the attribute too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_broken_promise_is_noticed_and_loses_nothing() {
    let migration = Migration::new(documents(), "writers = \"stopped\"").await;
    let mut noted = migration.before.values().find(|item| goes(item)).unwrap().clone();
    noted.insert("note".to_owned(), Value::S("S3CRET-note".to_owned()));
    before_the_first_delete(&migration, vec![noted.clone()]);
    let ran = migration.run(&[], 4);
    migration.harness.proxy().set_faults(None);
    assert_eq!(ran["totals"]["counts"]["conflict"], 1, "{ran:#}");
    let listed = migration.command(&["failures", "list"], 0);
    let reason = listed["failures"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("`note`") && reason.contains("a rollback restores it"), "{reason}");
    migration.command(&["rollback", "--yes"], 0);
    let mut expected = migration.before.clone();
    expected.insert(key_of(&noted).to_text(), noted);
    assert_eq!(bytes(&migration.now().await), bytes(&expected));
}

/// Writes these items after the tool has read its pages, and before it deletes the first item.
fn before_the_first_delete(migration: &Migration, items: Vec<Item>) {
    let endpoint = migration.harness.server_endpoint();
    let table = migration.table.clone();
    let written = Mutex::new(false);
    let rule: FaultRule = Arc::new(move |request: &RequestInfo| {
        if request.operation == "DeleteItem" {
            let mut written = written.lock().unwrap();
            if !*written {
                items.iter().for_each(|item| put(&endpoint, &table, item.clone()));
                *written = true;
            }
        }
        Fault::Pass
    });
    migration.harness.proxy().set_faults(Some(rule));
}

/// Writes an item, and returns when it is written.
fn put(endpoint: &str, table: &str, item: Item) {
    let (endpoint, table) = (endpoint.to_owned(), table.to_owned());
    let written = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = harness::client(&endpoint);
            client.put_item().table_name(table).set_item(Some(harness::to_sdk(&item))).send().await.unwrap();
        });
    });
    written.join().unwrap();
}

/// RUNBOOK: "`journal purge` removes the values from the state file and from its log."
#[tokio::test(flavor = "multi_thread")]
async fn a_purged_value_is_in_no_file() {
    let migration = Migration::new(documents(), "writers = \"stopped\"").await;
    migration.run(&[], 0);
    // The journal compresses long values, but not the keys.
    let needle = b"DOCUMENT-1";
    assert!(found(migration.harness.dir(), needle) > 0, "the journal has the keys");
    let refused = migration.command(&["journal", "purge", "--yes"], 3).to_string();
    assert!(refused.contains("--accept no-way-back"), "{refused}");
    let refused = migration.command(&["journal", "purge", "--accept", "no-way-back"], 3).to_string();
    assert!(refused.contains("--yes"), "{refused}");
    let before = migration.command(&["journal"], 0)["values"].as_array().unwrap().len();
    let purged = migration.command(&["journal", "purge", "--accept", "no-way-back", "--yes"], 0);
    assert_eq!(purged["values"], before, "{purged}");
    assert_eq!(found(migration.harness.dir(), needle), 0);
    assert_eq!(migration.command(&["journal"], 0)["values"], json!([]));
    let refused = migration.command(&["rollback", "--yes"], 3).to_string();
    assert!(refused.contains("purged at"), "{refused}");
    let status = migration.command(&["status"], 0).to_string();
    assert!(status.contains("journal_purged"), "{status}");
    // A purge can be repeated.
    migration.command(&["journal", "purge", "--accept", "no-way-back", "--yes"], 0);
}

/// RUNBOOK: "After a purge, `run`, `failures retry` and `verify --repair` need `--accept no-way-back` too"
#[tokio::test(flavor = "multi_thread")]
async fn a_pass_after_a_purge_needs_an_acceptance() {
    let migration = Migration::new(documents(), "version = \"version\"").await;
    migration.run(&[], 0);
    migration.command(&["journal", "purge", "--accept", "no-way-back", "--yes"], 0);
    let late = document(1_000 * 9 + 1);
    assert!(goes(&late));
    migration.harness.load(&migration.table, [late.clone()].into_iter()).await;
    let repair = ["verify", "--all", "--repair", "--yes"];
    for (refused, command) in [(migration.run(&["--again"], 3), "run"), (migration.command(&repair, 3), "verify")] {
        let next = refused["next"].as_str().unwrap();
        assert!(next.contains(command) && next.contains("--accept no-way-back"), "{next}");
        assert_eq!(
            next.contains("--accept deletes-items"),
            command == "run",
            "what was accepted stays accepted: {next}"
        );
        let refused = refused.to_string();
        assert!(refused.contains("purged at") && refused.contains("--accept no-way-back"), "{refused}");
    }
    assert!(migration.now().await.contains_key(&key_of(&late).to_text()));
    let repaired = migration.command(&[&repair[..], &["--accept", "no-way-back"]].concat(), 0);
    assert_eq!(repaired["repaired"], 1, "{repaired:#}");
    migration.run(&["--again", "--accept", "no-way-back"], 0);
    migration.command(&["rollback", "--yes"], 3);
}

/// Returns the number of occurrences of the bytes in the state files of this folder.
fn found(folder: &Path, needle: &[u8]) -> usize {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let in_path = |path: std::path::PathBuf| match path.is_dir() {
        true => found(&path, needle),
        false if path.to_string_lossy().contains(".db") => {
            std::fs::read(path).unwrap().windows(needle.len()).filter(|part| *part == needle).count()
        }
        false => 0,
    };
    paths.map(in_path).sum()
}

/// A writer inserts a selected item behind the scan position. `verify --all` finds it, and a repair deletes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_deletes_the_remaining_items() {
    let migration = Migration::new(documents(), "version = \"version\"").await;
    migration.run(&[], 0);
    let late = document(1_000 * 9 + 1);
    assert!(goes(&late));
    migration.harness.load(&migration.table, [late.clone()].into_iter()).await;
    // The engine can return a number in a different notation.
    let late = migration.now().await[&key_of(&late).to_text()].clone();
    let found = migration.command(&["verify", "--all"], 5);
    assert_eq!((&found["unexpected"], &found["deletes"]), (&json!(1), &json!(true)), "{found:#}");
    let next = found["next"].as_str().unwrap();
    assert!(next.contains("run ") && next.contains("--again --accept deletes-items"), "{next}");
    let text = tool(&migration.harness, &["verify", &migration.plan, "--all"]).exits(5).stdout;
    assert!(
        text.contains("The deletes are not complete: 1 item is left or unknown.") && !text.contains("repair"),
        "{text}"
    );
    assert!(text.contains("\n    left       pk="), "{text}");
    let repaired = migration.command(&["verify", "--all", "--repair", "--yes"], 0);
    assert_eq!(repaired["repaired"], 1, "{repaired:#}");
    assert!(!migration.now().await.contains_key(&key_of(&late).to_text()));
    migration.command(&["rollback", "--yes"], 0);
    let mut expected = migration.before.clone();
    expected.insert(key_of(&late).to_text(), late);
    assert_eq!(bytes(&migration.now().await), bytes(&expected));
}

/// Without a journal, a second pass needs the same two acceptances as the first one. The report has rows for deletes.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_pass_without_a_journal_names_both_acceptances() {
    let migration = Migration::new(documents(), "version = \"version\"\njournal = \"none\"").await;
    migration.run(&["--accept", "no-way-back"], 0);
    migration.harness.load(&migration.table, [document(1_000 * 9 + 1)].into_iter()).await;
    let found = migration.command(&["verify", "--all"], 5);
    let next = found["next"].as_str().unwrap();
    assert!(next.contains("run ") && next.contains("--accept deletes-items --accept no-way-back"), "{next}");
    tool(&migration.harness, &["report", &migration.plan, "--out", "r.html"]).exits(0);
    let report = std::fs::read_to_string(migration.harness.dir().join("r.html")).unwrap();
    assert!(report.contains("Left (selected, but not deleted)"));
    for other in ["Missing (no value)", "Stale (another value)", "Items compared"] {
        assert!(!report.contains(other), "{other}");
    }
}

/// `explain` shows the request and its condition.
#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_the_delete() {
    let migration = Migration::new(documents(), "version = \"version\"").await;
    let (key, _) = migration.before.iter().find(|(_, item)| goes(item)).unwrap();
    let explained = migration.command(&["explain", "--key", key], 0);
    let write = &explained["items"][0]["write"];
    assert_eq!((&write["request"], &write["update_expression"]), (&json!("DeleteItem"), &json!("")), "{explained:#}");
    let condition = write["condition_expression"].as_str().unwrap();
    assert!(condition.starts_with("attribute_exists(#") && condition.matches(" = ").count() == 3, "{condition}");
    // It also shows the types of the values that `where` reads.
    let shown = explained["items"][0]["values"].to_string();
    assert!(["documentStatus", "lastUpdated", "version"].iter().all(|name| shown.contains(name)), "{shown}");
    let (other, _) = migration.before.iter().find(|(_, item)| !goes(item)).unwrap();
    let explained = migration.command(&["explain", "--key", other], 0);
    assert_eq!(explained["items"][0]["decision"], "nothing_to_do", "{explained:#}");

    let gone = item_from_json(&json!({"pk": {"S": "DOCUMENT-0"}, "sk": {"S": "none"}})).unwrap();
    let gone = key_of(&gone).to_text();
    let undo = |key: &str| {
        let explained = migration.command(&["explain", "--pass", "undo", "--key", key], 0);
        explained["items"][0].clone()
    };
    migration.run(&[], 0);
    let put_back = undo(key);
    assert_eq!((&put_back["decision"], &put_back["write"]["request"]), (&json!("would_change"), &json!("PutItem")));
    assert!(put_back["summary"].as_str().unwrap().contains("restores the deleted item"), "{put_back:#}");
    assert_eq!(undo(&gone)["decision"], "gone");
    migration.command(&["rollback", "--yes"], 0);
    assert_eq!(undo(key)["decision"], "already_applied");
    let endpoint = migration.harness.server_endpoint();
    delete(&endpoint, &migration.table, &migration.before[key]).await;
    assert!(undo(key)["summary"].as_str().unwrap().contains("has been deleted since"), "{:#}", undo(key));
}

/// Deletes an item, as an application would.
async fn delete(endpoint: &str, table: &str, item: &Item) {
    let key = harness::to_sdk(key_of(item).attributes());
    let client = harness::client(endpoint);
    client.delete_item().table_name(table).set_key(Some(key)).send().await.unwrap();
}

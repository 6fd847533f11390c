//! Tests `explain` and `schema`.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Mutex;

use backfill::internals::item::{Projection, Value, item_to_json};

use super::harness::index;
use super::*;

/// Returns the only explained item in a document.
fn only_item(document: &Json) -> &Json {
    let items = document["items"].as_array().unwrap();
    assert_eq!((items.len(), &document["more"]), (1, &json!(false)), "{document:#}");
    &items[0]
}

fn explain(harness: &Harness, plan: &std::path::Path, args: &[&str]) -> Json {
    let common = ["explain", text(plan), "--output", "json"];
    tool(harness, &[&common[..], args].concat()).exits(0).json()
}

/// The expressions, the types and the cost equal those of the request that `run` then sends.
#[tokio::test(flavor = "multi_thread")]
async fn the_explained_write_is_the_one_that_run_sends() {
    let harness = Harness::embedded();
    let by_new = index("by-new", &[("new", "S")], Projection::All, false);
    let table = harness.create_indexed_table(&[by_new]).await;
    harness.load(&table, [item("P", "S", [("old", secret("x")), ("doc", secret("y"))])].into_iter()).await;
    let changes = format!("{MOVE}[[change]]\nset = \"tier\"\nvalue = \"free\"\n");
    let plan = harness.plan("plan", &table, "", &changes);
    let document = explain(&harness, &plan, &["--key", r#"{"pk": "P", "sk": "S"}"#]);
    assert_eq!((&document["pass"], &document["offline"]), (&json!("expand"), &json!(false)));
    let explained = only_item(&document);
    assert_eq!(explained["key"], json!({"pk": {"S": "P"}, "sk": {"S": "S"}}));
    assert_eq!((&explained["decision"], &explained["write"]["sent"]), (&json!("would_change"), &json!(true)));
    nothing_was_written(&harness);
    assert!(!harness.dir().join(".backfill").exists());
    assert_eq!(harness.proxy().tally().operation("GetItem").requests, 1);
    assert_eq!(harness.proxy().tally().operation("Scan").requests, 0);

    let sent: Arc<Mutex<Vec<Json>>> = Arc::default();
    let seen = Arc::clone(&sent);
    inject_fault(&harness, move |request| {
        if request.operation == "UpdateItem" {
            seen.lock().unwrap().push(request.body().clone());
        }
        Fault::Pass
    });
    let ran = tool(&harness, &["run", text(&plan), "--yes", "--output", "json"]).exits(0).json();
    let sent = sent.lock().unwrap();
    let [request] = &sent[..] else { panic!("{sent:?}") };
    let write = &explained["write"];
    assert_eq!(request["UpdateExpression"], write["update_expression"]);
    assert_eq!(request["ConditionExpression"], write["condition_expression"]);
    assert_eq!(request["ExpressionAttributeNames"], write["names"]);
    let types: Map<String, Json> = write["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| (value["placeholder"].as_str().unwrap().to_owned(), value["type"].clone()))
        .collect();
    let sent_types: Map<String, Json> = request["ExpressionAttributeValues"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(placeholder, value)| (placeholder.clone(), json!(value.as_object().unwrap().keys().next())))
        .collect();
    assert_eq!(types, sent_types);
    assert_eq!(write["wcu"], json!(harness.proxy().tally().write_units()), "{ran:#}");
    assert_eq!(write["indexes"], json!([{"name": "by-new", "wcu": 1.0}]));
    assert_eq!(write["wcu"].as_f64().unwrap(), write["table_wcu"].as_f64().unwrap() + 1.0);

    let after = explain(&harness, &plan, &["--key", "pk=P sk=S"]);
    assert_eq!(only_item(&after)["decision"], "already_applied");
}

/// RUNBOOK: "`backfill explain plan.toml --key KEY` with a key from this list shows the types of the item's values at the
/// paths of the plan, and why the item gets no write".
#[tokio::test(flavor = "multi_thread")]
async fn a_key_from_the_list_of_failures_is_explained() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let diverged = item("P \"1\"", "S\\2", [("old", secret("x")), ("new", secret("y"))]);
    let rejected = item("P", "R", [("old", secret("x")), ("doc", secret("text"))]);
    harness.load(&table, [diverged, rejected].into_iter()).await;
    let nested = "[[change]]\ncopy = \"old\"\nto = \"doc.new\"\n";
    let plan = harness.plan("plan", &table, "", &format!("{MOVE}{nested}"));
    tool(&harness, &["run", text(&plan), "--yes"]);
    let list = tool(&harness, &["failures", "list", text(&plan)]).exits(0).stdout;
    let key_of = |word: &str| {
        let line = list.lines().find(|line| line.starts_with(word)).unwrap_or_else(|| panic!("{list}"));
        line[word.len()..].trim_start().split("  ").next().unwrap().to_owned()
    };
    let found = explain(&harness, &plan, &["--key", &key_of("rejected")]);
    let found = only_item(&found);
    assert_eq!((&found["decision"], &found["write"]), (&json!("rejected"), &json!(null)), "{found:#}");
    let reason = found["reason"].as_str().unwrap();
    assert!(list.contains(reason), "{reason} is the reason in {list}");
    assert!(found["values"].as_array().unwrap().contains(&json!({"path": "doc.new", "type": null, "bytes": null})));

    let said = tool(&harness, &["explain", text(&plan), "--key", &key_of("diverged")]).exits(0).stdout;
    assert!(said.contains("diverged: `new` differs from what the plan implies"), "{said}");
    assert!(said.contains("values now   old      S, 8 bytes"), "{said}");
    let gone = explain(&harness, &plan, &["--key", "pk=P sk=none"]);
    assert_eq!((&only_item(&gone)["decision"], &only_item(&gone)["bytes"]), (&json!("gone"), &json!(null)));
}

/// The decisions of the other passes depend on the records in the state file.
#[tokio::test(flavor = "multi_thread")]
async fn other_passes_use_the_recorded_history() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    // The run writes the new value of the first item. The second item already has an equal new value before the run.
    let items =
        [item("P", "moved", [("old", secret("x"))]), item("P", "before", [("old", secret("x")), ("new", secret("x"))])];
    harness.load(&table, items.into_iter()).await;
    let plan = harness.plan("plan", &table, "", MOVE);
    let decide = |pass: &str, sk: &str| {
        let document = explain(&harness, &plan, &["--pass", pass, "--key", &format!("pk=P sk={sk}")]);
        let found = only_item(&document);
        (document["records"].clone(), found["decision"].clone(), found["recorded"].clone())
    };
    assert_eq!(decide("undo", "moved"), (json!("no_state"), json!("nothing_to_do"), json!(false)));
    assert!(!harness.dir().join(".backfill").exists());
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    assert_eq!(decide("undo", "moved"), (json!("state"), json!("would_change"), json!(false)));
    assert_eq!(decide("undo", "before"), (json!("state"), json!("nothing_to_do"), json!(true)));
    assert_eq!(decide("expand", "moved").1, json!("already_applied"));
    assert_eq!(decide("contract", "moved"), (json!("not_needed"), json!("would_change"), json!(null)));
    assert_eq!(decide("old-from-new", "moved").1, json!("already_applied"));
    let counted = tool(&harness, &["rollback", text(&plan), "--dry-run", "--output", "json"]).exits(0).json();
    assert_eq!((&counted["would_change"], &counted["nothing_to_do"]), (&json!(1), &json!(1)), "{counted:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_a_file_are_explained_offline() {
    let harness = Harness::embedded();
    let plan = harness.plan("plan", "shop", "", &format!("key = [\"pk\", \"sk\"]\n{MOVE}"));
    let lines = [
        item("P", "1", [("old", secret("x"))]),
        item("P", "2", [("new", secret("x"))]),
        [("old".to_owned(), Value::Null)].into(),
    ];
    let lines: String = lines.iter().map(|item| format!("{}\n", item_to_json(item))).collect();
    std::fs::write(harness.dir().join("items.json"), &lines).unwrap();
    let document = explain(&harness, &plan, &["--item", "items.json"]);
    let decisions: Vec<&Json> = document["items"].as_array().unwrap().iter().map(|item| &item["decision"]).collect();
    assert_eq!(decisions, ["would_change", "already_applied", "rejected"]);
    assert_eq!((&document["offline"], &document["table_arn"]), (&json!(true), &json!(null)));
    let first = &document["items"][0]["write"];
    assert_eq!((&first["table_wcu"], &first["wcu"], &first["indexes"]), (&json!(1.0), &json!(null), &json!(null)));

    let mut command = harness.command();
    command.args(["explain", text(&plan), "--item", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("item         pk=P sk=1") && said.contains("The cost on its indexes is unknown"), "{said}");
    assert!(said.contains("item         (without its key attributes)"), "{said}");
    let shown = tool(&harness, &["explain", text(&plan), "--item", "items.json"]).exits(0).stdout;
    assert_eq!(shown, said);
    assert_eq!(harness.proxy().tally().requests(), 0, "the table was contacted");
    assert!(!harness.dir().join(".backfill").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let plan = harness.plan("plan", &table, "", MOVE);
    for (key, part) in [
        ("P", "neither JSON nor a key"),
        (r#"{"pk": "P"}"#, "exactly the key attributes `pk` and `sk`"),
        (r#"{"pk": "S3CRET", "sk": 5}"#, "`sk` must be a string"),
    ] {
        refused(&harness, 2, &["explain", text(&plan), "--key", key]).in_one_paragraph().says(&[part, "--key"]);
    }
    refused(&harness, 2, &["explain", text(&plan)]).says(&["--key", "--item"]);
    refused(&harness, 2, &["explain", text(&plan), "--key", "pk=a sk=b", "--item", "x"]).says(&["cannot be used with"]);
    refused(&harness, 2, &["explain", text(&plan), "--item", "x"]).in_one_paragraph().says(&["key = [\"pk\", \"sk\"]"]);
    let stated = harness.plan("stated", &table, "", &format!("key = [\"pk\", \"sk\"]\n{MOVE}"));
    std::fs::write(harness.dir().join("plain.json"), "{\"pk\": \"S3CRET\"}").unwrap();
    for (file, part) in [("none.json", "No such file"), ("plain.json", "item 1 is not DynamoDB JSON")] {
        refused(&harness, 2, &["explain", text(&stated), "--item", file]).in_one_paragraph().says(&[file, part]);
    }
    refused(&harness, 2, &["explain", "none.toml", "--key", "x"]).in_one_paragraph().says(&["none.toml"]);
    let message = "User is not authorized to perform: dynamodb:GetItem";
    answer(&harness, "GetItem", 400, "AccessDeniedException", message);
    let args = ["explain", text(&plan), "--key", "pk=a sk=b"];
    refused(&harness, 3, &args).in_one_paragraph().says(&["dynamodb:GetItem", "Grant the permission"]);
    nothing_was_written(&harness);
}

/// A pass that needs no records ignores the state file of another plan. A pass that needs records refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_state_file_matters_only_if_records_are_needed() {
    let (harness, table, plan) = setup(3, "").await;
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    let other = harness.plan("other", &table, "", "[[change]]\nmove = \"old\"\nto = \"newer\"\n");
    let state = harness.dir().join(".backfill/plan.db");
    let args = ["explain", text(&other), "--state", text(&state), "--key", "pk=P#0 sk=S#0"];
    tool(&harness, &args).exits(0);
    refused(&harness, 7, &[&args[..], &["--pass", "undo"]].concat()).says(&["belongs to another plan"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_printed() {
    let harness = Harness::embedded();
    let printed = tool(&harness, &["schema"]).exits(0).stdout;
    let schema = include_str!("../../docs/plan.schema.json");
    assert_eq!(printed, schema);
    let document = tool(&harness, &["schema", "--output", "json"]).exits(0).json();
    assert_eq!(document["schema"], serde_json::from_str::<Json>(schema).unwrap());
}

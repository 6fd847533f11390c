//! Tests plans that read an index (`[select] index`).

use aws_sdk_dynamodb::types::{DeleteGlobalSecondaryIndexAction, GlobalSecondaryIndexUpdate};
use backfill::internals::item::{Projection, Value, item_from_json};

use super::*;
use crate::harness::index;

const SET: &str = "[[change]]\nset = \"reviewed\"\nvalue = true\n";

/// A table with the index `by-status`, and a plan that reads this index. Every third item has a status.
struct Indexed {
    harness: Harness,
    table: String,
    plan: PathBuf,
}

impl Indexed {
    async fn new(count: usize, rest: &str) -> Indexed {
        let harness = Harness::start();
        let indexes = [index("by-status", &[("status", "S"), ("n", "N")], Projection::KeysOnly, false)];
        let table = harness.create_indexed_table(&indexes).await;
        harness.load(&table, (0..count).map(|n| Indexed::item(n, n % 3 == 0))).await;
        let plan = harness.plan("indexed", &table, "on_not_computable = \"fail\"", rest);
        Indexed { harness, table, plan }
    }

    fn item(n: usize, has_status: bool) -> Item {
        let mut json = json!({
            "pk": { "S": format!("p{}", n % 7) }, "sk": { "S": format!("s{n}") }, "n": { "N": n.to_string() },
        });
        if has_status {
            json["status"] = json!({ "S": "open" });
        }
        item_from_json(&json).unwrap()
    }

    #[track_caller]
    fn command(&self, words: &[&str], code: i32) -> Json {
        let args = [&[words[0], text(&self.plan)], &words[1..], &["--output", "json"]].concat();
        tool(&self.harness, &args).exits(code).json()
    }

    /// Returns the numbers of the items that have the new attribute.
    async fn changed(&self) -> Vec<usize> {
        let items = self.harness.dump(&self.table).await.into_values().filter(|item| item.contains_key("reviewed"));
        let number = |item: Item| match &item["n"] {
            Value::N(n) => n.as_str().parse().unwrap(),
            other => panic!("{other:?}"),
        };
        let mut numbers: Vec<usize> = items.map(number).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// RUNBOOK: "Only the first pass of `run` and its dry run read the index. Every other pass reads the table"
#[tokio::test(flavor = "multi_thread")]
async fn only_items_in_the_index_change() {
    let rest = format!("[select]\nindex = \"by-status\"\nwhere = 'item.n != 9'\n[scan]\nsegments = 3\n{SET}");
    let indexed = Indexed::new(200, &rest).await;
    let expected: Vec<usize> = (0..200).filter(|n| n % 3 == 0 && *n != 9).collect();
    let before = indexed.harness.dump(&indexed.table).await;

    let human = tool(&indexed.harness, &["check", text(&indexed.plan)]).exits(0).stdout;
    assert!(human.contains("index by-status, and each item in it by its key"), "{human}");
    let dry = indexed.command(&["run", "--dry-run"], 0);
    assert_eq!((&dry["would_change"], &dry["scanned"]), (&json!(66), &json!(67)), "{dry:#}");
    let sampled = indexed.command(&["run", "--dry-run", "--sample", "60%"], 0);
    assert_eq!(sampled["sample"]["complete"], true, "{sampled:#}");
    let ran = indexed.command(&["run", "--yes", "--accept", "no-pitr"], 0);
    let counts = &ran["totals"]["counts"];
    assert_eq!((&counts["scanned"], &counts["applied"]), (&json!(67), &json!(66)), "{ran:#}");
    assert_eq!(indexed.changed().await, expected);
    assert_eq!(indexed.command(&["verify", "--all"], 0)["mismatches"], 0);

    // The passes over the table find an item that enters the index after the scan.
    indexed.harness.load(&indexed.table, [Indexed::item(1, true)].into_iter()).await;
    assert_eq!(indexed.command(&["verify", "--all"], 5)["missing"], 1);
    let again = indexed.command(&["run", "--again", "--yes"], 0);
    let counts = &again["totals"]["counts"];
    assert_eq!((&counts["scanned"], &counts["applied"]), (&json!(200), &json!(1)), "{again:#}");
    let key = |n: usize| format!("{{\"pk\": \"p{}\", \"sk\": \"s{n}\"}}", n % 7);
    let outside = indexed.command(&["explain", "--key", &key(2)], 0).to_string();
    assert!(outside.contains("index does not contain the item"), "{outside}");

    indexed.command(&["rollback", "--yes"], 0);
    let after = indexed.harness.dump(&indexed.table).await;
    for (key, item) in &after {
        let mut before = before[key].clone();
        if item["n"] == Value::N("1".parse().unwrap()) {
            before.insert("status".to_owned(), Value::S("open".into()));
        }
        assert_eq!(bytes_of(item), bytes_of(&before), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_through_an_index_continues() {
    let indexed = Indexed::new(210, &format!("[select]\nindex = \"by-status\"\n{SLOWLY}{SET}")).await;
    let mut command = indexed.harness.command();
    command.args(["run", text(&indexed.plan), "--yes", "--accept", "no-pitr"]);
    let run = RunningTool::start(command);
    while indexed.harness.proxy().tally().operation("UpdateItem").ok < 20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run.signal(Signal::SIGKILL);
    run.end();
    let resumed = indexed.command(&["run", "--yes"], 0);
    assert_eq!(resumed["totals"]["counts"]["scanned"], 70, "{resumed:#}");
    assert_eq!(indexed.changed().await, (0..210).filter(|n| n % 3 == 0).collect::<Vec<_>>());
}

/// If an item leaves the index between the read and the write, the run does not write it.
#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_leaves_the_index_is_not_written() {
    let indexed = Indexed::new(3, &format!("[select]\nindex = \"by-status\"\n{SET}")).await;
    let client = indexed.harness.client().clone();
    let table = indexed.table.clone();
    let server = harness::client(&indexed.harness.server_endpoint());
    drop(client);
    let runtime = tokio::runtime::Handle::current();
    let rule: FaultRule = Arc::new(move |request: &RequestInfo| {
        if request.operation == "UpdateItem" {
            let remove = server
                .update_item()
                .table_name(&table)
                .key("pk", aws_sdk_dynamodb::types::AttributeValue::S("p0".into()))
                .key("sk", aws_sdk_dynamodb::types::AttributeValue::S("s0".into()))
                .update_expression("REMOVE #s")
                .expression_attribute_names("#s", "status");
            tokio::task::block_in_place(|| runtime.block_on(async { remove.send().await.map(drop).map_err(Box::new) }))
                .unwrap();
        }
        Fault::Pass
    });
    indexed.harness.proxy().set_faults(Some(rule));
    let ran = indexed.command(&["run", "--yes", "--accept", "no-pitr"], 0);
    indexed.harness.proxy().set_faults(None);
    assert_eq!(ran["totals"]["counts"]["applied"], 0, "{ran:#}");
    assert_eq!(indexed.changed().await, [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_cannot_be_used_is_refused() {
    for (rest, why) in [
        (format!("[select]\nindex = \"by-state\"\n{SET}"), "an index of the table: \\\"by-status\\\""),
        (
            "[select]\nindex = \"by-status\"\n[[change]]\nset = \"status\"\nvalue = \"x\"\n".to_owned(),
            "a key attribute of the index",
        ),
    ] {
        let indexed = Indexed::new(1, &rest).await;
        let refused = indexed.command(&["check"], 2).to_string();
        assert!(refused.contains(why), "{why}: {refused}");
    }
}

/// RUNBOOK: "`rollback` works without it, because it uses the records in the journal."
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_after_the_index_was_deleted() {
    let indexed = Indexed::new(30, &format!("[select]\nindex = \"by-status\"\n{SET}")).await;
    // An item outside the index already has the plan's value.
    let mut foreign = Indexed::item(1, false);
    foreign.insert("reviewed".to_owned(), Value::Bool(true));
    indexed.harness.load(&indexed.table, [foreign].into_iter()).await;
    let before = indexed.harness.dump(&indexed.table).await;
    let ran = indexed.command(&["run", "--yes", "--accept", "no-pitr"], 0);
    assert_eq!(ran["totals"]["counts"]["applied"], 10, "{ran:#}");

    let delete = DeleteGlobalSecondaryIndexAction::builder().index_name("by-status").build().unwrap();
    let update = GlobalSecondaryIndexUpdate::builder().delete(delete).build();
    let client = indexed.harness.client();
    client.update_table().table_name(&indexed.table).global_secondary_index_updates(update).send().await.unwrap();
    indexed.harness.wait_until_active(&indexed.table).await;
    let described = client.describe_table().table_name(&indexed.table).send().await.unwrap();
    let left = described.table.unwrap().global_secondary_indexes.unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");

    let refused = indexed.command(&["verify", "--all"], 2).to_string();
    assert!(refused.contains("there is no index `by-status`"), "{refused}");
    indexed.command(&["rollback", "--yes"], 0);
    assert_eq!(indexed.harness.dump(&indexed.table).await, before);
}

/// Without the table, the index key is unknown. `explain` then states its assumption, and does not give `where` as the
/// reason.
#[tokio::test(flavor = "multi_thread")]
async fn an_offline_explanation_assumes_that_the_index_contains_the_item() {
    let harness = Harness::embedded();
    let rest = format!(
        "key = [\"pk\", \"sk\"]\n[select]\nindex = \"by-status\"\n{}",
        "[[change]]\nset = \"tier\"\nvalue = 1\n"
    );
    let plan = harness.plan("offline", "shop", "", &rest);
    std::fs::write(harness.dir().join("items.json"), "{\"pk\": {\"S\": \"a\"}, \"sk\": {\"S\": \"b\"}}\n").unwrap();
    let said = tool(&harness, &["explain", text(&plan), "--item", "items.json"]).exits(0).stdout;
    assert!(
        said.contains("would change") && said.contains("assumes that the index `by-status` contains the item"),
        "{said}"
    );
    let undo = tool(&harness, &["explain", text(&plan), "--pass", "undo", "--item", "items.json"]).exits(0).stdout;
    assert!(undo.contains("there is nothing to undo") && !undo.contains("`where`"), "{undo}");
}

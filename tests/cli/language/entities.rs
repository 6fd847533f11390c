//! Tests plans for one table with several kinds of items. One plan changes only one kind of item. Another plan changes
//! only items older than a date. The others change only the few items that have a certain attribute. The run does not
//! write the other items, so they keep every byte.

use backfill::internals::item::{Item, Projection, Value};
use serde_json::{Value as Json, json};

use super::{Migration, item, number, text, with};
use crate::harness::tool::tool;
use crate::harness::{Harness, bytes_of, index};

/// Returns scores, users, orders and spaces. Each user has one partition key. Some items already have the attribute
/// that the plan sets, and some other kinds use its name for a different purpose.
fn scores_and_others() -> Vec<Item> {
    let kinds = ["SPACE_SCORE", "USER", "ORDER", "SPACE"];
    let one = |n: usize| {
        let created = format!("20{}-0{}-01T00:00:00Z", 23 + n % 3, 1 + n % 9);
        let mut attributes = json!({ "sk": { "S": format!("{}#{n}", kinds[n % 4]) }, "created_at": { "S": created } });
        if n.is_multiple_of(12) {
            attributes["xp"] = json!({ "N": "77" });
        }
        if n % 8 == 2 {
            attributes["xp"] = json!({ "S": "express" });
        }
        item(&format!("U#{}", n / 4), attributes)
    };
    let special = |pk: &str, attributes: Json| item(pk, attributes);
    let mut items: Vec<Item> = (0..200).map(one).collect();
    // The sort key of another kind begins with the same letters.
    items.push(special("U#x", json!({ "sk": { "S": "SPACE_SCORE" }, "created_at": { "S": "2023-01-01T00:00:00Z" } })));
    items.push(special("U#y", json!({ "sk": { "S": "SPACE_SCORE#no date" } })));
    items.push(special("U#z", json!({ "sk": { "S": "SPACE_SCORE#a number" }, "created_at": { "N": "1672531200" } })));
    items
}

/// Only old scores without points get a default. A score without a readable date is reported.
#[tokio::test(flavor = "multi_thread")]
async fn only_old_scores_without_points_get_points() {
    let rest = "[select]\nwhere = 'item.sk.startsWith(\"SPACE_SCORE#\") && item.created_at < \"2025-01-01\"'\n\
                [[change]]\nset = \"xp\"\nvalue = 0\non_existing = \"skip\"\n";
    let migration = Migration::new(scores_and_others(), "on_not_computable = \"fail\"", rest).await;
    migration
        .check(&[], 2, |before| {
            let (Value::S(sk), Some(Value::S(created))) = (&before["sk"], before.get("created_at")) else {
                return before.clone();
            };
            let is_old_score = sk.starts_with("SPACE_SCORE#") && created.as_str() < "2025-01-01";
            match is_old_score && !before.contains_key("xp") {
                true => with(before, "xp", number("0")),
                false => before.clone(),
            }
        })
        .await;
}

/// Only one change depends on the date. The plan's other change applies to every item.
#[tokio::test(flavor = "multi_thread")]
async fn only_items_older_than_a_date_are_archived() {
    let items = (0..30).map(|n| {
        let created = json!({ "S": format!("20{}-06-01", 22 + n % 4) });
        item(&format!("d{n}"), if n % 5 == 4 { json!({}) } else { json!({ "created_at": created }) })
    });
    let rest = "[[change]]\nset = \"archived\"\nvalue = true\n\
                where = 'has(item.created_at) && type(item.created_at) == \"S\" && item.created_at < \"2024-01-01\"'\n\
                [[change]]\nset = \"schema_version\"\nvalue = 2\n";
    let migration = Migration::new(items.collect(), "", rest).await;
    migration
        .check(&[], 0, |before| {
            let after = with(before, "schema_version", number("2"));
            match before.get("created_at") {
                Some(Value::S(created)) if created.as_str() < "2024-01-01" => {
                    with(&after, "archived", Value::Bool(true))
                }
                _ => after,
            }
        })
        .await;
}

/// One item in a hundred has the attribute. Only these items are written.
#[tokio::test(flavor = "multi_thread")]
async fn items_without_a_rare_attribute_cost_no_write() {
    let rest = "[[change]]\nmove = \"legacy_id\"\nto = \"external_id\"\n";
    let migration = Migration::new(sparse(), "strategy = \"in-place\"", rest).await;
    let ran = migration.command(&["run", "--yes", "--accept", "no-pitr"], 0);
    let counts = &ran["totals"]["counts"];
    assert_eq!((&counts["scanned"], &counts["applied"]), (&json!(1_000), &json!(10)), "{ran:#}");
    assert_eq!(migration.harness.proxy().tally().operation("UpdateItem").requests, 10);
    for (key, now) in migration.harness.dump(&migration.table).await {
        let mut due = migration.before[&key].clone();
        if let Some(id) = due.remove("legacy_id") {
            due.insert("external_id".to_owned(), id);
        }
        assert_eq!(bytes_of(&now), bytes_of(&due));
    }
}

/// With an index on the rare attribute, the run reads only the index and its items.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_over_a_rare_attribute_saves_the_scan() {
    let harness = Harness::start();
    let by_legacy = index("by-legacy", &[("legacy_id", "S")], Projection::KeysOnly, false);
    let table = harness.create_indexed_table(&[by_legacy]).await;
    harness.load(&table, sparse().into_iter()).await;
    let rest =
        "[select]\nindex = \"by-legacy\"\n[[change]]\ncompute = \"external_id\"\nas = '\"X\" + item.legacy_id'\n";
    let plan = harness.plan("sparse", &table, "on_not_computable = \"fail\"", rest);
    let args = ["run", plan.to_str().unwrap(), "--yes", "--accept", "no-pitr", "--output", "json"];
    let ran = tool(&harness, &args).exits(0).json();
    let counts = &ran["totals"]["counts"];
    assert_eq!((&counts["scanned"], &counts["applied"]), (&json!(10), &json!(10)), "{ran:#}");
    // A scan of the table would read 1,000 items of about 300 bytes. With eventually consistent reads, this would cost
    // about 37 units.
    assert!(counts["read_units"].as_f64() < Some(30.0), "{ran:#}");
    let changed = harness.dump(&table).await.into_values().filter(|item| item.contains_key("external_id"));
    let expected =
        |item: &Item| matches!(&item["legacy_id"], Value::S(id) if item["external_id"] == text(format!("X{id}")));
    assert_eq!(changed.filter(expected).count(), 10);
}

/// Returns a thousand items. Ten of them have the attribute `legacy_id`.
fn sparse() -> Vec<Item> {
    let one = |n: usize| {
        let mut attributes = json!({ "pad": { "S": "p".repeat(300) } });
        if n.is_multiple_of(100) {
            attributes["legacy_id"] = json!({ "S": format!("L{n}") });
        }
        item(&format!("{n:06}"), attributes)
    };
    (0..1_000).map(one).collect()
}

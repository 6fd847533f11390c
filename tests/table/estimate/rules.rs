//! A dry run lists the items whose change violates documented rules of DynamoDB. In the run, exactly these items fail,
//! and the tool does not send their writes.

use std::collections::BTreeSet;

use backfill::internals::item::{Item, Num, Projection, Value};
use serde_json::Value as Json;

use crate::harness::{Harness, index};
use crate::spend::whole_run::tool;

/// The keys of the open failures that the tool lists.
pub(crate) fn failures(harness: &Harness, plan: &std::path::Path) -> BTreeSet<String> {
    let listed =
        harness.command().args(["failures"]).arg(plan).args(["list", "--limit", "1000", "--output", "json"]).output();
    let json: Json = serde_json::from_slice(&listed.unwrap().stdout).unwrap();
    let list = json["failures"].as_array().unwrap();
    list.iter().map(|failure| failure["key"].to_string()).collect()
}

fn keyed(pk: String, attributes: Vec<(&str, Value)>) -> Item {
    let mut item: Item = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    item.insert("pk".into(), Value::S(pk));
    item.insert("sk".into(), Value::S("x".into()));
    item
}

/// Compares a dry run with the run over the same table. In this table, `sound` items can be changed, and `refused`
/// items cannot. Checks that the tool never sends a write for the `refused` items.
async fn check_prediction(harness: &Harness, (name, table): (&str, &str), changes: &str, sound: u64, refused: u64) {
    let plan = harness.plan(name, table, "", changes);
    let dry = tool(harness, &plan, &["--dry-run"], 4);
    let classes = ["would_change", "rejected", "would_exceed_400_kb"].map(|name| dry[name].as_u64().unwrap());
    assert_eq!((classes[0], classes[1] + classes[2]), (sound, refused), "{dry:#}");
    harness.proxy().reset_tally();
    let run = tool(harness, &plan, &["--yes"], 4);
    let counts = &run["totals"]["counts"];
    assert_eq!((&counts["applied"], &counts["rejected"]), (&sound.into(), &refused.into()), "{counts:#}");
    assert_eq!(
        harness.proxy().tally().operation("UpdateItem").requests,
        sound,
        "a write that a rule forbids is not sent"
    );
    let named = failures(harness, &plan);
    assert_eq!(named.len() as u64, refused);
    let is_named = |prefix: &str| named.iter().filter(|key| key.contains(prefix)).count() as u64;
    assert_eq!((is_named("BAD#"), is_named("OK#")), (refused, 0), "{named:?}");
}

/// The plan writes an attribute that is a key of a global index, or the sort key of a local index. A value cannot be a
/// key if it has the wrong type, is empty, or is too long (more than 2,048 bytes for a partition key, more than 1,024
/// bytes for a sort key).
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_predicts_values_that_cannot_be_index_keys() {
    let harness = Harness::embedded();
    let text = |bytes: usize| Value::S("y".repeat(bytes));
    let never = [
        Value::S(String::new()),
        Value::N(Num::parse("5").unwrap()),
        Value::Null,
        Value::Bool(true),
        Value::B(vec![7]),
        Value::L(vec![text(1)]),
        Value::M(Item::new()),
        Value::Ss(vec!["a".into()]),
        text(2_049),
    ];
    let by_mail = index("by-mail", &[("mail_key", "S")], Projection::All, false);
    let by_code = index("by-code", &[("pk", "S"), ("code", "S")], Projection::KeysOnly, true);
    let table = harness.create_indexed_table(&[by_mail, by_code]).await;
    let bad = never.iter().enumerate().map(|(n, value)| keyed(format!("BAD#{n}"), vec![("mail", value.clone())]));
    let good =
        [1, 2_048].into_iter().enumerate().map(|(n, bytes)| keyed(format!("OK#{n}"), vec![("mail", text(bytes))]));
    harness.load(&table, bad.chain(good)).await;
    check_prediction(&harness, ("mail", &table), "[[change]]\ncopy = \"mail\"\nto = \"mail_key\"\n", 2, 9).await;

    let bad = [1_025, 0].into_iter().enumerate().map(|(n, bytes)| keyed(format!("BAD#s{n}"), vec![("c", text(bytes))]));
    let good = std::iter::once(keyed("OK#s".into(), vec![("c", text(1_024))]));
    harness.load(&table, bad.chain(good)).await;
    check_prediction(
        &harness,
        ("code", &table),
        "[[change]]\nset = \"other\"\nvalue = 1\n[[change]]\nmove = \"c\"\nto = \"code\"\n",
        12,
        2,
    )
    .await;
}

/// If a document moves into another document, some of its values can be nested deeper than 32 levels. DynamoDB rejects
/// such an item.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_predicts_documents_that_would_be_too_deep() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    // Returns a string inside this number of nested lists.
    let nested = |lists: usize| (0..lists).fold(Value::S("x".into()), |value, _| Value::L(vec![value]));
    let inside = |n: usize, lists: usize| {
        let name = if lists > 29 { format!("BAD#{n}") } else { format!("OK#{n}") };
        keyed(name, vec![("doc", nested(lists)), ("a", Value::M([("b".to_owned(), Value::M(Item::new()))].into()))])
    };
    harness.load(&table, [0, 28, 29, 30, 31].into_iter().enumerate().map(|(n, lists)| inside(n, lists))).await;
    check_prediction(&harness, ("deep", &table), "[[change]]\ncopy = \"doc\"\nto = \"a.b.c\"\n", 3, 2).await;
}

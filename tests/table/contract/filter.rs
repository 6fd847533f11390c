//! Tests the filters of scans: the server must omit only items that the evaluator does not select.

use std::collections::BTreeSet;

use backfill::internals::dynamodb::{Describe, PageRequest, Source};
use backfill::internals::expr::{Expected, Expr, Facts, Filter, KnownTypes};
use backfill::internals::item::Item;
use serde_json::{Value as Json, json};

use super::{Table, item, sdk_table, table};
use crate::harness::{Harness, key_of};

/// The values of the attributes `a` and `m.k`. Items have both attributes, one of them, or neither.
fn values() -> Vec<Json> {
    let digits = "99999999999999999999999999999999999999";
    vec![
        Json::Null,
        json!({"S": "a"}),
        json!({"S": "ab"}),
        json!({"S": "ä"}),
        json!({"S": "1"}),
        json!({"N": "1"}),
        json!({"N": "-1"}),
        json!({"N": "2.5"}),
        json!({"N": digits}),
        json!({"N": "99999999999999999999999999999999999998"}),
        json!({"N": "1E-130"}),
        json!({"B": "YQ=="}),
        json!({"BOOL": true}),
        json!({"NULL": true}),
        json!({"SS": ["a", "b"]}),
        json!({"NS": ["1", "2.5"]}),
        json!({"BS": ["YQ=="]}),
        json!({"L": [{"S": "a"}, {"N": "1"}]}),
        json!({"M": {"k": {"S": "a"}}}),
    ]
}

/// Conditions that a filter can express completely. `P` stands for a path.
const CONDITIONS: &[&str] = &[
    "has(P)",
    "!has(P)",
    "type(P) != \"MISSING\"",
    "type(P) in [\"NULL\", \"MISSING\"]",
    "type(P) in [\"SS\", \"NS\", \"BS\", \"L\", \"M\"]",
    "type(P) == \"S\" && P == \"a\"",
    "type(P) == \"S\" && P != \"a\"",
    "type(P) == \"S\" && P < \"ab\"",
    "type(P) == \"S\" && P >= \"ä\"",
    "type(P) == \"S\" && P.contains(\"b\")",
    "type(P) == \"S\" && P in [\"a\", \"1\", \"ä\"]",
    "type(P) != \"S\" || P in [\"a\", \"1\"]",
    "type(P) == \"N\" && P == 1.0",
    "type(P) == \"N\" && P > 0",
    "type(P) == \"N\" && 2.5 >= P",
    "type(P) == \"N\" && P == 99999999999999999999999999999999999999",
    "type(P) == \"N\" && P < 99999999999999999999999999999999999999",
    "type(P) == \"N\" && P in [1, 2.5]",
    "type(P) == \"B\" && P == b\"a\"",
    "type(P) == \"BOOL\" && P",
    "has(item.a) && item.a != null",
    "(type(P) == \"S\" && P == \"a\") || (type(P) == \"N\" && P <= 1)",
    "!(type(P) == \"S\" && (P == \"a\" || P == \"ab\"))",
    "item.pk.startsWith(\"1\") && has(P)",
];

const PREFIXES: &[&str] = &["type(P) == \"S\" && P.startsWith(\"a\")", "type(P) == \"S\" && !P.startsWith(\"a\")"];

const EMPTY_OR_FALSE: &[&str] =
    &["has(P)", "type(P) == \"S\" && P != \"a\"", "type(P) == \"BOOL\" && P", "type(P) == \"BOOL\" && P != true"];

fn filter(source: &str) -> (Expr, Filter) {
    let expr = Expr::compile(source, Expected::Bool).unwrap_or_else(|errors| panic!("{source}: {errors:?}"));
    let known = KnownTypes::default().with("pk", Some("S")).with("sk", Some("S"));
    let filter = expr.filter(&known).unwrap_or_else(|| panic!("{source} has no filter"));
    (expr, filter)
}

/// Scans the table in pages. The server reads up to 50 items for each page, and then applies the filter. Returns the
/// keys of the remaining items, and the number of omitted items.
async fn scan(table: &dyn Source, filter: &Filter) -> (BTreeSet<String>, u64) {
    let (mut keys, mut left_out, mut start) = (BTreeSet::new(), 0, None);
    loop {
        let request =
            PageRequest { segment: 0, total_segments: 1, start, limit: Some(50), consistent: true, keys_only: false };
        let read = table.read_filtered_page(&request, filter).await.unwrap();
        assert!(read.page.items.len() as u64 + read.left_out <= 50, "{}", read.left_out);
        keys.extend(read.page.items.iter().map(|item| key_of(item).to_text()));
        left_out += read.left_out;
        let Some(next) = read.page.next else { return (keys, left_out) };
        start = Some(next);
    }
}

/// Makes items with every pair of values. For each condition, compares the items that the server returns with the items
/// that the evaluator selects. If `conditions` is only a part of [`CONDITIONS`], the lean client must read the same
/// items. Returns the number of comparisons.
async fn compare(values: &[Json], conditions: &[&str]) -> usize {
    let harness = Harness::start();
    let name = harness.create_table().await;
    let mut items: Vec<Item> = Vec::new();
    for a in values {
        for k in values {
            let mut attributes = json!({"m": {"M": {}}});
            for (value, slot) in [(a, "/a"), (k, "/m/M/k")] {
                match (value.is_null(), slot) {
                    (true, _) => {}
                    (false, "/a") => attributes["a"] = value.clone(),
                    (false, _) => attributes["m"]["M"]["k"] = value.clone(),
                }
            }
            items.push(item(&format!("{}", items.len()), &attributes));
        }
    }
    harness.load(&name, items.clone().into_iter()).await;
    let lean = Table::lean(sdk_table(&harness, &name).await).await;
    let table = table(&harness, &name).await;
    table.describe().await.unwrap();
    let facts = Facts::default();
    let mut compared = 0;
    for path in ["item.a", "item.m.k"] {
        for source in conditions.iter().map(|source| source.replace('P', path)) {
            let (expr, filter) = filter(&source);
            assert_eq!(filter.terms.0, filter.terms.1, "{source}");
            let selected =
                items.iter().filter(|item| expr.test(item, &facts).unwrap_or_else(|e| panic!("{source}: {e:?}")));
            let selected: BTreeSet<String> = selected.map(|item| key_of(item).to_text()).collect();
            let (found, left_out) = scan(&table, &filter).await;
            if conditions.len() < CONDITIONS.len() {
                assert_eq!(scan(&lean, &filter).await, (found.clone(), left_out), "{source}: the lean client");
            }
            let wrong: Vec<&String> = found.symmetric_difference(&selected).collect();
            assert!(wrong.is_empty(), "{source} differs on {} items: {}", wrong.len(), filter.expression);
            assert_eq!(left_out, (items.len() - selected.len()) as u64, "{source}");
            compared += items.len();
        }
    }
    compared
}

/// The server and the evaluator agree on every item. This test makes more than 17,000 comparisons.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_leaves_out_what_the_evaluator_does_not_select() {
    let compared = compare(&values(), CONDITIONS).await;
    assert!(compared > 17_000, "{compared}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_and_the_evaluator_agree_on_prefixes() {
    assert!(compare(&values(), PREFIXES).await > 1_400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_and_the_evaluator_agree_on_empty_strings_and_on_false() {
    let values =
        [json!({"S": ""}), json!({"S": "a"}), json!({"BOOL": false}), json!({"BOOL": true}), json!({"N": "0"})];
    let values = [vec![Json::Null], values.to_vec()].concat();
    assert!(compare(&values, EMPTY_OR_FALSE).await > 200);
}

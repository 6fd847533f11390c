//! Tests changes in every element of a list or map.

use backfill::internals::item::{Item, Value};
use serde_json::{Value as Json, json};

use super::{ACCEPT, Migration, item, number, text, with};

/// Returns baskets with no line, one line or fifty lines. Some lines have a currency, and some baskets have a note
/// among their lines.
fn basket(n: usize) -> Item {
    let line = |at: usize| match at % 5 {
        0 => json!({ "M": { "qty": { "N": at.to_string() }, "currency": { "S": "USD" } } }),
        _ => json!({ "M": { "qty": { "N": at.to_string() } } }),
    };
    let mut lines: Vec<Json> = (0..[0, 1, 50][n % 3]).map(line).collect();
    lines.extend((n % 10 == 9).then(|| json!({ "S": "a note" })));
    item(&format!("{n:03}"), json!({ "lines": { "L": lines } }))
}

/// Applies this function to each line of the item. Elements that are not maps stay unchanged.
fn with_lines(before: &Item, change: impl Fn(&mut Item)) -> Item {
    let Some(Value::L(list)) = before.get("lines") else { return before.clone() };
    let mut list = list.clone();
    for element in &mut list {
        if let Value::M(members) = element {
            change(members);
        }
    }
    with(before, "lines", Value::L(list))
}

/// Every line without a currency gets a default.
#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_basket_gets_a_default() {
    let rest = "[[change]]\neach = \"lines[*]\"\nset = \"currency\"\nvalue = \"EUR\"\non_existing = \"skip\"\n";
    let migration = Migration::new((0..60).map(basket).collect(), "", rest).await;
    migration
        .check(&[], 0, |before| {
            with_lines(before, |line| {
                line.entry("currency".to_owned()).or_insert_with(|| text("EUR"));
            })
        })
        .await;
}

const LINES: &str = "[[change]]\neach = \"lines[*]\"\nmove = \"sku\"\nto = \"product_id\"\n\
                     [[change]]\neach = \"lines[*]\"\nconvert = \"qty\"\nto = \"N\"\n\
                     [[change]]\neach = \"lines[*]\"\nremove = \"tmp\"\n\
                     [[change]]\neach = \"lines[*]\"\ncompute = \"id\"\n\
                     as = 'item.pk + \"/\" + (has(element.sort) ? string(element.sort) : \"?\")'\n";

const FAIL: &str = "on_not_computable = \"fail\"";

fn order(pk: &str, lines: &Json) -> Item {
    item(pk, json!({ "lines": { "L": lines } }))
}

/// One write makes all kinds of changes in one list. It takes effect exactly once, and a rollback restores every byte.
#[tokio::test(flavor = "multi_thread")]
async fn several_changes_in_a_list_are_one_write() {
    let line =
        json!({ "M": { "sku": { "S": "a" }, "qty": { "S": "2" }, "tmp": { "NULL": true }, "sort": { "N": "7" } } });
    let done = json!({ "M": { "product_id": { "S": "b" }, "qty": { "N": "1.5" }, "other": { "NS": ["1", "2"] } } });
    let items = vec![
        order("both", &json!([line, done, { "N": "1" }])),
        order("empty", &json!([])),
        order("no number", &json!([line, { "M": { "qty": { "S": "two" } } }])),
        item("missing", json!({})),
        item("null", json!({ "lines": { "NULL": true } })),
        item("a text", json!({ "lines": { "S": "none" } })),
    ];
    let migration = Migration::new(items, FAIL, LINES).await;
    migration
        .check(&ACCEPT, 2, |before| {
            let Value::S(pk) = &before["pk"] else { return before.clone() };
            if pk == "no number" {
                return before.clone();
            }
            with_lines(before, |line| {
                let sort = line.get("sort").map_or("?", |_| "7");
                let sku = line.remove("sku");
                line.extend(sku.map(|sku| ("product_id".to_owned(), sku)));
                if matches!(line["qty"], Value::S(_)) {
                    line.insert("qty".to_owned(), number("2"));
                }
                line.remove("tmp");
                line.insert("id".to_owned(), text(format!("{pk}/{sort}")));
            })
        })
        .await;
}

/// RUNBOOK: "Before `run` changes such members, it requires two confirmations: `--accept readers-accept-both` and
/// `--accept writers-write-new`."
#[tokio::test(flavor = "multi_thread")]
async fn changed_members_wait_for_readers_and_writers() {
    let migration = Migration::new(vec![order("p", &json!([{ "M": { "sku": { "S": "a" } } }]))], FAIL, LINES).await;
    let refused = migration.command(&["run", "--yes", "--accept", "no-pitr"], 3);
    let said = refused.to_string();
    assert!(said.contains("readers-accept-both") && said.contains("writers-write-new"), "{said}");
    assert!(said.contains("the elements of `lines`"), "{said}");
    assert_eq!(migration.harness.dump(&migration.table).await, migration.before);
}

/// RUNBOOK: "If a writer has changed the list or map since the run, `rollback` leaves it as it is, and reports the item
/// as diverged."
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_keeps_the_lists_of_live_writers() {
    let line = |name: &str, id: &str| json!({ "M": { name: { "S": id } } });
    let rest = "[[change]]\neach = \"lines[*]\"\nmove = \"sku\"\nto = \"product_id\"\n";
    let items = vec![order("changed", &json!([line("sku", "a")])), order("same", &json!([line("sku", "b")]))];
    let migration = Migration::new(items, "", rest).await;
    migration.command(&[&["run", "--yes", "--accept", "no-pitr"], &ACCEPT[..]].concat(), 0);
    let appended = order("changed", &json!([line("product_id", "a"), line("product_id", "c")]));
    migration.harness.load(&migration.table, [appended.clone()].into_iter()).await;
    let verified = migration.command(&["verify", "--all"], 0);
    assert_eq!(verified["mismatches"], 0, "{verified:#}");
    migration.command(&["rollback", "--yes"], 5);
    let after = migration.harness.dump(&migration.table).await;
    let found: Vec<&Item> = after.values().collect();
    assert!(found.contains(&&appended), "{found:?}");
    assert!(found.contains(&&order("same", &json!([line("sku", "b")]))), "{found:?}");
}

/// RUNBOOK: "If a writer still appends elements in the old form, `verify --all` finds them, and `verify --repair` or
/// `run --again` changes them."
#[tokio::test(flavor = "multi_thread")]
async fn elements_of_old_writers_are_found_and_changed() {
    let line = |name: &str, id: &str| json!({ "M": { name: { "S": id } } });
    let rest = "[[change]]\neach = \"lines[*]\"\nmove = \"sku\"\nto = \"product_id\"\n";
    let migration = Migration::new(vec![order("p", &json!([line("sku", "a")]))], "", rest).await;
    migration.command(&[&["run", "--yes", "--accept", "no-pitr"], &ACCEPT[..]].concat(), 0);
    let old = |id: &str| order("p", &json!([line("product_id", "a"), line("sku", id)]));
    let new = |id: &str| order("p", &json!([line("product_id", "a"), line("product_id", id)]));
    migration.harness.load(&migration.table, [old("b")].into_iter()).await;
    migration.command(&["verify", "--all"], 5);
    migration.command(&["verify", "--all", "--repair", "--yes"], 0);
    assert_eq!(migration.harness.dump(&migration.table).await.into_values().collect::<Vec<_>>(), [new("b")]);
    migration.harness.load(&migration.table, [old("c")].into_iter()).await;
    migration.command(&[&["run", "--again", "--yes"], &ACCEPT[..]].concat(), 0);
    assert_eq!(migration.harness.dump(&migration.table).await.into_values().collect::<Vec<_>>(), [new("c")]);
    // Before the last write, the list already contained an element that an earlier write had changed. So a rollback
    // cannot restore the whole list.
    migration.command(&["rollback", "--yes"], 5);
    assert_eq!(migration.harness.dump(&migration.table).await.into_values().collect::<Vec<_>>(), [new("c")]);
}

/// RUNBOOK: "If a writer extended the list or map after `run`, and a later pass or repair wrote it again, `rollback`
/// leaves it as it is too, and reports the item as diverged."
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_reports_a_list_that_was_extended_and_written_again() {
    let tmp = |id: &str| json!({ "M": { "tmp": { "S": id } } });
    let rest = "[[change]]\neach = \"lines[*]\"\nremove = \"tmp\"\n";
    let items = vec![order("extended", &json!([tmp("1"), tmp("2")])), order("same", &json!([tmp("1")]))];
    let migration = Migration::new(items, "", rest).await;
    migration.command(&[&["run", "--yes", "--accept", "no-pitr"], &ACCEPT[..]].concat(), 0);
    let extended = order("extended", &json!([{ "M": {} }, { "M": {} }, tmp("3")]));
    migration.harness.load(&migration.table, [extended].into_iter()).await;
    migration.command(&[&["run", "--again", "--yes"], &ACCEPT[..]].concat(), 0);
    migration.command(&["rollback", "--yes"], 5);
    let after: Vec<Item> = migration.harness.dump(&migration.table).await.into_values().collect();
    assert!(after.contains(&order("extended", &json!([{ "M": {} }, { "M": {} }, { "M": {} }]))), "{after:?}");
    assert!(after.contains(&order("same", &json!([tmp("1")]))), "{after:?}");
}

/// `explain` shows that the write replaces the whole list. It shows no values.
#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_the_write_of_the_whole_list() {
    let rest = "[[change]]\neach = \"lines[*]\"\nmove = \"sku\"\nto = \"product_id\"\n";
    let items = vec![order("p", &json!([{ "M": { "sku": { "S": "secret" } } }]))];
    let migration = Migration::new(items, "", rest).await;
    let key = json!({ "pk": { "S": "p" }, "sk": { "S": "x" } }).to_string();
    let explained = migration.command(&["explain", "--key", &key], 0).to_string();
    assert!(explained.contains("SET #") && explained.contains("lines"), "{explained}");
    assert!(!explained.contains("secret"), "{explained}");
}

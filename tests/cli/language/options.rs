//! Tests changes that replace a NULL, that apply only to some items, and that append to sets and lists.

use backfill::internals::item::{Item, Value};
use serde_json::{Value as Json, json};

use super::{Migration, item, text, with};

const ADDRESS: &str = "[[change]]\nmove = \"street\"\nto = \"address.street\"\nnull_is_missing = true\n\
                       [[change]]\nmove = \"zip\"\nto = \"address.zip\"\nnull_is_missing = true\n";

fn with_address(pk: &str, address: Option<Json>) -> Item {
    let mut attributes = json!({ "street": { "S": "High St 1" }, "zip": { "S": "1000" } });
    if let Some(address) = address {
        attributes["address"] = address;
    }
    item(pk, attributes)
}

/// Attributes move into a document. An object mapper has stored NULL for missing documents and members.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_replaces_a_null() {
    let items = vec![
        with_address("missing", None),
        with_address("a document", Some(json!({ "M": { "country": { "S": "BE" } } }))),
        with_address("an empty document", Some(json!({ "M": {} }))),
        with_address("null", Some(json!({ "NULL": true }))),
        with_address("one member", Some(json!({ "M": { "street": { "S": "High St 1" } } }))),
        with_address("a null member", Some(json!({ "M": { "street": { "NULL": true } } }))),
        item("nothing to move", json!({ "address": { "NULL": true } })),
    ];
    let migration = Migration::new(items, "strategy = \"in-place\"", ADDRESS).await;
    migration
        .check(&[], 0, |before| {
            let mut after = before.clone();
            let (Some(street), Some(zip)) = (after.remove("street"), after.remove("zip")) else {
                return before.clone();
            };
            let mut address = match after.remove("address") {
                Some(Value::M(address)) => address,
                _ => Item::new(),
            };
            address.insert("street".to_owned(), street);
            address.insert("zip".to_owned(), zip);
            with(&after, "address", Value::M(address))
        })
        .await;
}

/// A text or a list is not a document. If the document already has a different street, the run does not overwrite it.
#[tokio::test(flavor = "multi_thread")]
async fn existing_values_that_prevent_a_change_are_reported() {
    for (address, code, outcome) in [
        (json!({ "S": "High St 1, 1000" }), 4, "rejected"),
        (json!({ "L": [] }), 4, "rejected"),
        (json!({ "M": { "street": { "S": "Other" } } }), 5, "diverged"),
    ] {
        let migration =
            Migration::new(vec![with_address("a", Some(address))], "strategy = \"in-place\"", ADDRESS).await;
        let ran = migration.command(&["run", "--yes", "--accept", "no-pitr"], code);
        assert_eq!(ran["totals"]["counts"][outcome], 1, "{ran:#}");
        assert_eq!(migration.harness.dump(&migration.table).await, migration.before);
    }
}

const SOME_ITEMS: &str = "[[change]]\nset = \"status\"\nvalue = \"unpaid\"\non_existing = \"skip\"\n\
                          where = 'item.sk.startsWith(\"ORDER#\")'\n\
                          [[change]]\ncompute = \"phone\"\nas = '\"+\" + item.phone'\non_existing = \"overwrite\"\n\
                          where = 'type(item.phone) == \"S\" && !item.phone.startsWith(\"+\")'\n";

fn orders_and_users() -> Vec<Item> {
    let phones = [None, Some(json!({ "S": "32" })), Some(json!({ "S": "+32" })), Some(json!({ "N": "32" }))];
    let kinds = ["ORDER#1", "USER#1"];
    let items = kinds.iter().flat_map(|kind| phones.iter().enumerate().map(move |(n, phone)| (kind, n, phone)));
    items
        .map(|(kind, n, phone)| {
            let mut attributes = json!({ "sk": { "S": kind } });
            if let Some(phone) = phone {
                attributes["phone"] = phone.clone();
            }
            item(&format!("p{n}"), attributes)
        })
        .collect()
}

/// One run makes different changes to different kinds of items.
#[tokio::test(flavor = "multi_thread")]
async fn each_change_applies_to_some_items() {
    let migration = Migration::new(orders_and_users(), "on_not_computable = \"fail\"", SOME_ITEMS).await;
    migration
        .check(&[], 0, |before| {
            let mut after = before.clone();
            if matches!(&before["sk"], Value::S(sk) if sk.starts_with("ORDER#")) {
                after.insert("status".to_owned(), text("unpaid"));
            }
            match before.get("phone") {
                Some(Value::S(phone)) if !phone.starts_with('+') => with(&after, "phone", text(format!("+{phone}"))),
                _ => after,
            }
        })
        .await;
}

/// `verify` reports two separate counts: compared items, and items to which no change applies.
#[tokio::test(flavor = "multi_thread")]
async fn items_that_are_not_selected_are_counted_separately() {
    let migration = Migration::new(orders_and_users(), "on_not_computable = \"fail\"", SOME_ITEMS).await;
    migration.command(&["run", "--yes", "--accept", "no-pitr"], 0);
    let verified = migration.command(&["verify", "--all"], 0);
    // The orders match. The run wrote the phone of one of the four users, and no change applies to the other three.
    assert_eq!((&verified["compared"], &verified["not_selected"]), (&json!(4), &json!(4)), "{verified:#}");
    assert_eq!((&verified["matching"], &verified["mismatches"]), (&json!(4), &json!(0)), "{verified:#}");
}

/// An item no longer meets the condition of a change. `verify` still compares the value that the migration wrote.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_the_migration_is_compared_although_the_change_no_longer_applies() {
    let attributes = |kind: &str, a: &str| json!({ "kind": { "S": kind }, "a": { "S": a }, "b": { "S": "1" } });
    let items = ["left", "stays", "never"].map(|pk| {
        let mut attributes = attributes(if pk == "never" { "y" } else { "x" }, "1");
        attributes.as_object_mut().unwrap().remove("b");
        item(pk, attributes)
    });
    let rest = "[[change]]\ncopy = \"a\"\nto = \"b\"\nwhere = 'has(item.kind) && item.kind == \"x\"'\n";
    let settings = "strategy = \"in-place\"\non_not_computable = \"fail\"";
    let migration = Migration::new(items.to_vec(), settings, rest).await;
    migration.command(&["run", "--yes", "--accept", "no-pitr"], 0);
    let verified = migration.command(&["verify", "--all"], 0);
    assert_eq!((&verified["matching"], &verified["not_selected"]), (&json!(2), &json!(1)), "{verified:#}");
    migration.harness.load(&migration.table, [item("left", attributes("y", "2"))].into_iter()).await;
    let verified = migration.command(&["verify", "--all"], 5);
    assert_eq!((&verified["stale"], &verified["not_selected"]), (&json!(1), &json!(1)), "{verified:#}");
    // The change no longer applies to the item, so a repair leaves the value for the rollback.
    migration.command(&["verify", "--all", "--repair", "--yes"], 5);
    assert_eq!(migration.harness.dump(&migration.table).await.len(), 3);
}

/// Items get a tag and an entry in their history. Some already have the tag.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_and_a_list_get_missing_elements() {
    let tags = [
        json!({ "SS": ["a"] }),
        json!({ "SS": ["a", "customer"] }),
        json!({ "NS": ["1"] }),
        json!({ "S": "customer" }),
    ];
    let mut items: Vec<Item> = tags
        .iter()
        .enumerate()
        .map(|(n, tags)| item(&format!("t{n}"), json!({ "tags": tags, "history": { "L": [{ "N": "1" }] } })))
        .collect();
    items.push(item("none", json!({})));
    items.push(item("empty", json!({ "history": { "L": [] } })));
    items.push(item(
        "done",
        json!({ "tags": { "SS": ["customer"] }, "history": { "L": [{ "S": "tagged" }, { "N": "2" }] } }),
    ));
    let rest = "[[change]]\nappend = \"tags\"\nvalues = { SS = [\"customer\"] }\n\
                [[change]]\nappend = \"history\"\nvalue = \"tagged\"\n";
    let migration = Migration::new(items, "", rest).await;
    migration
        .check(&[], 2, |before| {
            let mut tags = match before.get("tags") {
                None => Vec::new(),
                Some(Value::Ss(tags)) => tags.clone(),
                Some(_) => return before.clone(),
            };
            let mut history = match before.get("history") {
                Some(Value::L(history)) => history.clone(),
                _ => Vec::new(),
            };
            if !tags.iter().any(|tag| tag == "customer") {
                tags.push("customer".to_owned());
            }
            if !history.contains(&text("tagged")) {
                history.push(text("tagged"));
            }
            with(&with(before, "tags", Value::Ss(tags)), "history", Value::L(history))
        })
        .await;
}

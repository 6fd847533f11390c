//! Tests the example that puts derived items. Also tests that the server's transactions are atomic.

use std::collections::BTreeMap;
use std::process::Stdio;

use backfill::internals::item::{Item, item_from_json};
use serde_json::json;

use super::examples::{example, folder};
use super::item;
use super::runs::{COPIES, bytes, finish, kill_after_some, start};
use crate::harness::capabilities::Capability::Transactions;
use crate::harness::capabilities::Engine;
use crate::harness::{Harness, bytes_of, from_sdk, key_of, to_sdk};

/// The example that puts derived items.
pub(super) const DERIVED: &str = "derived-item";

/// The example that puts derived items into another table.
pub(super) const ELSEWHERE: &str = "derived-item-elsewhere";

/// The run is killed midway. In the end, each user with a text as email address has a lookup item, and nothing else has
/// changed. Users with the same address share one lookup item, and the others are reported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_that_derives_items_has_its_documented_result() {
    if !Engine::current().has(Transactions) {
        return;
    }
    let example = example(DERIVED);
    let file = format!("{DERIVED}.toml");
    let text = std::fs::read_to_string(folder().join(&file)).unwrap();
    let harness = Harness::start();
    let table = harness.create_table().await;
    let plan = harness.dir().join(file);
    std::fs::write(&plan, text.replace("name = \"shop\"", &format!("name = \"{table}\""))).unwrap();
    let user = |n: usize, email: serde_json::Value| {
        item(&format!("USER#{n}"), &json!({"sk": {"S": "PROFILE"}, "email": email, "name": {"S": "x"}}))
    };
    let lookup =
        |email: &str, user: &str| item(&format!("EMAIL#{email}"), &json!({"sk": {"S": "LOOKUP"}, "user": {"S": user}}));
    let users: Vec<Item> = (0..COPIES).map(|n| user(n, json!({"S": format!("u{n}@example.com")}))).collect();
    let same = user(1_000, json!({"S": "u0@example.com"}));
    let number = user(1_001, json!({"N": "7"}));
    let order = item("USER#0", &json!({"sk": {"S": "ORDER#1"}, "email": {"S": "other@example.com"}}));
    let documented: Vec<Item> = example.items.iter().map(|(before, _)| item("", before)).collect();
    let puts: Vec<Item> = example.puts.iter().map(|put| item("", put)).collect();
    harness.load(&table, users.iter().chain([&same, &number, &order]).chain(&documented).cloned()).await;
    let before = bytes(&harness.dump(&table).await);

    kill_after_some(&harness, start(&harness, &plan), "TransactWriteItems", COPIES as u64 / 3);
    let resumed = finish(start(&harness, &plan));
    assert_eq!(resumed["exit_code"], example.exit_code, "{resumed}");
    let after = bytes(&harness.dump(&table).await);
    let lookups = (1..COPIES).map(|n| lookup(&format!("u{n}@example.com"), &format!("USER#{n}")));
    let mut expected: BTreeMap<String, String> = before.clone();
    expected.extend(lookups.chain(puts).map(|item| (key_of(&item).to_text(), bytes_of(&item))));
    // The lookup item belongs to one of the two users with the same address.
    let shared = ["USER#0", "USER#1000"].map(|owner| lookup("u0@example.com", owner));
    let key = key_of(&shared[0]).to_text();
    assert!(shared.iter().any(|item| after[&key] == bytes_of(item)), "{}", after[&key]);
    expected.insert(key.clone(), after[&key].clone());
    assert_eq!(after, expected);
}

/// The run is killed midway. In the end, the other table has the lookup items, its other items are unchanged, and so is the
/// table of the users. A rollback removes the lookup items.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_that_derives_items_into_another_table_has_its_documented_result() {
    if !Engine::current().has(Transactions) {
        return;
    }
    let example = example(ELSEWHERE);
    let file = format!("{ELSEWHERE}.toml");
    let text = std::fs::read_to_string(folder().join(&file)).unwrap();
    let harness = Harness::start();
    let table = harness.create_table().await;
    let lookups = harness.create_table_with_key("email").await;
    let plan = harness.dir().join(file);
    let text = text.replace("name = \"shop\"", &format!("name = \"{table}\""));
    std::fs::write(&plan, text.replace("table = \"lookup\"", &format!("table = \"{lookups}\""))).unwrap();
    let user = |n: usize| {
        let email = json!({"S": format!("u{n}@example.com")});
        item(&format!("USER#{n}"), &json!({"sk": {"S": "PROFILE"}, "email": email}))
    };
    let users: Vec<Item> = (0..COPIES).map(user).collect();
    let documented: Vec<Item> = example.items.iter().map(|(before, _)| item("", before)).collect();
    harness.load(&table, users.iter().chain(&documented).cloned()).await;
    let foreign = item_from_json(&json!({"email": {"S": "session"}, "note": {"S": "x"}})).unwrap();
    let client = harness.client();
    client.put_item().table_name(&lookups).set_item(Some(to_sdk(&foreign))).send().await.unwrap();
    let entries = || async {
        let found = client.scan().table_name(&lookups).consistent_read(true).send().await.unwrap();
        let items = found.items.unwrap_or_default().into_iter().map(from_sdk);
        items.map(|item| (format!("{:?}", item["email"]), bytes_of(&item))).collect::<BTreeMap<String, String>>()
    };
    let before = bytes(&harness.dump(&table).await);

    kill_after_some(&harness, start(&harness, &plan), "TransactWriteItems", COPIES as u64 / 3);
    let resumed = finish(start(&harness, &plan));
    assert_eq!(resumed["exit_code"], example.exit_code, "{resumed}");
    let lookup = |n: usize| {
        let attributes = json!({"email": {"S": format!("u{n}@example.com")}, "user": {"S": format!("USER#{n}")}});
        item_from_json(&attributes).unwrap()
    };
    let puts = example.puts.iter().map(|put| item_from_json(put).unwrap());
    let all = (0..COPIES).map(lookup).chain(puts).chain([foreign.clone()]);
    let expected: BTreeMap<String, String> =
        all.map(|item| (format!("{:?}", item["email"]), bytes_of(&item))).collect();
    assert_eq!(entries().await, expected);
    assert_eq!(bytes(&harness.dump(&table).await), before);

    // The rollback keeps only the items of the transactions whose confirmation the killed run could not store.
    let mut rollback = harness.command();
    rollback.args(["rollback", "--yes", "--writers-stopped", "--force", "the test accepts the rest"]);
    rollback.args(["--output", "json", "--endpoint-url", &harness.endpoint()]).arg(&plan);
    let rolled_back = finish(rollback.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let left = entries().await;
    assert!(left.iter().all(|(key, item)| expected[key] == *item), "{left:?}");
    assert_eq!(left[&format!("{:?}", foreign["email"])], bytes_of(&foreign));
    assert!(left.len() < 1 + COPIES / 3, "{} are left: {rolled_back:#}", left.len());
    assert_eq!(bytes(&harness.dump(&table).await), before);
}

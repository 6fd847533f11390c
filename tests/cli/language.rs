//! Tests changes that operators have asked for in public forums. The real binary selects, computes and converts values
//! on a real engine. Each test computes the expected items independently, runs the plan twice, and rolls it back.

mod elements;
mod entities;
mod options;
mod touch;

use std::collections::BTreeMap;

use backfill::internals::item::{Item, Num, Value, item_from_json};
use serde_json::{Value as Json, json};

use crate::harness::tool::tool;
use crate::harness::{Harness, bytes_of, key_of};

/// A migration of one table with one plan.
struct Migration {
    harness: Harness,
    table: String,
    plan: String,
    before: BTreeMap<String, Item>,
    /// The options that confirm a rollback.
    way_back: &'static [&'static str],
}

impl Migration {
    /// Loads the items, and writes a plan. `settings` belongs to the section `[migration]`.
    async fn new(items: Vec<Item>, settings: &str, rest: &str) -> Migration {
        let harness = Harness::start();
        let table = harness.create_table().await;
        harness.load(&table, items.into_iter()).await;
        let plan = harness.plan("language", &table, settings, rest);
        let plan = plan.to_str().unwrap().to_owned();
        let before = harness.dump(&table).await;
        Migration { harness, table, plan, before, way_back: &[] }
    }

    /// Runs a command with this plan, and returns its document.
    #[track_caller]
    fn command(&self, words: &[&str], code: i32) -> Json {
        let (first, options) = words.split_first().unwrap();
        let args = [&[*first, self.plan.as_str()], options, &["--output", "json"]].concat();
        tool(&self.harness, &args).exits(code).json()
    }

    /// Makes a dry run, runs the plan, and checks every item. `expected` computes the item after the run from the item
    /// before it. `failed` is the number of items that cannot be changed. Also checks the dry run's prediction, that a
    /// second run writes nothing, and that a rollback restores every byte.
    async fn check(self, accept: &[&str], failed: u64, expected: impl Fn(&Item) -> Item) {
        let code = if failed > 0 { 4 } else { 0 };
        let predicted = self.command(&["run", "--dry-run"], code);
        let ran = self.command(&[&["run", "--yes", "--accept", "no-pitr"], accept].concat(), code);
        let counts = &ran["totals"]["counts"];
        let after = self.harness.dump(&self.table).await;
        let mut changed = 0;
        for (key, before) in &self.before {
            let expected = expected(before);
            changed += u64::from(expected != *before);
            assert_eq!(bytes_of(&after[key]), bytes_of(&expected), "{key}");
        }
        assert_eq!(after.len(), self.before.len());
        assert_eq!(counts["applied"], changed, "{ran:#}");
        assert_eq!(counts["not_computable"], failed, "{ran:#}");
        assert_eq!(predicted["would_change"], changed, "{predicted:#}");
        assert_eq!(predicted["not_computable"], failed, "{predicted:#}");
        let again = self.command(&[&["run", "--again", "--yes"], accept].concat(), code);
        assert_eq!(again["totals"]["counts"]["write_units"], 0.0, "{again:#}");
        assert_eq!(again["totals"]["counts"]["applied"], 0, "{again:#}");
        if failed > 0 {
            let listed = self.command(&["failures", "list"], 0).to_string();
            assert!(listed.contains("not_computable"), "{listed}");
        }
        self.command(&[&["rollback", "--yes"], self.way_back].concat(), 0);
        let restored = self.harness.dump(&self.table).await;
        for (key, before) in &self.before {
            let mut restored = restored[key].clone();
            // A rollback never lowers a version.
            if let (Some(version), true) = (before.get("version"), self.bumps()) {
                restored.insert("version".to_owned(), version.clone());
            }
            assert_eq!(bytes_of(&restored), bytes_of(before), "{key} is not restored");
        }
    }

    fn bumps(&self) -> bool {
        std::fs::read_to_string(&self.plan).unwrap().contains("bump = ")
    }
}

fn number(text: &str) -> Value {
    Value::N(Num::parse(text).unwrap())
}

fn text(text: impl Into<String>) -> Value {
    Value::S(text.into())
}

/// Returns an item with the key `pk` and these attributes.
fn item(pk: &str, attributes: Json) -> Item {
    let mut item = item_from_json(&attributes).unwrap();
    item.insert("pk".to_owned(), text(pk));
    item.entry("sk".to_owned()).or_insert_with(|| text("x"));
    item
}

fn with(item: &Item, name: &str, value: Value) -> Item {
    let mut item = item.clone();
    item.insert(name.to_owned(), value);
    item
}

const ACCEPT: [&str; 4] = ["--accept", "readers-accept-both", "--accept", "writers-write-new"];

/// An export has turned every number into text. The run converts each numeric text to exactly the same number. Every
/// other text stays, and is listed.
#[tokio::test(flavor = "multi_thread")]
async fn text_becomes_a_number_under_the_same_name() {
    let valid = ["0", "10000", "-5", "12.50", "0.1", "110111111111111110000000000000000000000"];
    let invalid = ["", "abc", "1,234", "0x10", "NaN", " 42", "123456789012345678901234567890123456789"];
    let mut items: Vec<Item> = valid
        .iter()
        .chain(&invalid)
        .map(|price| item(&format!("p{price}"), json!({ "price": { "S": price } })))
        .collect();
    items.push(item("a number already", json!({ "price": { "N": "9" } })));
    items.push(item("no price", json!({})));
    items.push(item("null", json!({ "price": { "NULL": true } })));
    let migration = Migration::new(items, "", "[[change]]\nconvert = \"price\"\nto = \"N\"\n").await;
    migration
        .check(&ACCEPT, invalid.len() as u64 + 1, |before| match before.get("price") {
            Some(Value::S(price)) if valid.contains(&price.as_str()) => {
                // The table stores the canonical form of the number.
                let exact = if price == "12.50" { "12.5" } else { price };
                with(before, "price", number(exact))
            }
            _ => before.clone(),
        })
        .await;
}

/// Zip codes lost their leading zeros because they were stored as numbers. The run converts them to text.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_becomes_text_under_the_same_name() {
    let numbers = ["0", "80331", "-1", "12345678901234567890123456789012345678"];
    let mut items: Vec<Item> =
        numbers.iter().map(|zip| item(&format!("z{zip}"), json!({ "zip": { "N": zip } }))).collect();
    items.push(item("text already", json!({ "zip": { "S": "01067" } })));
    let migration = Migration::new(items, "", "[[change]]\nconvert = \"zip\"\nto = \"S\"\n").await;
    migration
        .check(&ACCEPT, 0, |before| match before.get("zip") {
            Some(Value::N(zip)) => with(before, "zip", text(zip.as_str())),
            _ => before.clone(),
        })
        .await;
}

/// An earlier version of an object mapper stored objects as JSON text.
#[tokio::test(flavor = "multi_thread")]
async fn json_text_becomes_a_document() {
    let texts = [
        (r#"{"theme":"dark","n":1}"#, Some(json!({ "theme": { "S": "dark" }, "n": { "N": "1" } }))),
        (r#"{"n":12345678901234567890.5}"#, Some(json!({ "n": { "N": "12345678901234567890.5" } }))),
        ("{}", Some(json!({}))),
        ("[]", None),
        ("not json", None),
        (r#"{"a":"#, None),
        (r#"{"a":1,"a":2}"#, None),
    ];
    let mut items: Vec<Item> = texts
        .iter()
        .enumerate()
        .map(|(n, (text, _))| item(&format!("j{n}"), json!({ "config": { "S": text } })))
        .collect();
    items.push(item("a map already", json!({ "config": { "M": { "theme": { "S": "light" } } } })));
    items.push(item("none", json!({})));
    let failed = texts.iter().filter(|(_, document)| document.is_none()).count();
    let migration = Migration::new(items, "", "[[change]]\nconvert = \"config\"\nto = \"M\"\n").await;
    migration
        .check(&ACCEPT, failed as u64, |before| {
            let Some(Value::S(config)) = before.get("config") else { return before.clone() };
            let document = texts.iter().find(|(text, _)| text == config).and_then(|(_, document)| document.as_ref());
            match document {
                Some(document) => with(before, "config", Value::M(item_from_json(document).unwrap())),
                None => before.clone(),
            }
        })
        .await;
}

/// Applications use `version` for optimistic locking, so each write must raise it.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_raises_the_version() {
    let items =
        (0..30).map(|n| item(&format!("n{n}"), json!({ "email": { "S": format!("u{n}") }, "version": { "N": "5" } })));
    let rest = "[[change]]\nmove = \"email\"\nto = \"contact_email\"\n[[change]]\nbump = \"version\"\n";
    let migration = Migration::new(items.collect(), "strategy = \"in-place\"", rest).await;
    migration
        .check(&[], 0, |before| {
            let mut after = with(before, "version", number("6"));
            let email = after.remove("email").unwrap();
            after.insert("contact_email".to_owned(), email);
            after
        })
        .await;
}

/// The sort key of a new index is composed of two attributes, and the time to live comes from a date.
#[tokio::test(flavor = "multi_thread")]
async fn keys_and_times_are_computed_under_new_names() {
    let mut items: Vec<Item> = (0..20)
        .map(|n| {
            let attributes = json!({
                "sk": { "S": format!("ORDER#{n}") }, "status": { "S": if n % 2 == 0 { "open" } else { "paid" } },
                "created_at": { "S": format!("2026-01-{:02}", n + 1) }, "expires": { "S": format!("2026-07-{:02}", n + 1) },
            });
            item(&format!("o{n}"), attributes)
        })
        .collect();
    items.push(item("a user", json!({ "sk": { "S": "USER#1" } })));
    items.push(item("no status", json!({ "sk": { "S": "ORDER#x" }, "created_at": { "S": "2026-01-01" } })));
    let rest = "[select]\nwhere = 'item.sk.startsWith(\"ORDER#\")'\n\
                [[change]]\ncompute = \"gsi1sk\"\nas = 'item.status + \"#\" + item.created_at'\n\
                [[change]]\nconvert = \"expires\"\nto = \"epoch-seconds\"\ninto = \"expires_at\"\n\
                formats = [\"%Y-%m-%d\"]\nzone = \"UTC\"\n";
    let migration = Migration::new(items, "on_not_computable = \"fail\"", rest).await;
    migration
        .check(&[], 1, |before| {
            let (Some(Value::S(status)), Some(Value::S(created)), Some(Value::S(expires))) =
                (before.get("status"), before.get("created_at"), before.get("expires"))
            else {
                return before.clone();
            };
            let day: i64 = expires.rsplit('-').next().unwrap().parse().unwrap();
            // 2026-07-01T00:00:00Z is 1,782,864,000 seconds after 1970.
            let seconds = 1_782_864_000 + (day - 1) * 86_400;
            let after = with(before, "gsi1sk", text(format!("{status}#{created}")));
            with(&after, "expires_at", number(&seconds.to_string()))
        })
        .await;
}

/// Zip codes lost their leading zeros because they were stored as numbers. The run writes them as text to a new
/// attribute, and readers and writers move to it. The plan therefore selects items by their sort key, which never
/// changes. Without a flag, a rollback needs two confirmations.
#[tokio::test(flavor = "multi_thread")]
async fn text_under_a_new_name_replaces_a_number() {
    let address = |pk: &str, zip: Json| {
        let mut address = item(pk, json!({ "zip": zip }));
        address.insert("sk".to_owned(), text("ADDRESS#1"));
        address
    };
    let numbers = ["80331", "1067", "12345678901234567890123456789012345678"];
    let mut items: Vec<Item> = numbers.iter().map(|zip| address(zip, json!({ "N": zip }))).collect();
    items.push(address("no number", json!({ "S": "01067" })));
    items.push(item("another kind", json!({ "zip": { "N": "80331" } })));
    let plan = "[select]\nwhere = 'item.sk.startsWith(\"ADDRESS#\")'\n\
                [[change]]\ncompute = \"postcode\"\n\
                as = 'item.zip < 10000 ? \"0\" + string(item.zip) : string(item.zip)'\n\
                replaces = \"zip\"\ninverse = 'number(item.postcode)'\n";
    let migration = Migration::new(items, "on_not_computable = \"fail\"", plan).await;
    let migration = Migration { way_back: &["--readers-back", "--new-writes-stopped"], ..migration };
    migration
        .check(&[], 1, |before| match before.get("zip") {
            Some(Value::N(zip)) if before["sk"] == text("ADDRESS#1") => {
                let zero = if zip.as_str() == "1067" { "0" } else { "" };
                with(before, "postcode", text(format!("{zero}{}", zip.as_str())))
            }
            _ => before.clone(),
        })
        .await;
}

/// `migration.started_at` is the same in every session, so a second run changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_the_migration_is_recorded_once() {
    let items = (0..5).map(|n| item(&format!("t{n}"), json!({}))).collect();
    let rest = "[[change]]\ncompute = \"touched_at\"\nas = 'string(migration.started_at)'\n";
    let migration = Migration::new(items, "", rest).await;
    migration.command(&["run", "--yes", "--accept", "no-pitr"], 0);
    let again = migration.command(&["run", "--again", "--yes"], 0);
    assert_eq!(again["totals"]["counts"]["already_applied"], 5, "{again:#}");
    migration.command(&["verify", "--all"], 0);
    let after = migration.harness.dump(&migration.table).await;
    let times: Vec<&Value> = after.values().map(|item| &item["touched_at"]).collect();
    assert!(times.iter().all(|time| *time == times[0]), "{times:?}");
    let Value::S(time) = times[0] else { panic!("{times:?}") };
    let age = jiff::Timestamp::now().duration_since(time.parse().unwrap());
    assert!((0..600).contains(&age.as_secs()), "{time}");
    assert_eq!(key_of(after.values().next().unwrap()).attributes().len(), 2);
}

/// A conversion under the same name begins only after the operator has confirmed that readers and writers are ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_waits_for_readers_and_writers() {
    let items = vec![item("p", json!({ "price": { "S": "1" } }))];
    let migration = Migration::new(items, "", "[[change]]\nconvert = \"price\"\nto = \"N\"\n").await;
    let refused = migration.command(&["run", "--yes", "--accept", "no-pitr"], 3);
    let said = refused.to_string();
    assert!(said.contains("readers-accept-both") && said.contains("writers-write-new"), "{said}");
    assert_eq!(migration.harness.dump(&migration.table).await, migration.before);
}

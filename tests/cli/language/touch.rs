//! Tests plans that stamp every item. A stamp makes streams and search indexes process the item once more, or records
//! the item's schema version. The run writes each item without the stamp once. It does not write items that already
//! have the stamp.

use backfill::internals::item::Item;
use serde_json::{Value as Json, json};

use super::{Migration, item, number, text, with};
use crate::harness::bytes_of;
use crate::harness::tool::tool;

/// A stamp replaces an earlier stamp.
const OVERWRITE: &str = "strategy = \"in-place\"\non_existing = \"overwrite\"";

fn notes(count: usize) -> Vec<Item> {
    let note = |n: usize| item(&format!("n{n}"), json!({ "email": { "S": format!("u{n}") }, "version": { "N": "5" } }));
    (0..count).map(note).collect()
}

fn stamp(date: &str) -> String {
    format!("[[change]]\nset = \"reindexed_at\"\nvalue = \"{date}\"\n")
}

impl Migration {
    /// Returns the number of writes that the table has received.
    fn writes(&self) -> u64 {
        self.harness.proxy().tally().operation("UpdateItem").requests
    }

    /// Runs another plan on the same table, with its own state, and returns the counts of the run.
    fn run_another(&self, name: &str, settings: &str, rest: &str) -> Json {
        let plan = self.harness.plan(name, &self.table, settings, rest);
        let args = ["run", plan.to_str().unwrap(), "--yes", "--accept", "no-pitr", "--output", "json"];
        tool(&self.harness, &args).exits(0).json()["totals"]["counts"].clone()
    }

    async fn items(&self) -> Vec<Item> {
        self.harness.dump(&self.table).await.into_values().collect()
    }
}

/// The first stamp writes each item once. A rollback removes it.
#[tokio::test(flavor = "multi_thread")]
async fn each_item_is_touched_with_one_write() {
    let migration = Migration::new(notes(50), OVERWRITE, &stamp("2026-11-28")).await;
    migration.command(&["run", "--yes", "--accept", "no-pitr"], 0);
    assert_eq!(migration.writes(), 50);
    assert!(migration.items().await.iter().all(|item| item["reindexed_at"] == text("2026-11-28")));
    let again = migration.command(&["run", "--again", "--yes"], 0);
    assert_eq!(again["totals"]["counts"]["write_units"], 0.0, "{again:#}");
    assert_eq!(migration.writes(), 50);
    migration.command(&["rollback", "--yes"], 0);
    assert_eq!(migration.harness.dump(&migration.table).await, migration.before);
}

/// A second plan with a different constant writes each item once more. A rollback of the second plan restores the first
/// stamp.
#[tokio::test(flavor = "multi_thread")]
async fn another_stamp_overwrites_the_first_one() {
    let migration = Migration::new(notes(50), OVERWRITE, &stamp("2026-11-28")).await;
    migration.command(&["run", "--yes", "--accept", "no-pitr"], 0);
    let first = migration.items().await;
    let counts = migration.run_another("touch-again", OVERWRITE, &stamp("2026-11-29"));
    assert_eq!((&counts["applied"], migration.writes()), (&json!(50), 100), "{counts:#}");
    let second: Vec<Item> = first.iter().map(|item| with(item, "reindexed_at", text("2026-11-29"))).collect();
    assert_eq!(migration.items().await, second);

    let plan = migration.harness.dir().join("touch-again.toml");
    tool(&migration.harness, &["rollback", plan.to_str().unwrap(), "--yes"]).exits(0);
    let restored: Vec<String> = migration.items().await.iter().map(bytes_of).collect();
    assert_eq!(restored, first.iter().map(bytes_of).collect::<Vec<_>>());
}

/// The run writes a schema version only to items that have a different version or none. A second run with the same
/// stamp, under the same or another plan, writes nothing and consumes no write units.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_version_again_costs_nothing() {
    let version = "[[change]]\nset = \"schema_version\"\nvalue = 2\n";
    let mut items = notes(30);
    for (n, item) in items.iter_mut().enumerate().filter(|(n, _)| n % 3 < 2) {
        item.insert("schema_version".to_owned(), number(if n % 3 == 0 { "2" } else { "1" }));
    }
    let settings = "on_existing = \"overwrite\"";
    let migration = Migration::new(items, settings, version).await;
    let ran = migration.command(&["run", "--yes", "--accept", "no-pitr"], 0);
    let counts = &ran["totals"]["counts"];
    assert_eq!((&counts["applied"], &counts["already_applied"]), (&json!(20), &json!(10)), "{ran:#}");
    assert_eq!(migration.writes(), 20);
    for (key, before) in &migration.before {
        let now = &migration.harness.dump(&migration.table).await[key];
        assert_eq!(bytes_of(now), bytes_of(&with(before, "schema_version", number("2"))));
    }

    let again = migration.command(&["run", "--again", "--yes"], 0);
    assert_eq!(again["totals"]["counts"]["write_units"], 0.0, "{again:#}");
    let counts = migration.run_another("same-version", settings, version);
    assert_eq!((&counts["already_applied"], &counts["write_units"]), (&json!(30), &json!(0.0)), "{counts:#}");
    assert_eq!(migration.writes(), 20);

    // A stamp with the next version writes each item once.
    let counts = migration.run_another("next-version", settings, &version.replace('2', "3"));
    assert_eq!((&counts["applied"], migration.writes()), (&json!(30), 50), "{counts:#}");
}

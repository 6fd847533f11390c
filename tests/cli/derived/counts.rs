//! Tests the numbers of derived items in reports and in the output of `journal purge`.

use super::*;

/// The journal has four values for each put. Reports and the purge count each derived item once.
#[tokio::test(flavor = "multi_thread")]
async fn the_journal_counts_each_derived_item_once() {
    let migration = Migration::new(items()).await;
    migration.run(&[], 0);
    migration.command(&["verify", "--all"], 0);
    let report = |migration: &Migration| {
        let args = ["report", &migration.plan, "--format", "md", "--out", "-"];
        tool(&migration.harness, &args).exits(0).stdout
    };
    let before = report(&migration);
    assert!(before.contains("- Derived items in the journal: 40\n"), "{before}");
    assert!(!before.contains("Values kept in the journal"), "{before}");
    assert!(before.contains("derived items whose source is gone, if another writer put them"), "{before}");
    assert!(!before.contains("the journal was purged then"), "{before}");
    let refused = migration.command(&["journal", "purge", "--accept", "no-way-back"], 3).to_string();
    assert!(refused.contains("--yes"), "{refused}");
    let args = ["journal", "purge", migration.plan.as_str(), "--accept", "no-way-back", "--yes"];
    let purged = tool(&migration.harness, &args).exits(0);
    assert!(purged.stdout.contains("40 derived items were deleted from the journal"), "{}", purged.stdout);
    assert!(!purged.stderr.contains("160"), "{}", purged.stderr);
    let again = migration.command(&["journal", "purge", "--accept", "no-way-back", "--yes"], 0);
    assert_eq!((&again["values"], &again["derived_items"]), (&json!(0), &json!(0)), "{again}");
    // After a purge, a verification no longer finds derived items without a source, and the report says so.
    migration.delete(&migration.user(3)).await;
    assert_eq!(migration.command(&["verify", "--all"], 0)["unexpected"], json!(0));
    let after = report(&migration);
    assert!(after.contains("derived items that this migration put before"), "{after}");
}

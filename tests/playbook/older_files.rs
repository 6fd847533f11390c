//! Tests that the current version opens the state files of earlier versions (tests/fixtures), and completes their
//! migrations.

use std::collections::BTreeMap;
use std::path::Path;

use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::item::{Item, Value};
use backfill::internals::local::{Local, LocalOptions};

use crate::harness::tool::{ToolOutput, run};
use crate::harness::{Harness, client, dump};

const OLD: &str = "email";
const NEW: &str = "contact_email";

/// The maximum number of commands that complete each of these migrations.
const STEPS: usize = 12;

type Table = BTreeMap<String, Item>;

/// A copy of a fixture: its state file, its plan, and a server with its table.
struct StoredMigration {
    dir: tempfile::TempDir,
    local: Local,
}

impl StoredMigration {
    async fn open(layout: u32, name: &str) -> StoredMigration {
        let dir = tempfile::tempdir().unwrap();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let from = fixtures.join(format!("layout-{layout}")).join(name);
        for file in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
        }
        // Shorten the soak and raise the write budget for the test. Neither value is part of the plan's fingerprint.
        let plan = std::fs::read_to_string(dir.path().join("plan.toml")).unwrap();
        let soak = if plan.contains("[cutover]") && !plan.contains("soak") { "soak = \"0s\"\n" } else { "" };
        let plan = plan.replace("write = 5\n", "write = 200\n") + soak;
        std::fs::write(dir.path().join("plan.toml"), &plan).unwrap();
        let db = Some(dir.path().join("table.db"));
        let migration =
            StoredMigration { local: Local::start(LocalOptions { db, ..LocalOptions::default() }).unwrap(), dir };
        if plan.contains("[cutover]") {
            migration.drop_lease().await;
        }
        migration
    }

    /// Removes the lease of a killed command. Otherwise, the tool would need a minute to notice that nobody renews the
    /// lease.
    async fn drop_lease(&self) {
        let id = AttributeValue::S("rename-email#lease".to_owned());
        let client = client(&self.local.endpoint());
        client.delete_item().table_name("flags").key("id", id).send().await.unwrap();
    }

    async fn command(&self, words: &[String]) -> ToolOutput {
        let mut command = Harness::binary(self.dir.path());
        command.args(words).args(["--endpoint-url", &self.local.endpoint()]);
        let ran = tokio::task::spawn_blocking(move || run(command)).await.unwrap();
        println!("  {}: {} after {:.1} s", words.join(" "), ran.code, ran.took.as_secs_f64());
        ran
    }

    async fn run_command(&self, words: &str) -> ToolOutput {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        self.command(&words).await
    }

    async fn status(&self) -> serde_json::Value {
        let ran = self.run_command("status plan.toml --state state.db --output json").await.exits(0);
        ran.json()["playbook"].clone()
    }

    /// Runs the next command that `status` suggests, until it suggests none. Returns all commands that it ran.
    async fn follow_next(&self) -> Vec<String> {
        let mut followed = Vec::new();
        while let Some(next) = self.status().await["next"].as_str().map(str::to_owned) {
            // `command` adds the endpoint to every command.
            let next = next.replace(&format!(" --endpoint-url {}", self.local.endpoint()), "");
            assert!(followed.len() < STEPS, "no end after these commands: {followed:#?}");
            let words = next.strip_prefix("backfill ").unwrap().split_whitespace().map(str::to_owned);
            let yes = ["run", "cutover", "contract"].iter().any(|asks| next.starts_with(&format!("backfill {asks}")))
                || next.contains(" --repair");
            let words: Vec<String> = words.chain(yes.then(|| "--yes".to_owned())).collect();
            let ran = self.command(&words).await;
            assert!([0, 5].contains(&ran.code), "{next} after {followed:#?}: {ran:?}");
            followed.push(next);
        }
        followed
    }

    fn plan(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("plan.toml")).unwrap()
    }

    async fn table(&self) -> Table {
        dump(&client(&self.local.endpoint()), "shop").await
    }
}

/// Returns the items of the sample table with this seed, as they were before the migration.
async fn sample(seed: u64) -> Table {
    let options = LocalOptions { items: Some(60), seed, ..LocalOptions::default() };
    let local = Local::start(options).unwrap();
    dump(&client(&local.endpoint()), "shop").await
}

/// Checks that the new attribute of every item contains the old attribute's value, or its own earlier value. The new
/// attribute can keep its own value if readers had already moved, or if the old attribute was missing. The old
/// attribute must be gone. There is one exception: if the plan `skips` existing values and the two values differ, both
/// attributes stay.
fn assert_moved(name: &str, after: &Table, before: &Table, also: &[&str], skips: bool) {
    assert_eq!(after.len(), before.len(), "{name}");
    for (key, prior) in before {
        let mut is = after[key].clone();
        let mut expected = prior.clone();
        let old = expected.remove(OLD);
        let new = expected.remove(NEW);
        let moved: Option<Value> = is.remove(NEW);
        if let (true, Some(old), Some(new)) = (skips, &old, &new)
            && old != new
        {
            expected.insert(OLD.to_owned(), old.clone());
        }
        assert!(moved == old || moved == new, "{name}: {key}: {moved:?} is neither {old:?} nor {new:?}");
        assert_eq!(moved.is_some(), old.is_some() || new.is_some(), "{name}: {key}");
        for copied in also {
            assert_eq!(is.remove(*copied), old, "{name}: {key}: {copied}");
        }
        assert_eq!(is, expected, "{name}: {key}");
    }
}

/// The tool opens the state files of earlier versions. Each migration continues at its current step, and reaches the
/// same result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_of_layout_1_continue_to_their_end() {
    for (name, seed, also) in
        [("write-new", 8, &[][..]), ("killed-run", 2, &[]), ("forced", 6, &[]), ("overridden", 9, &["billing_email"])]
    {
        assert_continues(1, name, seed, also).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_of_layout_2_continue_to_their_end() {
    for (name, seed) in [("write-new", 12), ("killed-run", 17)] {
        assert_continues(2, name, seed, &[]).await;
    }
}

async fn assert_continues(layout: u32, name: &str, seed: u64, also: &[&str]) {
    let migration = StoredMigration::open(layout, name).await;
    let followed = migration.follow_next().await;
    assert!(followed.last().is_some_and(|last| last.contains("contract")), "{name}: {followed:#?}");
    let skips = migration.plan().contains("on_existing = \"skip\"");
    assert_moved(name, &migration.table().await, &sample(seed).await, also, skips);
}

/// After writes by an earlier version, a rollback restores every item, with the exceptions in RUNBOOK.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_of_layout_1_roll_back() {
    for (name, seed, words) in [
        ("in-place", 3, "rollback plan.toml --state state.db --yes"),
        ("rolling-back", 4, "rollback plan.toml --state state.db --yes"),
        ("stated", 5, "rollback plan.toml --state state.db --yes --readers-back --new-writes-stopped"),
    ] {
        let migration = StoredMigration::open(1, name).await;
        // The earlier version did not record which items had equal values before the migration. So every list of these
        // items says that they were not recorded.
        let foreseen =
            migration.run_command("rollback plan.toml --dry-run --state state.db --output json").await.exits(0).json();
        assert_eq!(foreseen["not_as_before_unknown"], true, "{name}: {foreseen:#}");
        if name == "in-place" {
            let ran = migration.run_command(words).await.exits(0);
            assert!(ran.stdout.contains("not as before: unknown"), "{name}: {}", ran.stdout);
        } else {
            let ran = migration.run_command(&format!("{words} --output json")).await.exits(0).json();
            let last = ran["runs"].as_array().unwrap().last().unwrap();
            assert_eq!(last["not_as_before"]["unknown"], true, "{name}: {ran:#}");
        }
        assert!(migration.status().await["next"].is_null(), "{name}");
        let mut after = migration.table().await;
        let before = sample(seed).await;
        for (key, prior) in before.iter().filter(|_| name != "in-place") {
            let is = after.get_mut(key).unwrap();
            match (prior.get(OLD), prior.get(NEW)) {
                // Some items had only a new attribute. After new-only writes, the rollback copies this attribute to the
                // old one.
                (None, Some(value)) if is.get(OLD) == Some(value) => is.remove(OLD),
                // If the first pass found equal values during dual writes, the dual writes could have written them.
                (Some(old), Some(new)) if old == new && !is.contains_key(NEW) => is.insert(NEW.to_owned(), new.clone()),
                _ => None,
            };
        }
        for (key, prior) in &before {
            assert_eq!(after.get(key), Some(prior), "{name}");
        }
        assert_eq!(after.len(), before.len(), "{name}");
    }
}

/// Layout 2 recorded which pairs were equal before the migration, so a rollback lists the items that it cannot restore.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_of_layout_2_rolls_back() {
    let migration = StoredMigration::open(2, "in-place").await;
    let dry_run = "rollback plan.toml --dry-run --state state.db --output json";
    let foreseen = migration.run_command(dry_run).await.exits(0).json();
    assert_eq!(foreseen["not_as_before_unknown"], false, "{foreseen:#}");
    let before = migration.table().await;
    let rollback = "rollback plan.toml --state state.db --yes --output json";
    let ran = migration.run_command(rollback).await.exits(0).json();
    let counts = &ran["runs"].as_array().unwrap().last().unwrap()["totals"]["counts"];
    assert_eq!((&counts["applied"], &counts["not_computable"]), (&foreseen["would_change"], &0.into()), "{ran:#}");
    assert!(migration.status().await["next"].is_null());
    let after = migration.table().await;
    assert_ne!(after, before);
    let mut prior = sample(13).await;
    for item in prior.values_mut() {
        // In the fixture's table, every item with an address had this value at the target.
        if let Some(Value::S(address)) = item.get(OLD) {
            let earlier = Value::S(format!("an earlier address, not {address}"));
            item.insert(NEW.to_owned(), earlier);
        }
    }
    assert_eq!(after, prior);
}

//! Tests that a second run over a finished table costs no write capacity. The run sends no write request to the server.
#![expect(clippy::print_stdout, reason = "the test prints its figures")]

use std::path::Path;

use crate::harness::{Harness, bytes_of};
use backfill::internals::local::{ProxyTally, sample};
use backfill::internals::state::sqlite::StateFile;

const ITEMS: u64 = 2_000;

const CHANGES: &str = r#"
[[change]]
move = "email"
to = "contact_email"
[[change]]
copy = "address.zip"
to = 'postal."zip code"'
[[change]]
set = "schema"
value = { N = "2.0" }
[[change]]
remove = "about"
[capacity]
write = 20000
read = 20000
per_key_range = { write = 20000, read = 20000 }
per_partition_key = { write = 20000, read = 20000 }
"#;

/// Runs the tool to its end and returns the server's counts for this run.
fn run(harness: &Harness, plan: &Path, options: &[&str], exit: i32) -> ProxyTally {
    harness.proxy().reset_tally();
    let output = harness.command().arg("run").arg(plan).arg("--yes").args(options).output().unwrap();
    assert_eq!(output.status.code(), Some(exit), "{}", String::from_utf8_lossy(&output.stderr));
    harness.proxy().tally()
}

fn assert_read_only(what: &str, tally: &ProxyTally) {
    println!("{what}: {} WCU, {:.1} RCU", tally.write_units(), tally.read_units());
    // The test also checks the number of requests, because the reply to a failed condition reports no units.
    assert_eq!(tally.operations.keys().collect::<Vec<_>>(), crate::harness::READ_ONLY_OPERATIONS, "{what}");
    assert!(tally.write_units() == 0.0, "{what}");
    assert!(tally.read_units() > 0.0, "{what}: the table was read");
}

async fn second_runs_write_nothing(name: &str, migration: &str, exit: i32) {
    let harness = Harness::start();
    let table = harness.create_table().await;
    harness.load(&table, sample::items(5, ITEMS)).await;
    let plan = harness.plan(name, &table, migration, CHANGES);
    let first = run(&harness, &plan, &[], exit);
    assert!(first.operation("UpdateItem").ok > ITEMS * 9 / 10 && first.write_units() > 0.0);
    let done = harness.dump(&table).await;

    assert_read_only("another pass", &run(&harness, &plan, &["--again"], exit));
    assert_read_only("a fresh state file", &run(&harness, &plan, &["--state", "other.db"], exit));
    let again = run(&harness, &plan, &["--restart", "--state", "other.db"], exit);
    assert_read_only("from the beginning", &again);

    let now = harness.dump(&table).await;
    assert_eq!(now.len(), done.len());
    for (key, item) in &done {
        assert_eq!(bytes_of(&now[key]), bytes_of(item));
    }
    let totals = StateFile::open(&harness.dir().join("other.db")).unwrap().summary().unwrap().current.unwrap().totals;
    assert_eq!((totals.counts.scanned, totals.counts.outcomes[0]), (ITEMS, 0), "nothing was applied");
}

/// A second run also finds the diverged items, and still costs nothing.
/// RUNBOOK: "It writes only items that still need a write".
#[tokio::test(flavor = "multi_thread")]
async fn a_finished_expansion_is_read_only() {
    second_runs_write_nothing("expand", "", 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_move_in_place_is_read_only() {
    second_runs_write_nothing("inplace", "strategy = \"in-place\"\non_existing = \"overwrite\"", 0).await;
}

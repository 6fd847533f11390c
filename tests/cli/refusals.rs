//! Tests that a refused command creates and changes nothing. Files, recorded history, the flag and the table stay
//! unchanged.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

const CUTOVER: &str = "[cutover]\nmax_cache_seconds = 1\nsoak = \"0s\"\n";

const SINCE: &str = "--dual-writes-since 2026-01-01T00:00:00Z";

/// Returns every file below a directory, with the file's content. Omits `-shm` files and empty `-wal` files, because
/// SQLite creates such files for a reader.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path));
            found.insert(path, b"a directory".to_vec());
        } else if !name.ends_with("-shm") {
            let bytes = std::fs::read(&path).unwrap();
            if !(bytes.is_empty() && name.ends_with("-wal")) {
                found.insert(path, bytes);
            }
        }
    }
    found
}

/// The contents of all files and tables.
type SystemState = (BTreeMap<PathBuf, Vec<u8>>, Vec<BTreeMap<String, Item>>);

async fn system_state(harness: &Harness, tables: &[&String]) -> SystemState {
    let mut dumps = Vec::new();
    for table in tables {
        dumps.push(harness.dump(table).await);
    }
    (files(harness.dir()), dumps)
}

fn words<'a>(line: &'a str, plan: &'a str) -> Vec<&'a str> {
    line.split(' ').map(|word| if word == "PLAN" { plan } else { word }).collect()
}

/// Checks that the tool refuses each of these commands with the given exit code, and that the command changes nothing.
async fn all_refused(harness: &Harness, tables: &[&String], plan: &Path, refusals: &[(i32, &str)]) {
    for (code, line) in refusals {
        let before = system_state(harness, tables).await;
        refused(harness, *code, &words(line, text(plan)));
        let after = system_state(harness, tables).await;
        let changed: Vec<_> = after.0.iter().filter(|(path, bytes)| before.0.get(*path) != Some(bytes)).collect();
        let changed: Vec<_> = changed.iter().map(|(path, _)| path).collect();
        assert!(changed.is_empty(), "`{line}` created or changed {changed:?}");
        assert!(after == before, "`{line}` removed a file or changed a table");
    }
}

/// RUNBOOK: "A command out of order changes nothing"
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_command_of_a_plan_without_a_flag_changes_nothing() {
    let (harness, table, plan) = setup(4, CUTOVER).await;
    let run_command = |line: &str| tool(&harness, &words(line, text(&plan))).exits(0);
    let dual = format!("cutover PLAN --to dual-write {SINCE}");
    let far = format!("{dual} --state not/yet/there.db");
    let again = "run PLAN --again --yes --state not/yet/there.db";
    all_refused(
        &harness,
        &[&table],
        &plan,
        &[
            (3, "cutover PLAN --to dual-write --yes"),
            (3, &dual),
            (3, &far),
            (3, again),
            (3, "run PLAN"),
            (3, "run PLAN --restart"),
            (3, "verify PLAN --all"),
            (3, "failures PLAN retry"),
            (3, "contract PLAN --yes"),
            (3, "cutover PLAN --back"),
            (3, "cutover PLAN --to read-new --readers-moved --yes"),
        ],
    )
    .await;
    run_command("run PLAN --yes");
    let since = format!("rollback PLAN {SINCE} --yes");
    all_refused(
        &harness,
        &[&table],
        &plan,
        &[
            (3, "cutover PLAN --to dual-write --yes"),
            (3, &dual),
            (3, "rollback PLAN --yes"),
            (3, "rollback PLAN --yes --readers-back"),
            (3, &since),
            (3, "rollback PLAN --readers-back --new-writes-stopped"),
            (3, "run PLAN --again"),
            (3, "run PLAN --restart"),
            (3, "cutover PLAN --to read-new --readers-moved --yes"),
            (3, "contract PLAN --yes"),
        ],
    )
    .await;
    run_command(&format!("{dual} --yes"));
    run_command("verify PLAN --all");
    run_command("cutover PLAN --to read-new --readers-moved --yes");
    all_refused(
        &harness,
        &[&table],
        &plan,
        &[
            (3, "cutover PLAN --back"),
            (3, "cutover PLAN --to write-new --yes"),
            (3, "cutover PLAN --to write-new --old-writes-stopped"),
            (3, "rollback PLAN --yes --new-writes-stopped"),
            (3, "run PLAN --again --yes"),
        ],
    )
    .await;
    // The refused commands do not block the migration's next step.
    run_command("cutover PLAN --to write-new --old-writes-stopped --yes");
    all_refused(
        &harness,
        &[&table],
        &plan,
        &[(3, "rollback PLAN --yes"), (3, "contract PLAN"), (3, "cutover PLAN --back")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_command_of_a_plan_with_a_flag_changes_nothing() {
    let (harness, table, _) = setup(4, "").await;
    let flags = harness.create_table().await;
    let flag = format!("{CUTOVER}table = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"x\" }}\n");
    let plan = harness.plan("flagged", &table, "", &format!("{MOVE}{flag}"));
    let run_command = |line: &str| tool(&harness, &words(line, text(&plan))).exits(0);
    let tables = [&table, &flags];
    all_refused(
        &harness,
        &tables,
        &plan,
        &[
            (3, "cutover PLAN --to dual-write"),
            (3, "cutover PLAN --to dual-write --state not/yet/there.db"),
            (3, "cutover PLAN --to dual-write --yes --readers-moved"),
            (3, "cutover PLAN --to read-new --yes"),
            (3, "cutover PLAN --back"),
            (3, "verify PLAN --all"),
            (3, "contract PLAN --yes"),
            (3, "run PLAN"),
        ],
    )
    .await;
    run_command("cutover PLAN --to dual-write --yes");
    all_refused(
        &harness,
        &tables,
        &plan,
        &[
            (3, "cutover PLAN --to read-new --yes"),
            (3, "cutover PLAN --to write-new --yes"),
            (3, "verify PLAN --all"),
            (3, "rollback PLAN"),
            (3, "contract PLAN --yes"),
            (3, "run PLAN"),
        ],
    )
    .await;
}

/// RUNBOOK: "names every fact that is missing"
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_command_of_a_plan_that_only_removes_changes_nothing() {
    let (harness, table, _) = setup(4, "").await;
    let plan = harness.plan("removes", &table, "", &format!("[[change]]\nremove = \"old\"\n{CUTOVER}"));
    all_refused(
        &harness,
        &[&table],
        &plan,
        &[
            (3, "contract PLAN --yes"),
            (3, "contract PLAN --yes --readers-moved"),
            (3, "contract PLAN --yes --old-writes-stopped"),
            (3, "run PLAN --yes"),
            (3, "verify PLAN --all"),
        ],
    )
    .await;
    let all = refused(&harness, 3, &["contract", text(&plan), "--yes"]);
    all.says(&["--readers-moved", "--old-writes-stopped", "Next: backfill contract"]);
}

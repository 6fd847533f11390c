//! Tests incidents: the state file is lost, the flag is deleted, the clock is wrong, no operator can answer, or a
//! second host runs the same migration. In each case, the tool refuses and prints a remedy, and the test applies the
//! remedy.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::cutover::WriteTo;
use backfill::internals::state::sqlite::StateFile;
use nix::sys::signal::Signal;
use serde_json::Value as Json;

use crate::harness::tool::{RunningTool, ToolOutput, run};
use crate::harness::{Harness, bytes_of};
use crate::order::edit;
use crate::scene::{MOVE, NAME, QUICKLY, Scene, items};

const NO_TABLE: &str = "table = \"no-such-table\"\nkey = { id = \"rename\" }";

const FORWARD: [&str; 5] = [
    "cutover --to dual-write --yes",
    "run --yes",
    "verify --all",
    "cutover --to read-new --yes",
    "cutover --to write-new --yes",
];

async fn scene(count: u64) -> Scene {
    Scene::flagged(Harness::start(), items(count), "", &format!("{MOVE}{QUICKLY}")).await
}

/// Runs `contract`, and kills it as soon as the flag and the state file show that it has begun.
async fn kill_contract(scene: &Scene) {
    for words in FORWARD {
        scene.run_ok(words).await;
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    scene.slow_pages(Some(Duration::from_secs(1)));
    let running = RunningTool::start(scene.command("contract --yes"));
    // Kill the command only after the state file records that contract has begun. Otherwise, deleting the flag would
    // delete the only record of the contract.
    let begun = |event: &Json| event["type"] == "phase_begun" && event["phase"] == "contract";
    while !scene.flag().await.contracting || !history(scene).iter().any(begun) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.signal(Signal::SIGKILL);
    tokio::task::spawn_blocking(move || running.end()).await.unwrap();
    scene.slow_pages(None);
    // Shorten the lease of the killed process. Otherwise, a command that uses a different state file would wait until
    // the lease expires.
    set_lease_duration(scene, 200).await;
}

/// Changes the duration of the existing lease, as if the lease's holder had chosen it.
async fn set_lease_duration(scene: &Scene, milliseconds: u64) {
    let update = scene.harness.client().update_item().table_name(&scene.flags);
    let update = update.key("id", AttributeValue::S(format!("{NAME}#lease"))).update_expression("SET duration_ms = :d");
    update.expression_attribute_values(":d", AttributeValue::N(milliseconds.to_string())).send().await.unwrap();
}

fn history(scene: &Scene) -> Vec<Json> {
    let records = StateFile::open(&scene.state_path()).unwrap().events().unwrap();
    records.into_iter().map(|record| serde_json::from_str(&record.event).unwrap()).collect()
}

/// RUNBOOK: "but this state file did not begin that"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_without_its_state_file_asks_for_that_file() {
    let scene = scene(30).await;
    kill_contract(&scene).await;
    std::fs::remove_dir_all(scene.state_path().parent().unwrap()).unwrap();
    for words in ["contract --yes", "contract"] {
        let ran = scene.run_refused(words, "contract --force REASON").await;
        assert!(
            ran.messages().contains("did not begin that") && ran.messages().contains("--state"),
            "{}",
            ran.messages()
        );
    }
    let status = scene.run_ok("status").await;
    assert!(status.stdout.contains("next: backfill contract "), "{}", status.stdout);
    for words in ["cutover --back", "rollback --yes"] {
        scene.run_refused(words, "contract").await;
    }
    scene.run_ok("contract --yes --force lost").await;
    assert!(scene.dump().await.values().all(|item| !item.contains_key("old")));
    assert!(history(&scene).iter().any(|event| event["type"] == "went_past" && event["reason"] == "lost"));
    scene.run_ok("verify --all").await;
}

/// Two kinds of bad input: the flag's table is missing, or the flag was deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_flag_or_flag_table_is_reported() {
    let scene = scene(30).await;
    let flags = format!("table = \"{}\"", scene.flags);
    edit(&scene, &flags, "table = \"no-such-table\"");
    let before: Vec<_> = scene.dump().await.values().map(bytes_of).collect();
    for words in [FORWARD[0], "run --yes", "verify --all", "cutover --back", "contract --yes", "rollback --yes"] {
        let ran = scene.run_command(words).await;
        assert_eq!(ran.code, 3, "{words}: {}", ran.messages());
        assert!(ran.messages().contains("Create the table"), "{words}: {}", ran.messages());
    }
    assert_eq!(scene.dump().await.values().map(bytes_of).collect::<Vec<_>>(), before);

    edit(&scene, "table = \"no-such-table\"", &flags);
    for words in [FORWARD[0], "run --yes", "verify --all"] {
        scene.run_ok(words).await;
    }
    let prior = scene.flag().await;
    remove(&scene).await;
    for words in [FORWARD[3], "run --again --yes", "verify --all", "contract --yes", "rollback --yes"] {
        let ran = scene.run_refused(words, "cutover --back").await;
        assert!(
            ran.messages().contains("missing") && ran.messages().contains("write = both"),
            "{words}: {}",
            ran.messages()
        );
        assert_eq!(scene.raw_flag().await, None, "{words} created a new flag");
    }
    scene.run_ok("cutover --back").await;
    let now = scene.flag().await;
    assert_eq!((now.version, now.write, now.dual_since), (prior.version + 1, WriteTo::Old, None));
    // A verification from before the deletion of the flag does not open the gate.
    scene.run_ok(FORWARD[0]).await;
    scene.run_refused(FORWARD[3], "verify --all").await;
    for words in ["verify --all", FORWARD[3], FORWARD[4]] {
        scene.run_ok(words).await;
    }
    // During new-only writes, the old values are stale. The tool reports this, and the operator accepts it with
    // `--now`.
    remove(&scene).await;
    for words in ["cutover --back", "contract --yes", "rollback --yes"] {
        let ran = scene.run_refused(words, "cutover --back --now").await;
        assert!(ran.messages().contains("stale"), "{words}: {}", ran.messages());
    }
    scene.run_ok("cutover --back --now").await;
    scene.run_ok("rollback --yes").await;
}

/// The plan contains the flag item's complete key, so the first request to the flag's table takes the lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_flag_table_is_not_taken_for_a_held_lease() {
    let scene = scene(30).await;
    edit(&scene, &format!("table = \"{}\"", scene.flags), NO_TABLE);
    for words in [FORWARD[0], "run --yes", "verify --all", "cutover --back", "contract --yes", "rollback --yes"] {
        let ran = scene.run_command(words).await;
        assert_eq!(ran.code, 3, "{words}: {}", ran.messages());
        assert!(ran.messages().contains("Create the table"), "{words}: {}", ran.messages());
    }
}

/// Deletes the flag without the tool's knowledge.
async fn remove(scene: &Scene) {
    let gone = scene.harness.client().delete_item().table_name(&scene.flags);
    let id = aws_sdk_dynamodb::types::AttributeValue::S(NAME.to_owned());
    gone.key("id", id).send().await.unwrap();
}

/// If the flag is deleted while contract removes the old attribute, `contract` restores the flag.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_whose_flag_was_deleted_restores_it() {
    let scene = scene(30).await;
    kill_contract(&scene).await;
    // The state file contains the flag as `contract` last read it.
    let prior = scene.flag().await;
    scene.run_refused("rollback --yes", "contract").await;
    remove(&scene).await;
    for (words, next) in [
        ("contract --yes", "contract --force REASON"),
        ("cutover --back", "contract"),
        ("cutover --back --now", "contract"),
    ] {
        let ran = scene.run_refused(words, next).await;
        assert!(ran.messages().contains("being removed"), "{words}: {}", ran.messages());
    }
    scene.run_ok("contract --yes --force deleted-by-mistake").await;
    let now = scene.flag().await;
    assert!(now.contracting && now.version == prior.version + 1 && now.write == prior.write, "{now}");
    assert!(scene.dump().await.values().all(|item| !item.contains_key("old")));
}

/// Opens the state file, and defines its checksum function. The tool refuses rows whose checksum does not match.
fn with_checksums(scene: &Scene) -> rusqlite::Connection {
    use rusqlite::functions::FunctionFlags;
    use rusqlite::types::ValueRef;
    use sha2::Digest as _;
    let connection = rusqlite::Connection::open(scene.state_path()).unwrap();
    let checksum = |row: &rusqlite::functions::Context<'_>| {
        let mut hash = sha2::Sha256::new();
        for column in 0..row.len() {
            let (kind, bytes) = match row.get_raw(column) {
                ValueRef::Integer(n) => (1_u8, n.to_be_bytes().to_vec()),
                ValueRef::Text(text) => (3, text.to_vec()),
                other => panic!("an event has no column {other:?}"),
            };
            hash.update([kind]);
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
        Ok(i64::from_be_bytes(hash.finalize()[..8].try_into().unwrap()))
    };
    connection.create_scalar_function("checksum", -1, FunctionFlags::SQLITE_UTF8, checksum).unwrap();
    connection
}

/// The host's clock was two hours ahead when the history was written, and has been corrected since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_set_back_opens_no_gate() {
    let scene = scene(30).await;
    for words in &FORWARD[..3] {
        scene.run_ok(words).await;
    }
    let connection = with_checksums(&scene);
    for (n, mut event) in (1..).zip(history(&scene)) {
        let at: jiff::Timestamp = event["at"].as_str().unwrap().parse().unwrap();
        event["at"] = (at + jiff::SignedDuration::from_hours(2)).to_string().into();
        let sql = "UPDATE events SET event = ?2, sum = checksum(id, ?2, behind) WHERE id = ?1";
        connection.execute(sql, (n, event.to_string())).unwrap();
    }
    drop(connection);
    let ran = scene.run_refused("cutover --to read-new --yes", "cutover --to read-new").await;
    assert!(ran.messages().contains("set back"), "{}", ran.messages());
    // A pass and a verification can run even if the clock was set back, and the history's events stay in order.
    let again = scene.run_ok("run --again --yes").await;
    assert!(again.stdout.contains("Run 3 (expand) is complete"), "{}", again.stdout);
    scene.run_refused("cutover --to read-new --yes", "verify --all").await;
    scene.run_ok("verify --all").await;
    let times: Vec<jiff::Timestamp> =
        history(&scene).iter().map(|event| event["at"].as_str().unwrap().parse().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    scene.run_refused("cutover --to read-new --yes", "cutover --to read-new").await;
    // A step back is always possible, and `--force` overrides the closed gate.
    scene.run_ok("cutover --to read-new --yes --force looked-at").await;
    scene.run_ok("cutover --back").await;
    scene.run_ok("rollback --yes").await;
}

/// Without an operator to answer, a command that needs a confirmation says so, suggests `--yes`, and does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_nobody_can_confirm_asks_for_yes_and_does_nothing() {
    let scene = scene(30).await;
    let asked = async |words: &str| {
        let flag = scene.raw_flag().await;
        let table = scene.dump().await;
        let ran = scene.run_command(words).await.exits(3);
        assert!(
            ran.messages().contains("--yes") && ran.messages().contains("no terminal to ask"),
            "{words}: {}",
            ran.messages()
        );
        if flag.is_some() {
            assert_eq!(scene.raw_flag().await, flag, "{words}");
        }
        assert_eq!(scene.dump().await, table, "{words}");
    };
    asked("run").await;
    asked("cutover --to dual-write").await;
    for words in &FORWARD[..3] {
        scene.run_ok(words).await;
    }
    // The earlier verification stays valid, because the unconfirmed pass has not begun.
    for words in
        ["run --again", "run --restart", "rollback", "cutover --to read-new --percent 5", "cutover --to read-new"]
    {
        asked(words).await;
    }
    scene.run_ok(FORWARD[3]).await;
    asked("cutover --to write-new").await;
    scene.run_ok(FORWARD[4]).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for words in ["contract", "rollback"] {
        asked(words).await;
    }
}

/// The help of a command lists all options that it accepts. The command rejects all other options.
#[test]
fn the_help_of_a_command_lists_what_applies_to_it() {
    let harness = Harness::start();
    let facts =
        ["--dual-writes-since", "--readers-moved", "--old-writes-stopped", "--readers-back", "--new-writes-stopped"];
    for (command, takes) in [
        ("cutover", &facts[..]),
        ("contract", &["--readers-moved", "--old-writes-stopped"]),
        ("rollback", &["--dual-writes-since", "--readers-back", "--new-writes-stopped"]),
    ] {
        let given = |words: &[&str]| -> ToolOutput {
            let mut given = harness.command();
            given.arg(command).args(words);
            run(given)
        };
        let help = given(&["--help"]).exits(0).stdout;
        for option in ["--yes", "--force <REASON>", "--accept"] {
            assert!(help.contains(option), "{command}: no {option}: {help}");
        }
        assert!(help.contains("--dry-run"), "{command}: {help}");
        for fact in facts {
            assert_eq!(help.contains(fact), takes.contains(&fact), "{command} {fact}: {help}");
            if !takes.contains(&fact) {
                let refused = given(&["plan.toml", fact]).exits(2);
                assert!(refused.messages().contains("unexpected argument"), "{command} {fact}: {}", refused.messages());
            }
        }
    }
}

/// Two state files share one plan and one flag, as on two hosts.
/// RUNBOOK: "a lease next to the flag prevents two hosts from running one migration at the same time"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_one_of_two_runs_on_two_hosts_continues() {
    let scene = scene(300).await;
    scene.run_ok(FORWARD[0]).await;
    scene.slow_pages(Some(Duration::from_secs(5)));
    let words = ["run --yes", "run --yes --state other.db"];
    let mut running = words.map(|words| RunningTool::start(scene.command(words)));
    // After about 20 seconds, the second run notices that the first run renews its lease.
    let loser = loop {
        if let Some(ended) = running.iter_mut().position(RunningTool::has_ended) {
            break ended;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let holder = format!("{} pid {} (", backfill::internals::host::name(), running[1 - loser].pid());
    running[1 - loser].signal(Signal::SIGKILL);
    let [first, second] = running.map(|one| tokio::task::spawn_blocking(move || one.end()));
    let mut ended = [first.await.unwrap(), second.await.unwrap()];
    ended.rotate_left(loser);
    let [lost, won] = ended;
    let lost = lost.exits(7).messages();
    assert!(lost.contains(&holder), "no {holder} in: {lost}");
    assert!(lost.contains("expires 60 s after its last renewal"), "{lost}");
    assert_eq!(won.code, -1, "this run must not have ended before the kill: {}", won.messages());

    // The killed run's lease expires one second after its last renewal, and the other run takes it. After that, the
    // test also resumes the killed run.
    scene.slow_pages(None);
    set_lease_duration(&scene, 1_000).await;
    scene.run_ok(words[loser]).await;
    scene.run_ok(words[1 - loser]).await;
    assert!(scene.dump().await.values().all(|item| item.get("old") == item.get("new")));
}

//! Tests `ctl`: it steers a running process, and its settings also apply to later processes.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use backfill::internals::steering::socket::socket_path;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::{Value as Json, json};

use super::{setup, text};
use crate::harness::Harness;
use crate::harness::tool::{RunningTool, run, tool};

/// A rate at which a run of 2,000 items takes several seconds and always waits for its budget.
const BUSY: &str = "[capacity]\nwrite = 250\n";

/// The user `nobody`.
const NOBODY: u32 = 65_534;

fn start(harness: &Harness, plan: &Path) -> RunningTool {
    let mut command = harness.command();
    command.args(["run", text(plan), "--yes", "--output", "json"]);
    RunningTool::start(command)
}

fn writes(harness: &Harness) -> u64 {
    harness.proxy().tally().operation("UpdateItem").requests
}

async fn wait_for_writes(harness: &Harness, more_than: u64) {
    while writes(harness) <= more_than {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits one second. Then returns the number of writes that the table receives in the next two seconds.
async fn writes_after_a_second(harness: &Harness) -> u64 {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = writes(harness);
    tokio::time::sleep(Duration::from_secs(2)).await;
    writes(harness) - before
}

fn ctl(harness: &Harness, args: &[&str]) -> Json {
    tool(harness, &[&["ctl"], args, &["--output", "json"]].concat()).exits(0).json()
}

/// RUNBOOK: "takes effect within a second, and applies after a restart, too"
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_takes_effect_within_a_second_and_outlives_the_process() {
    let (harness, _, plan) = setup(2_000, BUSY).await;
    let plan_text = text(&plan);
    let running = start(&harness, &plan);
    wait_for_writes(&harness, 100).await;
    let paused = ctl(&harness, &["pause", plan_text, "--reason", "the application is slow"]);
    assert_eq!((&paused["live"], &paused["type"]), (&json!(true), &json!("ctl")));
    assert_eq!(writes_after_a_second(&harness).await, 0, "a paused run sends nothing");
    let status = tool(&harness, &["status", plan_text, "--output", "json"]).exits(0).json();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let status_later = tool(&harness, &["status", plan_text, "--output", "json"]).exits(0).json();
    let activity = &status_later["process"]["activity"];
    assert_eq!(activity["state"], "paused", "{status:#} {status_later:#}");
    assert!(activity["detail"].as_str().unwrap().contains("the application is slow"), "{activity}");
    let socket = socket_path(&harness.dir().join(".backfill/plan.db"));
    assert_eq!(status["steering"]["socket"], json!(socket), "`status` names the socket");
    running.signal(Signal::SIGKILL);
    tokio::task::block_in_place(|| running.end());

    let running = start(&harness, &plan);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(writes_after_a_second(&harness).await, 0, "the restarted run is still paused");
    assert_eq!(ctl(&harness, &["resume", plan_text])["text"], "resumed");
    let ended = tokio::task::block_in_place(|| running.end()).exits(0);
    assert!(ended.messages().contains("paused   by "), "{}", ended.messages());
    let seconds = &ended.json()["activity_seconds"];
    assert!(seconds["paused"].as_f64().unwrap() >= 8.0, "both sessions count: {seconds}");
    assert!(seconds.get("stalled").is_none(), "a pause is not a stall: {seconds}");
    let record = ctl(&harness, &["status", plan_text]);
    let commands: Vec<&str> =
        record["state"]["record"].as_array().unwrap().iter().map(|r| r["command"].as_str().unwrap()).collect();
    assert_eq!(commands, ["pause --reason 'the application is slow'", "resume"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_takes_effect_within_a_second_and_a_changed_capacity_clears_it() {
    let (harness, _, plan) = setup(2_000, BUSY).await;
    let plan_text = text(&plan);
    let running = start(&harness, &plan);
    wait_for_writes(&harness, 100).await;
    let slower = ctl(&harness, &["rate", plan_text, "--write", "20"]);
    assert!(slower["text"].as_str().unwrap().contains("table: 20 WCU/s"), "{slower}");
    let slow = writes_after_a_second(&harness).await;
    assert!((1..=60).contains(&slow), "{slow} writes in two seconds at 20 WCU/s");
    let status = tool(&harness, &["status", plan_text]).exits(0).stdout;
    assert!(status.contains("    table: 20 WCU/s (set with `ctl rate`), "), "{status}");
    assert!(status.contains("changed once since the run began"), "{status}");
    running.signal(Signal::SIGKILL);
    tokio::task::block_in_place(|| running.end());

    let running = start(&harness, &plan);
    wait_for_writes(&harness, writes(&harness)).await;
    let slow = writes_after_a_second(&harness).await;
    assert!((1..=60).contains(&slow), "{slow} writes in two seconds after the restart");
    running.signal(Signal::SIGTERM);
    let stopped = tokio::task::block_in_place(|| running.end()).exits(130);
    assert!(stopped.messages().contains("rate     20 WCU/s, set by "), "{}", stopped.messages());
    let header = "budget   table: 20 WCU/s (set with `ctl rate`), ";
    assert!(stopped.messages().contains(header), "{}", stopped.messages());

    let changed = std::fs::read_to_string(&plan).unwrap().replace("write = 250", "write = 900");
    std::fs::write(&plan, changed).unwrap();
    let ended = tokio::task::block_in_place(|| start(&harness, &plan).end()).exits(0);
    assert!(ended.messages().contains("no longer applies, because [capacity] has changed"), "{}", ended.messages());
    assert_eq!(ctl(&harness, &["status", plan_text])["state"]["rate"], Json::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_the_run_so_that_it_can_be_resumed() {
    let (harness, _, plan) = setup(2_000, BUSY).await;
    let plan_text = text(&plan);
    let refused = tool(&harness, &["ctl", "drain", plan_text]).exits(3);
    assert!(refused.messages().contains("backfill check"), "there is no state file yet: {}", refused.messages());
    let running = start(&harness, &plan);
    wait_for_writes(&harness, 100).await;
    ctl(&harness, &[plan_text, "drain"]);
    let ended = tokio::task::block_in_place(|| running.end()).exits(6).json();
    assert!(ended["stopped"].as_str().unwrap().contains("stopped it with `backfill ctl drain`"), "{ended}");
    let refused = tool(&harness, &["ctl", "drain", plan_text]).exits(3);
    assert!(refused.messages().contains("there is nothing to drain"), "{}", refused.messages());
    // If no process works on the migration, `ctl` stores the pause for the next process. A rollback ends the pause.
    assert_eq!(ctl(&harness, &["pause", plan_text])["live"], false);
    let shown = tool(&harness, &["ctl", "status", plan_text]).exits(0).stdout;
    assert!(shown.contains("no process works on this migration") && shown.contains("paused by "), "{shown}");
    let status = tool(&harness, &["status", plan_text]).exits(0).stdout;
    assert!(status.contains("paused by ") && status.contains("backfill ctl resume"), "{status}");
    let back = ["rollback", plan_text, "--readers-back", "--new-writes-stopped", "--yes"];
    let back = tool(&harness, &back).exits(0);
    assert!(back.messages().contains("the earlier pause ended, because"), "{}", back.messages());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_file_pauses_a_running_command() {
    let (harness, _, plan) = setup(2_000, BUSY).await;
    let file = harness.dir().join("pause");
    let named = format!("{}[steering]\npause_file = {:?}\n", std::fs::read_to_string(&plan).unwrap(), text(&file));
    std::fs::write(&plan, named).unwrap();
    let running = start(&harness, &plan);
    wait_for_writes(&harness, 100).await;
    std::fs::write(&file, "").unwrap();
    assert_eq!(writes_after_a_second(&harness).await, 0, "nothing is sent while the file exists");
    let told = ctl(&harness, &["status", text(&plan)]);
    assert!(told["text"].as_str().unwrap().starts_with("paused: the file "), "{told}");
    let resumed = ctl(&harness, &["resume", text(&plan)]);
    assert!(resumed["text"].as_str().unwrap().contains("still paused: the file "), "{resumed}");
    std::fs::remove_file(&file).unwrap();
    tokio::task::block_in_place(|| running.end()).exits(0);
}

#[test]
fn an_invalid_rate_is_a_usage_error() {
    let harness = Harness::embedded();
    for args in [&["rate", "plan.toml"][..], &["rate", "plan.toml", "--plan", "--write", "1"]] {
        tool(&harness, &[&["ctl"], args].concat()).exits(2);
    }
}

/// RUNBOOK: "Only the user who started the process, and root, can steer it"
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the log of CI must say that the test was skipped")]
async fn another_user_cannot_steer() {
    if !geteuid().is_root() {
        println!("SKIPPED: only root can change to another user");
        return;
    }
    let (harness, _, plan) = setup(2_000, BUSY).await;
    let running = start(&harness, &plan);
    wait_for_writes(&harness, 100).await;
    let socket = socket_path(&harness.dir().join(".backfill/plan.db"));
    assert_eq!(mode(&socket), 0o600);
    // Give the other user access to all other files, so that only the socket protects the migration.
    let binary = harness.dir().join("backfill");
    std::fs::copy(harness.command().get_program(), &binary).unwrap();
    for path in [harness.dir().to_owned(), harness.dir().join(".backfill"), plan.clone(), binary.clone()] {
        set_mode(&path, 0o755);
    }
    let state = harness.dir().join(".backfill/plan.db");
    for suffix in ["", "-wal", "-shm"] {
        set_mode(&with_suffix(&state, suffix), 0o666);
    }
    let as_nobody = || {
        let mut command = Command::new(&binary);
        command.current_dir(harness.dir()).env_clear().env("HOME", harness.dir());
        command.args(["ctl", "pause", text(&plan)]).uid(NOBODY).gid(NOBODY);
        run(command)
    };
    let refused = tokio::task::block_in_place(as_nobody).exits(3);
    assert!(refused.messages().contains("belongs to another user"), "{}", refused.messages());
    // Even if all users have access to the socket file, the process refuses other users.
    set_mode(&socket, 0o666);
    let refused = tokio::task::block_in_place(as_nobody).exits(3);
    assert!(refused.messages().contains("another user started this process"), "{}", refused.messages());
    let before = writes(&harness);
    wait_for_writes(&harness, before).await;
    running.signal(Signal::SIGTERM);
    let ended = tokio::task::block_in_place(|| running.end());
    assert!(ended.stderr.contains("tried to steer this migration: refused"), "{}", ended.stderr);
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

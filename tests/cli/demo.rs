//! Tests the demo, which is the first command that a new user runs.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use backfill::internals::local::sample;
use backfill::internals::state::StoredFact;
use backfill::internals::state::sqlite::StateFile;
use serde_json::{Value as Json, json};

fn backfill(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

fn demo(dir: &Path, args: &[&str]) -> Command {
    command(dir, &[&["demo"], args].concat())
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backfill"));
    command.current_dir(dir).env_clear().env("HOME", dir).args(args).args(["--output", "json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn stderr_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn document(output: &Output) -> Json {
    assert_eq!(output.status.code(), Some(0), "{}", stderr_text(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the result of each demo step that ran this command.
fn step<'a>(demo: &'a Json, command: &str) -> Vec<&'a Json> {
    let steps = demo["steps"].as_array().unwrap();
    steps.iter().filter(|step| step["command"] == command).map(|step| &step["result"]).collect()
}

/// Asserts that the figures of a run match the sample table. The generator of the sample knows the expected state of
/// each item.
fn assert_run_counts(result: &Json, items: u64, killed: bool) {
    let expected = sample::expected_counts(1, items);
    assert_eq!(result["run"]["status"], "complete");
    assert_eq!((count(result, "scanned"), count(result, "diverged")), (items, expected.diverged));
    assert_eq!(count(result, "nothing_to_do"), expected.absent);
    let done = count(result, "applied");
    let already = count(result, "already_applied");
    assert_eq!(done + already, expected.plain + expected.already_both + expected.only_new);
    assert!(if killed { done <= expected.plain } else { done == expected.plain }, "{done} applied");
    assert_eq!((count(result, "gone"), count(result, "conflict"), count(result, "rejected")), (0, 0, 0));
}

/// Checks the verifications and the contract. After the contract, every item that had the old attribute has only the
/// new one.
fn assert_final_counts(demo: &Json, items: u64) {
    let expected = sample::expected_counts(1, items);
    assert_ne!(expected.diverged, 0, "the sample must show a closed gate");
    let reports = |command| step(demo, command).iter().map(|result| result["report"].clone()).collect::<Vec<_>>();
    for report in reports("verify --all") {
        assert_eq!((&report["compared"], &report["mismatches"]), (&json!(items), &json!(expected.diverged)));
    }
    for report in reports("verify --all --repair") {
        assert_eq!((&report["repaired"], &report["mismatches"]), (&json!(expected.diverged), &json!(0)));
    }
    let contract = step(demo, "contract")[0];
    assert_eq!(contract["run"]["status"], "complete");
    if contract["run"]["sessions"] == 1 {
        assert_eq!(count(contract, "applied"), expected.plain + expected.already_both + expected.diverged);
    }
    assert_eq!((count(contract, "conflict"), count(contract, "rejected")), (0, 0));
}

fn count(result: &Json, name: &str) -> u64 {
    result["totals"]["counts"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {result}"))
}

#[test]
fn the_demo_walks_the_whole_playbook_and_starts_over_the_second_time() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let output = demo(dir.path(), &["--items", "600"]).output().unwrap();
        let report = document(&output);
        assert_run_counts(step(&report, "run")[0], 600, false);
        assert_final_counts(&report, 600);
        let commands: Vec<_> =
            report["steps"].as_array().unwrap().iter().map(|s| s["command"].as_str().unwrap()).collect();
        #[rustfmt::skip]
        assert_eq!(commands, [
            "cutover --to dual-write", "run", "verify --all", "cutover --to read-new --percent 10", "verify --all --repair",
            "cutover --to read-new --percent 10", "cutover --back", "cutover --to read-new", "cutover --to write-new",
            "contract",
        ]);
        let steps = report["steps"].as_array().unwrap();
        let item = |command| &steps.iter().find(|step| step["command"] == command).unwrap()["item"];
        let email = &item("run")["before"]["old"];
        assert!(email.is_string(), "{report:#}");
        assert_eq!(
            item("run"),
            &json!({ "before": { "old": email, "new": null }, "after": { "old": email, "new": email } })
        );
        assert_eq!(item("contract")["after"], json!({ "old": null, "new": email }));
        let refused = step(&report, "cutover --to read-new --percent 10")[0]["refused"].as_str().unwrap();
        assert!(refused.contains("have diverged") && refused.contains("verify"), "{refused}");
        let text = stderr_text(&output);
        for part in ["starts a new run", "no AWS account", "Try next", "status .backfill/demo/plan.toml"] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
        // The engine's own log lines about refused requests must not appear.
        assert!(!text.contains("WARN") && !text.contains("error response"), "{text}");
    }
    let status = backfill(dir.path(), &["status", ".backfill/demo/plan.toml", "--state", ".backfill/demo/state.db"]);
    let status = document(&status)["playbook"].clone();
    assert_eq!((&status["phase"], &status["next"]), (&json!("contracted"), &Json::Null), "{status}");
    assert_eq!(status["flag_seen"]["flag"]["contracting"], true, "{status}");
}

/// Kills the demo three times: during the run, while the demo waits between two steps, and during the contract.
/// RUNBOOK: "You can kill a command at any moment and run it again"
#[test]
fn a_demo_that_was_killed_anywhere_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join(".backfill/demo/state.db");
    let scanned = |phase: &str| {
        let current = StateFile::open(&state).ok()?.summary().ok()?.current?;
        (current.run.phase == phase).then_some(current.totals.counts.scanned)
    };
    let read_percent = || {
        let seen = StateFile::open(&state).ok()?.fact(StoredFact::LastFlag).ok()??;
        serde_json::from_str::<Json>(&seen).ok()?["flag"]["read_percent"].as_u64()
    };
    let kill_when = |condition: &dyn Fn() -> bool| {
        let mut child = demo(dir.path(), &["--items", "4000"]).spawn().unwrap();
        let began = Instant::now();
        while !condition() {
            let waits = began.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none();
            assert!(waits, "the demo does not reach the step at which the test kills it");
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    };
    kill_when(&|| scanned("expand").unwrap_or(0) > 0);
    assert!(scanned("expand").is_some_and(|scanned| scanned < 4000), "killed too late");
    kill_when(&|| read_percent() == Some(10));
    kill_when(&|| scanned("contract").unwrap_or(0) > 0);
    let output = demo(dir.path(), &["--items", "4000"]).output().unwrap();
    let report = document(&output);
    assert_final_counts(&report, 4000);
    assert!(stderr_text(&output).contains("2. backfill run: already done"), "{}", stderr_text(&output));
    let file = StateFile::open(&state).unwrap();
    let run = file.summary().unwrap().runs.into_iter().find(|run| run.phase == "expand").unwrap();
    assert!(run.lower_bound && run.sessions == 2, "{run:?}");
}

#[test]
fn an_interrupted_demo_says_how_to_continue() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join(".backfill/demo/state.db");
    let has_run = || Some(StateFile::open(&state).ok()?.summary().ok()?.current?.totals.counts.scanned > 0);
    let mut child = demo(dir.path(), &["--items", "4000"]).spawn().unwrap();
    let began = Instant::now();
    while has_run() != Some(true) {
        assert!(began.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none(), "no run");
        std::thread::sleep(Duration::from_millis(10));
    }
    let id = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr_text(&output));
    for part in ["resume where the demo stopped", "needs the demo's server. Resume the demo instead"] {
        assert!(stderr_text(&output).contains(part), "{part} is missing: {}", stderr_text(&output));
    }
}

#[test]
fn the_demo_leaves_other_folders_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("plan.toml"), "# mine").unwrap();
    for extra in [&["--dir", "."][..], &["--dir", ".", "--fresh"]] {
        let output = demo(dir.path(), extra).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", stderr_text(&output));
        assert!(stderr_text(&output).contains("not the demo's"), "{}", stderr_text(&output));
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["type"], "error", "{document:#}");
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("plan.toml")).unwrap(), "# mine");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

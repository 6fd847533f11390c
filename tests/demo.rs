//! The first thing that a new user runs.
#![cfg(feature = "local")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use backfill::checkpoint::store::StateFile;
use backfill::local::sample;
use serde_json::Value as Json;

fn demo(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backfill"));
    command.current_dir(dir).env_clear().env("HOME", dir).args(["demo", "--output", "json"]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Json {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asserts that the figures are those of the sample table, whose generator says how its items stand.
fn adds_up(report: &Json, items: u64, killed: bool) {
    let counts = &report["totals"]["counts"];
    let count = |name: &str| counts[name].as_u64().unwrap_or_else(|| panic!("no {name} in {counts}"));
    let expected = sample::expected(1, items);
    assert_eq!(report["run"]["status"], "complete");
    assert_eq!((count("scanned"), count("diverged")), (items, expected.diverged));
    assert_eq!(count("nothing_to_do"), expected.absent);
    let (done, already) = (count("applied"), count("already_applied"));
    assert_eq!(done + already, expected.plain + expected.already_both + expected.only_new);
    assert!(if killed { done <= expected.plain } else { done == expected.plain }, "{done} applied");
    assert_eq!((count("gone"), count("conflict"), count("rejected")), (0, 0, 0));
}

#[test]
fn its_numbers_add_up_and_a_second_start_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let output = demo(dir.path(), &["--items", "600"]).output().unwrap();
        adds_up(&json(&output), 600, false);
        let text = said(&output);
        for part in ["starts a new run", "No AWS account", "What to try next", "status .backfill/demo/plan.toml"] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
    }
}

#[test]
fn killed_in_the_middle_it_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = demo(dir.path(), &["--items", "4000"]).spawn().unwrap();
    let state = dir.path().join(".backfill/demo/state.db");
    let began = Instant::now();
    let done = || {
        let summary = StateFile::open(&state).ok()?.summary().ok()?;
        Some(summary.current?.totals.counts.scanned)
    };
    while done().unwrap_or(0) == 0 {
        assert!(
            began.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(),
            "it does not get going"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(done().is_some_and(|scanned| scanned < 4000), "killed too late to show anything");
    let output = demo(dir.path(), &["--items", "4000"]).output().unwrap();
    assert!(said(&output).contains("resumes run 1"), "{}", said(&output));
    let report = json(&output);
    adds_up(&report, 4000, true);
    assert_eq!(report["run"]["lower_bound"], true);
}

#[test]
fn a_folder_that_is_not_the_demos_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("plan.toml"), "# mine").unwrap();
    for extra in [&["--dir", "."][..], &["--dir", ".", "--fresh"]] {
        let output = demo(dir.path(), extra).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert!(said(&output).contains("not the demo's") && output.stdout.is_empty());
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("plan.toml")).unwrap(), "# mine");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

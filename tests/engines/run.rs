//! Runs this package's test binaries and reads the outcomes of their tests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::Value as Json;

use crate::Writers;

/// A selection of tests from one test binary.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) binary: &'static str,
    pub(crate) only: &'static [&'static str],
    pub(crate) without: &'static [&'static str],
    pub(crate) writers: Writers,
}

/// A test that ran.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The binary and path of the test.
    pub(crate) test: String,
    /// The output of the test, if it failed.
    pub(crate) failure: Option<String>,
}

/// The number of tests that one binary runs at the same time. The tests mostly wait for the engine, which uses only one
/// core.
const THREADS: &str = "5";

/// Builds these test binaries if necessary, and returns their paths.
pub(crate) fn binaries(names: &[&str]) -> BTreeMap<String, PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["test", "--no-run", "--message-format", "json", "--quiet"]);
    for name in names {
        cargo.args(["--test", name]);
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).unwrap();
    let executable = |line: &str| {
        let message: Json = serde_json::from_str(line).ok()?;
        let name = message["target"]["name"].as_str()?;
        names.contains(&name).then(|| Some((name.to_owned(), message["executable"].as_str()?.into())))?
    };
    let found: BTreeMap<String, PathBuf> = messages.lines().filter_map(executable).collect();
    assert_eq!(found.len(), names.len(), "{found:?}");
    found
}

/// Runs a suite. Panics if the suite runs no test, or ends before every test has an outcome.
pub(crate) fn run(binaries: &BTreeMap<String, PathBuf>, suite: &Suite) -> Vec<Outcome> {
    let mut command = Command::new(&binaries[suite.binary]);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(suite.only).args(["--test-threads", THREADS]);
    for name in suite.without {
        command.args(["--skip", name]);
    }
    // Backtraces are off, because nobody reads the backtrace of an expected failure.
    let began = Instant::now();
    let output = command.env("RUST_BACKTRACE", "0").output().unwrap();
    println!("{}: {:.0} s", suite.binary, began.elapsed().as_secs_f64());
    let text = String::from_utf8_lossy(&output.stdout);
    let outcomes = read(suite.binary, &text);
    let failed = outcomes.iter().any(|outcome| outcome.failure.is_some());
    assert!(!outcomes.is_empty(), "{suite:?} ran no test");
    let test_output = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), !failed, "{suite:?}: {}\n{text}\n{test_output}", output.status);
    outcomes
}

/// Parses the output of libtest.
fn read(binary: &str, text: &str) -> Vec<Outcome> {
    let test_output = |name: &str| {
        let (_, after) = text.split_once(&format!("---- {name} stdout ----\n")).unwrap_or_default();
        let end = ["\n---- ", "\nfailures:\n"].iter().filter_map(|mark| after.find(mark)).min();
        after[..end.unwrap_or(after.len())].trim().to_owned()
    };
    let outcome = |line: &str| {
        let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let failure = match result {
            "ok" => None,
            "FAILED" => Some(test_output(name)),
            _ => return None,
        };
        Some(Outcome { test: format!("{binary}::{name}"), failure })
    };
    text.lines().filter_map(outcome).collect()
}

#[test]
fn the_output_of_libtest_is_parsed() {
    let text = "\nrunning 4 tests\ntest a::b ... ok\ntest slow has been running for over 60 seconds\ntest a::c ... FAILED\n\
        test d ... ignored, why\ntest slow ... FAILED\n\nfailures:\n\n---- a::c stdout ----\nthread 'a::c' panicked:\nleft\n\n\
        \n---- slow stdout ----\nfirst\n\nsecond\n\n\nfailures:\n    a::c\n    slow\n\ntest result: FAILED.\n";
    let outcome = |test: &str, failure: Option<&str>| Outcome { test: test.into(), failure: failure.map(Into::into) };
    assert_eq!(
        read("x", text),
        [
            outcome("x::a::b", None),
            outcome("x::a::c", Some("thread 'a::c' panicked:\nleft")),
            outcome("x::slow", Some("first\n\nsecond")),
        ]
    );
}

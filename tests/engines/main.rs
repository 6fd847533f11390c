//! The suites that every implementation of DynamoDB's API must pass. They run on the engine that `tests/engines.sh` has
//! started:
//!
//!     tests/engines.sh ministack cargo test --test engines -- --ignored --nocapture
//!
//! [`deviations`] lists the tests that an engine fails. The list must be exact. The run fails if an unlisted test
//! fails. It also fails if a listed test passes, fails with a different message, or does not run.
#![expect(clippy::print_stdout, reason = "the test prints its figures")]

mod deviations;
mod run;

use deviations::{DEVIATIONS, Deviation};
use run::{Outcome, Suite, binaries, run};

/// The tests that show whether an engine applies conditions atomically. If they fail, only the suites with a single
/// writer are meaningful on this engine.
const PROBE: Suite = Suite { binary: "table", only: &["contract::probe::"], without: &[], writers: Writers::Many };

/// Whether a suite has concurrent writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writers {
    /// Only the tool writes.
    One,
    /// Several processes write to the table at the same time. For example, the application writes during a run, or
    /// writes from a killed process arrive while the next process writes.
    Many,
}

/// The suites that run on every engine. `only` is passed to libtest as filters, and `without` as `--skip`.
const SUITES: [Suite; 4] = [
    Suite { binary: "table", only: &["contract::"], without: &["contract::probe::"], writers: Writers::Many },
    Suite {
        binary: "playbook",
        only: &[
            "life::a_complete_migration_with_a_flag",
            "life::back_during",
            "life::a_rollback_after",
            "kills::a_killed_migration_completes",
            "kills::killed_commands_go_back_completely",
        ],
        without: &[],
        writers: Writers::Many,
    },
    Suite {
        binary: "playbook",
        only: &["killed_runs::a_run_killed_at_random", "killed_runs::a_killed_in_place"],
        without: &[],
        writers: Writers::Many,
    },
    Suite { binary: "table", only: &["faults::replies::"], without: &[], writers: Writers::One },
];

#[test]
#[ignore = "needs an engine: tests/engines.sh ENGINE cargo test --test engines -- --ignored"]
fn the_engine_passes_all_tests_except_its_known_deviations() {
    let engine = std::env::var("BACKFILL_TEST_ENGINE").expect("tests/engines.sh sets BACKFILL_TEST_ENGINE");
    let binaries = binaries(&["playbook", "table"]);
    let mut outcomes = run(&binaries, &PROBE);
    let atomic = outcomes.iter().all(|outcome| outcome.failure.is_none());
    println!("{engine} {} conditions atomically", if atomic { "applies" } else { "does not apply" });
    // Run the suites one after the other. If two suites ran at the same time, the engine would answer some of their
    // requests too late.
    for suite in SUITES.iter().filter(|suite| atomic || suite.writers == Writers::One) {
        outcomes.extend(run(&binaries, suite));
    }
    for outcome in &outcomes {
        println!("{} {}", if outcome.failure.is_none() { "ok    " } else { "failed" }, outcome.test);
    }
    let wrong = compare_with_deviations(&engine, &DEVIATIONS, &outcomes);
    assert!(wrong.is_empty(), "{engine}:\n{}", wrong.join("\n"));
    let known = DEVIATIONS.iter().filter(|deviation| deviation.engine == engine);
    known.for_each(|known| println!("{engine} does not pass {}: {}", known.test, known.reason));
}

/// Compares the outcomes with the list of deviations. Returns all differences.
fn compare_with_deviations(engine: &str, deviations: &[Deviation], outcomes: &[Outcome]) -> Vec<String> {
    let expected = |test: &str| deviations.iter().find(|known| known.engine == engine && known.test == test);
    let mut wrong: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| match (&outcome.failure, expected(&outcome.test)) {
            (None, None) => None,
            (Some(output), Some(known)) if output.contains(known.message) => None,
            (Some(output), Some(known)) => {
                Some(format!("{} fails, but not as expected: no {:?} in:\n{output}", outcome.test, known.message))
            }
            (Some(output), None) => Some(format!("{} fails:\n{output}", outcome.test)),
            (None, Some(_)) => Some(format!("{} passes now: remove its entry from the deviations", outcome.test)),
        })
        .collect();
    let ran = |test: &str| outcomes.iter().any(|outcome| outcome.test == test);
    let not_run = deviations.iter().filter(|known| known.engine == engine && !ran(known.test));
    wrong.extend(not_run.map(|known| format!("{} has an entry, but did not run", known.test)));
    wrong
}

#[test]
fn differences_in_both_directions_are_found() {
    let known = |test| Deviation { engine: "e", test, message: "as known", reason: "of a reason" };
    let outcome = |test: &str, failure: Option<&str>| Outcome { test: test.into(), failure: failure.map(Into::into) };
    let judged = |deviations: &[Deviation], outcomes: &[Outcome]| compare_with_deviations("e", deviations, outcomes);
    assert_eq!(judged(&[], &[outcome("a", None)]), [""; 0]);
    assert_eq!(judged(&[known("a")], &[outcome("a", Some("it fails as known."))]), [""; 0]);
    for (deviations, outcomes, part) in [
        (vec![], vec![outcome("a", Some("why"))], "a fails:\nwhy"),
        (vec![known("a")], vec![outcome("a", None)], "a passes now"),
        (vec![known("a")], vec![outcome("a", Some("otherwise"))], "a fails, but not as expected"),
        (vec![known("a")], vec![outcome("b", None)], "a has an entry, but did not run"),
    ] {
        let wrong = judged(&deviations, &outcomes);
        assert!(wrong.len() == 1 && wrong[0].contains(part), "{part}: {wrong:?}");
    }
    // The comparison ignores the entries of other engines.
    let other = Deviation { engine: "f", ..known("a") };
    assert_eq!(judged(&[other], &[outcome("a", None)]), [""; 0]);
}

//! The suites that hold for every implementation of DynamoDB's API, on the engine that `tests/engines.sh` has started:
//!
//!     tests/engines.sh ministack cargo test --test engines -- --ignored --nocapture
//!
//! What an engine cannot meet stands in [`deviations`], and is held both ways: a test that fails and is not expected to,
//! and a test that passes although it is expected to fail, both fail the run. So does an expected failure with another
//! message, and an entry whose test did not run.
#![expect(clippy::print_stdout, reason = "the figures are part of the result")]

mod deviations;
mod run;

use deviations::{DEVIATIONS, Deviation};
use run::{Outcome, Suite, binaries, run};

/// Shows whether an engine applies conditions atomically. If not, only the suites with a single writer say anything.
const PROBE: Suite = Suite { binary: "table", only: &["contract::probe::"], without: &[], writers: Writers::Many };

/// Who writes at the same time in a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writers {
    /// The tool alone.
    One,
    /// The application beside the tool, or a killed tool's last writes beside the next one.
    Many,
}

/// What runs on every engine. `only` and `without` are what libtest takes as filters and as `--skip`.
const SUITES: [Suite; 4] = [
    Suite { binary: "table", only: &["contract::"], without: &["contract::probe::"], writers: Writers::Many },
    Suite {
        binary: "playbook",
        only: &[
            "life::the_whole_life",
            "life::back_during",
            "life::a_rollback_after",
            "kills::forward_under_kills",
            "kills::back_under_kills",
        ],
        without: &[],
        writers: Writers::Many,
    },
    Suite { binary: "playbook", only: &["killed_runs::killed_"], without: &[], writers: Writers::Many },
    Suite { binary: "table", only: &["faults::replies::"], without: &[], writers: Writers::One },
];

#[test]
#[ignore = "needs an engine: tests/engines.sh ENGINE cargo test --test engines -- --ignored"]
fn the_engine_meets_everything_but_its_known_deviations() {
    let engine = std::env::var("BACKFILL_TEST_ENGINE").expect("tests/engines.sh sets BACKFILL_TEST_ENGINE");
    let binaries = binaries(&["playbook", "table"]);
    let mut outcomes = run(&binaries, &PROBE);
    let atomic = outcomes.iter().all(|outcome| outcome.failure.is_none());
    println!("{engine} {} conditions atomically", if atomic { "applies" } else { "does not apply" });
    // One after the other: an engine that is busy with one suite answers the next one too late.
    for suite in SUITES.iter().filter(|suite| atomic || suite.writers == Writers::One) {
        outcomes.extend(run(&binaries, suite));
    }
    for outcome in &outcomes {
        println!("{} {}", if outcome.failure.is_none() { "ok    " } else { "failed" }, outcome.test);
    }
    let wrong = judge(&engine, &DEVIATIONS, &outcomes);
    assert!(wrong.is_empty(), "{engine}:\n{}", wrong.join("\n"));
    let known = DEVIATIONS.iter().filter(|deviation| deviation.engine == engine);
    known.for_each(|known| println!("{engine} does not meet {}: {}", known.test, known.because));
}

/// Holds what came of the tests against the table. Everything that does not agree.
fn judge(engine: &str, deviations: &[Deviation], outcomes: &[Outcome]) -> Vec<String> {
    let expected = |test: &str| deviations.iter().find(|known| known.engine == engine && known.test == test);
    let mut wrong: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| match (&outcome.failure, expected(&outcome.test)) {
            (None, None) => None,
            (Some(said), Some(known)) if said.contains(known.says) => None,
            (Some(said), Some(known)) => {
                Some(format!("{} fails, but not as known: no {:?} in:\n{said}", outcome.test, known.says))
            }
            (Some(said), None) => Some(format!("{} fails:\n{said}", outcome.test)),
            (None, Some(_)) => Some(format!("{} passes now: remove its entry from the deviations", outcome.test)),
        })
        .collect();
    let ran = |test: &str| outcomes.iter().any(|outcome| outcome.test == test);
    let unheard = deviations.iter().filter(|known| known.engine == engine && !ran(known.test));
    wrong.extend(unheard.map(|known| format!("{} did not run, and has an entry", known.test)));
    wrong
}

#[test]
fn the_table_is_held_both_ways() {
    let known = |test| Deviation { engine: "e", test, says: "as known", because: "of a reason" };
    let outcome = |test: &str, failure: Option<&str>| Outcome { test: test.into(), failure: failure.map(Into::into) };
    let judged = |deviations: &[Deviation], outcomes: &[Outcome]| judge("e", deviations, outcomes);
    assert_eq!(judged(&[], &[outcome("a", None)]), [""; 0]);
    assert_eq!(judged(&[known("a")], &[outcome("a", Some("it fails as known."))]), [""; 0]);
    for (deviations, outcomes, part) in [
        (vec![], vec![outcome("a", Some("why"))], "a fails:\nwhy"),
        (vec![known("a")], vec![outcome("a", None)], "a passes now"),
        (vec![known("a")], vec![outcome("a", Some("otherwise"))], "a fails, but not as known"),
        (vec![known("a")], vec![outcome("b", None)], "a did not run"),
    ] {
        let wrong = judged(&deviations, &outcomes);
        assert!(wrong.len() == 1 && wrong[0].contains(part), "{part}: {wrong:?}");
    }
    // Another engine's entries say nothing.
    let other = Deviation { engine: "f", ..known("a") };
    assert_eq!(judged(&[other], &[outcome("a", None)]), [""; 0]);
}

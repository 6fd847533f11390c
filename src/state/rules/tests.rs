//! Tests the rules: some rules on all possible states, the others on random states.

use proptest::prelude::*;

use super::*;
use crate::cutover::{Truth, TruthByKey};
use crate::item::{ItemKey, Path};
use crate::state::{
    Counts, DivergedItem, Failure, Mismatch, RunId, SampleDraw, SegmentEvent, Spend, TableStage, Verdict, VerdictCounts,
};

const MODES: [BeginMode; 4] = [BeginMode::ResumeOrNew, BeginMode::Restart, BeginMode::ReadOnly, BeginMode::Again];
const STATUSES: [RunStatus; 4] = [RunStatus::Running, RunStatus::Stopped, RunStatus::Complete, RunStatus::Superseded];

fn run(status: RunStatus, open_session: bool) -> RunRecord {
    RunRecord {
        id: RunId::from_number(7),
        phase: phase::EXPAND.to_owned(),
        pass: 1,
        total_segments: 4,
        status,
        started_at: String::new(),
        ended_at: None,
        sessions: 3,
        open_session,
        lower_bound: false,
        abandoned_pages: 0,
        stop_reason: None,
        table_items_estimate: None,
        tool_version: String::new(),
        looked_through: false,
        spend_before_read_only: Spend::default(),
    }
}

/// Generates every possible state of the newest run of a phase.
fn runs() -> Vec<RunRecord> {
    let mut all = Vec::new();
    for status in STATUSES {
        for (open_session, looked_through, pass) in [false, true]
            .into_iter()
            .flat_map(|a| [false, true].map(|b| (a, b)))
            .flat_map(|(a, b)| [1, 2].map(|c| (a, b, c)))
        {
            all.push(RunRecord { looked_through, pass, ..run(status, open_session) });
        }
    }
    all
}

/// Returns the session that is open in the run that [`run`] returns.
fn session() -> SessionId {
    run(RunStatus::Running, true).session()
}

fn is_refused<T>(answer: Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Refused(_)))
}

#[test]
fn a_phase_has_at_most_one_unfinished_run_and_a_run_one_open_session() {
    for (mode, run) in MODES.into_iter().flat_map(|mode| runs().into_iter().map(move |run| (mode, run))) {
        let context = format!("{mode:?} after {run:?}");
        match begin(mode, Some(&run)) {
            Ok(BeginDecision::Resume) => assert!(!run.open_session && run.can_be_resumed(), "{context}"),
            Ok(BeginDecision::ReadOnly) => {
                assert!(mode == BeginMode::ReadOnly && !run.open_session && run.is_unfinished(), "{context}");
            }
            Ok(BeginDecision::New { pass, supersedes }) => {
                assert!(!run.open_session && pass >= 1, "{context}");
                assert_eq!(supersedes, run.is_unfinished(), "{context}");
            }
            Err(error) => assert!(matches!(error, StoreError::Refused(_)), "{context}: {error}"),
        }
    }
}

#[test]
fn a_run_after_a_look_is_never_resumed_for_writing() {
    for run in runs().into_iter().filter(|run| run.looked_through) {
        for mode in [BeginMode::ResumeOrNew, BeginMode::Restart, BeginMode::Again] {
            assert!(!matches!(begin(mode, Some(&run)), Ok(BeginDecision::Resume)), "{mode:?} behind {run:?}");
        }
    }
}

#[test]
fn the_first_session_of_a_phase_begins_its_first_pass() {
    for mode in [BeginMode::ResumeOrNew, BeginMode::Restart] {
        assert_eq!(begin(mode, None).unwrap(), BeginDecision::New { pass: 1, supersedes: false });
    }
    assert!(is_refused(begin(BeginMode::ReadOnly, None)) && is_refused(begin(BeginMode::Again, None)));
}

fn verification(sample_clusters: Option<u32>, drawn: Option<SampleDraw>) -> NewVerification {
    let parameters = VerificationParameters {
        stage: TableStage::Expanded,
        truths: TruthByKey::All(Truth::Old),
        repair: false,
        flag_version: None,
        sample_clusters,
    };
    let run = NewRun {
        phase: phase::VERIFY.to_owned(),
        total_segments: 4,
        tool_version: String::new(),
        table_items_estimate: None,
    };
    NewVerification { parameters, drawn, segments_to_read: 4, run }
}

#[test]
fn a_verification_resumes_only_a_readable_one_with_the_same_parameters() {
    let new = verification(None, None);
    let other = VerificationParameters { repair: true, ..verification(None, None).parameters };
    for run in runs() {
        for (force_new, parameters) in
            [(false, Some(&new.parameters)), (true, Some(&new.parameters)), (false, Some(&other)), (false, None)]
        {
            let context = format!("{force_new} {parameters:?} behind {run:?}");
            match begin_verification(&new, force_new, Some(&run), parameters) {
                Ok(BeginDecision::Resume) => {
                    assert!(
                        !force_new && parameters == Some(&new.parameters) && run.is_unfinished() && !run.open_session,
                        "{context}"
                    );
                }
                Ok(BeginDecision::New { pass, supersedes }) => {
                    assert_eq!((pass, supersedes), (run.pass + 1, run.is_unfinished()), "{context}");
                    assert!(!run.open_session, "{context}");
                }
                Ok(BeginDecision::ReadOnly) => panic!("a verification never begins a read-only pass: {context}"),
                Err(error) => assert!(run.open_session && matches!(error, StoreError::Refused(_)), "{context}"),
            }
        }
    }
}

#[test]
fn a_sample_requires_its_draw() {
    let drawn = |seed| Some(SampleDraw { seed, run_segments: 4, large: Vec::new() });
    let begins = |sample_clusters, drawn| begin_verification(&verification(sample_clusters, drawn), false, None, None);
    assert!(begins(None, None).is_ok() && begins(Some(5), drawn(u64::MAX >> 1)).is_ok());
    for (sample_clusters, drawn) in [(Some(5), None), (None, drawn(1)), (Some(5), drawn(1 << 63))] {
        assert!(is_refused(begins(sample_clusters, drawn)));
    }
}

#[test]
fn a_session_ends_only_if_it_is_open_and_completes_only_a_run_with_all_segments_done() {
    for (run, to) in runs().into_iter().flat_map(|run| STATUSES.map(|to| (run.clone(), to))) {
        for (done, abandoned) in [(4, 0), (3, 0), (4, 1)] {
            let context = format!("{run:?} to {to:?}, {done} done, {abandoned} abandoned");
            let ended = end_session(&run, run.session(), to, done, abandoned);
            if let Ok(status) = ended {
                assert!(run.open_session && status == to, "{context}");
                assert!(to != RunStatus::Complete || (done, abandoned) == (4, 0), "{context}");
                assert!(matches!(to, RunStatus::Stopped | RunStatus::Complete), "{context}");
            } else {
                let allowed = run.open_session
                    && run.is_unfinished()
                    && (to == RunStatus::Stopped || (to == RunStatus::Complete && (done, abandoned) == (4, 0)));
                assert!(!allowed, "{context}: {ended:?}");
            }
        }
    }
    let finish = |open, done| {
        let run = run(RunStatus::Running, open);
        finish_verification(&run, run.session(), 3, done)
    };
    assert!(finish(true, 3).is_ok() && is_refused(finish(true, 2)) && is_refused(finish(false, 3)));
}

fn key(n: usize) -> ItemKey {
    ItemKey::new([("pk".to_owned(), crate::item::Value::S(n.to_string()))].into())
}

fn counts(outcomes: &[usize]) -> Counts {
    let mut counts = Counts::default();
    outcomes.iter().for_each(|outcome| counts.count(Outcome::ALL[*outcome]));
    counts
}

fn event(counts: Counts) -> SegmentEvent {
    SegmentEvent::PagesDone { first: 1, pages: 1, next: None, counts }
}

proptest! {
    /// A commit is accepted if and only if four conditions are true. Its session is open and is the newest one. The run
    /// has the segment. The commit has as many records of failed and diverged items as its counts say. The outcome of
    /// each recorded failure is a failure.
    #[test]
    fn a_commit_needs_the_open_session_and_a_record_of_each_failure(
        (open, epoch) in (any::<bool>(), 1_u64..6),
        segment in 0_u32..6,
        outcomes in proptest::collection::vec(0_usize..Outcome::ALL.len(), 0..6),
        failures in proptest::collection::vec(0_usize..Outcome::ALL.len(), 0..3),
        diverged in 0_usize..3,
    ) {
        let counts = counts(&outcomes);
        let failed = counts.failures();
        let differing = counts.of(Outcome::Diverged);
        let are_failures = failures.iter().all(|outcome| Outcome::ALL[*outcome].is_failure());
        let fits = failed == failures.len() as u64 && differing == diverged as u64 && are_failures;
        let failure =
            |(n, outcome): (usize, usize)| Failure { key: key(n), outcome: Outcome::ALL[outcome], reason: String::new() };
        let commit = Commit {
            session: SessionId { epoch, ..session() },
            segment,
            event: event(counts),
            failures: failures.into_iter().enumerate().map(failure).collect(),
            diverged: (0..diverged).map(|n| DivergedItem { key: key(n), paths: Vec::new(), derived: None }).collect(),
            refused: Vec::new(),
        };
        let answer = check_commit(&run(RunStatus::Running, open), &commit);
        prop_assert_eq!(answer.is_ok(), epoch == 3 && open && segment < 4 && fits);
        prop_assert_eq!(matches!(answer, Err(StoreError::Fenced(_))), epoch < 3);
        prop_assert!(answer.is_ok() || epoch < 3 || is_refused(answer));
    }

    /// Pages are accepted if and only if three conditions are true: their run is a verification, this run has the
    /// segment, and the counts of items, verdicts and records match.
    #[test]
    fn verified_pages_are_accepted_only_if_they_add_up(
        verifies in any::<bool>(),
        segment in 0_u32..6,
        matching in 0_u64..3,
        skipped in 0_u64..3,
        stale in 0_u64..3,
        repaired in 0_u64..3,
        records in 0_u64..3,
        of_repairs in 0_u64..3,
        not_selected in 0_u64..2,
        (scanned_more, skipped_more, missing) in (0_u64..2, 0_u64..2, 0_u64..3),
    ) {
        let verdicts = VerdictCounts { not_selected, matching, skipped, stale, repaired, ..VerdictCounts::default() };
        let mut counts = Counts { scanned: verdicts.read() + scanned_more, ..Counts::default() };
        counts.outcomes[Outcome::Skipped as usize] = skipped + skipped_more;
        counts.count_missing(missing);
        let mismatch = |n: u64| Mismatch {
            key: key(0), verdict: Verdict::Stale, paths: Vec::new(), repaired: n < of_repairs, why: None,
        };
        let mismatches: Vec<Mismatch> = (0..records).map(mismatch).collect();
        let adds_up = scanned_more + skipped_more == 0 && records == stale && repaired == of_repairs.min(records);
        let pages = VerifiedPages {
            session: session(), segment, event: event(counts), verdicts, mismatches, refused: Vec::new(),
        };
        let phase = if verifies { phase::VERIFY } else { phase::EXPAND };
        let run = RunRecord { phase: phase.to_owned(), ..run(RunStatus::Running, true) };
        prop_assert_eq!(check_verified(&run, &pages).is_ok(), verifies && segment < 4 && adds_up);
    }

    /// The sessions of a run begin, reserve capacity, close their slices and die, in random order. The known spend is
    /// never less than the spend of the committed pages. A death raises the known spend by at most the reserved
    /// capacity.
    #[test]
    fn deaths_spend_at_most_what_was_reserved(steps in proptest::collection::vec((0_u8..4, 0_u32..20, 0_u32..20), 0..30)) {
        let units = |n: u32| Spend { write: f64::from(n), read: 0.0 };
        let run = run(RunStatus::Running, true);
        let mut state = SpendState::default();
        let mut counted = Spend::default();
        for (step, used, slice) in steps {
            counted += units(used);
            let before = state.known_spend(counted);
            let bound = before.max(state.spent + state.slice);
            state = match step {
                0 => {
                    let reservation = Reservation { spent: before, slice: units(slice) };
                    reserve(&run, run.session(), Some(state), true, reservation).unwrap()
                }
                1 => state.at_session_start(counted),
                2 => settle(&run, run.session(), Some(state), before, counted).unwrap(),
                _ => state.after_death(counted),
            };
            let known = state.known_spend(counted);
            prop_assert!(known.write >= counted.write && known.write <= bound.write, "{known:?} of {bound:?}");
            prop_assert_eq!(state.current(counted).spent, known);
        }
    }
}

#[test]
fn requests_of_earlier_sessions_are_refused() {
    let run = run(RunStatus::Stopped, false);
    let spend = Some(SpendState::default());
    let units = Spend::default();
    for epoch in 1..6 {
        let answers = [
            check_epoch(&run, SessionId { epoch, ..run.session() }),
            reserve(&run, SessionId { epoch, ..run.session() }, spend, true, Reservation::default()).map(|_| ()),
            settle(&run, SessionId { epoch, ..run.session() }, spend, units, units).map(|_| ()),
        ];
        for answer in answers {
            match epoch {
                3 => assert!(answer.is_ok()),
                1 | 2 => assert!(matches!(answer, Err(StoreError::Fenced(_))), "{answer:?}"),
                _ => assert!(is_refused(answer)),
            }
        }
    }
}

#[test]
fn the_sessions_of_a_superseded_run_are_fenced() {
    let run = run(RunStatus::Superseded, false);
    for epoch in 1..4 {
        let answer = check_epoch(&run, SessionId { epoch, ..run.session() });
        assert!(matches!(answer, Err(StoreError::Fenced(_))), "{answer:?}");
    }
}

#[test]
fn only_a_session_that_has_begun_to_spend_reserves() {
    let open = run(RunStatus::Running, true);
    let closed = run(RunStatus::Stopped, false);
    let spend = Some(SpendState::default());
    for begun in [false, true] {
        assert!(is_refused(reserve(&open, open.session(), None, begun, Reservation::default())));
    }
    assert!(is_refused(reserve(&open, open.session(), spend, false, Reservation::default())));
    let killed = reserve(&closed, closed.session(), spend, false, Reservation::default());
    assert!(matches!(killed, Err(StoreError::Fenced(_))), "{killed:?}");
    assert!(
        reserve(&closed, closed.session(), spend, true, Reservation::default()).is_ok(),
        "a retry may reserve capacity"
    );
}

#[test]
fn only_a_session_with_an_open_slice_settles_below_what_is_stored() {
    let run = run(RunStatus::Stopped, false);
    let units = |write: f64, read: f64| Spend { write, read };
    let settled = |slice| {
        let stored = SpendState { spent: units(20.0, 5.0), slice, ..SpendState::default() };
        settle(&run, run.session(), Some(stored), units(18.0, 6.0), units(1.0, 1.0)).unwrap().spent
    };
    assert_eq!(settled(units(0.0, 1.0)), units(18.0, 6.0));
    assert_eq!(settled(Spend::default()), units(20.0, 6.0));
}

#[test]
fn a_failure_is_recorded_and_resolved_by_outcomes_that_fit() {
    let item = |paths| DivergedItem { key: key(1), paths, derived: None };
    let (without, with) = (item(Vec::new()), item(vec![Path::attribute("new")]));
    for outcome in Outcome::ALL {
        assert_eq!(check_failure(outcome).is_ok(), outcome.is_failure());
        let diverged = outcome == Outcome::Diverged;
        assert_eq!(check_resolution(outcome, None).is_ok(), !outcome.is_failure() && !diverged);
        assert!(check_resolution(outcome, Some(&without)).is_err());
        assert_eq!(check_resolution(outcome, Some(&with)).is_ok(), diverged);
    }
}

#[test]
fn a_migration_has_begun_with_its_first_run_or_its_first_decision() {
    let event = |text: &str| EventRecord { event: text.to_owned(), newest_run: RunId::NONE };
    let before = [event(r#"{"type":"preflight_accepted"}"#), event(r#"{"type":"phase_begun","phase":"expand"}"#)];
    assert!(!has_begun(false, &[]) && !has_begun(false, &before) && has_begun(true, &before));
    for text in [r#"{"type":"phase_begun","phase":"contract"}"#, r#"{"type":"cutover"}"#, "no JSON"] {
        assert!(has_begun(false, &[event(text)]), "{text}");
    }
}

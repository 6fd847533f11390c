//! The rules that every store follows: how sessions begin and end, what a commit may contain, and how open work is
//! resolved.
//!
//! Each rule is a pure function. A store reads rows, calls the rule, and writes rows that follow from the result. A
//! store decides nothing itself, so all stores decide in the same way.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::{
    BeginMode, Commit, DivergedItem, EventRecord, NewRun, NewVerification, Reservation, RunRecord, RunStatus,
    SegmentEvent, SessionId, Spend, SpendState, StoreError, VerificationParameters, VerifiedPages, phase,
};
use crate::change::Outcome;

/// The value of `resolved_as` for failures and diverged items that a later, complete run of the same phase resolved.
pub(super) const LATER_PASS: &str = "later_pass";

/// The stop reason of a run whose process ended without closing the last session.
pub(super) const KILLED: &str =
    "the process ended without closing its session: it was killed, or the machine went down";

/// The stop reason of a run that `--restart` superseded.
pub(super) const SUPERSEDED_BY_RESTART: &str = "superseded by --restart";

/// The stop reason of a verification that a later verification superseded.
pub(super) const SUPERSEDED_BY_VERIFICATION: &str = "superseded by another verification";

/// The ways in which a session can begin, given the newest run of its phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BeginDecision {
    /// Resume the newest run.
    Resume,
    /// Resume the newest run as a read-only pass, which reads pages without writing. Afterwards, only another read-only
    /// pass can resume the run.
    ReadOnly,
    /// Begin a new run of the phase.
    New {
        /// The number of the pass to which the new run belongs.
        pass: u32,
        /// Whether the newest run is unfinished and therefore becomes `Superseded`.
        supersedes: bool,
    },
}

/// Decides how a session begins. `current` is the newest run of the phase.
///
/// # Errors
///
/// Returns [`StoreError::Refused`] if [`BeginMode`] does not allow the session, or if a session of the run is open.
pub(super) fn begin(mode: BeginMode, current: Option<&RunRecord>) -> Result<BeginDecision, StoreError> {
    let new = |pass| Ok(BeginDecision::New { pass, supersedes: false });
    let Some(run) = current else {
        return match mode {
            BeginMode::ResumeOrNew | BeginMode::Restart => new(1),
            BeginMode::ReadOnly => Err(refused(NO_REMAINING_ITEMS)),
            BeginMode::Again => Err(refused(NO_COMPLETE_PASS)),
        };
    };
    if run.open_session {
        return Err(refused("a session of this run is already open in this process; nothing was changed"));
    }
    match mode {
        BeginMode::ResumeOrNew if run.can_be_resumed() => Ok(BeginDecision::Resume),
        BeginMode::ResumeOrNew if run.is_unfinished() => Err(refused(ENDED_READ_ONLY)),
        BeginMode::ResumeOrNew if run.status == RunStatus::Complete => Err(refused(format!(
            "pass {} is complete, so there is nothing to resume. Use --again for another pass or --restart to start over. \
             Nothing was changed",
            run.pass
        ))),
        BeginMode::Restart if run.is_unfinished() => {
            run.status.next(RunStatus::Superseded)?;
            Ok(BeginDecision::New { pass: run.pass, supersedes: true })
        }
        BeginMode::ResumeOrNew | BeginMode::Restart => new(1),
        BeginMode::ReadOnly if run.is_unfinished() => Ok(BeginDecision::ReadOnly),
        BeginMode::ReadOnly => Err(refused(NO_REMAINING_ITEMS)),
        // The command that began an additional pass also resumes it.
        BeginMode::Again if run.can_be_resumed() && run.pass > 1 => Ok(BeginDecision::Resume),
        BeginMode::Again if run.status == RunStatus::Complete => new(run.pass + 1),
        BeginMode::Again => Err(refused(NO_COMPLETE_PASS)),
    }
}

const NO_REMAINING_ITEMS: &str = "there is no unfinished run with remaining items. Nothing was changed";

const NO_COMPLETE_PASS: &str = "--again requires a complete pass: run without --again to begin or resume a pass. Nothing \
     was changed";

const ENDED_READ_ONLY: &str = "this run has ended: its remaining pages were read but not written. Start a new run. Nothing was \
     changed";

/// Decides how a verification begins. `current` is the newest verification. `resumable` contains the parameters of the
/// newest verification. `resumable` is `None` if that verification's record or counts cannot be read.
///
/// # Errors
///
/// Returns [`StoreError::Refused`] if a session of the verification is open, or if the sample of a new verification
/// cannot be stored.
pub(super) fn begin_verification(
    new: &NewVerification,
    force_new: bool,
    current: Option<&RunRecord>,
    resumable: Option<&VerificationParameters>,
) -> Result<BeginDecision, StoreError> {
    if current.is_some_and(|run| run.open_session) {
        return Err(refused("a session of this verification is already open in this process; nothing was changed"));
    }
    let unfinished = current.filter(|run| run.is_unfinished());
    if unfinished.is_some() && !force_new && resumable == Some(&new.parameters) {
        return Ok(BeginDecision::Resume);
    }
    let seed_fits = new.drawn.as_ref().is_none_or(|drawn| drawn.seed >> 63 == 0);
    if new.parameters.sample_clusters.is_some() != new.drawn.is_some() || !seed_fits {
        return Err(refused("the sample of this verification cannot be stored; nothing was changed"));
    }
    if let Some(run) = unfinished {
        run.status.next(RunStatus::Superseded)?;
    }
    Ok(BeginDecision::New { pass: current.map_or(1, |run| run.pass + 1), supersedes: unfinished.is_some() })
}

/// Refuses a new run if DynamoDB does not allow its number of segments.
pub(super) fn check_new_run(new: &NewRun) -> Result<(), StoreError> {
    if (1..=1_000_000).contains(&new.total_segments) {
        return Ok(());
    }
    Err(refused(format!("a run has 1 to 1,000,000 segments, not {}; nothing was changed", new.total_segments)))
}

/// Refuses a session's request if a later session of the run has begun, or if a later run has superseded the run.
///
/// # Errors
///
/// Returns [`StoreError::Fenced`] if the session is not the newest session of its run, or if the run is superseded.
/// Returns [`StoreError::Refused`] if the run never had this session.
pub(super) fn check_epoch(run: &RunRecord, session: SessionId) -> Result<(), StoreError> {
    let newest = run.session();
    match session.epoch.cmp(&newest.epoch) {
        Ordering::Equal if run.status == RunStatus::Superseded => Err(StoreError::Fenced(format!(
            "session {} of run {} cannot change anything: a later run has superseded run {}. Nothing was stored, and this \
             session can store nothing more. `status` shows the later run",
            session.epoch, run.id, run.id
        ))),
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(StoreError::Fenced(format!(
            "session {} of run {} cannot change the run: session {} has begun since, and only the newest session may \
             change it. Nothing was stored, and this session can store nothing more. The newest session continues from \
             the last checkpoint; `status` shows it",
            session.epoch, run.id, newest.epoch
        ))),
        Ordering::Greater => Err(refused(format!(
            "run {} has had {} sessions, so there is no session {}; nothing was stored",
            run.id, newest.epoch, session.epoch
        ))),
    }
}

/// Refuses to change a run's progress or a baseline, unless the session is open and is the newest session of the run.
pub(super) fn check_session(run: &RunRecord, session: SessionId) -> Result<(), StoreError> {
    check_epoch(run, session)?;
    if run.open_session {
        return Ok(());
    }
    Err(refused(format!("run {} has no open session; nothing was stored", run.id)))
}

/// Returns the run's new status after this session has ended with status `to`. `done` is the number of finished
/// segments. `done` is used only if `to` is `Complete`.
///
/// # Errors
///
/// Returns [`StoreError::Refused`], [`StoreError::Fenced`] or [`StoreError::Transition`] if the session cannot end with
/// this status. After such an error, the session stays open.
pub(super) fn end_session(
    run: &RunRecord,
    session: SessionId,
    to: RunStatus,
    done: u32,
    abandoned_pages: u64,
) -> Result<RunStatus, StoreError> {
    check_session(run, session)?;
    let status = run.status.next(to)?;
    match status {
        RunStatus::Stopped => Ok(status),
        RunStatus::Complete if done == run.total_segments && abandoned_pages == 0 => Ok(status),
        RunStatus::Complete => Err(refused(format!(
            "a run cannot be complete with {done} of {} segments done and {abandoned_pages} pages abandoned; its session \
             stays open",
            run.total_segments
        ))),
        RunStatus::Running | RunStatus::Superseded => {
            Err(refused(format!("a session cannot end as {}; it stays open", status.name())))
        }
    }
}

/// Returns the verification's new status once this session has ended with a report. `segments_to_read` is the number of
/// segments to verify, and `done` is the number of finished segments.
///
/// # Errors
///
/// Returns [`StoreError::Refused`] if a segment is not done. Also returns the errors of [`end_session`]. After such an
/// error, the session stays open.
pub(super) fn finish_verification(
    run: &RunRecord,
    session: SessionId,
    segments_to_read: u32,
    done: u32,
) -> Result<RunStatus, StoreError> {
    check_session(run, session)?;
    let status = run.status.next(RunStatus::Complete)?;
    if done == segments_to_read {
        return Ok(status);
    }
    Err(refused(format!(
        "a verification cannot be complete with {done} of {segments_to_read} segments done; its session stays open"
    )))
}

/// Refuses a commit in three cases: its session is not the run's open session, the run has no such segment, or the
/// commit's records do not match the counts of its pages. Also refuses a recorded failure whose outcome is not a
/// failure.
pub(super) fn check_commit(run: &RunRecord, commit: &Commit) -> Result<(), StoreError> {
    check_session(run, commit.session)?;
    if commit.segment >= run.total_segments {
        return Err(refused(format!(
            "segment {} cannot be committed in a run of {} segments; nothing was stored",
            commit.segment, run.total_segments
        )));
    }
    let SegmentEvent::PagesDone { counts, .. } = &commit.event;
    let failures = commit.failures.len() as u64;
    let diverged = commit.diverged.len() as u64;
    if counts.failures() != failures || counts.of(Outcome::Diverged) != diverged {
        return Err(refused(format!(
            "the pages count {} failures and {} diverged items, but have records of {failures} and {diverged}; nothing \
             was stored",
            counts.failures(),
            counts.of(Outcome::Diverged)
        )));
    }
    commit.failures.iter().try_for_each(|failure| check_failure(failure.outcome))
}

/// Refuses pages in three cases: their session is not the run's open session, the verification has no such segment, or
/// their verdicts, records and counts do not match.
pub(super) fn check_verified(run: &RunRecord, pages: &VerifiedPages) -> Result<(), StoreError> {
    check_session(run, pages.session)?;
    let SegmentEvent::PagesDone { counts, .. } = &pages.event;
    let VerifiedPages { segment, verdicts, mismatches, .. } = pages;
    if run.phase != phase::VERIFY || *segment >= run.total_segments {
        return Err(refused(format!(
            "segment {segment} cannot be committed in run {}, which has no such segment to verify; nothing was stored",
            run.id
        )));
    }
    let repaired = mismatches.iter().filter(|mismatch| mismatch.repaired).count() as u64;
    // If the plan's file lists a key that has no item, the key counts as gone, and has no verdict.
    if verdicts.read() + counts.of(Outcome::Gone) == counts.scanned
        && verdicts.mismatching() == mismatches.len() as u64
        && verdicts.repaired == repaired
        && verdicts.skipped == counts.of(Outcome::Skipped)
    {
        return Ok(());
    }
    Err(refused(format!(
        "the pages have {} items, but {} verdicts and {} records of {} mismatches; nothing was stored",
        counts.scanned - counts.of(Outcome::Gone),
        verdicts.read(),
        mismatches.len(),
        verdicts.mismatching()
    )))
}

/// Refuses to record an item as a failure if its outcome is not a failure.
pub(super) fn check_failure(outcome: Outcome) -> Result<(), StoreError> {
    if outcome.is_failure() {
        return Ok(());
    }
    Err(refused(format!("an item that is {} was recorded as a failure; nothing was stored", outcome.name())))
}

/// Refuses to resolve a failure if the new outcome is a failure too, or if the diverged paths do not fit the outcome.
pub(super) fn check_resolution(outcome: Outcome, diverged: Option<&DivergedItem>) -> Result<(), StoreError> {
    let paths = diverged.map_or(0, |item| item.paths.len());
    let fits = match diverged {
        Some(_) => outcome == Outcome::Diverged && paths > 0,
        None => outcome != Outcome::Diverged,
    };
    if !outcome.is_failure() && fits {
        return Ok(());
    }
    Err(refused(format!(
        "a failure cannot be resolved as {} with {} diverged paths; it stays open",
        outcome.name(),
        paths
    )))
}

/// Returns the run's recorded spend once this session has reserved capacity. `begun` is true if the session has called
/// `begin_spend` since the state was opened.
///
/// # Errors
///
/// Returns [`StoreError::Refused`] if the run has not begun to record its spend. Returns [`StoreError::Fenced`] if the
/// state was opened again after the session began. Also returns the errors of [`check_epoch`].
pub(super) fn reserve(
    run: &RunRecord,
    session: SessionId,
    stored: Option<SpendState>,
    begun: bool,
    reservation: Reservation,
) -> Result<SpendState, StoreError> {
    check_epoch(run, session)?;
    match stored {
        Some(state) if begun => Ok(state.reserved(reservation)),
        // A session calls `begin_spend` before it reserves capacity. If the store no longer knows of this call and the
        // session is closed, the state was opened again after the call.
        Some(_) if !run.open_session => Err(StoreError::Fenced(format!(
            "session {} of run {} cannot reserve capacity: the state was opened again after the session began, so the \
             capacity that the session had reserved counts as spent. Nothing was stored",
            session.epoch, run.id
        ))),
        Some(_) | None => Err(refused(format!(
            "run {} cannot reserve capacity before it begins to record its spend; nothing was stored",
            run.id
        ))),
    }
}

/// Returns the run's recorded spend once this session has reported `spent` as its total. `counted` is the part of this
/// total that the counts of committed pages contain.
///
/// A session with an open slice is alive. Such a session may report less than the stored amount, because the stored
/// amount includes capacity that requests in flight could have used. After a kill, the whole slice counts as spent. A
/// late report of the killed session cannot lower this amount.
///
/// # Errors
///
/// Returns the errors of [`check_epoch`].
pub(super) fn settle(
    run: &RunRecord,
    session: SessionId,
    stored: Option<SpendState>,
    spent: Spend,
    counted: Spend,
) -> Result<SpendState, StoreError> {
    check_epoch(run, session)?;
    let state = stored.unwrap_or_default();
    let spent = if state.slice == Spend::default() { spent.max(state.spent) } else { spent };
    Ok(state.settled(spent, counted))
}

/// Returns whether the migration has begun. A migration has begun if it has a run, or if it has an event that is
/// neither the acceptance of the preflight nor the announcement of the first pass.
pub(super) fn has_begun(has_runs: bool, events: &[EventRecord]) -> bool {
    let is_preflight_event = |line: &EventRecord| {
        let event: Json = serde_json::from_str(&line.event).unwrap_or_default();
        event["type"] == "preflight_accepted" || (event["type"] == "phase_begun" && event["phase"] == phase::EXPAND)
    };
    has_runs || !events.iter().all(is_preflight_event)
}

fn refused(what: impl Into<String>) -> StoreError {
    StoreError::Refused(what.into())
}

#[cfg(test)]
mod tests;

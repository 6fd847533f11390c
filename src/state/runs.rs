//! The trait for storing runs, their sessions, and their failures and diverged items.

use async_trait::async_trait;

use super::{
    BeginMode, Cursor, DivergedRecord, Failure, FailureRecord, ListQuery, NewRun, OpenWork, RunId, RunRecord,
    RunSession, RunStatus, SessionId, StoreError, UnreadableRow,
};
use crate::change::Outcome;
use crate::item::{ItemKey, Path};

/// Runs and their sessions, failures and diverged items.
///
/// When a method that changes something returns `Ok`, the whole change is durable. After an error, no part of the
/// change is stored.
///
/// Every method that changes something, except [`Runs::begin`], takes the id of the calling session. The method fails
/// with [`StoreError::Fenced`] if a later session of that run has begun or a later run has superseded the run.
///
/// A command that retries failures does not begin a session, because the run may be complete. The command uses the id
/// of the newest session of the phase's newest run, even if that session is not open. After the next session begins,
/// the store refuses all calls of the command.
#[async_trait]
pub trait Runs: Send + Sync {
    /// The newest run of a phase, whether or not it is complete.
    async fn current_run(&self, phase: &str) -> Result<Option<RunRecord>, StoreError>;

    /// Begins a session of the newest run of the phase, or of a new run, depending on [`BeginMode`]. A resumed run
    /// keeps its original parameters; `new` does not change them. Each session increments [`RunRecord::sessions`]; the
    /// new number is the epoch of the session. Afterwards, the store refuses calls of earlier sessions.
    ///
    /// Returns [`StoreError::Refused`] if [`BeginMode`] does not allow the session, if a session of the run is open, or
    /// if the number of segments is not from 1 to 1,000,000.
    async fn begin(&self, mode: BeginMode, new: NewRun) -> Result<RunSession, StoreError>;

    /// Ends this session with the status `Stopped` or `Complete` and with a reason. `abandoned_pages` is the number of
    /// pages that the session began but did not finish. If this number is not zero, the run's counts become a lower
    /// bound.
    ///
    /// A complete run has read every item again. So it resolves the failures and diverged items that earlier runs of
    /// its phase left open, with `later_pass` as their `resolved_as`.
    ///
    /// Returns [`StoreError::Refused`], and leaves the session open, in these cases: the status is neither `Stopped`
    /// nor `Complete`; the run has no open session; or the status is `Complete`, but a segment is not done or a page
    /// was abandoned. Returns [`StoreError::Fenced`] if a later session has begun.
    async fn end_session(
        &self,
        session: SessionId,
        status: RunStatus,
        reason: Option<String>,
        abandoned_pages: u64,
    ) -> Result<RunRecord, StoreError>;

    /// Records preflight findings that the operator accepts for the session's run. Findings that were accepted earlier
    /// stay accepted. The session need not be open, because a retry or a repair may accept findings for an ended run.
    async fn accept(&self, session: SessionId, findings: Vec<String>) -> Result<(), StoreError>;

    /// Accepted preflight findings of a run, in alphabetical order, without duplicates.
    async fn accepted(&self, run: RunId) -> Result<Vec<String>, StoreError>;

    /// The number of items with an open failure, and of open diverged items, in one run or in all runs. An item that
    /// several runs left open is counted once.
    async fn open_work(&self, run: Option<RunId>) -> Result<OpenWork, StoreError>;

    /// Like [`Runs::open_work`], for all runs of a phase.
    async fn open_work_of_phase(&self, phase: &str) -> Result<OpenWork, StoreError>;

    /// Whether it is proven that the plan is not wrong for every item. The proof is a run of this phase that has
    /// applied a write, that is complete, or that has a segment with at least 100 items that were already applied.
    async fn is_proven(&self, phase: &str) -> Result<bool, StoreError>;

    /// Failures in the order of their cursors. Fails if a record cannot be read.
    async fn failures(&self, query: ListQuery) -> Result<Vec<FailureRecord>, StoreError>;

    /// Returns up to `limit` open failures of the runs of a phase, in the order of their cursors, starting after the
    /// cursor `after`. An unreadable record is listed as unreadable and does not hide other records.
    async fn failures_of_phase(
        &self,
        phase: &str,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<Result<FailureRecord, UnreadableRow>>, StoreError>;

    /// Diverged items in the order of their cursors. Fails if a record cannot be read.
    async fn diverged(&self, query: ListQuery) -> Result<Vec<DivergedRecord>, StoreError>;

    /// Like [`Runs::diverged`], but an unreadable record is listed as unreadable and does not hide other records.
    async fn list_diverged(&self, query: ListQuery) -> Result<Vec<Result<DivergedRecord, UnreadableRow>>, StoreError>;

    /// Resolves the run's open failure of the item with this key, with the outcome of a retry. `diverged` has paths if
    /// and only if the outcome is `Diverged`. In this case, the item becomes an open diverged item of the run. If the
    /// run has no open failure of this item, returns false and changes nothing.
    ///
    /// Returns [`StoreError::Refused`] if the outcome is a failure, or if paths are missing or not allowed for the
    /// outcome.
    async fn resolve_failure(
        &self,
        session: SessionId,
        run: RunId,
        key: ItemKey,
        outcome: Outcome,
        diverged: Vec<Path>,
    ) -> Result<bool, StoreError>;

    /// Records that a retry of the run's open failure failed again, with the reason, and increments the number of
    /// attempts. If the run has no open failure of the item with this key, returns false and changes nothing.
    ///
    /// Returns [`StoreError::Refused`] if the outcome is not a failure.
    async fn update_failure(&self, session: SessionId, run: RunId, failure: Failure) -> Result<bool, StoreError>;

    /// Resolves diverged items in every run in which they are open. Each element has the key of an item and its
    /// `resolved_as`. Returns the number of items that were open. `session` is the session of the verification that
    /// read the items again.
    async fn close_diverged(&self, session: SessionId, items: Vec<(ItemKey, &'static str)>) -> Result<u64, StoreError>;
}

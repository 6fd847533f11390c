//! The trait for storing runs, and the sessions, failures and diverged items of each run.

use async_trait::async_trait;

use super::{
    BeginMode, Cursor, DivergedItem, DivergedRecord, Failure, FailureRecord, ListQuery, NewRun, OpenWork, RunId,
    RunRecord, RunSession, RunStatus, SessionId, StoreError, UnreadableRow,
};
use crate::change::Outcome;
use crate::item::ItemKey;

/// Stores runs, and the sessions, failures and diverged items of each run.
///
/// When a method that changes something returns `Ok`, the whole change is durable. After an error, no part of the
/// change is stored.
///
/// Every method that changes something, except [`Runs::begin`], takes the id of the calling session. The method fails
/// with [`StoreError::Fenced`] if a later session of the same run has begun, or if a later run has superseded this run.
///
/// A command that retries failures begins no session, because the run may be complete. Instead, the command uses the id
/// of the newest session of the phase's newest run, even if that session is closed. Once the next session begins, the
/// store refuses all calls of the command.
#[async_trait]
pub trait Runs: Send + Sync {
    /// Returns the newest run of a phase, complete or not.
    async fn current_run(&self, phase: &str) -> Result<Option<RunRecord>, StoreError>;

    /// Begins a session. Depending on [`BeginMode`], the session belongs to the phase's newest run or to a new run. A
    /// resumed run keeps its original parameters; `new` does not change them. Each session increments
    /// [`RunRecord::sessions`]. The new number is the session's epoch. After a session has begun, the store refuses
    /// calls of earlier sessions.
    ///
    /// Returns [`StoreError::Refused`] in three cases: [`BeginMode`] does not allow the session, a session of the run
    /// is open, or the number of segments is not from 1 to 1,000,000.
    async fn begin(&self, mode: BeginMode, new: NewRun) -> Result<RunSession, StoreError>;

    /// Ends this session with the status `Stopped` or `Complete`, and with a reason. `abandoned_pages` is the number of
    /// pages that the session began but did not finish. If this number is not zero, the run's counts become a lower
    /// bound.
    ///
    /// A complete run resolves the failures and diverged items that earlier runs of its phase left open, because it has
    /// read every item again. The `resolved_as` of these failures and diverged items becomes `later_pass`.
    ///
    /// Returns [`StoreError::Refused`], and leaves the session open, if the status is neither `Stopped` nor `Complete`.
    /// Does the same if the status is `Complete`, but a segment is not done or a page was abandoned. Also returns
    /// [`StoreError::Refused`] if the run has no open session. Returns [`StoreError::Fenced`] if a later session has
    /// begun.
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

    /// Returns the preflight findings that were accepted for a run, in alphabetical order and without duplicates.
    async fn accepted(&self, run: RunId) -> Result<Vec<String>, StoreError>;

    /// Returns the number of items with an open failure and the number of open diverged items, in one run or in all
    /// runs. An item that is open in several runs is counted once.
    async fn open_work(&self, run: Option<RunId>) -> Result<OpenWork, StoreError>;

    /// Returns the same numbers as [`Runs::open_work`], for all runs of a phase.
    async fn open_work_of_phase(&self, phase: &str) -> Result<OpenWork, StoreError>;

    /// Returns whether a run of this phase has proven that the plan does not fail for every item. A run proves this in
    /// three cases: it has applied a write, it is complete, or one of its segments has at least 100 items that were
    /// already applied.
    async fn is_proven(&self, phase: &str) -> Result<bool, StoreError>;

    /// Returns failures in the order of their cursors. Fails if a record cannot be read.
    async fn failures(&self, query: ListQuery) -> Result<Vec<FailureRecord>, StoreError>;

    /// Returns up to `limit` open failures of a phase's runs, in the order of their cursors, starting after the cursor
    /// `after`. An unreadable record is listed as unreadable. The other records are still listed.
    async fn failures_of_phase(
        &self,
        phase: &str,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<Result<FailureRecord, UnreadableRow>>, StoreError>;

    /// Returns diverged items in the order of their cursors. Fails if a record cannot be read.
    async fn diverged(&self, query: ListQuery) -> Result<Vec<DivergedRecord>, StoreError>;

    /// Returns the same list as [`Runs::diverged`], but does not fail if a record cannot be read. Such a record is
    /// listed as unreadable, and the other records are still listed.
    async fn list_diverged(&self, query: ListQuery) -> Result<Vec<Result<DivergedRecord, UnreadableRow>>, StoreError>;

    /// Resolves the run's open failure of this item, with the outcome of a retry. `diverged` is set, and has paths, if
    /// and only if the outcome is `Diverged`. With the outcome `Diverged`, the item also becomes an open diverged item of the
    /// run. If the run has no open failure of this item, returns false and changes nothing.
    ///
    /// Returns [`StoreError::Refused`] if the outcome is a failure, or if `diverged` does not fit the outcome.
    async fn resolve_failure(
        &self,
        session: SessionId,
        run: RunId,
        key: ItemKey,
        outcome: Outcome,
        diverged: Option<DivergedItem>,
    ) -> Result<bool, StoreError>;

    /// Records that a retry of the run's open failure failed again. Stores the new reason, and increments the number of
    /// attempts. If the run has no open failure of this item, returns false and changes nothing.
    ///
    /// Returns [`StoreError::Refused`] if the outcome is not a failure.
    async fn update_failure(&self, session: SessionId, run: RunId, failure: Failure) -> Result<bool, StoreError>;

    /// Resolves diverged items in all runs in which they are open. Each element of `items` is an item's key and the new
    /// `resolved_as`. Returns the number of items that were open. `session` is the session of the verification that
    /// read the items again.
    async fn close_diverged(&self, session: SessionId, items: Vec<(ItemKey, &'static str)>) -> Result<u64, StoreError>;
}

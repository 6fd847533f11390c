//! The port of runs, their sessions, and the failures and diverged items that they left open.

use async_trait::async_trait;

use super::{
    Begin, Cursor, DivergedRecord, Failure, FailureRecord, ListQuery, NewRun, OpenWork, RunId, RunRecord, RunStatus,
    Session, SessionId, StoreError, Unreadable,
};
use crate::change::Outcome;
use crate::item::{ItemKey, Path};

/// Runs and their sessions; their failures and diverged items.
///
/// When a method that changes something returns `Ok`, the whole change is durable. After an error, none of it is
/// stored.
///
/// Every method that changes something, except [`Runs::begin`], names the session that asks for it. It fails with
/// [`StoreError::Fenced`] if a later session of that run has begun or a later run has superseded it.
///
/// A command that retries failures begins no session: its run may be complete. It acts as the newest session of the newest
/// run of the phase, which need not be open. The next session that begins fences it.
#[async_trait]
pub trait Runs: Send + Sync {
    /// The newest run of a phase, complete or not.
    async fn current_run(&self, phase: &str) -> Result<Option<RunRecord>, StoreError>;

    /// Begins a session of the phase's run: of the newest one, or of a new one, as [`Begin`] says. A resumed run keeps what
    /// it was created with; `new` does not change it. Each session raises [`RunRecord::sessions`] by one, and that number
    /// is its epoch. From then on, calls of earlier sessions are refused.
    ///
    /// [`StoreError::Refused`] if the runs of the phase do not allow it, if a session of the run is open, or if the number
    /// of segments is not from 1 to 1,000,000.
    async fn begin(&self, how: Begin, new: NewRun) -> Result<Session, StoreError>;

    /// Ends this session of its run as `Stopped` or `Complete`, with the reason. `abandoned_pages` were begun and given up: if
    /// there are any, the run's counts are a lower bound from here on.
    ///
    /// A complete run resolves the failures and diverged items that earlier runs of its phase left open, because it has met
    /// every item again: `resolved_as` is `later_pass`.
    ///
    /// [`StoreError::Refused`] for another status, if the run has no open session, and for a complete run if a segment is
    /// not done or a page was abandoned. The session then stays open. [`StoreError::Fenced`] if a later session has begun.
    async fn end_session(
        &self,
        session: SessionId,
        status: RunStatus,
        reason: Option<String>,
        abandoned_pages: u64,
    ) -> Result<RunRecord, StoreError>;

    /// Records findings of the preflight that the operator accepts for the session's run, beside those that were accepted
    /// before. The session need not be open: a retry and a repair accept for the run that they work on.
    async fn accept(&self, session: SessionId, findings: Vec<String>) -> Result<(), StoreError>;

    /// Findings of the preflight that are accepted for a run, each once, in the order of their names.
    async fn accepted(&self, run: RunId) -> Result<Vec<String>, StoreError>;

    /// Items with an open failure, and open diverged items: of one run, or of all. An item that several runs left open
    /// counts once.
    async fn open_work(&self, run: Option<RunId>) -> Result<OpenWork, StoreError>;

    /// The same, of every run of a phase.
    async fn open_work_of(&self, phase: &str) -> Result<OpenWork, StoreError>;

    /// Whether a run of this phase has applied a write, is complete, or has a segment with at least 100 items that were
    /// already applied. This shows that the phase does not fail for every item.
    async fn is_proven(&self, phase: &str) -> Result<bool, StoreError>;

    /// Failures in the order of their cursors; an error if one of them cannot be read.
    async fn failures(&self, query: ListQuery) -> Result<Vec<FailureRecord>, StoreError>;

    /// Up to `limit` open failures of the runs of a phase, in the order of their cursors, behind `after`. One that cannot be
    /// read hides no other.
    async fn failures_of(
        &self,
        phase: &str,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<Result<FailureRecord, Unreadable>>, StoreError>;

    /// Diverged items in the order of their cursors; an error if one of them cannot be read.
    async fn diverged(&self, query: ListQuery) -> Result<Vec<DivergedRecord>, StoreError>;

    /// The same. One that cannot be read hides no other.
    async fn listed_diverged(&self, query: ListQuery) -> Result<Vec<Result<DivergedRecord, Unreadable>>, StoreError>;

    /// Resolves the open failure of this key in `run` by the outcome of a retry. `diverged` names the paths if, and only if,
    /// the outcome is `Diverged`: the item is then an open diverged item of that run. False if that run has no open failure
    /// of this key; nothing changes then.
    ///
    /// `session` retries; it need not be open. `run` is its run or an earlier one of the same phase, which left the failure.
    ///
    /// [`StoreError::Refused`] for an outcome that is a failure, and if the paths do not fit the outcome.
    async fn resolve_failure(
        &self,
        session: SessionId,
        run: RunId,
        key: ItemKey,
        outcome: Outcome,
        diverged: Vec<Path>,
    ) -> Result<bool, StoreError>;

    /// Records that a retry of the open failure in `run` failed again, and why: one attempt more. False if that run has no
    /// open failure of this key; nothing changes then. `session` and `run` are as in [`Runs::resolve_failure`].
    ///
    /// [`StoreError::Refused`] for an outcome that is no failure.
    async fn update_failure(&self, session: SessionId, run: RunId, failure: Failure) -> Result<bool, StoreError>;

    /// Resolves open diverged items, each in every run that has it; with each key comes how it is resolved. Returns the
    /// number of items that were open. `session` is the verification's that read the items again.
    async fn close_diverged(&self, session: SessionId, items: Vec<(ItemKey, &'static str)>) -> Result<u64, StoreError>;
}

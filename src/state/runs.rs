//! The port of runs, their sessions, and their failures and diverged items.

use async_trait::async_trait;

use super::{
    Begin, Cursor, DivergedRecord, Failure, FailureRecord, ListQuery, NewRun, OpenWork, RunId, RunRecord, RunStatus,
    Session, SessionId, StoreError, Unreadable,
};
use crate::change::Outcome;
use crate::item::{ItemKey, Path};

/// Runs and their sessions, failures and diverged items.
///
/// When a method that changes something returns `Ok`, the whole change is durable. After an error, no part of the
/// change is stored.
///
/// Every method that changes something, except [`Runs::begin`], takes the name of the calling session. The method fails
/// with [`StoreError::Fenced`] if a later session of that run has begun or a later run has superseded the run.
///
/// A command that retries failures begins no session, because the run may be complete. The command uses the name of the
/// newest session of the phase's newest run, even if that session is not open. When the next session begins, the store
/// refuses further calls of the command.
#[async_trait]
pub trait Runs: Send + Sync {
    /// The newest run of a phase, complete or not.
    async fn current_run(&self, phase: &str) -> Result<Option<RunRecord>, StoreError>;

    /// Begins a session of the newest run of the phase, or of a new run, as [`Begin`] says. A resumed run keeps its
    /// original parameters; `new` does not change them. Each session increments [`RunRecord::sessions`]; the new number
    /// is the epoch of the session. From then on, the store refuses calls of earlier sessions.
    ///
    /// Returns [`StoreError::Refused`] if the runs of the phase do not allow the session, if another session of the run
    /// is open, or if the number of segments is not from 1 to 1,000,000.
    async fn begin(&self, how: Begin, new: NewRun) -> Result<Session, StoreError>;

    /// Ends this session of its run as `Stopped` or `Complete`, with the reason. `abandoned_pages` is the number of
    /// pages that the session began but did not finish. If this number is not zero, the run's counts are a lower bound
    /// from then on.
    ///
    /// A complete run resolves the failures and diverged items that earlier runs of its phase left open, because it has
    /// read every item again. Their `resolved_as` is `later_pass`.
    ///
    /// Returns [`StoreError::Refused`], and leaves the session open, if the status is neither of the two, if the run
    /// has no open session, or if the run cannot be complete because a segment is not done or a page was abandoned.
    /// Returns [`StoreError::Fenced`] if a later session has begun.
    async fn end_session(
        &self,
        session: SessionId,
        status: RunStatus,
        reason: Option<String>,
        abandoned_pages: u64,
    ) -> Result<RunRecord, StoreError>;

    /// Records preflight findings that the operator accepts for the session's run, in addition to those accepted
    /// before. The session need not be open: a retry and a repair accept for the run that they work on.
    async fn accept(&self, session: SessionId, findings: Vec<String>) -> Result<(), StoreError>;

    /// Accepted preflight findings of a run, without duplicates, in the order of their names.
    async fn accepted(&self, run: RunId) -> Result<Vec<String>, StoreError>;

    /// The number of items with an open failure, and of open diverged items, in one run or in all runs. An item that
    /// several runs left open counts once.
    async fn open_work(&self, run: Option<RunId>) -> Result<OpenWork, StoreError>;

    /// The numbers of [`Runs::open_work`] for all runs of a phase.
    async fn open_work_of(&self, phase: &str) -> Result<OpenWork, StoreError>;

    /// Whether a run of this phase has applied a write, is complete, or has a segment with at least 100 items that were
    /// already applied. Each of these facts shows that the phase does not fail for every item.
    async fn is_proven(&self, phase: &str) -> Result<bool, StoreError>;

    /// Failures in the order of their cursors. Fails if a record cannot be read.
    async fn failures(&self, query: ListQuery) -> Result<Vec<FailureRecord>, StoreError>;

    /// Returns up to `limit` open failures of the runs of a phase, in the order of their cursors, starting after the
    /// cursor `after`. An unreadable record is listed as unreadable and does not hide the others.
    async fn failures_of(
        &self,
        phase: &str,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<Result<FailureRecord, Unreadable>>, StoreError>;

    /// Diverged items in the order of their cursors. Fails if a record cannot be read.
    async fn diverged(&self, query: ListQuery) -> Result<Vec<DivergedRecord>, StoreError>;

    /// Like [`Runs::diverged`], but an unreadable record is listed as unreadable and does not hide the others.
    async fn listed_diverged(&self, query: ListQuery) -> Result<Vec<Result<DivergedRecord, Unreadable>>, StoreError>;

    /// Resolves the run's open failure of this key with the outcome of a retry. `diverged` names paths if and only if
    /// the outcome is `Diverged`; the item then becomes an open diverged item of the run. Returns false and changes
    /// nothing if the run has no open failure of this key.
    ///
    /// Returns [`StoreError::Refused`] if the outcome is a failure, or if the paths do not fit the outcome.
    async fn resolve_failure(
        &self,
        session: SessionId,
        run: RunId,
        key: ItemKey,
        outcome: Outcome,
        diverged: Vec<Path>,
    ) -> Result<bool, StoreError>;

    /// Records that a retry of the run's open failure failed again, with the reason, and adds one attempt. Returns
    /// false and changes nothing if the run has no open failure of this key.
    ///
    /// Returns [`StoreError::Refused`] if the outcome is not a failure.
    async fn update_failure(&self, session: SessionId, run: RunId, failure: Failure) -> Result<bool, StoreError>;

    /// Resolves open diverged items in every run in which they are open. Each key comes with the `resolved_as` of its
    /// item. Returns the number of items that were open. `session` is the session of the verification that read the
    /// items again.
    async fn close_diverged(&self, session: SessionId, items: Vec<(ItemKey, &'static str)>) -> Result<u64, StoreError>;
}

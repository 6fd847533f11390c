//! Checkpoints in SQLite: one file for one migration on one table.
//!
//! [`Store`] owns the file, under a lock, with one connection on one thread. Everyone else reads it through
//! [`StateFile`], whether the owner lives or not.

mod accepted;
mod checksum;
mod error;
mod events;
mod journal;
mod layout;
mod leftovers;
mod lock;
mod open;
mod progress;
mod read;
mod records;
mod siblings;
mod spend;
mod state_file;
mod thread;
mod verify;
mod write;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::Path as FilePath;
use std::sync::Arc;

use async_trait::async_trait;

pub use events::{EventRecord, KeptFact};
pub use leftovers::Listed;
pub use lock::Holder;
pub use records::{
    Begin, DivergedRecord, FailureRecord, Identity, ListQuery, NewRun, OpenWork, PreImageRecord, RowStatus,
    RunProgress, RunRecord, SegmentTotals, Session, SpendRecord, StateSummary, Unreadable,
};
pub use state_file::StateFile;
pub use verify::PHASE as VERIFY_PHASE;
pub use verify::{
    Asked, Drawn, MAX_MISMATCHES, Mismatch, NewVerification, StoredReport, VerificationRecord, VerifiedPages,
};

use super::{
    CheckpointStore, Commit, Failure, MetPage, PreImageId, PreImageRow, Reservation, RunId, RunStatus, SegmentState,
    Spend, SpendState, StoreError,
};
use crate::change::{Digest, Lookup, OnRecord, Outcome};
use crate::cost::UnitPrices;
use crate::item::{ItemKey, Path};
use thread::StoreThread;

/// The state of one migration, owned by this process.
///
/// Every method that changes something returns after the change is durable (in the file's write-ahead log, synced to
/// the disk), and stores all of it or nothing. Requests that come together share one sync. When the file or the disk
/// fails once, every later call fails too: nothing is reported as stored that may not be.
///
/// Clones share the one file. Dropping the last one, or [`Store::close`], finishes what was asked, closes the file and
/// frees the lock.
#[derive(Debug, Clone)]
pub struct Store {
    thread: Arc<StoreThread>,
    clock: fn() -> String,
}

/// Segments that [`Store::each_segment`] reads in one go: a million of them take 144 MB, and nobody's commit is to wait
/// behind them.
const SEGMENTS_AT_ONCE: u32 = 10_000;

impl Store {
    /// Takes the file's lock and opens it, or makes it, for this plan and table. Directories are made with mode 0700,
    /// files with 0600. `clock` gives the timestamps that are stored. It blocks, for 0.2 s where the file is locked.
    ///
    /// A session that its process did not end is noted: its run becomes `Stopped`, with `lower_bound`, and capacity that
    /// it had reserved counts as spent.
    ///
    /// Errors: [`StoreError::Locked`] names the holder; [`StoreError::Foreign`] for another plan, table, program or a
    /// newer version; [`StoreError::Corrupt`]; [`StoreError::Io`]. None of them has changed a file that was there.
    pub fn open(path: &FilePath, identity: &Identity, clock: fn() -> String) -> Result<Store, StoreError> {
        let owned = open::open_owned(path, identity, &clock())?;
        Ok(Store { thread: Arc::new(StoreThread::start(owned)?), clock })
    }

    /// The newest run of a phase.
    pub async fn current_run(&self, phase: &str) -> Result<Option<RunRecord>, StoreError> {
        let phase = phase.to_owned();
        self.thread.run(move |c| read::current_run(c, &phase)).await
    }

    /// Begins a session of the phase's run. `total_segments` of a run that is resumed is the stored one.
    ///
    /// [`StoreError::Refused`] when the runs do not allow it; see [`Begin`].
    pub async fn begin(&self, how: Begin, new: NewRun) -> Result<Session, StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| write::begin(c, how, &new, &now)).await
    }

    /// Ends the run's session as `Stopped` or `Complete`; the latter only when every segment is done. Pages that were
    /// begun and given up make the run's counts a lower bound.
    ///
    /// A complete run settles the failures and diverged items that earlier runs of its phase left open: it has met
    /// every item again.
    pub async fn end_session(
        &self,
        run: RunId,
        status: RunStatus,
        reason: Option<String>,
        abandoned_pages: u64,
    ) -> Result<RunRecord, StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| write::end_session(c, run, status, reason.as_deref(), abandoned_pages, &now)).await
    }

    /// Shows every segment of a run that is not pending, in order.
    pub async fn each_segment(&self, run: RunId, mut show: impl FnMut(u32, SegmentState)) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let batch = self.segments_after(run, after, SEGMENTS_AT_ONCE).await?;
            let Some((last, _)) = batch.last() else { return Ok(()) };
            after = Some(*last);
            batch.into_iter().for_each(|(segment, state)| show(segment, state));
        }
    }

    /// Up to `limit` segments of a run that are not pending, in order, behind this one.
    pub async fn segments_after(
        &self,
        run: RunId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Vec<(u32, SegmentState)>, StoreError> {
        self.thread.run(move |c| read::segments_after(c, run, after, limit)).await
    }

    /// All segments of a run, added up.
    pub async fn totals(&self, run: RunId) -> Result<SegmentTotals, StoreError> {
        self.thread.run(move |c| read::totals(c, &read::run(c, run)?)).await
    }

    /// Records which findings of the preflight the operator accepts for a run; durable when it returns.
    pub async fn accept(&self, run: RunId, findings: Vec<String>) -> Result<(), StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| accepted::record(c, run, &findings, &now)).await
    }

    /// Which findings of the preflight are accepted for a run.
    pub async fn accepted(&self, run: RunId) -> Result<Vec<String>, StoreError> {
        self.thread.run(move |c| accepted::of(c, run)).await
    }

    /// What a run has spent by now.
    pub async fn spend(&self, run: RunId) -> Result<SpendRecord, StoreError> {
        self.thread.run(move |c| spend::record(c, &read::run(c, run)?, false)).await
    }

    /// Begins to count what is spent, at these prices; gives what the run has spent before. To be called before
    /// [`CheckpointStore::reserve`].
    pub async fn begin_spend(&self, run: RunId, prices: UnitPrices) -> Result<SpendState, StoreError> {
        self.thread.run(move |c| spend::begin(c, run, prices)).await
    }

    /// Ends the open slice in good order: only what was used is spent, and that is durable when this returns.
    pub async fn settle_spend(&self, run: RunId, spent: Spend) -> Result<SpendRecord, StoreError> {
        self.thread.run(move |c| spend::settle(c, run, spent)).await
    }

    /// Items that wait for somebody: of one run, or of all.
    pub async fn open_work(&self, run: Option<RunId>) -> Result<OpenWork, StoreError> {
        self.thread.run(move |c| read::open_work(c, run)).await
    }

    /// Items that wait for somebody, of every run of a phase.
    pub async fn open_work_of(&self, phase: &str) -> Result<OpenWork, StoreError> {
        let phase = phase.to_owned();
        self.thread.run(move |c| read::open_work_of(c, &phase)).await
    }

    /// Whether any run of this phase has applied a write, found many items as the plan implies, or got to its end: then
    /// what the phase does is not wrong for every item.
    pub async fn is_proven(&self, phase: &str) -> Result<bool, StoreError> {
        let phase = phase.to_owned();
        self.thread.run(move |c| read::is_proven(c, &phase)).await
    }

    /// Failures, oldest first; an error if one cannot be read.
    pub async fn failures(&self, query: ListQuery) -> Result<Vec<FailureRecord>, StoreError> {
        self.thread.run(move |c| read::all(read::failures(c, query)?)).await
    }

    /// Up to `limit` open failures of the runs of a phase, oldest first, behind this place in the list. One that cannot be
    /// read hides no other.
    pub async fn failures_of(
        &self,
        phase: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Result<FailureRecord, Unreadable>>, StoreError> {
        let phase = phase.to_owned();
        self.thread.run(move |c| read::failures_of(c, &phase, after, limit)).await
    }

    /// Diverged items, oldest first; an error if one cannot be read.
    pub async fn diverged(&self, query: ListQuery) -> Result<Vec<DivergedRecord>, StoreError> {
        self.thread.run(move |c| read::all(read::diverged(c, query)?)).await
    }

    /// Diverged items, oldest first. One that cannot be read hides no other.
    pub async fn listed_diverged(
        &self,
        query: ListQuery,
    ) -> Result<Vec<Result<DivergedRecord, Unreadable>>, StoreError> {
        self.thread.run(move |c| read::diverged(c, query)).await
    }

    /// Settles a failure that a retry has brought to this outcome; `diverged` names the paths when, and only when, it
    /// is `Diverged`, and the item goes on record as such. False where the run has no open failure of this key.
    pub async fn resolve_failure(
        &self,
        run: RunId,
        key: ItemKey,
        outcome: Outcome,
        diverged: Vec<Path>,
    ) -> Result<bool, StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| write::resolve_failure(c, run, &key, outcome, diverged, &now)).await
    }

    /// Notes that a retry failed again, and why. False where the run has no open failure of this key.
    pub async fn update_failure(&self, run: RunId, failure: Failure) -> Result<bool, StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| write::update_failure(c, run, &failure, &now)).await
    }

    /// An item's values that writes destroyed and that were not refused, newest first: of one path, or of all.
    pub async fn pre_images(&self, key: ItemKey, path: Option<Path>) -> Result<Vec<PreImageRecord>, StoreError> {
        self.thread.run(move |c| journal::pre_images(c, &key, path.as_ref())).await
    }

    /// How many values a run's writes have destroyed, and were not refused.
    pub async fn journaled(&self, run: RunId) -> Result<u64, StoreError> {
        self.thread.run(move |c| journal::pre_image_count(c, Some(run))).await
    }

    /// Whether a run is the first that meets the items of the table, so that it has to record which of them have their new
    /// attribute already ([`CheckpointStore::append_page`]).
    pub async fn is_first_pass(&self, run: RunId) -> Result<bool, StoreError> {
        self.thread.run(move |c| journal::is_first_pass(c, run)).await
    }

    /// Which targets of these items were there before the migration, in the order of the items. A record that cannot be read is
    /// one of its item alone ([`OnRecord::unreadable`]).
    pub async fn there_before(&self, keys: Vec<ItemKey>) -> Result<Vec<OnRecord>, StoreError> {
        self.thread.run(move |c| journal::there_before(c, &keys)).await
    }

    /// Whether a pass of this expansion has met every item of the table, whatever became of it.
    pub async fn all_met(&self) -> Result<bool, StoreError> {
        self.thread.run(journal::all_met).await
    }

    /// The number of targets for which a rollback cannot know whether they existed before; `None` if it knows for all.
    pub async fn no_way_back(&self) -> Result<Option<u64>, StoreError> {
        self.thread.run(journal::no_way_back).await
    }

    /// How many targets were there before the migration.
    pub async fn there_before_count(&self) -> Result<u64, StoreError> {
        self.thread.run(journal::there_before_count).await
    }

    /// Finishes what was asked before, moves the log into the file, closes it and frees the lock. Later calls on clones
    /// fail. It does not end a session.
    pub async fn close(self) -> Result<(), StoreError> {
        self.thread.close().await
    }
}

#[async_trait]
impl CheckpointStore for Store {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| write::commit(c, &commit, &now)).await
    }

    async fn append_pre_images(&self, run: RunId, rows: Vec<PreImageRow>) -> Result<Vec<PreImageId>, StoreError> {
        let now = (self.clock)();
        self.thread.run(move |c| journal::append_pre_images(c, run, &rows, &now)).await
    }

    async fn mark_refused(&self, ids: Vec<PreImageId>) -> Result<(), StoreError> {
        self.thread.run(move |c| journal::mark_refused(c, &ids)).await
    }

    async fn recall(&self, keys: Vec<ItemKey>, lookup: Lookup) -> Result<Vec<OnRecord>, StoreError> {
        self.thread.run(move |c| journal::recall(c, &keys, lookup)).await
    }

    async fn append_page(&self, page: MetPage) -> Result<(), StoreError> {
        self.thread.run(move |c| journal::append_page(c, &page)).await
    }

    async fn under_way(&self, run: RunId, segment: u32) -> Result<HashSet<Digest>, StoreError> {
        self.thread.run(move |c| journal::under_way(c, run, segment)).await
    }

    async fn reserve(&self, run: RunId, reservation: Reservation) -> Result<(), StoreError> {
        self.thread.run(move |c| spend::reserve(c, run, reservation)).await
    }
}

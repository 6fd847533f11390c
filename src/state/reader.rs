//! The traits for reading a state without owning it.

use async_trait::async_trait;

use super::{
    AffectedItems, DivergedRecord, EventRecord, FailureRecord, Identity, ListQuery, OpenWork, PreImageRecord,
    RunRecord, StateSummary, StoreError, StoredFact, UnreadableRow,
};
use crate::change::{BaselinePair, HistoryLookup, ItemHistory};
use crate::item::ItemKey;

/// Read-only access to the recorded history of items.
#[async_trait]
pub trait HistoryReader: Send + Sync {
    /// The recorded history of these items, in the order of the keys.
    async fn read_history(&self, keys: Vec<ItemKey>, lookup: HistoryLookup) -> Result<Vec<ItemHistory>, StoreError>;
}

/// Read-only access to a state. A reader works while the owner uses the state, and also after the owner has died. A
/// reader takes no lock, blocks no other process and changes nothing. Each result is a snapshot of the durable data at
/// one moment. A later result may include more data.
///
/// Every method fails with [`StoreError::Corrupt`] if the data that it reads is damaged, and with [`StoreError::Io`] if
/// the data cannot be read.
#[async_trait]
pub trait StateReader: HistoryReader {
    /// The data that `status` shows.
    async fn summary(&self) -> Result<StateSummary, StoreError>;

    /// The plan and table that the state belongs to.
    async fn identity(&self) -> Result<Identity, StoreError>;

    /// Returns [`StoreError::Foreign`] if the state belongs to a different plan or table. As long as its migration has
    /// not begun, a state belongs to no plan, and this check succeeds.
    async fn check_identity(&self, ours: &Identity) -> Result<(), StoreError>;

    /// Whether the migration has begun. A migration has begun if it has a run, or an event other than an accepted
    /// preflight and the announcement of the first pass.
    async fn has_begun(&self) -> Result<bool, StoreError>;

    /// All events, oldest first.
    async fn events(&self) -> Result<Vec<EventRecord>, StoreError>;

    /// Returns a stored fact; `None` if it was never stored.
    async fn fact(&self, fact: StoredFact) -> Result<Option<String>, StoreError>;

    /// The newest run of a phase, and the preflight findings that were accepted for it.
    async fn current_run(&self, phase: &str) -> Result<Option<(RunRecord, Vec<String>)>, StoreError>;

    /// The number of items with an open failure, and of open diverged items, in all runs of a phase. An item that is
    /// open in several runs is counted once.
    async fn open_work_of_phase(&self, phase: &str) -> Result<OpenWork, StoreError>;

    /// Failures in the order of their cursors. An unreadable record does not hide other records.
    async fn list_failures(&self, query: ListQuery) -> Result<Vec<Result<FailureRecord, UnreadableRow>>, StoreError>;

    /// Diverged items in the order of their cursors. An unreadable record does not hide other records.
    async fn list_diverged(&self, query: ListQuery) -> Result<Vec<Result<DivergedRecord, UnreadableRow>>, StoreError>;

    /// Pre-images, oldest first. Omits pre-images of refused writes. An unreadable record does not hide other records.
    async fn journal(&self, query: ListQuery) -> Result<Vec<Result<PreImageRecord, UnreadableRow>>, StoreError>;

    /// The number of targets for which it is unknown whether they existed before the migration. `None` if there are no
    /// such targets.
    async fn unrestorable_targets(&self) -> Result<Option<u64>, StoreError>;

    /// The pairs of this kind that the first pass found: their total number, and up to `limit` of them. `None` if the
    /// first pass ran with an earlier version of this program, which did not record pairs.
    async fn baseline_pairs(&self, kind: BaselinePair, limit: u32) -> Result<Option<AffectedItems>, StoreError>;

    /// Whether the first pass ran with an earlier version of this program, which did not record pairs.
    async fn pairs_unrecorded(&self) -> Result<bool, StoreError>;
}

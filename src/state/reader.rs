//! The traits for reading a state without owning it.

use async_trait::async_trait;

use super::{
    AffectedItems, DivergedRecord, EventRecord, FailureRecord, Identity, ListQuery, MigrationRecord, Mismatch,
    OpenWork, PreImageRecord, RecordLimits, RunRecord, StateSummary, StoreError, StoredFact, UnreadableRow,
};
use crate::change::{BaselinePair, HistoryLookup, ItemHistory, Leftover};
use crate::item::ItemKey;

/// Read-only access to the recorded history of items.
#[async_trait]
pub trait HistoryReader: Send + Sync {
    /// Returns the recorded history of these items, in the order of the keys.
    async fn read_history(&self, keys: Vec<ItemKey>, lookup: HistoryLookup) -> Result<Vec<ItemHistory>, StoreError>;
}

/// Read-only access to a state. A reader works while the owner is using the state, and also after the owner has died. A
/// reader never takes ownership of the state, blocks no other process and changes nothing. Each result is a snapshot of
/// the durable data at one time. A later result may contain more data.
///
/// Every method returns [`StoreError::Corrupt`] if the data that it reads is damaged, and [`StoreError::Io`] if the
/// data cannot be read.
#[async_trait]
pub trait StateReader: HistoryReader {
    /// Returns the data that `status` shows.
    async fn summary(&self) -> Result<StateSummary, StoreError>;

    /// Returns a consistent snapshot of everything that a report needs.
    async fn migration(&self, limits: RecordLimits) -> Result<MigrationRecord, StoreError>;

    /// Returns the plan and table to which the state belongs.
    async fn identity(&self) -> Result<Identity, StoreError>;

    /// Returns [`StoreError::Foreign`] if the state belongs to a different plan or table. Until its migration begins, a
    /// state belongs to no plan, so this check succeeds.
    async fn check_identity(&self, ours: &Identity) -> Result<(), StoreError>;

    /// Returns whether the migration has begun. A migration has begun if it has a run, or if it has an event that is
    /// neither the acceptance of the preflight nor the announcement of the first pass.
    async fn has_begun(&self) -> Result<bool, StoreError>;

    /// Returns all events, oldest first.
    async fn events(&self) -> Result<Vec<EventRecord>, StoreError>;

    /// Returns a stored fact; `None` if it was never stored.
    async fn fact(&self, fact: StoredFact) -> Result<Option<String>, StoreError>;

    /// Returns the newest run of a phase, and the preflight findings that the operator accepted for that run.
    async fn current_run(&self, phase: &str) -> Result<Option<(RunRecord, Vec<String>)>, StoreError>;

    /// Returns the number of items with an open failure and the number of open diverged items, in all runs of a phase.
    /// An item that is open in several runs is counted once.
    async fn open_work_of_phase(&self, phase: &str) -> Result<OpenWork, StoreError>;

    /// Returns failures in the order of their cursors. If a record cannot be read, the other records are still listed.
    async fn list_failures(&self, query: ListQuery) -> Result<Vec<Result<FailureRecord, UnreadableRow>>, StoreError>;

    /// Returns diverged items in the order of their cursors. If a record cannot be read, the other records are still
    /// listed.
    async fn list_diverged(&self, query: ListQuery) -> Result<Vec<Result<DivergedRecord, UnreadableRow>>, StoreError>;

    /// Returns pre-images, oldest first. Omits pre-images of refused writes. A write of a whole item has one record,
    /// which says whether DynamoDB confirmed the write. If a record cannot be read, the other records are still listed.
    async fn journal(&self, query: ListQuery) -> Result<Vec<Result<PreImageRecord, UnreadableRow>>, StoreError>;

    /// Returns the number of derived items that the journal records. Call this only for a plan that puts derived items.
    /// The call reads the whole journal, because the journal has several rows for each derived item.
    async fn derived_items(&self) -> Result<u64, StoreError>;

    /// Returns the number of targets for which the records do not show whether they existed before the migration.
    /// Returns `None` if there are no such targets.
    async fn unrestorable_targets(&self) -> Result<Option<u64>, StoreError>;

    /// Returns the pairs of this kind that the first pass found: the total number of affected items, and up to `limit`
    /// of the pairs. Returns `None` if the first pass ran with an earlier version of this program that did not record
    /// pairs.
    async fn baseline_pairs(&self, kind: BaselinePair, limit: u32) -> Result<Option<AffectedItems>, StoreError>;

    /// For each verdict, returns the first `limit` items that did not match in the newest full verification and were
    /// not repaired. Omits open failures and diverged items.
    async fn open_mismatches(&self, limit: u32) -> Result<Vec<Mismatch>, StoreError>;

    /// Returns the paths that the rollbacks since the last run noted for this reason: the number of affected items, and up
    /// to `limit` of the paths. Counts an item once, even if several rollbacks noted it.
    async fn rollback_notes(&self, leftover: Leftover, limit: u32) -> Result<AffectedItems, StoreError>;

    /// Returns whether the first pass ran with an earlier version of this program that did not record pairs.
    async fn pairs_unrecorded(&self) -> Result<bool, StoreError>;
}

//! The trait for storing the recorded history of items. The history consists of the journal of pre-images and the
//! baseline.

use std::collections::HashSet;

use async_trait::async_trait;

use super::{
    AffectedItems, BaselinePage, DeleteCounts, DeletedItem, DeletedItemsQuery, PreImageId, PreImageRecord, PreImageRow,
    RunId, SessionId, StoreError,
};
use crate::change::{Digest, HistoryLookup, ItemHistory, Leftover};
use crate::item::{ItemKey, Path};

/// For each path that a write changes, the journal records the path's value before the write. The baseline records the
/// state that each item had before the migration wrote it for the first time.
///
/// Records from before the last complete rollback are ignored, because they do not apply to an expansion that began
/// later.
///
/// Every method that changes something takes the id of the calling session. The method fails with
/// [`StoreError::Fenced`], and changes nothing, if a later session of the run has begun or a later run has superseded
/// the run. Without this rule, a process that has lost its run could overwrite the next session's records.
#[async_trait]
pub trait History: Send + Sync {
    /// Appends pre-images. When this method returns `Ok`, the pre-images are durable and readable. The caller must not
    /// send the writes that destroy these values before this method has returned `Ok`. If this method returns an error,
    /// it has stored none of these pre-images. Returns the ids of the pre-images, in ascending order.
    ///
    /// The session need not be open, because a retry of failures writes after its run has ended.
    async fn append_pre_images(
        &self,
        session: SessionId,
        rows: Vec<PreImageRow>,
    ) -> Result<Vec<PreImageId>, StoreError>;

    /// Marks pre-images as refused, because DynamoDB certainly did not apply their writes. A rollback does not restore
    /// refused pre-images. The change is durable when the method returns `Ok`. Losing this change is safe, because the
    /// store then assumes that the write may have been applied.
    ///
    /// The session need not be open for this call. If one of the pre-images is unknown, the method changes nothing and
    /// returns [`StoreError::Corrupt`].
    async fn mark_refused(&self, session: SessionId, ids: Vec<PreImageId>) -> Result<(), StoreError>;

    /// Returns the recorded history of these items, in the order of the keys. An unreadable record makes only its own
    /// item's history unreadable ([`ItemHistory::unreadable`]). With [`HistoryLookup::ForDecision`], the history
    /// contains records of the expansion and of repairs. The method then first proves that the records are readable,
    /// and fails if the whole store is damaged. With [`HistoryLookup::ForReport`], the method succeeds even if the
    /// store is damaged. The history then contains the readable records, and does not say whether a baseline exists.
    /// [`HistoryLookup::ForUnfinishedWrites`] also succeeds even if the store is damaged. It reads only those records
    /// of the expansion that are newer than the last complete run in which the item was not a failure. A failure that a
    /// retry has resolved does not count.
    async fn history_of(&self, keys: Vec<ItemKey>, lookup: HistoryLookup) -> Result<Vec<ItemHistory>, StoreError>;

    /// Returns an item's pre-images at `path`, or at all paths if `path` is `None`. The newest pre-image comes first.
    /// Omits pre-images of refused writes.
    async fn pre_images(&self, key: ItemKey, path: Option<Path>) -> Result<Vec<PreImageRecord>, StoreError>;

    /// Returns the items that the expansion or a repair may have deleted, each key once, in the order of their last
    /// deletes. Omits refused writes, items that an earlier run has restored since, and records that a rollback has
    /// made obsolete. The list also contains the item of a damaged record, even if the item's key cannot be read, so
    /// that no item is forgotten.
    async fn deleted_items(&self, query: DeletedItemsQuery) -> Result<Vec<DeletedItem>, StoreError>;

    /// Deletes every pre-image, so that no value remains in the stored data, and returns the number of deleted
    /// pre-images with a value. The caller must first store the fact [`StoredFact::JournalPurged`], because a rollback
    /// is impossible from then on. The method can be repeated after an error.
    ///
    /// [`StoredFact::JournalPurged`]: super::StoredFact::JournalPurged
    async fn purge_journal(&self) -> Result<u64, StoreError>;

    /// Returns the number of pre-images of a run. Does not count pre-images of refused writes.
    async fn pre_image_count(&self, run: RunId) -> Result<u64, StoreError>;

    /// Returns the number of items that a run deleted, according to its journal. Does not count refused writes.
    async fn delete_counts(&self, run: RunId) -> Result<DeleteCounts, StoreError>;

    /// Returns the paths that a rollback or a step back reports for the reason `leftover`. The result contains the
    /// total number of affected items, and up to `limit` of these paths.
    async fn leftovers(&self, run: RunId, leftover: Leftover, limit: u32) -> Result<AffectedItems, StoreError>;

    /// Records the baseline of a page's items. When this method returns `Ok`, the baseline is durable. The caller must
    /// not send a write to any item of the page before this method has returned `Ok`. If this method returns an error,
    /// it has stored no part of the page's baseline. Existing records of an item stay unchanged. Records of stable
    /// attributes are added to the journal.
    async fn record_baseline(&self, page: BaselinePage) -> Result<(), StoreError>;

    /// Returns the key digests of the items that the run may have written in uncommitted pages of this segment. The
    /// current values of these items may already be values that the migration wrote. A page's commit removes the
    /// digests that the same session has stored for this page. The commit that ends the segment removes all digests of
    /// that segment.
    async fn items_under_way(&self, run: RunId, segment: u32) -> Result<HashSet<Digest>, StoreError>;

    /// Returns whether this run must record the baseline. A run must record the baseline if no earlier pass has read
    /// every item of the table.
    async fn is_first_pass(&self, run: RunId) -> Result<bool, StoreError>;

    /// Returns the preexisting targets of these items, in the order of the keys. An unreadable record makes only its
    /// own item's history unreadable ([`ItemHistory::unreadable`]).
    async fn preexisting(&self, keys: Vec<ItemKey>) -> Result<Vec<ItemHistory>, StoreError>;

    /// Returns whether a pass of this expansion has read every item of the table. A pass has read every item if the
    /// pass is complete, or if all of its segments are done.
    async fn baseline_complete(&self) -> Result<bool, StoreError>;

    /// Returns the number of targets for which the records do not show whether they existed before the migration. A
    /// rollback cannot restore these targets reliably. Returns `None` if there are no such targets.
    async fn unrestorable_targets(&self) -> Result<Option<u64>, StoreError>;

    /// Returns the number of preexisting targets.
    async fn preexisting_count(&self) -> Result<u64, StoreError>;
}

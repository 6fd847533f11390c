//! The trait for storing the recorded history of items: the journal of pre-images, and the baseline.

use std::collections::HashSet;

use async_trait::async_trait;

use super::{AffectedItems, BaselinePage, PreImageId, PreImageRecord, PreImageRow, RunId, SessionId, StoreError};
use crate::change::{Digest, HistoryLookup, ItemHistory, Leftover};
use crate::item::{ItemKey, Path};

/// The journal records the values that writes change. The baseline records the state of each item before the migration
/// wrote it for the first time.
///
/// Records from before the last complete rollback are ignored, because they say nothing about an expansion that began
/// later.
///
/// Every method that changes something takes the id of the calling session. The method fails with
/// [`StoreError::Fenced`], and changes nothing, if a later session of the run has begun or a later run has superseded
/// the run. Without this rule, a process that has lost its run could overwrite records of the next session.
#[async_trait]
pub trait History: Send + Sync {
    /// Appends pre-images. When this method returns `Ok`, they are durable and readable. The caller must not send the
    /// writes that destroy these values earlier. After an error, no pre-image is stored. Returns the id of each
    /// pre-image, in ascending order.
    ///
    /// The session need not be open: a retry of failures writes after its run has ended.
    async fn append_pre_images(
        &self,
        session: SessionId,
        rows: Vec<PreImageRow>,
    ) -> Result<Vec<PreImageId>, StoreError>;

    /// Marks pre-images as refused, because DynamoDB certainly did not apply their writes. A rollback does not restore
    /// refused pre-images. The change is durable when the method returns `Ok`. If the change is lost, this is safe: the
    /// store then assumes that the write may have been applied.
    ///
    /// The session need not be open. If one of the pre-images is unknown, the method changes nothing and returns
    /// [`StoreError::Corrupt`].
    async fn mark_refused(&self, session: SessionId, ids: Vec<PreImageId>) -> Result<(), StoreError>;

    /// The recorded history of these items from the expansion and from repairs, in the order of the keys. An unreadable
    /// record fails only its own item ([`ItemHistory::unreadable`]). [`HistoryLookup::ForDecision`] first proves that
    /// the records are readable, and fails if the whole store is damaged. [`HistoryLookup::ForReport`] does not fail if
    /// the store is damaged.
    async fn history_of(&self, keys: Vec<ItemKey>, lookup: HistoryLookup) -> Result<Vec<ItemHistory>, StoreError>;

    /// The pre-images of an item at one path or at all paths, newest first. Omits pre-images of refused writes.
    async fn pre_images(&self, key: ItemKey, path: Option<Path>) -> Result<Vec<PreImageRecord>, StoreError>;

    /// The number of pre-images of a run. Does not count pre-images of refused writes.
    async fn pre_image_count(&self, run: RunId) -> Result<u64, StoreError>;

    /// Returns the paths that a rollback or a step back did not restore to their state before the migration, for the
    /// reason `leftover`. The result has their total number, and up to `limit` of them.
    async fn leftovers(&self, run: RunId, leftover: Leftover, limit: u32) -> Result<AffectedItems, StoreError>;

    /// Records the baseline of a page's items. When this method returns `Ok`, the baseline is durable. The caller must
    /// not send the first write of the page earlier. After an error, nothing of the page is stored. Earlier records of
    /// an item stay unchanged.
    async fn record_baseline(&self, page: BaselinePage) -> Result<(), StoreError>;

    /// Returns digests of the keys of items that the run may have written in uncommitted pages of this segment. The
    /// current values of these items may come from the migration. The commit of a page removes the digests that the
    /// same session recorded for this page. The commit that ends the segment removes all digests of the segment.
    async fn items_under_way(&self, run: RunId, segment: u32) -> Result<HashSet<Digest>, StoreError>;

    /// Whether this run must record the baseline, because no earlier pass has read every item of the table.
    async fn is_first_pass(&self, run: RunId) -> Result<bool, StoreError>;

    /// The preexisting targets of these items, in the order of the keys. An unreadable record fails only its own item
    /// ([`ItemHistory::unreadable`]).
    async fn preexisting(&self, keys: Vec<ItemKey>) -> Result<Vec<ItemHistory>, StoreError>;

    /// Whether a pass of this expansion has read every item of the table. A pass has read every item if it is complete
    /// or all of its segments are done.
    async fn baseline_complete(&self) -> Result<bool, StoreError>;

    /// The number of targets for which it is unknown whether they existed before the migration. A rollback cannot
    /// restore these targets reliably. `None` if there are no such targets.
    async fn unrestorable_targets(&self) -> Result<Option<u64>, StoreError>;

    /// The number of preexisting targets.
    async fn preexisting_count(&self) -> Result<u64, StoreError>;
}

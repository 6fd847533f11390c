//! The port of the recorded history of items: the journal of pre-images, and the baseline.

use std::collections::HashSet;

use async_trait::async_trait;

use super::{BaselinePage, Listed, PreImageId, PreImageRecord, PreImageRow, RunId, SessionId, StoreError};
use crate::change::{Digest, ItemHistory, Leftover, Lookup};
use crate::item::{ItemKey, Path};

/// The journal records the values that writes change. The baseline records what the first pass found at an item before
/// the migration first wrote it.
///
/// Only records since the last complete rollback count. Earlier records say nothing about an expansion that began
/// later.
///
/// Every method that changes something takes the name of the calling session. The method fails with
/// [`StoreError::Fenced`], and changes nothing, if a later session of the run has begun or a later run has superseded
/// the run. Without this rule, a process that has lost its run could overwrite what the next session recorded about
/// items.
#[async_trait]
pub trait History: Send + Sync {
    /// Appends pre-images. When it returns `Ok`, they are durable and readable; only then may the writes that destroy
    /// these values be sent. After an error, none of them is stored. Returns the name of each pre-image, in ascending
    /// order.
    ///
    /// The session need not be open: a retry of failures writes after its run has ended.
    async fn append_pre_images(
        &self,
        session: SessionId,
        rows: Vec<PreImageRow>,
    ) -> Result<Vec<PreImageId>, StoreError>;

    /// Marks pre-images as refused, because DynamoDB certainly did not apply their writes. A rollback does not restore
    /// marked pre-images. The marks are durable when the method returns `Ok`. Losing a mark is safe: the store then
    /// assumes that the write may have been applied.
    ///
    /// The session need not be open. If one of the pre-images is unknown, the method marks none of them and returns
    /// [`StoreError::Corrupt`].
    async fn mark_refused(&self, session: SessionId, ids: Vec<PreImageId>) -> Result<(), StoreError>;

    /// The recorded history of these items from the expansion and from repairs, in the order of the keys. An unreadable
    /// record fails only its own item ([`ItemHistory::unreadable`]). [`Lookup::ToDecide`] first proves that the records
    /// are readable, and fails if the whole store is damaged. [`Lookup::ToReport`] does not fail if the store is
    /// damaged.
    async fn history_of(&self, keys: Vec<ItemKey>, lookup: Lookup) -> Result<Vec<ItemHistory>, StoreError>;

    /// The pre-images of an item at one path or at all paths, newest first, without those of refused writes.
    async fn pre_images(&self, key: ItemKey, path: Option<Path>) -> Result<Vec<PreImageRecord>, StoreError>;

    /// The number of pre-images of a run, without those of refused writes.
    async fn journaled(&self, run: RunId) -> Result<u64, StoreError>;

    /// Returns the paths that a rollback or a step back, for this reason, did not restore to their state before the
    /// migration: their number, and up to `limit` of them.
    async fn leftovers(&self, run: RunId, leftover: Leftover, limit: u32) -> Result<Listed, StoreError>;

    /// Records the baseline of a page's items. When it returns `Ok`, the baseline is durable; only then may the first
    /// write of the page be sent. After an error, nothing of the page is stored. Earlier records of an item stay
    /// unchanged.
    async fn record_baseline(&self, page: BaselinePage) -> Result<(), StoreError>;

    /// Digests of the keys of items that the run may have written in uncommitted pages of this segment. The current
    /// values of these items may come from the migration. The commit of a page removes the page's digests if the same
    /// session recorded them. The commit that ends the segment removes all of them.
    async fn under_way(&self, run: RunId, segment: u32) -> Result<HashSet<Digest>, StoreError>;

    /// Whether this run must record the baseline, because no earlier pass has read every item of the table.
    async fn is_first_pass(&self, run: RunId) -> Result<bool, StoreError>;

    /// The preexisting targets of these items, in the order of the keys. An unreadable record fails only its own item
    /// ([`ItemHistory::unreadable`]).
    async fn preexisting(&self, keys: Vec<ItemKey>) -> Result<Vec<ItemHistory>, StoreError>;

    /// Whether a pass of this expansion has read every item of the table. A pass has done so if it is complete or if
    /// all of its segments are done.
    async fn baseline_complete(&self) -> Result<bool, StoreError>;

    /// The number of targets for which a rollback cannot know whether they existed before the migration; `None` if it
    /// knows this for every target.
    async fn no_way_back(&self) -> Result<Option<u64>, StoreError>;

    /// The number of preexisting targets.
    async fn preexisting_count(&self) -> Result<u64, StoreError>;
}

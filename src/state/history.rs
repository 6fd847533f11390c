//! The port of the recorded history of items: the journal of pre-images, and the baseline.

use std::collections::HashSet;

use async_trait::async_trait;

use super::{BaselinePage, Listed, PreImageId, PreImageRecord, PreImageRow, RunId, SessionId, StoreError};
use crate::change::{Digest, ItemHistory, Leftover, Lookup};
use crate::item::{ItemKey, Path};

/// The journal: what writes found at the paths that they change. And the baseline: what the first pass found at an item
/// before the migration first wrote it.
///
/// Only records since the last complete rollback count: earlier ones say nothing about an expansion that began after
/// it.
///
/// Every method that changes something names the session that asks for it. It fails with [`StoreError::Fenced`], and
/// changes nothing, if a later session of the run has begun or a later run has superseded it. Otherwise a process that
/// lost its run could record its own view of items that the next session has already met.
#[async_trait]
pub trait History: Send + Sync {
    /// Appends pre-images. When it returns `Ok`, they are durable and can be read, and only then may the writes that destroy
    /// these values be sent. After an error none of them is stored. The names are in the order of the rows, ascending.
    ///
    /// The session need not be open: a retry of failures writes after its run has ended.
    async fn append_pre_images(
        &self,
        session: SessionId,
        rows: Vec<PreImageRow>,
    ) -> Result<Vec<PreImageId>, StoreError>;

    /// Marks pre-images whose write DynamoDB certainly did not apply: a rollback does not restore them. Durable when it
    /// returns `Ok`. A mark that is lost is safe: the pre-image then counts as one whose write may have been applied.
    ///
    /// The session need not be open. [`StoreError::Corrupt`] if one of them is unknown; none is marked then.
    async fn mark_refused(&self, session: SessionId, ids: Vec<PreImageId>) -> Result<(), StoreError>;

    /// The recorded history of these items, in their order: of the expansion and of repairs. A record that cannot be read
    /// fails its item alone ([`ItemHistory::unreadable`]). [`Lookup::ToDecide`] proves the records readable first, and fails if
    /// the whole store is damaged; [`Lookup::ToReport`] never fails for that.
    async fn history_of(&self, keys: Vec<ItemKey>, lookup: Lookup) -> Result<Vec<ItemHistory>, StoreError>;

    /// An item's values that writes destroyed and that were not refused, newest first: of one path, or of all.
    async fn pre_images(&self, key: ItemKey, path: Option<Path>) -> Result<Vec<PreImageRecord>, StoreError>;

    /// The number of values that a run's writes have destroyed and that were not refused.
    async fn journaled(&self, run: RunId) -> Result<u64, StoreError>;

    /// Paths that a run of a rollback or of a step back left different from before the migration, for this reason: the
    /// number of them, and up to `limit` by name.
    async fn leftovers(&self, run: RunId, leftover: Leftover, limit: u32) -> Result<Listed, StoreError>;

    /// Records the baseline of a page's items. When it returns `Ok`, it is durable, and only then may the first write of the
    /// page be sent. After an error nothing of it is stored. What was recorded about an item before stays.
    ///
    /// [`StoreError::Refused`] if the session is not open.
    async fn record_baseline(&self, page: BaselinePage) -> Result<(), StoreError>;

    /// Digests of the keys of items that the run may have written in pages of this segment that are not committed: what
    /// these items have now may be the migration's. They are forgotten by the commit of their page if the same session
    /// recorded them, and all of them by the commit that ends the segment.
    async fn under_way(&self, run: RunId, segment: u32) -> Result<HashSet<Digest>, StoreError>;

    /// Whether this run has to record the baseline, because no earlier pass has met every item of the table.
    async fn is_first_pass(&self, run: RunId) -> Result<bool, StoreError>;

    /// Which targets of these items existed before the migration, in the order of the items. A record that cannot be read
    /// fails its item alone ([`ItemHistory::unreadable`]).
    async fn preexisting(&self, keys: Vec<ItemKey>) -> Result<Vec<ItemHistory>, StoreError>;

    /// Whether a pass of this expansion has met every item of the table: a complete one, or one whose segments are all done.
    async fn baseline_complete(&self) -> Result<bool, StoreError>;

    /// The number of targets for which a rollback cannot know whether they existed before; `None` if it knows for all.
    async fn no_way_back(&self) -> Result<Option<u64>, StoreError>;

    /// The number of targets that existed before the migration.
    async fn preexisting_count(&self) -> Result<u64, StoreError>;
}

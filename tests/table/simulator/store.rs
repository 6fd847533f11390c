//! Implements an in-memory checkpoint store. The real store works in a separate thread, for which the virtual clock
//! cannot wait.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use backfill::internals::change::{Digest, HistoryLookup, ItemHistory, Leftover};
use backfill::internals::item::{ItemKey, Path};
use backfill::internals::state::{
    AffectedItems, BaselinePage, Checkpoints, Commit, Counts, DeleteCounts, DeletedItem, DeletedItemsQuery, History,
    PreImageId, PreImageRecord, PreImageRow, RunId, SegmentState, SegmentStatus, SegmentTotals, SessionId, StoreError,
};

/// Stores segment states and changes them with the real state machine. So a commit out of order fails as in SQLite.
#[derive(Default)]
pub struct MemoryStore {
    segments: Mutex<BTreeMap<u32, SegmentState>>,
    pre_images: AtomicI64,
}

impl MemoryStore {
    /// The total counts of all segments.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.segments.lock().unwrap().values().for_each(|state| counts.add(&state.counts));
        counts
    }

    /// Number of segments whose last page has been committed.
    pub fn done(&self) -> u32 {
        let segments = self.segments.lock().unwrap();
        segments.values().filter(|state| state.status == SegmentStatus::Done).count() as u32
    }
}

#[async_trait]
impl Checkpoints for MemoryStore {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let mut segments = self.segments.lock().unwrap();
        let state = segments.entry(commit.segment).or_default();
        *state = state.next(&commit.event)?;
        Ok(())
    }

    async fn segments_after(&self, _: RunId, _: Option<u32>, _: u32) -> Result<Vec<(u32, SegmentState)>, StoreError> {
        unreachable!("{UNUSED}")
    }

    async fn totals(&self, _: RunId) -> Result<SegmentTotals, StoreError> {
        unreachable!("{UNUSED}")
    }
}

#[async_trait]
impl History for MemoryStore {
    async fn append_pre_images(&self, _: SessionId, rows: Vec<PreImageRow>) -> Result<Vec<PreImageId>, StoreError> {
        Ok(rows.iter().map(|_| PreImageId::from_number(self.pre_images.fetch_add(1, Ordering::Relaxed))).collect())
    }

    async fn mark_refused(&self, _: SessionId, _: Vec<PreImageId>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn history_of(&self, keys: Vec<ItemKey>, _: HistoryLookup) -> Result<Vec<ItemHistory>, StoreError> {
        Ok(keys.iter().map(|_| ItemHistory::default()).collect())
    }

    async fn pre_images(&self, _: ItemKey, _: Option<Path>) -> Result<Vec<PreImageRecord>, StoreError> {
        unreachable!("{UNUSED}")
    }

    async fn deleted_items(&self, _: DeletedItemsQuery) -> Result<Vec<DeletedItem>, StoreError> {
        unreachable!("{UNUSED}")
    }

    async fn purge_journal(&self) -> Result<u64, StoreError> {
        unreachable!("{UNUSED}")
    }

    async fn delete_counts(&self, _: RunId) -> Result<DeleteCounts, StoreError> {
        Ok(DeleteCounts::default())
    }

    async fn pre_image_count(&self, _: RunId) -> Result<u64, StoreError> {
        unreachable!("{UNUSED}")
    }

    async fn leftovers(&self, _: RunId, _: Leftover, _: u32) -> Result<AffectedItems, StoreError> {
        unreachable!("{UNUSED}")
    }

    async fn record_baseline(&self, _: BaselinePage) -> Result<(), StoreError> {
        Ok(())
    }

    async fn items_under_way(&self, _: RunId, _: u32) -> Result<HashSet<Digest>, StoreError> {
        Ok(HashSet::new())
    }

    async fn is_first_pass(&self, _: RunId) -> Result<bool, StoreError> {
        unreachable!("{UNUSED}")
    }

    async fn preexisting(&self, _: Vec<ItemKey>) -> Result<Vec<ItemHistory>, StoreError> {
        unreachable!("{UNUSED}")
    }

    async fn baseline_complete(&self) -> Result<bool, StoreError> {
        unreachable!("{UNUSED}")
    }

    async fn unrestorable_targets(&self) -> Result<Option<u64>, StoreError> {
        unreachable!("{UNUSED}")
    }

    async fn preexisting_count(&self) -> Result<u64, StoreError> {
        unreachable!("{UNUSED}")
    }
}

const UNUSED: &str = "the engine does not call this";

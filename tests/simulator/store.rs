//! A checkpoint store in memory: the real one has a thread of its own, which virtual time cannot wait for.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use backfill::internals::change::{Digest, Lookup, OnRecord};
use backfill::internals::item::ItemKey;
use backfill::internals::state::{
    CheckpointStore, Commit, Counts, MetPage, PreImageId, PreImageRow, Reservation, RunId, SegmentState, SegmentStatus,
    StoreError,
};

/// Keeps segment states through the real state machine, so that a commit out of order fails as it would in SQLite.
#[derive(Default)]
pub struct MemoryStore {
    segments: Mutex<BTreeMap<u32, SegmentState>>,
    pre_images: AtomicI64,
}

impl MemoryStore {
    /// What all segments counted.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.segments.lock().unwrap().values().for_each(|state| counts.add(&state.counts));
        counts
    }

    /// Segments whose last page is committed.
    pub fn done(&self) -> u32 {
        let segments = self.segments.lock().unwrap();
        segments.values().filter(|state| state.status == SegmentStatus::Done).count() as u32
    }
}

#[async_trait]
impl CheckpointStore for MemoryStore {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let mut segments = self.segments.lock().unwrap();
        let state = segments.entry(commit.segment).or_default();
        *state = state.next(&commit.event)?;
        Ok(())
    }

    async fn append_pre_images(&self, _: RunId, rows: Vec<PreImageRow>) -> Result<Vec<PreImageId>, StoreError> {
        Ok(rows.iter().map(|_| PreImageId(self.pre_images.fetch_add(1, Ordering::Relaxed))).collect())
    }

    async fn recall(&self, keys: Vec<ItemKey>, _: Lookup) -> Result<Vec<OnRecord>, StoreError> {
        Ok(keys.iter().map(|_| OnRecord::default()).collect())
    }

    async fn append_page(&self, _: MetPage) -> Result<(), StoreError> {
        Ok(())
    }

    async fn under_way(&self, _: RunId, _: u32) -> Result<HashSet<Digest>, StoreError> {
        Ok(HashSet::new())
    }

    async fn mark_refused(&self, _: Vec<PreImageId>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn reserve(&self, _: RunId, _: Reservation) -> Result<(), StoreError> {
        Ok(())
    }
}

//! The trait for storing the progress of segments.

use async_trait::async_trait;

use super::{Commit, RunId, SegmentState, SegmentTotals, StoreError};

/// Number of segments that [`Checkpoints::for_each_segment`] reads in one batch. A million segments take 144 MB, and a
/// commit must not wait until all of them are read.
const SEGMENTS_PER_BATCH: u32 = 10_000;

/// Stores and reads the progress of the segments of runs.
#[async_trait]
pub trait Checkpoints: Send + Sync {
    /// Commits a segment's progress together with its failures, diverged items and refused pre-images.
    ///
    /// When this method returns `Ok`, all of this is durable, and [`History::under_way`] no longer returns the items of
    /// the committed pages. After an error, nothing of the commit is stored. After [`StoreError::Broken`], the store
    /// accepts no more changes and the run must stop. The next session can safely read and write the pages again.
    ///
    /// Returns [`StoreError::Fenced`] if a later session of the run has begun. Returns [`StoreError::Refused`] if the
    /// run has no open session, if the run has no such segment, or if the commit has more or fewer records of failures
    /// and diverged items than its counts say. Returns [`StoreError::Transition`] if [`SegmentState::next`] does not
    /// allow the event, and [`StoreError::Corrupt`] if the run or a refused pre-image is unknown.
    ///
    /// [`History::under_way`]: super::History::under_way
    async fn commit(&self, commit: Commit) -> Result<(), StoreError>;

    /// Returns up to `limit` segments of a run that are not pending and have a larger number than `after`, in ascending
    /// order. Each returned state is durable.
    async fn segments_after(
        &self,
        run: RunId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Vec<(u32, SegmentState)>, StoreError>;

    /// The totals over a run's segments: the number of segments in each status, and the sum of their counts.
    async fn totals(&self, run: RunId) -> Result<SegmentTotals, StoreError>;

    /// Calls `visit` for every segment of a run that is not pending, in ascending order. Commits during the call may be
    /// missed.
    async fn for_each_segment(
        &self,
        run: RunId,
        visit: &mut (dyn FnMut(u32, SegmentState) + Send),
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let batch = self.segments_after(run, after, SEGMENTS_PER_BATCH).await?;
            let Some((last, _)) = batch.last() else { return Ok(()) };
            after = Some(*last);
            batch.into_iter().for_each(|(segment, state)| visit(segment, state));
        }
    }
}

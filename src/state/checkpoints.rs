//! The port of segment progress.

use async_trait::async_trait;

use super::{Commit, RunId, SegmentState, SegmentTotals, StoreError};

/// Number of segments that [`Checkpoints::each_segment`] reads in one batch. A million segments take 144 MB, and a
/// commit must not wait until all of them are read.
const SEGMENTS_AT_ONCE: u32 = 10_000;

/// Progress of the segments of runs.
#[async_trait]
pub trait Checkpoints: Send + Sync {
    /// Commits a segment's progress together with its failures, diverged items and refused pre-images.
    ///
    /// When it returns `Ok`, all of this is durable, and [`History::under_way`] no longer lists the items of the
    /// committed pages. After an error, none of it is stored. After [`StoreError::Broken`], the store stores nothing
    /// more and the run must stop. Reading and writing the pages again is safe.
    ///
    /// [`StoreError::Fenced`] if a later session of the run has begun. [`StoreError::Refused`] if the run has no open session,
    /// if the run has no such segment, or if the counts of failures and diverged items do not match the numbers of records.
    /// [`StoreError::Transition`] if [`SegmentState::next`] does not allow the event. [`StoreError::Corrupt`] if the run or a
    /// refused pre-image is unknown.
    ///
    /// [`History::under_way`]: super::History::under_way
    async fn commit(&self, commit: Commit) -> Result<(), StoreError>;

    /// Up to `limit` segments of a run after the segment `after` that are not pending, in ascending order. Each state comes
    /// from a durable commit.
    async fn segments_after(
        &self,
        run: RunId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Vec<(u32, SegmentState)>, StoreError>;

    /// The sum over all segments of a run.
    async fn totals(&self, run: RunId) -> Result<SegmentTotals, StoreError>;

    /// Calls `show` with every segment of a run that is not pending, in ascending order. May miss commits that happen
    /// during the call.
    async fn each_segment(
        &self,
        run: RunId,
        show: &mut (dyn FnMut(u32, SegmentState) + Send),
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let batch = self.segments_after(run, after, SEGMENTS_AT_ONCE).await?;
            let Some((last, _)) = batch.last() else { return Ok(()) };
            after = Some(*last);
            batch.into_iter().for_each(|(segment, state)| show(segment, state));
        }
    }
}

//! The trait for storing the progress of segments.

use async_trait::async_trait;

use super::{Commit, RunId, SegmentState, SegmentTotals, StoreError};

/// Number of segments that [`Checkpoints::for_each_segment`] reads in one batch. The states of a million segments would
/// take 144 MB of memory. Between two batches, the store can carry out commits.
const SEGMENTS_PER_BATCH: u32 = 10_000;

/// Stores and reads the progress of segments.
#[async_trait]
pub trait Checkpoints: Send + Sync {
    /// Commits a segment's progress together with its failures, diverged items and refused pre-images.
    ///
    /// When this method returns `Ok`, the whole commit is durable. The commit also deletes the digests that this
    /// session has stored for the committed pages ([`History::items_under_way`]). After an error, no part of the commit
    /// is stored. After [`StoreError::Broken`], the store accepts no more changes and the run must stop. The next
    /// session can safely read and write the uncommitted pages again.
    ///
    /// Returns [`StoreError::Fenced`] if a later session of the run has begun. Returns [`StoreError::Refused`] in three
    /// cases: the run has no open session, the run has no such segment, or the commit's counts of failures and diverged
    /// items do not match its records. Also returns [`StoreError::Refused`] if the outcome of a recorded failure is not
    /// a failure. Returns [`StoreError::Transition`] if [`SegmentState::next`] does not allow the event. Returns
    /// [`StoreError::Corrupt`] if the run or a refused pre-image is unknown.
    ///
    /// [`History::items_under_way`]: super::History::items_under_way
    async fn commit(&self, commit: Commit) -> Result<(), StoreError>;

    /// Returns up to `limit` segments of a run that are not pending and have a number larger than `after`, in ascending
    /// order. Each returned state is durable.
    async fn segments_after(
        &self,
        run: RunId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Vec<(u32, SegmentState)>, StoreError>;

    /// Returns the totals over a run's segments: the number of segments in each status, and the sum of the segments'
    /// counts.
    async fn totals(&self, run: RunId) -> Result<SegmentTotals, StoreError>;

    /// Calls `visit` for each segment of the run, in ascending order. Leaves out pending segments. Pages that are
    /// committed during the call may be missing from the visited states.
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

//! The port of segment progress.

use async_trait::async_trait;

use super::{Commit, RunId, SegmentState, SegmentTotals, StoreError};

/// Segments that [`Checkpoints::each_segment`] reads at once: a million of them take 144 MB, and no commit may wait behind
/// the reading of all of them.
const SEGMENTS_AT_ONCE: u32 = 10_000;

/// Progress of the segments of runs.
#[async_trait]
pub trait Checkpoints: Send + Sync {
    /// Commits a segment's progress together with everything it rests on: failures, diverged items, refused pre-images.
    ///
    /// When it returns `Ok`, all of it is durable, and the baseline's note of items under way ([`History::under_way`]) no
    /// longer has the items of the committed pages. After an error nothing of it is stored, or the store stores nothing
    /// more ([`StoreError::Broken`]): the run must stop. Reading and writing the pages again is safe.
    ///
    /// [`StoreError::Fenced`] if a later session of the run has begun. [`StoreError::Refused`] if the run has no open session,
    /// if the segment is not one of the run's, or if the counts of failures and diverged items do not match the numbers of
    /// records. [`StoreError::Transition`] if [`SegmentState::next`] does not allow the event. [`StoreError::Corrupt`] if the
    /// run or a refused pre-image is unknown.
    ///
    /// [`History::under_way`]: super::History::under_way
    async fn commit(&self, commit: Commit) -> Result<(), StoreError>;

    /// Up to `limit` segments of a run that are not pending, in ascending order, behind the segment `after`. Each is as a
    /// durable commit left it.
    async fn segments_after(
        &self,
        run: RunId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Vec<(u32, SegmentState)>, StoreError>;

    /// The sum over all segments of a run.
    async fn totals(&self, run: RunId) -> Result<SegmentTotals, StoreError>;

    /// Shows every segment of a run that is not pending, in ascending order. Commits that happen meanwhile may be missing.
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

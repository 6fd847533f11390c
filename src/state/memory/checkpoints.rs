//! Stores the progress of segments.

use async_trait::async_trait;

use super::super::{
    Checkpoints, Commit, Counts, CrashPoint, RunId, SegmentEvent, SegmentState, SegmentStatus, SegmentTotals,
    StoreError, rules,
};
use super::{MemoryState, StateTables};

#[async_trait]
impl Checkpoints for MemoryState {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let points = match self.is_read_only(commit.session) {
            true => (Some(CrashPoint::BaselineCompletion), None),
            false => (Some(CrashPoint::PageUncommitted), Some(CrashPoint::PageCommitted)),
        };
        self.call_at(points, |tables, now| tables.commit(&commit, now)).await
    }

    async fn segments_after(
        &self,
        run: RunId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Vec<(u32, SegmentState)>, StoreError> {
        self.call(|tables, _| {
            let remaining = tables.segments_of(run).filter(|(segment, _)| after.is_none_or(|after| *segment > after));
            Ok(remaining.take(limit as usize).map(|(segment, state)| (segment, state.clone())).collect())
        })
        .await
    }

    async fn totals(&self, run: RunId) -> Result<SegmentTotals, StoreError> {
        self.call(|tables, _| tables.totals(run)).await
    }
}

impl StateTables {
    fn commit(&mut self, commit: &Commit, now: &str) -> Result<(), StoreError> {
        let run = self.run(commit.session.run)?.clone();
        rules::check_commit(&run, commit)?;
        let SegmentEvent::PagesDone { first, pages, next, counts } = &commit.event;
        self.check_pre_images(&commit.refused)?;
        self.advance_segment(run.id, commit.segment, &commit.event, now)?;
        self.run_mut(run.id)?.lower_bound |= counts.unclear > 0;
        for failure in &commit.failures {
            self.put_failure(run.id, commit.segment, failure, now);
        }
        for item in &commit.diverged {
            self.put_diverged(run.id, commit.segment, item, now);
        }
        let last = first + pages - 1;
        let segment_ends = next.is_none();
        self.pages_under_way.retain(|page| {
            let of_segment = page.run == run.id && page.segment == commit.segment;
            !(of_segment && (segment_ends || (page.session == run.sessions && page.page <= last)))
        });
        self.mark_refused(&commit.refused);
        Ok(())
    }

    /// Applies an event to a segment. The number of items with an unclear outcome is not stored for each segment. If
    /// this number is not 0, the run's counts are marked as a lower bound.
    pub(super) fn advance_segment(
        &mut self,
        run: RunId,
        segment: u32,
        event: &SegmentEvent,
        now: &str,
    ) -> Result<(), StoreError> {
        let state = self.segments.get(&(run, segment)).map(|(state, _)| state.clone()).unwrap_or_default();
        let mut state = state.next(event)?;
        state.counts.unclear = 0;
        self.segments.insert((run, segment), (state, now.to_owned()));
        Ok(())
    }

    pub(super) fn totals(&self, run: RunId) -> Result<SegmentTotals, StoreError> {
        let total = self.run(run)?.total_segments;
        let mut scanning = 0;
        let mut done = 0;
        let mut pages = 0;
        let mut counts = Counts::default();
        for (_, state) in self.segments_of(run) {
            match &state.status {
                SegmentStatus::Pending => {}
                SegmentStatus::Scanning(_) => scanning += 1,
                SegmentStatus::Done => done += 1,
            }
            pages += state.pages;
            counts.add(&state.counts);
        }
        let times = self.segments.range((run, 0)..=(run, u32::MAX)).map(|(_, (_, at))| at);
        let last_commit_at = times.max().cloned();
        Ok(SegmentTotals { pending: total - scanning - done, scanning, done, pages, counts, last_commit_at })
    }
}

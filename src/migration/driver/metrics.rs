//! What the driver tells the metrics endpoint.

use super::Driver;
use super::pass::run_name;
use crate::engine::SegmentRanges;
use crate::playbook::Phase;
use crate::state::{RunRecord, SegmentStatus};

impl Driver {
    /// Names the phase of the next passes, if there is an endpoint.
    pub(super) fn name_phase_in_metrics(&self, phase: Phase) {
        if let Some(metrics) = &self.metrics {
            metrics.begin_phase(run_name(phase).unwrap_or("retry"));
        }
    }

    /// Returns the progress of each range of segments in earlier sessions of this run, if `resumes` is set. Without an
    /// endpoint, nothing shows it, so the result is empty.
    pub(super) async fn ranges_before(&self, run: &RunRecord, resumes: bool) -> SegmentRanges {
        let mut ranges = SegmentRanges::new(run.total_segments);
        if self.metrics.is_none() || !resumes {
            return ranges;
        }
        let mut add = |segment: u32, state: crate::state::SegmentState| {
            ranges.add(segment, state.counts.scanned, state.status == SegmentStatus::Done);
        };
        // An error is not reported here: the pass reads the same segments, and fails with it.
        let _ = self.store.for_each_segment(run.id, &mut add).await;
        ranges
    }
}

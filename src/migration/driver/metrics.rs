//! Supplies the metrics endpoint with the driver's phase and progress.

use super::Driver;
use super::pass::run_name;
use crate::engine::SegmentRanges;
use crate::playbook::Phase;
use crate::state::{RunRecord, SegmentStatus};

impl Driver {
    /// Sets the phase of the next pass, if there is a metrics endpoint.
    pub(super) fn name_phase_in_metrics(&self, phase: Phase) {
        if let Some(metrics) = &self.metrics {
            metrics.begin_phase(run_name(phase).unwrap_or("retry"));
        }
    }

    /// Returns the progress that earlier sessions of this run made in each range of segments. The result is empty if
    /// `resumes` is false or if there is no metrics endpoint.
    pub(super) async fn ranges_before(&self, run: &RunRecord, resumes: bool) -> SegmentRanges {
        let mut ranges = SegmentRanges::new(run.total_segments);
        if self.metrics.is_none() || !resumes {
            return ranges;
        }
        let mut add = |segment: u32, state: crate::state::SegmentState| {
            ranges.add(segment, state.counts.scanned, state.status == SegmentStatus::Done);
        };
        // Do not report an error here, because the pass reads the same segments and reports the error itself.
        let _ = self.store.for_each_segment(run.id, &mut add).await;
        ranges
    }
}

//! Shows the progress of a running pass, and stores its pace in the state file.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::Driver;
use crate::clock::Clock;
use crate::engine::Job;
use crate::migration::{Observer, ProgressUpdate};
use crate::state::{self, SegmentTotals, StoredFact};
use crate::telemetry::display::{ProgressLine, ProgressSources};
use crate::telemetry::{PACE_RECORD_INTERVAL, PaceRecord, ProgressMeter};

impl Driver {
    pub(super) fn line(&self, job: &Job, total_segments: u32, before: Option<&SegmentTotals>) -> PassProgress {
        let sources = || job.progress_sources(total_segments, before);
        let recorder =
            spawn_pace_recorder(self.store.clone(), sources(), self.machine.wall(), Arc::clone(&self.observer));
        PassProgress { _recorder: recorder, line: self.show(sources()) }
    }

    /// Shows the progress line if the observer wants it.
    pub(super) fn show(&self, sources: ProgressSources) -> Option<ProgressLine> {
        self.observer.shows_progress_line().then(|| ProgressLine::show(sources))
    }
}

/// The progress of a running pass: the progress line, and the pace in the state file.
pub(super) struct PassProgress {
    line: Option<ProgressLine>,
    _recorder: AbortOnDropHandle<()>,
}

impl PassProgress {
    pub(super) async fn clear(self) {
        if let Some(line) = self.line {
            line.clear().await;
        }
    }
}

/// Until the handle is dropped, stores the pass's pace in the state file for `status`, and reports progress to the
/// observer.
fn spawn_pace_recorder(
    store: state::State,
    sources: ProgressSources,
    wall: Clock,
    observer: Arc<dyn Observer>,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let start = Instant::now();
        let mut tick = tokio::time::interval(PACE_RECORD_INTERVAL);
        let mut pace = ProgressMeter::new(sources.items_before, sources.item_estimate);
        loop {
            tick.tick().await;
            let now = sources.progress.snapshot();
            pace.note(start.elapsed(), now.counts.scanned, now.counts.spend().write);
            observer.progress(&ProgressUpdate {
                items: sources.items_before + now.counts.scanned,
                item_estimate: sources.item_estimate,
                segments_done: sources.segments_before + now.segments_done,
                total_segments: sources.total_segments,
                throttled: now.throttled,
            });
            let record = PaceRecord::new(&pace, wall());
            // Ignore the error, because the pass does not need a recorded pace. If the state file fails, the next
            // commit stops the pass.
            let _ = store.set_fact(StoredFact::Pace, record.to_json().to_string()).await;
        }
    }))
}

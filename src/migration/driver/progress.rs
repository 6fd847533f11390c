//! Shows the progress of a running pass, and stores the pass's pace in the state file.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::Driver;
use crate::clock::Clock;
use crate::engine::Job;
use crate::migration::{Figures, Observer};
use crate::state::{self, KeptFact, SegmentTotals};
use crate::telemetry::display::{Line, Watched};
use crate::telemetry::{KEPT_EVERY, KeptPace, Pace};
impl Driver {
    pub(super) fn line(&self, job: &Job, total_segments: u32, before: Option<&SegmentTotals>) -> Shown {
        let watched = || job.watched(total_segments, before);
        let kept = keep_pace(self.store.clone(), watched(), self.machine.wall(), Arc::clone(&self.observer));
        Shown { _kept: kept, line: self.show(watched()) }
    }

    /// Shows the progress line, if the observer wants it.
    pub(super) fn show(&self, watched: Watched) -> Option<Line> {
        self.observer.shows_progress_line().then(|| Line::show(watched))
    }
}

/// The display of a running pass: a progress line, and the pace in the state file.
pub(super) struct Shown {
    line: Option<Line>,
    _kept: AbortOnDropHandle<()>,
}

impl Shown {
    pub(super) async fn clear(self) {
        if let Some(line) = self.line {
            line.clear().await;
        }
    }
}

/// Stores the pace of a pass in the state file for `status`, and reports to the observer, until the handle is dropped.
fn keep_pace(store: state::State, watched: Watched, wall: Clock, observer: Arc<dyn Observer>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let start = Instant::now();
        let mut tick = tokio::time::interval(KEPT_EVERY);
        let mut pace = Pace::new(watched.items_before, watched.item_estimate);
        loop {
            tick.tick().await;
            let now = watched.progress.snapshot();
            pace.note(start.elapsed(), now.counts.scanned, now.counts.spend().write);
            observer.progress(&Figures {
                items: watched.items_before + now.counts.scanned,
                item_estimate: watched.item_estimate,
                segments_done: watched.segments_before + now.segments_done,
                total_segments: watched.total_segments,
                throttled: now.throttled,
            });
            let kept = KeptPace::of(&pace, wall());
            // Ignore the error: if the state file fails, the next commit stops the pass. The pass does not need a
            // recorded pace.
            let _ = store.keep(KeptFact::Pace, kept.to_json().to_string()).await;
        }
    }))
}

//! Shows the progress of a running pass, and stores its pace and its pace history in the state file.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::Driver;
use crate::engine::Job;
use crate::hooks::PassWatch;
use crate::migration::{Observer, ProgressUpdate};
use crate::state::{RunId, RunRecord, SegmentTotals, State, StoredFact, phase};
use crate::telemetry::display::ProgressLine;
use crate::telemetry::{
    ClocksByRun, PACE_RECORD_INTERVAL, PaceHistory, PaceRecord, PaceSampler, PassView, ProgressSources, RunningMonitor,
    kept_runs,
};

impl Driver {
    /// Watches a pass of this run until [`PassProgress::clear`] is called or the result is dropped. `before` contains
    /// the totals of the run's earlier sessions. Returns `None` if telemetry is off.
    pub(super) async fn watch(
        &self,
        job: &Job,
        run: &RunRecord,
        before: Option<&SegmentTotals>,
    ) -> Option<PassProgress> {
        let sources = job.progress_sources(run.total_segments, before);
        // Use the estimate from the start of the run, so that the percentage never decreases when the table's
        // description changes.
        let item_estimate = match job.changes.restores_items() {
            true => 0,
            false => run.table_items_estimate.unwrap_or(sources.item_estimate),
        };
        let ranges_before = self.ranges_before(run, before.is_some()).await;
        let sources = ProgressSources { item_estimate, ranges_before, ..sources };
        let mut clocks = self.clocks().await;
        if let Some(kept) = self.forget_old_histories().await {
            clocks.keep(&kept);
        }
        let clocks_before = clocks.of(run.id);
        let recorded = self.store.fact(StoredFact::PaceHistory(run.id)).await.ok().flatten();
        let history = recorded.and_then(|text| PaceHistory::from_text(&text)).unwrap_or_default();
        let began = (sources.machine.moments)().wall;
        let sampler = PaceSampler::new(history, began, clocks_before.clone());
        let records = RunRecords { clocks, sampler: Arc::new(Mutex::new(sampler)) };
        self.watch_sources(ProgressSources { clocks_before, ..sources }, run.id, Some(records)).await
    }

    /// Watches a retry of the failures of this run. The run may have ended long ago, so the pace and the time of the
    /// retry are not added to the run's records.
    pub(super) async fn watch_retry(&self, sources: ProgressSources, run: RunId) -> Option<PassProgress> {
        self.watch_sources(sources, run, None).await
    }

    /// Deletes the pace histories of old runs. Returns the runs whose histories and clocks are kept. Returns `None` and
    /// deletes nothing if the state file cannot be read.
    async fn forget_old_histories(&self) -> Option<Vec<RunId>> {
        let mut newest = Vec::new();
        for phase in phase::ALL {
            // If the state file cannot be read, delete nothing. The pass will soon fail, too.
            match self.store.current_run(phase).await {
                Ok(run) => newest.extend(run.map(|run| run.id)),
                Err(_) => return None,
            }
        }
        let kept = kept_runs(&newest);
        // The pass does not depend on this deletion, and the next pass retries the deletion.
        if let Err(error) = self.store.forget_histories(kept.clone()).await {
            tracing::debug!(%error, "the pace histories of old runs were not deleted");
        }
        Some(kept)
    }

    async fn watch_sources(
        &self,
        sources: ProgressSources,
        run: RunId,
        records: Option<RunRecords>,
    ) -> Option<PassProgress> {
        if !self.has_telemetry {
            return None;
        }
        let monitor = RunningMonitor::start(sources);
        self.steerer.show(monitor.views());
        self.metrics.iter().for_each(|metrics| metrics.show(run, &monitor));
        let hooks = self.watch_for_hooks(run, monitor.views());
        let line = self.observer.shows_progress_line().then(|| ProgressLine::show(&monitor));
        let item_estimate = monitor.views().borrow().pace.estimate();
        let observer = Arc::clone(&self.observer);
        let recorder = Recorder { store: self.store.clone(), run, records, observer, item_estimate };
        let _task = AbortOnDropHandle::new(tokio::spawn(recorder.clone().record(monitor.views())));
        Some(PassProgress { line, recorder, monitor, hooks, _task })
    }

    /// Returns the recorded time that each run has spent in each activity so far.
    pub(in crate::migration) async fn clocks(&self) -> ClocksByRun {
        ClocksByRun::from_fact(self.store.fact(StoredFact::ActivityClocks).await)
    }
}

/// Shows the progress of a running pass in the progress line, and stores its pace in the state file.
pub(super) struct PassProgress {
    line: Option<ProgressLine>,
    recorder: Recorder,
    monitor: RunningMonitor,
    hooks: PassWatch,
    _task: AbortOnDropHandle<()>,
}

impl PassProgress {
    /// Removes the progress line, and stores the last pace. Call this function when the pass has ended. Does nothing if
    /// `progress` is `None`.
    pub(super) async fn clear(progress: Option<PassProgress>) {
        let Some(PassProgress { line, recorder, monitor, hooks, _task }) = progress else { return };
        if let Some(line) = line {
            line.clear().await;
        }
        drop(_task);
        let last = monitor.end().await;
        hooks.end(&last).await;
        recorder.store(&last).await;
    }
}

/// Stores the pass's pace in the state file for `status`, stores the history of the pace for `report`, and reports
/// progress to the observer.
#[derive(Clone)]
struct Recorder {
    store: State,
    run: RunId,
    /// `None` for a retry of failures.
    records: Option<RunRecords>,
    observer: Arc<dyn Observer>,
    item_estimate: u64,
}

/// The run's records. The current session adds its own work to them.
#[derive(Clone)]
struct RunRecords {
    /// The clocks of all runs, without the time of the current session.
    clocks: ClocksByRun,
    sampler: Arc<Mutex<PaceSampler>>,
}

impl Recorder {
    async fn record(self, mut views: watch::Receiver<Arc<PassView>>) {
        let mut recorded: Option<Instant> = None;
        let mut activity = None;
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            let changed = activity.replace(view.current.activity) != Some(view.current.activity);
            if recorded.is_none_or(|recorded| recorded.elapsed() + Duration::from_millis(500) >= PACE_RECORD_INTERVAL) {
                recorded = Some(Instant::now());
                self.observer.progress(&ProgressUpdate {
                    items: view.pace.done(),
                    item_estimate: self.item_estimate,
                    segments_done: view.segments_done,
                    total_segments: view.total_segments,
                    throttled: view.figures.throttled,
                });
                self.store(&view).await;
            } else if changed {
                // Store a new activity immediately, so that `status` shows it.
                self.store_pace(&view).await;
            }
            if views.changed().await.is_err() {
                return;
            }
        }
    }

    /// Stores the pace that `status` shows. An error does not stop the pass, because the pass does not need this
    /// record. If the state file is unusable, the next commit stops the pass.
    async fn store_pace(&self, view: &PassView) {
        let record = PaceRecord::new(view, self.run);
        let _ = self.store.set_fact(StoredFact::Pace, record.to_json().to_string()).await;
    }

    /// Stores the pace. If `records` is set, also stores the clocks and the pace history. As in `store_pace`, an error
    /// does not stop the pass.
    async fn store(&self, view: &PassView) {
        self.store_pace(view).await;
        let Some(RunRecords { clocks, sampler }) = &self.records else { return };
        let mut clocks = clocks.clone();
        clocks.set(self.run, view.clocks.clone());
        let history = sampler.lock().unwrap_or_else(PoisonError::into_inner).note(view).to_text();
        let _ = self.store.set_fact(StoredFact::ActivityClocks, clocks.to_text()).await;
        let _ = self.store.set_fact(StoredFact::PaceHistory(self.run), history).await;
    }
}

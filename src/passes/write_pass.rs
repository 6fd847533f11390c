//! Runs one session of a writing pass. All writing passes share this code. A session starts from the run's checkpoints
//! and lasts until the run ends or is stopped.

use std::sync::Arc;

use super::baseline::{BaselinePass, BaselineRecorder};
use crate::dynamodb::Source;
use crate::engine::{Job, LocalScheduler, Requests, SessionResult, StopReason, WritePages, scan_table, schedule};
use crate::plan::Plan;
use crate::state::phase::EXPAND;
use crate::state::{DeleteCounts, RunRecord, RunStatus, State, StoreError, StoredFact};

/// One session of a run that writes.
pub(super) struct WritePass<'a> {
    job: &'a Job,
    store: &'a State,
    run: &'a RunRecord,
    scheduler: LocalScheduler,
    /// The source that the pass reads instead of the table.
    source: Option<Arc<dyn Source>>,
}

impl<'a> WritePass<'a> {
    /// Starts to count the run's spend. Stops the job immediately if the run has already reached a limit.
    pub(super) async fn begin(job: &'a Job, store: &'a State, run: &'a RunRecord) -> Result<WritePass<'a>, StoreError> {
        job.begin_spend(store, run).await?;
        let scheduler = schedule(store, run).await?;
        job.stop_at_limits();
        Ok(WritePass { job, store, run, scheduler, source: None })
    }

    /// Makes the session read pages from this source instead of from the table.
    pub(super) fn with_source(self, source: Arc<dyn Source>) -> WritePass<'a> {
        WritePass { source: Some(source), ..self }
    }

    /// Processes the remaining segments and makes the job's changes. With `baseline`, records the baseline of each item
    /// before its first write.
    pub(super) async fn execute(&self, baseline: Option<BaselineRecorder>, consistent: bool) -> Result<(), StoreError> {
        let requests = match &self.source {
            Some(source) => self.job.requests().with_source(Arc::clone(source)),
            None => self.job.requests(),
        };
        self.execute_with(requests, baseline, consistent).await
    }

    /// Like [`WritePass::execute`], but with this client.
    pub(super) async fn execute_with(
        &self,
        requests: Requests,
        baseline: Option<BaselineRecorder>,
        consistent: bool,
    ) -> Result<(), StoreError> {
        let read_settings = self.job.read_settings_with(self.run.total_segments, consistent);
        match baseline {
            None => {
                let pages = Arc::new(self.pages(&requests, false).await?);
                scan_table(read_settings, &self.scheduler, &requests, Arc::clone(&pages)).await;
                self.finish(&pages).await;
            }
            Some(baseline) => {
                let pages = self.pages(&requests, true).await?;
                let pass = Arc::new(BaselinePass::new(baseline, pages, requests.clone()));
                scan_table(read_settings, &self.scheduler, &requests, Arc::clone(&pass)).await;
                self.finish(pass.pages()).await;
            }
        }
        Ok(())
    }

    async fn pages(&self, requests: &Requests, is_first_pass: bool) -> Result<WritePages, StoreError> {
        let job = self.job;
        let store = self.store;
        let run = self.run;
        let writer = job.writer(store, run);
        let writer = if is_first_pass { writer.in_first_pass() } else { writer };
        let failures = store.open_work(Some(run.id)).await?.failures;
        let limit = job.plan.limits.max_failures;
        let proven = store.is_proven(&run.phase).await?;
        Ok(WritePages::new(writer, store.checkpoints(), run.id, requests.clone(), limit, failures, proven))
    }

    async fn finish(&self, pages: &WritePages) {
        // Ignore the error. The stopper has already recorded it.
        let _ = pages.finish(!self.job.stop.is_stopping()).await;
    }

    /// Ends the session. When this function returns, everything that it reports is durable.
    pub(super) async fn end(self) -> Result<SessionResult, StoreError> {
        let WritePass { job, store, run, .. } = self;
        let spend = job.end_spend(store, run).await?;
        let totals = store.totals(run.id).await?;
        // If a signal arrived after the last page was committed, the run is still complete.
        let complete = totals.done == run.total_segments;
        let left = || StopReason::Internal("segments were left over".into());
        let stopped = (!complete).then(|| job.stop.reason().cloned().unwrap_or_else(left));
        let status = if complete { RunStatus::Complete } else { RunStatus::Stopped };
        let abandoned = if complete { 0 } else { job.progress.snapshot().abandoned_pages };
        let run =
            store.end_session(run.session(), status, stopped.as_ref().map(ToString::to_string), abandoned).await?;
        let open = store.open_work(Some(run.id)).await?;
        let throttles = job.throttles();
        let unusable_replies = job.progress.unusable_replies();
        let deletes = deletes(store, &job.plan, &run).await?;
        Ok(SessionResult { run, totals, spend, throttles, unusable_replies, open, deletes, stopped })
    }
}

/// Returns [`SessionResult::deletes`] of a run. Searches the journal only if the run lost a reply or was killed,
/// because otherwise `applied` counts every delete. If the journal was purged, it no longer shows the deletes.
pub(crate) async fn deletes(store: &State, plan: &Plan, run: &RunRecord) -> Result<Option<DeleteCounts>, StoreError> {
    Ok(match plan.deletion() {
        Some(true) if run.phase == EXPAND && run.lower_bound => {
            let is_purged = store.fact(StoredFact::JournalPurged).await?.is_some();
            if is_purged { None } else { Some(store.delete_counts(run.id).await?) }
        }
        Some(_) | None => None,
    })
}

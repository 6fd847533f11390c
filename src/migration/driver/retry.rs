//! Retries the failures of expand.

use super::Driver;
use super::pass::{PassEnd, PassResult};
use super::progress::PassProgress;
use crate::cutover::Flag;
use crate::engine::Job;
use crate::migration::DriverError;
use crate::playbook::{EventBody, Phase};
use crate::state::{StoreError, phase};
use crate::telemetry::ProgressSources;
impl Driver {
    pub(super) async fn retry(&mut self, job: &Job, flag: Option<Flag>) -> Result<PassEnd, DriverError> {
        let phase = Phase::Retry;
        let Some(run) = self.store.current_run(phase::EXPAND).await? else {
            return Err(
                StoreError::Refused("there is no run yet, so there are no failures. Nothing was done".into()).into()
            );
        };
        self.store.accept(run.session(), self.input.accepted.clone()).await?;
        let due = self.store.open_work_of_phase(&run.phase).await?.failures;
        let sources = ProgressSources { item_estimate: due, ..job.progress_sources(0, None) };
        let progress = self.watch_retry(sources, run.id).await;
        let retried = job.retry_failures(&self.store, &run).await;
        PassProgress::clear(progress).await;
        let retried = retried?;
        let mut stopped = self.stop.reason().cloned();
        if stopped.is_none() {
            stopped = self.complete_phase(phase, flag, EventBody::PhaseComplete { phase, scanned: None }).await?;
        }
        Ok(PassEnd { phase, result: Some(PassResult::Retried(retried)), stopped, unfinished: false })
    }
}

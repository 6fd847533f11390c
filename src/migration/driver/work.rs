//! The passes that write: expand, contract, undo and old-from-new.

use std::sync::Arc;

use super::Driver;
use super::pass::{PassEnd, PassResult, PassStart, run_name};
use super::progress::PassProgress;
use crate::change::Outcome;
use crate::cutover::Flag;
use crate::engine::Job;
use crate::migration::DriverError;
use crate::playbook::{EventBody, Obstacle, Override, Phase};
use crate::state::{BeginMode, NewRun, RunId, RunStatus, phase};
impl Driver {
    pub(super) async fn work(
        &mut self,
        job: &Job,
        phase: Phase,
        restart: bool,
        flag: Option<Flag>,
    ) -> Result<PassEnd, DriverError> {
        let pass_start = self.pass_start(phase).await?;
        let nothing_to_do = match &pass_start {
            PassStart::Ended(run) => {
                !restart && (!self.has_failures(phase, run.id).await? || self.accept_failures(phase, run.id).await?)
            }
            PassStart::New | PassStart::Resumes(_) => job.changes.is_empty(),
        };
        if nothing_to_do {
            let scanned = match &pass_start {
                PassStart::Ended(run) => self.items_read(job, phase, run.id).await?,
                PassStart::New | PassStart::Resumes(_) => None,
            };
            let body = EventBody::PhaseComplete { phase, scanned };
            // If an earlier process carried out the pass, this command does not list the pass as its own work.
            let stopped = match pass_start {
                PassStart::Ended(_) => self.record_end(phase, flag, body).await?,
                PassStart::New | PassStart::Resumes(_) => self.complete_phase(phase, flag, body).await?,
            };
            return Ok(PassEnd { phase, result: None, stopped, unfinished: false });
        }
        let name = run_name(phase).unwrap_or(phase::EXPAND);
        let begin_mode = match (restart, pass_start, self.store.current_run(name).await?) {
            (true, ..) => BeginMode::Restart,
            (_, PassStart::Resumes(_), _) | (.., None) => BeginMode::ResumeOrNew,
            (.., Some(run)) if run.status == RunStatus::Complete => BeginMode::Again,
            // The unfinished run belongs to an abandoned direction of the migration, so do not resume it.
            (.., Some(_)) => BeginMode::Restart,
        };
        let new = NewRun {
            phase: name.into(),
            total_segments: job.segments().segments,
            tool_version: env!("CARGO_PKG_VERSION").into(),
            // If a pass reads the journal instead of the table, its progress cannot be estimated from the table's size.
            table_items_estimate: (!job.changes.restores_items()).then_some(self.description.item_count),
        };
        // The earlier pass recorded a baseline only for the items that it read. For all other items, a restarted run
        // could not distinguish preexisting values from values that the earlier pass wrote. So a baseline pass first
        // records the baseline of these items.
        if (phase, begin_mode) == (Phase::Expand, BeginMode::Restart) && !self.complete_baseline(job).await? {
            let stopped = self.stop.reason().cloned();
            return Ok(PassEnd { phase, result: None, stopped, unfinished: false });
        }
        let session = self.store.begin(begin_mode, new).await?;
        if phase == Phase::Expand {
            self.store.accept(session.run.session(), self.input.accepted.clone()).await?;
        }
        let progress = self.watch(job, &session.run, Some(&self.store.totals(session.run.id).await?)).await;
        let ended = job.work(&self.store, &session).await;
        PassProgress::clear(progress).await;
        let ended = ended?;
        let mut stopped = ended.stopped.clone();
        let unfinished = self.has_failures(phase, ended.run.id).await?;
        if stopped.is_none() && !unfinished {
            let scanned = self.items_read(job, phase, ended.run.id).await?;
            stopped = self.complete_phase(phase, flag, EventBody::PhaseComplete { phase, scanned }).await?;
        }
        Ok(PassEnd { phase, result: Some(PassResult::Worked(Box::new(ended))), stopped, unfinished })
    }

    /// Returns the number of items that a complete run read. Returns `None` if its reads were not strongly consistent.
    async fn items_read(&self, job: &Job, phase: Phase, run: RunId) -> Result<Option<u64>, DriverError> {
        let again = phase == Phase::Expand && !self.store.is_first_pass(run).await?;
        let strongly = again || job.reads_consistently();
        let counts = self.store.totals(run).await?.counts;
        // A listed key without an item counts as scanned, although there was no item to read.
        let missing = if job.plan.keys.is_some() { counts.of(Outcome::Gone) } else { 0 };
        Ok(strongly.then_some(counts.scanned - missing))
    }

    /// Returns whether a run has failures that prevent the end of its phase. Failures of expand do not prevent this
    /// end, because `failures retry` can retry them later.
    async fn has_failures(&self, phase: Phase, run: RunId) -> Result<bool, DriverError> {
        Ok(phase != Phase::Expand && self.store.open_work(Some(run)).await?.failures > 0)
    }

    /// Returns whether the operator gave a `--force` reason to leave failed items unchanged in a rollback or a step
    /// back. If so, records the reason together with the current number of failures, so that the reason does not cover
    /// later failures.
    async fn accept_failures(&mut self, phase: Phase, run: RunId) -> Result<bool, DriverError> {
        let is_way_back = matches!(phase, Phase::OldFromNew | Phase::Undo);
        let Some(reason) = self.input.force.clone().filter(|_| is_way_back) else { return Ok(false) };
        let failed = self.store.open_work(Some(run)).await?.failures;
        let obstacle = Obstacle::ItemsFailed { items: failed };
        self.record(EventBody::Overridden(Override { obstacle, reason })).await?;
        Ok(true)
    }

    async fn complete_baseline(&self, pass_job: &Job) -> Result<bool, DriverError> {
        let mut job = self.job(Phase::Expand).await?;
        // While this job runs, an operator's rate must apply to this job. Afterwards, it must apply to the pass again.
        self.steerer.begin_pass(job.table_watch.clone()).await;
        let dual_writes = pass_job.changes.dual_writes() || self.state.dual_written;
        job.changes = Arc::new(job.changes.as_ref().clone().with_dual_writes(dual_writes));
        let Some(pass) = self.store.current_run(phase::EXPAND).await? else { return Ok(true) };
        let progress = self.watch(&job, &pass, Some(&self.store.totals(pass.id).await?)).await;
        let done = job.complete_baseline(&self.store).await;
        PassProgress::clear(progress).await;
        self.steerer.begin_pass(pass_job.table_watch.clone()).await;
        Ok(done?)
    }
}

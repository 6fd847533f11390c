//! The passes that write: expand, contract, undo and old-from-new.

use std::sync::Arc;

use super::Driver;
use super::pass::{Begins, PassEnd, PassResult, run_name};
use crate::cutover::Flag;
use crate::engine::Job;
use crate::migration::DriverError;
use crate::playbook::{Obstacle, Override, Phase, What};
use crate::state::{Begin, NewRun, RunId, RunStatus, phase};
impl Driver {
    pub(super) async fn work(
        &mut self,
        job: &Job,
        phase: Phase,
        restart: bool,
        flag: Option<Flag>,
    ) -> Result<PassEnd, DriverError> {
        let begins = self.begins(phase).await?;
        let over = match &begins {
            Begins::Ended(run) => {
                !restart && (!self.left_failures(phase, run.id).await? || self.leaves_them(phase, run.id).await?)
            }
            Begins::New | Begins::Resumes(_) => job.changes.is_empty(),
        };
        if over {
            let scanned = match &begins {
                Begins::Ended(run) => self.read_by(job, phase, run.id).await?,
                Begins::New | Begins::Resumes(_) => None,
            };
            let what = What::PhaseComplete { phase, scanned };
            // If an earlier process carried out the pass, it is not one of the passes that this command has completed.
            let stopped = match begins {
                Begins::Ended(_) => self.put_end(phase, flag, what).await?,
                Begins::New | Begins::Resumes(_) => self.end(phase, flag, what).await?,
            };
            return Ok(PassEnd { phase, result: None, stopped, unfinished: false });
        }
        let name = run_name(phase).unwrap_or(phase::EXPAND);
        let how = match (restart, begins, self.store.current_run(name).await?) {
            (true, ..) => Begin::Restart,
            (_, Begins::Resumes(_), _) | (.., None) => Begin::ResumeOrNew,
            (.., Some(run)) if run.status == RunStatus::Complete => Begin::Again,
            // This run belongs to an abandoned direction of the migration, so it will not be resumed.
            (.., Some(_)) => Begin::Restart,
        };
        let new = NewRun {
            phase: name.into(),
            total_segments: job.segments().segments,
            tool_version: env!("CARGO_PKG_VERSION").into(),
            table_items_estimate: Some(self.description.item_count),
        };
        // The earlier pass recorded a baseline only for the items that it read. A restarted run cannot distinguish the
        // other items from items that the earlier pass wrote. So a baseline pass covers the other items first.
        if (phase, how) == (Phase::Expand, Begin::Restart) && !self.complete_baseline(job).await? {
            let stopped = self.stop.reason().cloned();
            return Ok(PassEnd { phase, result: None, stopped, unfinished: false });
        }
        let session = self.store.begin(how, new).await?;
        if phase == Phase::Expand {
            self.store.accept(session.run.session(), self.input.accepted.clone()).await?;
        }
        let line = self.line(job, session.run.total_segments, Some(&self.store.totals(session.run.id).await?));
        let ended = job.work(&self.store, &session).await;
        line.clear().await;
        let ended = ended?;
        let mut stopped = ended.stopped.clone();
        let unfinished = self.left_failures(phase, ended.run.id).await?;
        if stopped.is_none() && !unfinished {
            let scanned = self.read_by(job, phase, ended.run.id).await?;
            stopped = self.end(phase, flag, What::PhaseComplete { phase, scanned }).await?;
        }
        Ok(PassEnd { phase, result: Some(PassResult::Worked(Box::new(ended))), stopped, unfinished })
    }

    /// Number of items that a complete run read; `None` if its reads were not strongly consistent.
    async fn read_by(&self, job: &Job, phase: Phase, run: RunId) -> Result<Option<u64>, DriverError> {
        let again = phase == Phase::Expand && !self.store.is_first_pass(run).await?;
        let strongly = again || job.reads_consistently();
        Ok(if strongly { Some(self.store.totals(run).await?.counts.scanned) } else { None })
    }

    /// Whether a run left failures that keep its phase from ending. Failures of expand do not keep the phase from
    /// ending, because `failures retry` handles them.
    async fn left_failures(&self, phase: Phase, run: RunId) -> Result<bool, DriverError> {
        Ok(phase != Phase::Expand && self.store.open_work(Some(run)).await?.failures > 0)
    }

    /// Whether the operator gave a `--force` reason to leave items unchanged that failed on the way back. If so,
    /// records the reason with the current number of failures. The override does not cover items that fail later.
    async fn leaves_them(&mut self, phase: Phase, run: RunId) -> Result<bool, DriverError> {
        let goes_back = matches!(phase, Phase::OldFromNew | Phase::Undo);
        let Some(reason) = self.input.force.clone().filter(|_| goes_back) else { return Ok(false) };
        let failed = self.store.open_work(Some(run)).await?.failures;
        let obstacle = Obstacle::ItemsFailed { items: failed };
        self.record(What::Overridden(Override { obstacle, reason })).await?;
        Ok(true)
    }

    async fn complete_baseline(&self, of: &Job) -> Result<bool, DriverError> {
        let mut job = self.job(Phase::Expand)?;
        let dual_writes = of.changes.dual_writes() || self.state.dual_written;
        job.changes = Arc::new(job.changes.as_ref().clone().beside_dual_writes(dual_writes));
        let Some(pass) = self.store.current_run(phase::EXPAND).await? else { return Ok(true) };
        let line = self.line(&job, pass.total_segments, Some(&self.store.totals(pass.id).await?));
        let done = job.complete_baseline(&self.store).await;
        line.clear().await;
        Ok(done?)
    }
}

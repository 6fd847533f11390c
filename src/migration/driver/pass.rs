//! Carries out the playbook's passes, and records their completion.

use std::sync::Arc;

use super::Driver;
use super::flag_watch::{FlagWatch, flag_change_reason, flag_removal_reason};
use crate::cutover::{Flag, WriteTo};
use crate::engine::{DESCRIBE_INTERVAL, Job, SessionResult, StopReason};
use crate::expr::Facts;
use crate::migration::pause_file::PauseFile;
use crate::migration::{DriverError, job_for_phase};
use crate::passes::RetryResult;
use crate::passes::verify::VerificationResult;
use crate::plan::PlanLimits;
use crate::playbook::{EventBody, Phase};
use crate::preflight::Acceptance;
use crate::ratelimit::{ResolvedBudgets, resolve_within};
use crate::state::{RunId, RunRecord, RunStatus, StoredFact, phase};

/// How the run of a phase begins.
#[derive(Debug, Clone, PartialEq)]
pub enum PassStart {
    /// The run is new.
    New,
    /// A run resumes from its checkpoints.
    Resumes(Box<RunRecord>),
    /// The run is already complete, but the end of its phase has not been recorded yet.
    Ended(Box<RunRecord>),
}

/// The outcome of a pass.
#[derive(Debug)]
pub struct PassEnd {
    /// The phase.
    pub phase: Phase,
    /// The result. `None` if there was nothing to do.
    pub result: Option<PassResult>,
    /// The reason why the pass stopped early. `None` if the pass completed. The same command resumes a stopped pass.
    pub stopped: Option<StopReason>,
    /// Whether failed items prevent the end of the phase. If so, the same command starts a new pass.
    pub unfinished: bool,
}

/// The result of a phase.
#[derive(Debug)]
pub enum PassResult {
    /// The result of a pass that writes.
    Worked(Box<SessionResult>),
    /// The result of a verification.
    Verified(Box<VerificationResult>),
    /// The result of a retry of the failures.
    Retried(RetryResult),
}

impl Driver {
    /// Decides how the run of this phase begins, based on the recorded runs.
    pub async fn pass_start(&self, phase: Phase) -> Result<PassStart, DriverError> {
        let behind =
            self.phase_starts.iter().find(|(begun, _)| *begun == phase).map_or(RunId::NONE, |(_, behind)| *behind);
        let current = match run_name(phase) {
            Some(name) => self.store.current_run(name).await?,
            None => None,
        };
        Ok(match current.filter(|run| run.id > behind) {
            Some(run) if run.status == RunStatus::Complete => PassStart::Ended(Box::new(run)),
            Some(run) if run.can_be_resumed() => PassStart::Resumes(Box::new(run)),
            _ => PassStart::New,
        })
    }

    /// Returns the job of a phase.
    pub async fn job(&self, phase: Phase) -> Result<Job, DriverError> {
        let mut plan = self.plan.clone();
        if self.is_way_back {
            plan.limits = PlanLimits::none();
        }
        if let Some(accepted) = &self.state.preflight {
            // The recorded start time does not change, so every session computes the same values.
            plan.facts = Facts { started_at: accepted.at };
        }
        plan.capacity = self.steerer.capacity().await;
        let steered = plan.capacity != self.plan.capacity;
        let steered = steered.then(|| resolve_within(&plan.capacity, &self.description).budgets);
        let budgets = steered.as_ref().unwrap_or(&self.budgets);
        let mut job =
            job_for_phase(phase, &plan, &self.tables, &self.description, budgets)?.with_machine(self.machine.clone());
        if !self.has_telemetry {
            job = job.without_measures();
        }
        if let Some(programs) = &self.programs {
            job.programs = Some(Arc::clone(programs));
        }
        job.stop = self.stop.clone();
        job.journal_purged_at = self.store.fact(StoredFact::JournalPurged).await?;
        job.pause = self.steerer.pause();
        // In a rollback or a step back, a pass waits only briefly for the table's description.
        job.urgent = self.is_way_back;
        // The same process can run two phases a week apart. So the job rereads the table's description if the
        // description is too old.
        job.watch_table(self.described_at, DESCRIBE_INTERVAL);
        job.validities.extend(self.lease.clone());
        Ok(job)
    }

    /// Returns the budgets that result from an operator's rate. Returns `None` if the plan's budgets apply.
    pub async fn steered_budgets(&self) -> Option<ResolvedBudgets> {
        let capacity = self.steerer.capacity().await;
        (capacity != self.plan.capacity).then(|| resolve_within(&capacity, &self.description))
    }

    /// Carries out the pass of this phase, or resumes its run. Records the end of the phase if the pass completes and
    /// no failed item prevents this end. If `restart` is set, an expand pass starts from the beginning.
    pub async fn run_pass(&mut self, phase: Phase, restart: bool) -> Result<PassEnd, DriverError> {
        self.name_phase_in_metrics(phase);
        self.name_phase_in_hooks(phase);
        // Run the health checks before reading the flag. A check can take a while, and the read of the flag must be
        // recent.
        let _health = self.watch_health().await;
        let moments = Arc::clone(&self.machine.moments);
        let requested_at = moments();
        let flag = self.flag().await?;
        let mut job = self.job(phase).await?;
        self.steerer.begin_pass(job.table_watch.clone()).await;
        // Like the plan's limits, the pause file does not apply to `rollback` and `cutover --back`.
        let _pause_file = match self.plan.steering.pause_file.clone().filter(|_| !self.is_way_back) {
            Some(path) => Some(PauseFile::watch(path, self.steerer.pause()).await),
            None => None,
        };
        let watched = self.flags.as_ref().zip(flag.as_ref()).map(|(flags, flag)| {
            let flags = Arc::clone(flags);
            let plan = self.plan.clone();
            let began = flag.clone();
            let stop = self.stop.clone();
            FlagWatch { flags, plan, phase, began, stop }.begin(requested_at, moments)
        });
        let (validity, _watch) = watched.unzip();
        job.validities.extend(validity);
        if self.edits_encrypted(phase, restart).await? {
            job.allow_encrypted_edits();
        }
        let dual_writes = flag.as_ref().is_some_and(|flag| flag.write == WriteTo::Both);
        let dual_writes = dual_writes || (phase == Phase::Undo && self.state.dual_written);
        job.changes = Arc::new(job.changes.as_ref().clone().with_dual_writes(dual_writes));
        let ended = match phase {
            Phase::Verify { scope, repair } => Box::pin(self.verify(&job, scope, repair, flag)).await,
            Phase::Retry => Box::pin(self.retry(&job, flag)).await,
            Phase::Expand | Phase::OldFromNew | Phase::Undo | Phase::Contract => {
                Box::pin(self.work(&job, phase, restart, flag)).await
            }
        };
        self.steerer.end_pass();
        self.announce_end(&ended);
        ended
    }

    /// Returns whether the operator accepted that this pass changes items that are signed on the client. The acceptance
    /// is either part of this command, or recorded with the newest expand run. A recorded acceptance is valid for every
    /// pass except a new expand run. If a retry or a repair starts with this acceptance, it is also recorded with the
    /// newest expand run.
    async fn edits_encrypted(&self, phase: Phase, restart: bool) -> Result<bool, DriverError> {
        let run = self.store.current_run(phase::EXPAND).await?;
        let uses_recorded_run =
            phase != Phase::Expand || (!restart && matches!(self.pass_start(phase).await?, PassStart::Resumes(_)));
        let accepted_in_run = match run.filter(|_| uses_recorded_run) {
            Some(run) => self.store.accepted(run.id).await?,
            None => Vec::new(),
        };
        let name = Acceptance::ClientEncryption.name();
        Ok(self.input.accepted.iter().chain(&accepted_in_run).any(|accepted| accepted == name))
    }

    /// Records the end of a phase after this process has carried out the pass.
    pub(super) async fn complete_phase(
        &mut self,
        phase: Phase,
        flag: Option<Flag>,
        body: EventBody,
    ) -> Result<Option<StopReason>, DriverError> {
        let stopped = self.record_end(phase, flag, body).await?;
        if stopped.is_none() {
            self.completed.push(phase);
        }
        Ok(stopped)
    }

    /// Records the end of a phase. If the flag changed during the last pages of the pass, records nothing and returns
    /// the stop reason.
    pub(super) async fn record_end(
        &mut self,
        phase: Phase,
        flag: Option<Flag>,
        body: EventBody,
    ) -> Result<Option<StopReason>, DriverError> {
        if let (Some(_), Some(began)) = (&self.flags, flag) {
            let why = match self.flag().await? {
                Some(now) => flag_change_reason(phase, &began, &now),
                None => Some(flag_removal_reason(&began)),
            };
            if let Some(why) = why {
                return Ok(Some(StopReason::FlagMoved(why)));
            }
        }
        self.record(body).await?;
        Ok(None)
    }
}

/// Returns the name of a phase's runs in the state file.
pub(super) fn run_name(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Expand => Some(phase::EXPAND),
        Phase::Contract => Some(phase::CONTRACT),
        Phase::OldFromNew => Some(phase::OLD_EQUAL_NEW),
        Phase::Undo => Some(phase::ROLLBACK),
        Phase::Verify { .. } => Some(phase::VERIFY),
        Phase::Retry => None,
    }
}

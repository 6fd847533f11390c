//! The commands that only read the table: check and dry run.

use std::sync::Arc;

use tokio::time::Instant;

use crate::clock::wall_clock;
use crate::engine::{DESCRIBE_INTERVAL, Job, LocalScheduler, ReadSettings, auto_segments, scan_table};
use crate::health::ask_once;
use crate::migration::preflight::recorded;
use crate::migration::target::MigrationTarget;
use crate::migration::{
    CheckOptions, CheckOutcome, DryRunOptions, DryRunOutcome, DryRunPhase, FlagRecord, ItemsRead, Migration,
    MigrationError, PreflightReport, StatusOptions, job_for_phase, kind, run_preflight,
};
use crate::passes::{DryRun, Prediction};
use crate::playbook::{CutoverTarget, Goal, MigrationStage, MigrationStatus, NextCommand, Phase, PlanKind};
use crate::preflight::{
    Acceptance, FinishRequirements, SampleResult, SampleSize, check_begun_plan, health_findings, sample,
};
use crate::ratelimit::Budgets;
use crate::state::phase::EXPAND;
use crate::state::{self, HistoryReader, Identity};
use crate::telemetry::RunningMonitor;
use crate::telemetry::display::ProgressLine;

impl Migration {
    /// Checks the plan against the table and estimates the cost of a run. Changes nothing.
    ///
    /// # Errors
    ///
    /// Fails if the table cannot be reached, or if the plan does not fit the table. Findings are not an error.
    /// [`CheckOutcome::refuses`] returns whether they would block a run.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.check(&backfill::CheckOptions::default()).await?;
    /// for finding in outcome.findings() {
    ///     println!("{}: {}", finding.id, finding.text());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn check(&self, options: &CheckOptions) -> Result<CheckOutcome, MigrationError> {
        let target = Box::pin(self.target(self.check_of_run().await)).await?;
        // This call fails if `run` would have nothing to do.
        let mut job = target.job_accepting(&options.accept)?;
        let sampled: Option<SampleResult> = match options.sample {
            None => None,
            Some(size) => Some(self.sampled(&mut job, size).await?),
        };
        let read = sampled.as_ref().map_or(ItemsRead::Nothing, ItemsRead::Sample);
        let plan = &target.plan;
        let clock = wall_clock();
        let (mut found, answers) = tokio::join!(
            run_preflight(&target, &job, read, options.accept.clone()),
            ask_once(&plan.health_checks, &plan.table, &clock)
        );
        found.findings.extend(health_findings(&plan.health_checks, &answers));
        found.findings.sort_by_key(|finding| finding.severity);
        let table = &target.description;
        let budgets = &target.resolved.budgets;
        let lanes = |budgets: &Budgets| auto_segments(&plan.scan, table, budgets).lanes();
        let finish =
            options.finish_in.map(|time| FinishRequirements::of(time, &found.estimate, plan, table, budgets, lanes));
        let segments = job.segments();
        let stopped = job.stop.reason().cloned();
        let PreflightReport { findings, estimate, accepted } = found;
        let begun = self.begun().await;
        Ok(CheckOutcome { target, segments, estimate, finish, sampled, findings, accepted, stopped, begun })
    }

    /// Returns the stage and the next command of the migration. Returns `None` if the migration has not begun, or if
    /// the state file belongs to another plan or cannot be read.
    async fn begun(&self) -> Option<MigrationStatus> {
        if state::is_absent(&self.state).await {
            return None;
        }
        let outcome = Box::pin(self.status(&StatusOptions::default())).await.ok()?;
        let status = &outcome.snapshot().status;
        (outcome.matches_plan() && status.stage != MigrationStage::Preflight).then(|| status.clone())
    }

    /// Counts the changes that a command would make to the table now, and reports the preflight's findings. Writes
    /// nothing. Continues regardless of the findings.
    ///
    /// # Errors
    ///
    /// Fails if the table cannot be reached, or if the plan does not fit the table. A dry run of contract or rollback
    /// also fails without a state file.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.dry_run(&backfill::DryRunOptions::default()).await?;
    /// println!("{}", outcome.report().to_json());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn dry_run(&self, options: &DryRunOptions) -> Result<DryRunOutcome, MigrationError> {
        match options.of {
            DryRunPhase::Run => {
                let target = Box::pin(self.target(self.check_of_run().await)).await?;
                let recorded = recorded(&target, EXPAND).await.filter(|(run, _)| run.can_be_resumed());
                let accepted: Vec<Acceptance> =
                    all_accepted(&options.accept, recorded.iter().flat_map(|run| run.1.iter().copied()));
                let job = target.job_accepting(&accepted)?;
                // If the migration replaces an old attribute, begin with dual writes, so that items inserted behind the
                // scan position get both attributes.
                let kind = kind(&target.plan);
                let has_dual_writes = matches!(kind, PlanKind::Flagged | PlanKind::Stated);
                let begun = self.begun().await;
                let goal = match has_dual_writes && begun.is_none() {
                    true => Goal::CutoverTo(CutoverTarget::DualWrite),
                    false => Goal::Run { again: false },
                };
                let plan_may_change = state::is_absent(&target.state).await;
                let is_resumed = recorded.is_some();
                let next = (goal, if is_resumed { Vec::new() } else { options.accept.clone() }, begun);
                let records = records_of_parts(&target, &job).await?;
                let counted = Box::pin(self.count(target, job, records, next, options.sample, accepted)).await?;
                Ok(DryRunOutcome { plan_may_change, ..counted })
            }
            DryRunPhase::Contract => Box::pin(self.dry_run_of(Phase::Contract, &options.accept)).await,
            DryRunPhase::Rollback => Box::pin(self.dry_run_of(Phase::Undo, &options.accept)).await,
        }
    }

    /// Simulates contract or rollback, based on the records in the state file.
    async fn dry_run_of(&self, phase: Phase, accept: &[Acceptance]) -> Result<DryRunOutcome, MigrationError> {
        if phase == Phase::Undo && self.plan().deletes_items() {
            let why = "a dry run reads the table, which does not contain the deleted items. Nothing was done. The \
                       journal lists the items that a rollback restores";
            return Err(MigrationError::Refused {
                why: why.to_owned(),
                next: self.commands.render("journal"),
                not_before: None,
            });
        }
        if phase == Phase::Undo && self.plan().puts_items() {
            let why = "a dry run reads the table, and a rollback of derived items reads the journal. Nothing was done. The \
                       journal lists the derived items that a rollback deletes";
            return Err(MigrationError::Refused {
                why: why.to_owned(),
                next: self.commands.render("journal"),
                not_before: None,
            });
        }
        let target = match phase {
            Phase::Contract => Box::pin(self.target(check_begun_plan)).await?,
            Phase::Expand | Phase::Retry | Phase::Verify { .. } | Phase::OldFromNew | Phase::Undo => {
                Box::pin(self.way_back_target()).await?
            }
        };
        let MigrationTarget { plan, tables, description, resolved, .. } = &target;
        let mut job = job_for_phase(phase, plan, tables, description, &resolved.budgets)?;
        let accepted = all_accepted(accept, recorded(&target, EXPAND).await.into_iter().flat_map(|run| run.1));
        if accepted.contains(&Acceptance::ClientEncryption) {
            job.allow_encrypted_edits();
        }
        let file = state::read(&target.state)?;
        file.check_identity(&Identity::from_plan(plan, description)).await?;
        let goal = if phase == Phase::Contract { Goal::Contract } else { Goal::Rollback };
        let unrecorded = phase == Phase::Undo && file.pairs_unrecorded().await?;
        let flag = if phase == Phase::Undo { FlagRecord::from_file(file.as_ref()).await } else { None };
        let begun = if phase == Phase::Contract { self.begun().await } else { None };
        let mut outcome = self.count(target, job, Some(file), (goal, accept.to_vec(), begun), None, accepted).await?;
        outcome.pairs_unrecorded = unrecorded;
        outcome.ignores_limits = phase == Phase::Undo;
        outcome.leaves_out_old_from_new = flag.is_some_and(|record| record.flag.old_stale);
        Ok(outcome)
    }

    async fn count(
        &self,
        target: MigrationTarget,
        mut job: Job,
        records: Option<Arc<dyn HistoryReader>>,
        (goal, given, begun): (Goal, Vec<Acceptance>, Option<MigrationStatus>),
        size: Option<SampleSize>,
        accepted: Vec<Acceptance>,
    ) -> Result<DryRunOutcome, MigrationError> {
        let (found, sampled) = match size {
            None => (self.read_whole_table(&mut job, records, goal).await?, None),
            Some(size) => (Prediction::default(), Some(self.sampled(&mut job, size).await?)),
        };
        let read = sampled.as_ref().map_or(ItemsRead::Whole(&found), ItemsRead::Sample);
        let report = run_preflight(&target, &job, read, accepted).await;
        report.notify(self.observer.as_ref());
        let PreflightReport { findings, estimate, accepted } = report;
        // The suggested next command accepts the findings that this command accepted, and the other findings that would
        // block it.
        let begins = matches!(goal, Goal::Run { .. } | Goal::CutoverTo(_));
        let needed = findings.iter().filter(|finding| begins && finding.refuses(&accepted));
        let needed = given.into_iter().chain(needed.filter_map(|finding| finding.accept)).map(Acceptance::name);
        let of_goal = match goal {
            Goal::CutoverTo(CutoverTarget::DualWrite) => NextCommand::first_dual_write(kind(&target.plan)),
            Goal::Run { .. }
            | Goal::FailuresRetry
            | Goal::Verify { .. }
            | Goal::CutoverTo(_)
            | Goal::Back { .. }
            | Goal::Contract
            | Goal::Rollback => goal.into(),
        };
        let (next, not_before) = begun.map_or((Some(of_goal), None), |status| (status.next, status.not_before));
        let next = next.map(|next| next.with_accepted(goal, needed).render(&target.commands));
        let stopped = job.stop.reason().cloned();
        Ok(DryRunOutcome {
            target,
            found,
            estimate,
            sampled,
            findings,
            accepted,
            stopped,
            pairs_unrecorded: false,
            leaves_out_old_from_new: false,
            ignores_limits: false,
            plan_may_change: false,
            next,
            not_before,
        })
    }

    /// Reads a sample of the table.
    async fn sampled(&self, job: &mut Job, size: SampleSize) -> Result<SampleResult, MigrationError> {
        let line = self.begin(job)?;
        let sampled = sample(job, size, job.machine.random.number()).await;
        clear(line).await;
        Ok(sampled?)
    }

    /// Reads the whole table.
    async fn read_whole_table(
        &self,
        job: &mut Job,
        records: Option<Arc<dyn HistoryReader>>,
        goal: Goal,
    ) -> Result<Prediction, MigrationError> {
        let line = self.begin(job)?;
        let segments = job.segments().segments;
        let requests = match goal {
            Goal::Run { .. } | Goal::CutoverTo(_) => job.expand_requests(),
            Goal::FailuresRetry | Goal::Verify { .. } | Goal::Back { .. } | Goal::Contract | Goal::Rollback => {
                job.requests()
            }
        };
        let handler = Arc::new(DryRun::new(job, records));
        // A dry run skips the survey, which finds large item collections so that a run can start with them. A dry run
        // only reads, so even a large collection takes little time. The survey would cost more than it would save.
        let read_settings = ReadSettings { survey: None, ..job.dry_run_read_settings(segments) };
        scan_table(read_settings, &LocalScheduler::new(segments), &requests, handler.clone()).await;
        clear(line).await;
        Ok(handler.prediction())
    }

    /// Connects the job to this migration's stopper, and shows the job's progress.
    pub(super) fn begin(&self, job: &mut Job) -> Result<Option<(RunningMonitor, ProgressLine)>, MigrationError> {
        job.stop = self.stop.clone();
        // Set `job.stop` before the next call. That call starts a task that reads the table's description, and this
        // task must stop with the job.
        job.watch_table(Instant::now(), DESCRIBE_INTERVAL);
        self.observer.opened(&job.stop)?;
        let shows = self.observer.shows_progress_line();
        Ok(shows.then(|| {
            let monitor = RunningMonitor::start(job.progress_sources(job.segments().segments, None));
            let line = ProgressLine::show(&monitor);
            (monitor, line)
        }))
    }
}

/// Returns the records of a run's earlier processes, if they may have written only a part of an item. Returns `None` if
/// there are none for this plan and table.
async fn records_of_parts(
    target: &MigrationTarget,
    job: &Job,
) -> Result<Option<Arc<dyn HistoryReader>>, MigrationError> {
    if !job.changes.may_be_partly_written() || state::is_absent(&target.state).await {
        return Ok(None);
    }
    let file = state::read(&target.state)?;
    let ours = Identity::from_plan(&target.plan, &target.description);
    let is_ours = file.has_begun().await? && file.identity().await?.matches(&ours);
    Ok(is_ours.then_some(file as Arc<dyn HistoryReader>))
}

fn all_accepted(accept: &[Acceptance], recorded: impl Iterator<Item = Acceptance>) -> Vec<Acceptance> {
    accept.iter().copied().chain(recorded).collect()
}

/// Removes the progress line.
pub(super) async fn clear(line: Option<(RunningMonitor, ProgressLine)>) {
    if let Some((_monitor, line)) = line {
        line.clear().await;
    }
}

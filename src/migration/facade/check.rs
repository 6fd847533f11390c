//! Commands that only read the table: check and dry run.

use std::sync::Arc;

use tokio::time::Instant;

use crate::engine::{Job, LOOK_EVERY, LocalScheduler, Reading, auto_segments, sweep};
use crate::migration::preflight::recorded;
use crate::migration::target::Target;
use crate::migration::{
    CheckOptions, CheckOutcome, DryRunOf, DryRunOptions, DryRunOutcome, Migration, MigrationError, Preflight, Read,
    hold_preflight, job_of, kind,
};
use crate::passes::{DryRun, Prediction};
use crate::playbook::{Goal, Kind, Next, Phase, Target as Step};
use crate::preflight::{
    Accept, Finish, Fits, SampleSize, Sampled, check_begun_plan, check_plan, check_way_back, sample,
};
use crate::ratelimit::Budgets;
use crate::state::phase::EXPAND;
use crate::state::{self, Identity, Records};
use crate::telemetry::display::Line;

impl Migration {
    /// Checks the plan against the table and estimates the cost of a run. Changes nothing.
    ///
    /// # Errors
    ///
    /// Fails if the table cannot be reached, or if the plan does not fit the table. Findings are not an error:
    /// [`CheckOutcome::refuses`] says whether they would block a run.
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
        let target = Box::pin(self.target(check_plan)).await?;
        // This call also refuses a plan that gives `run` nothing to do.
        let mut job = target.job_accepting(&options.accept)?;
        let sampled: Option<Sampled> = match options.sample {
            None => None,
            Some(size) => Some(self.sampled(&mut job, size).await?),
        };
        let read = sampled.as_ref().map_or(Read::Nothing, Read::Part);
        let found = hold_preflight(&target, &job, read, options.accept.clone()).await;
        let plan = &target.plan;
        let table = &target.description;
        let budgets = &target.resolved.budgets;
        let lanes = |budgets: &Budgets| auto_segments(&plan.scan, table, budgets).lanes();
        let finish = options.finish_in.map(|time| Finish::of(time, &found.estimate, plan, table, budgets, lanes));
        let segments = job.segments();
        let stopped = job.stop.reason().cloned();
        let Preflight { findings, estimate, accepted } = found;
        Ok(CheckOutcome { target, segments, estimate, finish, findings, accepted, stopped })
    }

    /// Counts the changes that a command would make to the current table, and reports the findings of the preflight.
    /// Writes nothing and refuses nothing.
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
            DryRunOf::Run => {
                let target = Box::pin(self.target(check_plan)).await?;
                let recorded = recorded(&target, EXPAND).await.filter(|(run, _)| run.can_be_resumed());
                let accepted: Vec<Accept> = with(&options.accept, recorded.into_iter().flat_map(|run| run.1));
                let job = target.job_accepting(&accepted)?;
                // With a flag, the migration begins with dual writes, so that items inserted behind the scan position
                // get both attributes.
                let begins = kind(&target.plan) == Kind::Flagged && state::is_absent(&target.state).await;
                let goal = if begins { Goal::CutoverTo(Step::DualWrite) } else { Goal::Run { again: false } };
                Box::pin(self.count(target, job, None, goal, options.sample, accepted)).await
            }
            DryRunOf::Contract => Box::pin(self.dry_run_of(Phase::Contract, &options.accept)).await,
            DryRunOf::Rollback => Box::pin(self.dry_run_of(Phase::Undo, &options.accept)).await,
        }
    }

    /// Makes a dry run of contract or rollback, based on the records in the state file.
    async fn dry_run_of(&self, phase: Phase, accept: &[Accept]) -> Result<DryRunOutcome, MigrationError> {
        let fits: Fits = if phase == Phase::Contract { check_begun_plan } else { check_way_back };
        let target = Box::pin(self.target(fits)).await?;
        let Target { plan, tables, description, resolved, .. } = &target;
        let mut job = job_of(phase, plan, tables, description, &resolved.budgets)?;
        let accepted = with(accept, recorded(&target, EXPAND).await.into_iter().flat_map(|run| run.1));
        if accepted.contains(&Accept::ClientEncryption) {
            job.edit_encrypted();
        }
        let file = state::read(&target.state)?;
        file.check_is_of(&Identity::of(plan, description)).await?;
        let goal = if phase == Phase::Contract { Goal::Contract } else { Goal::Rollback };
        self.count(target, job, Some(file), goal, None, accepted).await
    }

    async fn count(
        &self,
        target: Target,
        mut job: Job,
        records: Option<Arc<dyn Records>>,
        goal: Goal,
        size: Option<SampleSize>,
        accepted: Vec<Accept>,
    ) -> Result<DryRunOutcome, MigrationError> {
        let (found, sampled) = match size {
            None => (self.whole(&mut job, records).await?, None),
            Some(size) => (Prediction::default(), Some(self.sampled(&mut job, size).await?)),
        };
        let read = sampled.as_ref().map_or(Read::Whole(&found), Read::Part);
        let held = hold_preflight(&target, &job, read, accepted).await;
        held.tell(self.observer.as_ref());
        let pairs_unrecorded = match state::read(&target.state) {
            Ok(state) if goal == Goal::Rollback => state.pairs_unrecorded().await?,
            _ => false,
        };
        let next = Next::from(goal).spell(&target.commands);
        let Preflight { findings, estimate, accepted } = held;
        let stopped = job.stop.reason().cloned();
        Ok(DryRunOutcome { target, found, estimate, sampled, findings, accepted, stopped, pairs_unrecorded, next })
    }

    /// Reads a sample of the table.
    async fn sampled(&self, job: &mut Job, size: SampleSize) -> Result<Sampled, MigrationError> {
        let line = self.begin(job)?;
        let sampled = sample(job, size, job.machine.random.number()).await;
        clear(line).await;
        Ok(sampled?)
    }

    /// Reads the whole table.
    async fn whole(&self, job: &mut Job, records: Option<Arc<dyn Records>>) -> Result<Prediction, MigrationError> {
        let line = self.begin(job)?;
        let segments = job.segments().segments;
        let handler = Arc::new(DryRun::new(job, records));
        // A dry run skips the survey, which finds large item collections so that a run can start with them. A dry run
        // writes nothing, so it reads even a large collection quickly. An early start would save less than the reads of
        // the survey cost.
        let reading = Reading { survey: None, ..job.reading_only(segments) };
        sweep(reading, &LocalScheduler::new(segments), &job.requests(), handler.clone()).await;
        clear(line).await;
        Ok(handler.prediction())
    }

    /// Connects the job to this migration's stopper, and shows the progress of the job.
    fn begin(&self, job: &mut Job) -> Result<Option<Line>, MigrationError> {
        job.stop = self.stop.clone();
        // The task that reads the table's description must stop with the job, so `job.stop` is set before that task
        // starts.
        job.watch_table(Instant::now(), LOOK_EVERY);
        self.observer.opened(&job.stop)?;
        let shows = self.observer.shows_progress_line();
        Ok(shows.then(|| Line::show(job.watched(job.segments().segments, None))))
    }
}

fn with(accept: &[Accept], recorded: impl Iterator<Item = Accept>) -> Vec<Accept> {
    accept.iter().copied().chain(recorded).collect()
}

async fn clear(line: Option<Line>) {
    if let Some(line) = line {
        line.clear().await;
    }
}

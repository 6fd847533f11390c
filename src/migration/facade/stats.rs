//! Implements `stats`, which reads a sample of the table.

use std::sync::Arc;

use super::check::clear;
use crate::dynamodb::Describe as _;
use crate::dynamodb::retry::retry_request;
use crate::engine::Job;
use crate::migration::target::MigrationTarget;
use crate::migration::{Migration, MigrationError, Notice, StatsOptions, StatsOutcome};
use crate::passes::expand;
use crate::preflight::{FactLookup, PATIENCE, check_begun_plan};
use crate::stats::StatsSample;

impl Migration {
    /// Reads a sample of the plan's table, within the plan's budgets, and returns the table's statistics. Writes
    /// nothing. The result does not depend on the plan's changes.
    ///
    /// # Errors
    ///
    /// Fails if the table cannot be reached, or if the plan does not fit the table. If the sample stops early, this is
    /// not an error. [`StatsOutcome::stopped`] returns the reason.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.stats(&backfill::StatsOptions::default()).await?;
    /// println!("{}", outcome.report().to_json());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stats(&self, options: &StatsOptions) -> Result<StatsOutcome, MigrationError> {
        // The statistics describe the whole table, even if the plan selects only some keys.
        let mut loaded = self.loaded.clone();
        loaded.plan.keys = None;
        let observer = self.observer.as_ref();
        let target = Box::pin(self.target_of(loaded, check_begun_plan, observer)).await?;
        let MigrationTarget { plan, tables, description, resolved, .. } = &target;
        // The job needs a list of changes, but with some plans `run` has nothing to do. So this list can be empty.
        let changes = Arc::new(expand::changes(plan, description));
        let mut job = Job::new(plan.clone(), changes, tables.clone(), description.clone(), &resolved.budgets);
        let sample = StatsSample::draw(&job, options.sample, job.machine.random.number());
        self.observer.notice(&Notice::Sample(&sample.text(&job.budgets)));
        let line = self.begin(&mut job)?;
        let expires = retry_request(PATIENCE, &job.machine.random, || job.tables.time_to_live());
        let (stats, expires) = tokio::join!(sample.read(&job), expires);
        clear(line).await;
        let time_to_live = FactLookup::from_result(expires);
        Ok(StatsOutcome { target, stats, time_to_live, stopped: job.stop.reason().cloned() })
    }
}

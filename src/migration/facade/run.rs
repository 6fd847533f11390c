//! The commands of the expand phase: `run` and `failures retry`.

use crate::cutover::Flag;
use crate::figure::count;
use crate::migration::outcome::recorded_run;
use crate::migration::preflight::{is_complete, recorded};
use crate::migration::target::MigrationTarget;
use crate::migration::{
    CommandRequest, ItemsRead, Migration, MigrationError, MissingDualWrites, OperatorInput, PassResult, RetryOutcome,
    RunOptions, RunOutcome, kind, run_preflight,
};
use crate::playbook::Goal;
use crate::preflight::{Acceptance, check_begun_plan};
use crate::state;
use crate::state::phase::EXPAND;
use crate::telemetry::ActivityClocks;

impl Migration {
    /// Runs the plan's expand phase, or resumes the phase from its checkpoints.
    ///
    /// # Errors
    ///
    /// Fails if the table or the state file cannot be opened, if the preflight or the playbook refuses, if the observer
    /// does not confirm, or if progress cannot be stored. If a run stops at a limit, this is not an error.
    /// [`RunOutcome::stopped`] returns the reason.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.run(&backfill::RunOptions::default()).await?;
    /// if let Some(reason) = outcome.stopped() {
    ///     println!("stopped, run it again to resume: {reason}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run(&self, options: &RunOptions) -> Result<RunOutcome, MigrationError> {
        Box::pin(self.exporting(false, self.run_command(options))).await
    }

    async fn run_command(&self, options: &RunOptions) -> Result<RunOutcome, MigrationError> {
        let target = Box::pin(self.target(self.check_of_run().await)).await?;
        // The preflight runs before the state file is created, so a refused run creates nothing.
        let accepted = self.check_findings(options, &target).await?;
        if options.again && !recorded(&target, EXPAND).await.is_some_and(|(run, _)| is_complete(&run) || run.pass > 1) {
            return Err(MigrationError::NoCompletePass);
        }
        let goal = Goal::Run { again: options.again || options.restart };
        let table = target.table_and_size();
        let what = match (&target.description.derived, target.plan.deletes_items(), target.plan.puts_items()) {
            (Some(derived), _, _) => format!("Put derived items of {table} into {}", derived.arn),
            (None, true, _) => format!("Delete the selected items of {table}"),
            (None, false, true) => format!("Put derived items into {table}"),
            (None, false, false) => format!("Write to {table}"),
        };
        let question = format!("{what} now?");
        let request =
            CommandRequest { restart: options.restart, ..CommandRequest::new(goal, &options.accept, question) };
        let request = CommandRequest { accepted_findings: Some(accepted.clone()), ..request };
        let input = OperatorInput { accepted, ..OperatorInput::new(&self.actor, &options.accept) };
        let (session, passes, stopped) = Box::pin(self.carry_out(target, input, request)).await?;
        let ended = passes.into_iter().rev().find_map(|end| match end.result {
            Some(PassResult::Worked(ended)) => Some(*ended),
            Some(PassResult::Verified(_) | PassResult::Retried(_)) | None => None,
        });
        let worked = ended.is_some();
        let ended = match ended {
            Some(ended) => Some(ended),
            None => recorded_run(&session.driver.store, &session.driver.plan).await?,
        };
        let clocks = match &ended {
            Some(ended) => session.driver.clocks().await.of(ended.run.id),
            None => ActivityClocks::default(),
        };
        // If the flag cannot be read now, the report does not mention it.
        let flag = session.driver.flag().await;
        let target = session.close().await?;
        let find = |flag: Option<Flag>| MissingDualWrites::find(kind(&target.plan), flag.as_ref());
        let missing_dual_writes = flag.ok().and_then(find);
        Ok(RunOutcome { target, ended, clocks, worked, stopped, missing_dual_writes })
    }

    /// Runs the preflight for a new or resumed run, and returns the accepted findings. If the run is complete, skips
    /// the preflight, because nothing will be written.
    async fn check_findings(
        &self,
        options: &RunOptions,
        target: &MigrationTarget,
    ) -> Result<Vec<String>, MigrationError> {
        let job = target.job()?;
        let recorded = recorded(target, EXPAND).await.filter(|_| !options.restart);
        if recorded.as_ref().is_some_and(|(run, _)| is_complete(run)) && !options.again {
            return Ok(Vec::new());
        }
        let mut accepted = options.accept.clone();
        accepted
            .extend(recorded.filter(|(run, _)| run.can_be_resumed()).into_iter().flat_map(|(_, accepted)| accepted));
        let report = run_preflight(target, &job, ItemsRead::Nothing, accepted).await;
        let again = if options.again { " --again" } else { "" };
        let restart = if options.restart { " --restart" } else { "" };
        report.check_findings(&format!("run{again}{restart}"), &target.commands)?;
        report.notify(self.observer.as_ref());
        Ok(report.accepted_names())
    }

    /// Retries the items that failed in `run`.
    ///
    /// # Errors
    ///
    /// Fails with the same errors as [`Migration::run`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.retry_failures(&[]).await?;
    /// println!("{} failures are left", outcome.open().failures);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn retry_failures(&self, accept: &[Acceptance]) -> Result<RetryOutcome, MigrationError> {
        Box::pin(self.exporting(false, self.retry_failures_command(accept))).await
    }

    async fn retry_failures_command(&self, accept: &[Acceptance]) -> Result<RetryOutcome, MigrationError> {
        let target = Box::pin(self.target(check_begun_plan)).await?;
        let request = CommandRequest::new(Goal::FailuresRetry, accept, retry_question(&target).await);
        let input = OperatorInput::new(&self.actor, accept);
        let (session, passes, stopped) = Box::pin(self.carry_out(target, input, request)).await?;
        let retried = passes.into_iter().find_map(|end| match end.result {
            Some(PassResult::Retried(retried)) => Some(retried),
            Some(PassResult::Worked(_) | PassResult::Verified(_)) | None => None,
        });
        let open = session.driver.store.open_work(None).await?;
        session.close().await?;
        Ok(RetryOutcome { retried: retried.unwrap_or_default(), open, stopped })
    }
}

/// Returns the question to ask before a retry: the number of failed items, the table with its account, the state file
/// and the changes.
async fn retry_question(target: &MigrationTarget) -> String {
    let failures = match state::read(&target.state) {
        Ok(file) => file.open_work_of_phase(EXPAND).await.map_or(0, |open| open.failures),
        // The command reports the error when it opens the file for writing.
        Err(_) => 0,
    };
    let MigrationTarget { plan, description, state, .. } = target;
    let what = match &description.derived {
        Some(derived) => format!("Put derived items into {} for", derived.arn),
        None => "Write to".to_owned(),
    };
    format!(
        "{what} {} of {} (account {}, state {}; {}) now?",
        count(failures, "failed item", "failed items"),
        description.arn,
        description.account(),
        state.display(),
        plan.meaning().trim_end().replace('\n', "; ")
    )
}

//! The commands `contract` and `rollback`.

use crate::change::Leftover;
use crate::migration::target::MigrationTarget;
use crate::migration::{
    CommandRequest, Migration, MigrationError, OperatorInput, PassOutcome, PassResult, PassSummary, StepOptions,
    not_as_before,
};
use crate::playbook::Goal;
use crate::preflight::check_begun_plan;

impl Migration {
    /// Removes the old attribute, or resumes a stopped removal. The removal cannot be undone.
    ///
    /// # Errors
    ///
    /// Fails with the same errors as [`Migration::run`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.contract(&backfill::StepOptions::default()).await?;
    /// assert!(!outcome.unfinished());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn contract(&self, options: &StepOptions) -> Result<PassOutcome, MigrationError> {
        Box::pin(self.exporting(false, self.contract_command(options))).await
    }

    async fn contract_command(&self, options: &StepOptions) -> Result<PassOutcome, MigrationError> {
        let target = Box::pin(self.target(check_begun_plan)).await?;
        let question = format!("Remove the old attribute from {} now? There is no way back.", target.table_and_size());
        Box::pin(self.passes(target, Goal::Contract, question, options)).await
    }

    /// Rolls back the migration from any stage before contract, or resumes a stopped rollback.
    ///
    /// # Errors
    ///
    /// Fails with the same errors as [`Migration::run`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.rollback(&backfill::StepOptions::default()).await?;
    /// assert!(!outcome.unfinished());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rollback(&self, options: &StepOptions) -> Result<PassOutcome, MigrationError> {
        Box::pin(self.exporting(true, self.rollback_command(options))).await
    }

    async fn rollback_command(&self, options: &StepOptions) -> Result<PassOutcome, MigrationError> {
        let target = Box::pin(self.way_back_target()).await?;
        not_as_before::notify(&target, self.observer.as_ref()).await;
        let limit = if target.plan.puts_items() {
            "If an application has deleted a derived item and put an equal one, nothing shows the difference, so the \
             rollback deletes the application's item too. "
        } else {
            ""
        };
        let question = format!("{limit}Undo the migration on {} now?", target.table_and_size());
        Box::pin(self.passes(target, Goal::Rollback, question, options)).await
    }

    async fn passes(
        &self,
        target: MigrationTarget,
        goal: Goal,
        question: String,
        options: &StepOptions,
    ) -> Result<PassOutcome, MigrationError> {
        let request = CommandRequest::new(goal, &options.accept, question);
        let input = OperatorInput::from_step_options(&self.actor, options);
        let (session, ends, stopped) = Box::pin(self.carry_out(target, input, request)).await?;
        let unfinished = ends.iter().any(|end| end.unfinished);
        let clocks = session.driver.clocks().await;
        let mut passes = Vec::new();
        for end in ends {
            if let Some(PassResult::Worked(ended)) = end.result {
                let store = &session.driver.store;
                let not_as_before = not_as_before::leftovers_of_run(store, &ended.run).await?;
                let repaired_over = not_as_before::noted_by_run(store, &ended.run, Leftover::RepairedOver).await?;
                let reply_lost = not_as_before::noted_by_run(store, &ended.run, Leftover::DeleteReplyLost).await?;
                passes.push(PassSummary {
                    journaled: store.pre_image_count(ended.run.id).await?,
                    clocks: clocks.of(ended.run.id),
                    ended: *ended,
                    not_as_before,
                    repaired_over,
                    reply_lost,
                });
            }
        }
        let target = session.close().await?;
        Ok(PassOutcome { target, passes, unfinished, stopped })
    }
}

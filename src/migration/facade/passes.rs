//! The commands `contract` and `rollback`.

use crate::change::Leftover;
use crate::cutover::{ReadFrom, WriteTo};
use crate::migration::target::MigrationTarget;
use crate::migration::{
    CommandRequest, Migration, MigrationError, OperatorInput, PassOutcome, PassResult, PassSummary, StepOptions,
    not_as_before, read,
};
use crate::playbook::Goal;
use crate::preflight::check_begun_plan;
use crate::state;

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
        if is_new(&target).await? {
            return Ok(PassOutcome { target, passes: Vec::new(), unfinished: false, stopped: None });
        }
        not_as_before::notify(&target, self.observer.as_ref()).await;
        let limit = if target.plan.puts_items() {
            "If an application has deleted a derived item and put an equal one, nothing shows the difference, so the \
             rollback deletes the application's item too. "
        } else {
            ""
        };
        let flag = flag_move(&target).await;
        let state = target.state.display();
        let table = match &target.description.derived {
            // The rollback deletes the derived items and does not touch their sources.
            Some(derived) => format!("{} (derived items of {})", derived.arn, target.description.arn),
            None => target.table_and_size(),
        };
        let question = format!("{limit}{flag}Undo the migration on {table} (state {state}) now?");
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

/// Returns whether no step of the migration has ever been taken, as far as this host can know: there is neither a state
/// file nor a flag.
async fn is_new(target: &MigrationTarget) -> Result<bool, MigrationError> {
    if !state::is_absent(&target.state).await {
        return Ok(false);
    }
    match target.open_flag().await? {
        Some(opened) => Ok(read(opened.flag.as_ref(), &target.plan).await?.is_none()),
        None => Ok(true),
    }
}

/// Returns the sentence of the question about the flag that a rollback moves. Returns an empty text if the flag does not
/// move. If the flag cannot be read, the command reports this later.
async fn flag_move(target: &MigrationTarget) -> String {
    let Ok(Some(opened)) = target.open_flag().await else { return String::new() };
    match read(opened.flag.as_ref(), &target.plan).await {
        Ok(Some((flag, _))) if (flag.write, flag.read) != (WriteTo::Old, ReadFrom::Old) => {
            format!("The cutover flag goes from [{flag}] → write = old, read = old. ")
        }
        Ok(_) | Err(_) => String::new(),
    }
}

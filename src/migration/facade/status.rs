//! Reads the status of a migration without a lock.

use std::time::Duration;

use crate::clock::wall_clock;
use crate::migration::{
    FlagRecord, Migration, MigrationError, StatusOptions, StatusOutcome, is_suspended, read_flag_now, snapshot,
};
use crate::state::{self, StoredFact};
use crate::steering::Settings;
use crate::telemetry::{PaceRecord, StoredBudgets};
/// The time limit for reading the flag in `status`.
const FLAG_LIMIT: Duration = Duration::from_secs(2);

impl Migration {
    /// Reads the state file and the flag, and returns the current stage of the migration and the next command. You can
    /// call this method while a command is running, or after a command's process has died. Changes nothing.
    ///
    /// # Errors
    ///
    /// Fails if the state file does not exist yet or cannot be read.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.status(&backfill::StatusOptions::default()).await?;
    /// println!("phase {}", outcome.snapshot().status.stage.name());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn status(&self, options: &StatusOptions) -> Result<StatusOutcome, MigrationError> {
        let plan = self.plan();
        let file = state::read(&self.state)?;
        let summary = file.summary().await?;
        let read = match FlagRecord::from_file(file.as_ref()).await.is_some() && !options.offline {
            true => Some(Box::pin(read_flag_now(plan, wall_clock(), FLAG_LIMIT)).await),
            false => None,
        };
        let snapshot = snapshot(file.as_ref(), &summary, plan, wall_clock()(), read).await?;
        let suspended = summary.holder.as_ref().is_some_and(is_suspended);
        let pace = PaceRecord::from_file(file.as_ref(), summary.holder.as_ref()).await;
        let budgets = StoredBudgets::load(file.as_ref(), summary.current.as_ref().map(|current| &current.run)).await?;
        let steering = file.fact(StoredFact::Steering).await?;
        let mut steering = steering.and_then(|text| Settings::from_text(&text)).unwrap_or_default();
        // Show a rate only if it applies. The next start removes an outdated rate, and says so.
        steering.take_outdated_rate(&plan.capacity);
        let journal_purged = file.fact(StoredFact::JournalPurged).await?;
        Ok(StatusOutcome {
            steering,
            journal_purged,
            summary,
            fingerprint: plan.fingerprint(),
            snapshot,
            budgets,
            pace,
            suspended,
            now: wall_clock()(),
        })
    }
}

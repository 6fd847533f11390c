//! The status of a migration, read without a lock.

use std::time::Duration;

use crate::clock::wall;
use crate::migration::{Migration, MigrationError, Seen, StatusOptions, StatusOutcome, known, read_now};
use crate::state;
use crate::telemetry::{KeptBudgets, KeptPace};
/// The maximum time for which `status` tries to read the flag.
const FLAG_LIMIT: Duration = Duration::from_secs(2);

impl Migration {
    /// The current stage of the migration and the next command, from the state file and the flag. You can call this
    /// method while a command is running, or after the process of a command died. Changes nothing.
    ///
    /// # Errors
    ///
    /// Fails if the state file does not exist yet, or if it cannot be read.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.status(&backfill::StatusOptions::default()).await?;
    /// println!("phase {}", outcome.known().standing.stage.name());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn status(&self, options: &StatusOptions) -> Result<StatusOutcome, MigrationError> {
        let plan = self.plan();
        let file = state::read(&self.state)?;
        let summary = file.summary().await?;
        let read = match Seen::of(file.as_ref()).await.is_some() && !options.offline {
            true => Some(Box::pin(read_now(plan, wall(), FLAG_LIMIT)).await),
            false => None,
        };
        let known = known(file.as_ref(), &summary, plan, wall()(), read).await?;
        let here = crate::host::name();
        let suspended = summary
            .holder
            .as_ref()
            .is_some_and(|holder| holder.host == Some(here.into()) && holder.pid.is_some_and(crate::host::is_stopped));
        let pace = KeptPace::in_file(file.as_ref(), summary.holder.as_ref()).await;
        let budgets = KeptBudgets::of(file.as_ref(), summary.current.as_ref().map(|current| &current.run)).await?;
        Ok(StatusOutcome { summary, fingerprint: plan.fingerprint(), known, budgets, pace, suspended, now: wall()() })
    }
}

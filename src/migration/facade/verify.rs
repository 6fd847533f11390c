//! The command `verify`, with or without a repair.

use crate::migration::{
    CommandRequest, Migration, MigrationError, OperatorInput, PassEnd, PassResult, VerifyOptions, VerifyOutcome,
};
use crate::playbook::{Goal, VerifyScope};
use crate::preflight::check_begun_plan;
/// Maximum number of clusters in a sample.
const MAX_CLUSTERS: u32 = 1_000_000;

impl Migration {
    /// Compares the table with the plan using shadow reads, or resumes a stopped comparison. With
    /// [`VerifyOptions::repair`], also fixes mismatches.
    ///
    /// # Errors
    ///
    /// Fails with the same errors as [`Migration::run`]. Mismatches are not an error; the report contains their number.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.verify(&backfill::VerifyOptions::default()).await?;
    /// if let Some((report, hash)) = outcome.report() {
    ///     println!("{} mismatches, report {hash}", report.mismatches);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn verify(&self, options: &VerifyOptions) -> Result<VerifyOutcome, MigrationError> {
        Box::pin(self.exporting(false, self.verify_command(options))).await
    }

    async fn verify_command(&self, options: &VerifyOptions) -> Result<VerifyOutcome, MigrationError> {
        let VerifyOptions { sample, repair, repair_remove, accept } = options;
        let scope = if sample.is_some() { VerifyScope::Sampled } else { VerifyScope::Full };
        let target = Box::pin(self.target(check_begun_plan)).await?;
        let base = OperatorInput::new(&self.actor, accept);
        let sample = sample.map(|clusters| clusters.clamp(1, MAX_CLUSTERS));
        let input = OperatorInput { sample, repair_remove: *repair_remove, ..base };
        let question = format!("Repair items of {} now?", target.table_and_size());
        let request = CommandRequest::new(Goal::Verify { scope, repair: *repair }, accept, question);
        let (session, passes, stopped) = Box::pin(self.carry_out(target, input, request)).await?;
        session.close().await?;
        // Return the recorded result, even if a stop was requested after the result was recorded.
        Ok(match passes.into_iter().next_back() {
            Some(PassEnd { result: Some(PassResult::Verified(verified)), stopped, .. }) => {
                VerifyOutcome { verified: Some(*verified), stopped }
            }
            Some(_) | None => VerifyOutcome { verified: None, stopped },
        })
    }
}

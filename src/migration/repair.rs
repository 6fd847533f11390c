//! Shows the changes that a repair would make before the operator confirms the repair.

use super::{CommandRequest, MigrationError, Notice, PassResult, Session};
use crate::change::Change;
use crate::engine::StopReason;
use crate::passes::verify::{RepairPreview, TableStage, TruthByKey, VerifyReport};
use crate::playbook::{Goal, VerifyScope};

impl Session {
    /// Shows the changes that a repair would make, and asks for confirmation. The preview uses the last full
    /// verification with the current truth. If there is no such verification, this function compares the table first.
    /// If that comparison is stopped, returns the stop reason.
    ///
    /// The answer can take a while. If the preview is no longer correct when the operator answers, the repair is
    /// refused.
    pub(super) async fn ask_for_repair(
        &mut self,
        scope: VerifyScope,
        request: &CommandRequest,
    ) -> Result<Option<StopReason>, MigrationError> {
        let basis = self.driver.verification_basis().await?;
        let mut found = self.last_full_report(basis).await?;
        if found.is_none() {
            let (report, stopped) = self.compare(scope).await?;
            if stopped.is_some() {
                return Ok(stopped);
            }
            found = report;
        }
        if found.as_ref().is_some_and(|found| !has_basis(found, basis)) {
            return Err(MigrationError::RepairChanged);
        }
        let question = found.map_or_else(|| request.question.clone(), |found| self.show(&found, basis.1));
        let request = CommandRequest { question, ..request.clone() };
        request.ask(&self.target, None, self.observer.as_ref())?;
        if self.driver.verification_basis().await? == basis { Ok(None) } else { Err(MigrationError::RepairChanged) }
    }

    /// Shows the preview. Returns the question, which contains the number of values that the repair replaces.
    fn show(&self, found: &VerifyReport, truths: TruthByKey) -> String {
        let strategy = self.target.plan.strategy;
        let removes = self.driver.repair_removes();
        let mut text = Vec::new();
        // A write to memory cannot fail.
        let deletes = self.target.plan.deletes_items();
        let only_writes_values = self.target.plan.changes.iter().all(Change::only_writes_values);
        let changes_elements = self.target.plan.changes.iter().any(|change| change.each().is_some());
        let preview = RepairPreview { strategy, truths, removes, deletes, only_writes_values, changes_elements };
        let _ = preview.write(found, &mut text);
        self.observer.notice(&Notice::RepairPreview(String::from_utf8_lossy(&text).trim_end()));
        preview.question(found, &self.target.table_and_size())
    }

    /// Compares the table without changing it. Returns the report, and the stop reason if the comparison was stopped.
    async fn compare(
        &mut self,
        scope: VerifyScope,
    ) -> Result<(Option<VerifyReport>, Option<StopReason>), MigrationError> {
        self.observer.notice(&Notice::ComparesFirst);
        let request = CommandRequest::new(Goal::Verify { scope, repair: false }, &[], "");
        let (passes, stopped) = Box::pin(self.run_request(request)).await?;
        let report = passes.into_iter().next_back().and_then(|end| match end.result {
            Some(PassResult::Verified(verified)) => verified.report.map(|(report, _)| report),
            Some(PassResult::Worked(_) | PassResult::Retried(_)) | None => None,
        });
        Ok((report, stopped))
    }

    async fn last_full_report(&self, basis: (TableStage, TruthByKey)) -> Result<Option<VerifyReport>, MigrationError> {
        let Some(known) = &self.driver.state().full else { return Ok(None) };
        let stored = self.driver.store.reports(MAX_REPORTS).await?.into_iter().find(|stored| stored.hash == known.hash);
        let report = stored.and_then(|stored| VerifyReport::from_canonical(&stored.json).ok());
        // Reports of an earlier version of the tool contain no forecast of a repair.
        let has_forecast = |report: &VerifyReport| report.deletes || report.forecast.is_some();
        Ok(report.filter(|report| has_basis(report, basis) && has_forecast(report)))
    }
}

/// Returns whether a verification that begins now would use the same stage and truth as this report. If not, the report
/// does not predict the result of a repair.
fn has_basis(report: &VerifyReport, (stage, truths): (TableStage, TruthByKey)) -> bool {
    report.stage == stage.name() && report.truth == truths.name()
}

/// The maximum number of reports in which to search for the last full verification. The search starts with the newest
/// report, because the newest reports can come from sampled verifications.
const MAX_REPORTS: u32 = 100;

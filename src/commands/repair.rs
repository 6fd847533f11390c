//! What a repair would do, shown before it is asked for.

use super::conduct::{Conducted, Pursuit};
use super::exit::{Exit, Refusal};
use super::output;
use crate::cli::Decide;
use backfill::internals::engine::StopReason;
use backfill::internals::migration::Came;
use backfill::internals::passes::verify::{RepairPreview, Stage, Truths, VerifyReport};
use backfill::internals::playbook::{Goal, Scope};

impl Conducted {
    /// Says what a repair would do, by the last verification of all items that was made under the truth of now, and asks; if
    /// there is none, the table is looked at first. Gives why that was stopped, if it was.
    ///
    /// The answer may take a while. If the repair would no longer do what was shown, it is refused.
    pub(super) async fn ask_for_repair(
        &mut self,
        scope: Scope,
        pursuit: &Pursuit<'_>,
    ) -> anyhow::Result<Option<StopReason>> {
        let today = self.conductor.verifies_by().await?;
        let mut found = self.last_full_report(today).await?;
        if found.is_none() {
            let (report, stopped) = self.look(scope).await?;
            if stopped.is_some() {
                return Ok(stopped);
            }
            found = report;
        }
        if found.as_ref().is_some_and(|found| !is_of(found, today)) {
            return Err(moved());
        }
        if let Some(found) = found {
            self.show(&found, today.1);
        }
        pursuit.ask(&self.target)?;
        if self.conductor.verifies_by().await? == today { Ok(None) } else { Err(moved()) }
    }

    fn show(&self, found: &VerifyReport, truths: Truths) {
        let (strategy, removes) = (self.target.plan.strategy, self.conductor.repairs_by_removing());
        let mut text = Vec::new();
        // Writing to memory does not fail.
        let _ = RepairPreview { strategy, truths, removes }.write(found, &mut text);
        output::stderr(String::from_utf8_lossy(&text).trim_end());
    }

    /// Looks at the table, and changes nothing: what it found, and why it was stopped, if it was.
    async fn look(&mut self, scope: Scope) -> anyhow::Result<(Option<VerifyReport>, Option<StopReason>)> {
        output::stderr(
            "no verification of all items since the table or the flag was last changed: comparing the table first",
        );
        let (look, decide) = (Goal::Verify { scope, repair: false }, Decide::default());
        let (swept, stopped) = Box::pin(self.pursue(Pursuit::of(look, &decide, ""))).await?;
        let report = swept.into_iter().next_back().and_then(|swept| match swept.came {
            Some(Came::Verified(verified)) => verified.report.map(|(report, _)| report),
            Some(Came::Worked(_) | Came::Retried(_)) | None => None,
        });
        Ok((report, stopped))
    }

    async fn last_full_report(&self, today: (Stage, Truths)) -> anyhow::Result<Option<VerifyReport>> {
        let Some(known) = &self.conductor.state().full else { return Ok(None) };
        let stored = self.conductor.store.reports(REPORTS).await?.into_iter().find(|stored| stored.hash == known.hash);
        let report = stored.and_then(|stored| VerifyReport::from_canonical(&stored.json).ok());
        Ok(report.filter(|report| is_of(report, today)))
    }
}

/// Whether a verification of now would hold items against the same: else its counts say nothing of a repair.
fn is_of(report: &VerifyReport, (stage, truths): (Stage, Truths)) -> bool {
    report.stage == stage.name() && report.truth == truths.name()
}

fn moved() -> anyhow::Error {
    Refusal::error(
        Exit::Refused,
        "the flag was moved meanwhile, so that a repair would not do what was shown. Nothing was repaired. Run the same \
         command again: it shows what a repair does now",
    )
}

/// The newest reports in which the last full one is looked for: samples may have been taken since.
const REPORTS: u32 = 100;

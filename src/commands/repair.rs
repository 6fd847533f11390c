//! What a repair would do, shown before it is asked for.

use super::conduct::{Conducted, Pursuit};
use super::output;
use crate::cli::Decide;
use crate::conduct::Came;
use crate::engine::StopReason;
use crate::parity::VerifyReport;
use crate::playbook::{Goal, Scope};

impl Conducted {
    /// Says what a repair would do, by the last verification of all items; if there is none, the table is looked at first.
    /// None if that was stopped.
    pub(super) async fn preview_repair(&mut self, scope: Scope) -> anyhow::Result<Option<StopReason>> {
        let mut found = self.last_full_report().await?;
        if found.is_none() {
            output::stderr("no verification of all items since the table was last changed: comparing the table first");
            let look = Goal::Verify { scope, repair: false };
            let decide = Decide::default();
            let (swept, stopped) = Box::pin(self.pursue(Pursuit::of(look, &decide, ""))).await?;
            if stopped.is_some() {
                return Ok(stopped);
            }
            found = swept.into_iter().next_back().and_then(|swept| match swept.came {
                Some(Came::Verified(verified)) => verified.report.map(|(report, _)| report),
                Some(Came::Worked(_) | Came::Retried(_)) | None => None,
            });
        }
        if let Some(report) = found {
            let mut text = Vec::new();
            // Writing to memory does not fail.
            let _ = report.write_repair_preview(&mut text, self.conductor.repairs_by_removing());
            output::stderr(String::from_utf8_lossy(&text).trim_end());
        }
        Ok(None)
    }

    async fn last_full_report(&self) -> anyhow::Result<Option<VerifyReport>> {
        let Some(known) = &self.conductor.state().full else { return Ok(None) };
        let stored = self.conductor.store.reports(REPORTS).await?.into_iter().find(|stored| stored.hash == known.hash);
        Ok(stored.and_then(|stored| VerifyReport::from_canonical(&stored.json).ok()))
    }
}

/// The newest reports in which the last full one is looked for: samples may have been taken since.
const REPORTS: u32 = 100;

//! The runs of a migration. This module is pure.

use crate::engine::StoredBudgets;
use crate::plan::PlanLimits;
use crate::state::phase::{CONTRACT, EXPAND, OLD_EQUAL_NEW, ROLLBACK, VERIFY};
use crate::state::{MigrationRecord, RunProgress, RunRecord, RunStatus, SegmentCell, StoredFact};
use crate::telemetry::{ActivityClocks, ClocksByRun, PaceHistory, PaceSlot};

/// A run, with everything that the state file records about it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEntry {
    /// The run, its totals, its spend and the findings that were accepted for it.
    pub progress: RunProgress,
    /// The segments, grouped into cells.
    pub cells: Vec<SegmentCell>,
    /// The time in each activity; `None` if it was not recorded.
    pub clocks: Option<ActivityClocks>,
    /// The pace over time; `None` if it was not recorded.
    pub history: Option<PaceHistory>,
    /// The budgets of an unfinished run, if they were recorded.
    pub budgets: Option<StoredBudgets>,
    /// The limits of the current plan. They are not part of the record, because an operator can change them at any
    /// time. `None` for a step back or a rollback, to which the limits do not apply.
    pub limits: Option<PlanLimits>,
}

impl RunEntry {
    /// Returns the runs of a migration, oldest first.
    pub fn all(record: &MigrationRecord, limits: &PlanLimits) -> Vec<RunEntry> {
        let clocks = ClocksByRun::from_fact(Ok(record.fact(StoredFact::ActivityClocks).map(str::to_owned)));
        let budgets = record.fact(StoredFact::Budgets).and_then(StoredBudgets::from_text);
        let entry = |details: &crate::state::RunDetails| {
            let run = &details.progress.run;
            let history = record.fact(StoredFact::PaceHistory(run.id)).and_then(PaceHistory::from_text);
            RunEntry {
                clocks: Some(clocks.of(run.id)).filter(|clocks| !clocks.total().is_zero()),
                history: history.filter(|history| !history.slots().is_empty()),
                budgets: budgets.clone().filter(|budgets| budgets.belongs_to(run)),
                limits: has_limits(&run.phase).then(|| limits.clone()),
                progress: details.progress.clone(),
                cells: details.cells.clone(),
            }
        };
        record.runs.iter().map(entry).collect()
    }

    /// Returns whether applied items are a lower bound.
    pub fn lower_bound(&self) -> bool {
        self.progress.run.lower_bound || self.progress.died
    }

    /// Returns the state of the run for people. `held` is true if a process holds the state file.
    pub fn state_text(&self, held: bool) -> String {
        let run = &self.progress.run;
        match run.status {
            RunStatus::Running if self.progress.died => "its process died; the next step resumes it".to_owned(),
            RunStatus::Running if held => "in progress when this report was made".to_owned(),
            RunStatus::Running => "open".to_owned(),
            RunStatus::Stopped if run.looked_through => "ended; a read-only pass read the rest".to_owned(),
            RunStatus::Stopped => "stopped; it can be resumed".to_owned(),
            RunStatus::Complete => "complete".to_owned(),
            RunStatus::Superseded => "superseded by a later run".to_owned(),
        }
    }

    /// Returns the name of the run's phase for people.
    pub fn phase_text(&self) -> &str {
        match self.progress.run.phase.as_str() {
            EXPAND => "expand",
            CONTRACT => "contract",
            OLD_EQUAL_NEW => "rollback: make old values equal to new values",
            ROLLBACK => "rollback: undo",
            VERIFY => "verification",
            other => other,
        }
    }

    /// Returns the share of the run's items that the pace history contains, from 0 to 1; `None` if there is no history.
    /// A killed process loses the samples of its last seconds.
    pub fn history_share(&self) -> Option<f64> {
        let PaceSlot { items, .. } = self.history.as_ref()?.total()?;
        let scanned = self.progress.totals.counts.scanned;
        Some(if scanned == 0 { 1.0 } else { (items as f64 / scanned as f64).min(1.0) })
    }
}

/// Returns whether the plan's limits apply to this phase. They never block a step back or a rollback.
fn has_limits(phase: &str) -> bool {
    phase != ROLLBACK && phase != OLD_EQUAL_NEW
}

/// Returns the words for segments without a committed page. A verification of a sample never reads most segments.
pub(super) fn pending_text(run: &RunRecord, pending: u64) -> &'static str {
    match (run.phase == VERIFY && pending > 0, run.status) {
        (true, RunStatus::Complete) => "not in the sample",
        (true, RunStatus::Running | RunStatus::Stopped | RunStatus::Superseded) => "pending, or not in the sample",
        (false, _) => "pending",
    }
}

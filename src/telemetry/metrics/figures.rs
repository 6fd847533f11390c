//! The parts of an exposition.

use std::sync::Arc;

use jiff::Timestamp;

use crate::passes::verify::VerifyReport;
use crate::state::{OpenWork, RunId, State, StoreError};
use crate::telemetry::PassView;

/// The labels of `backfill_run_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLabels {
    /// The migration's name in the plan.
    pub migration: String,
    /// The table's name.
    pub table: String,
    /// The phase, for example `expand`.
    pub phase: &'static str,
    /// The run in the state file.
    pub run: RunId,
}

/// A pass, as the endpoint shows it.
#[derive(Debug, Clone)]
pub struct ShownPass {
    /// The names of the run.
    pub labels: RunLabels,
    /// The newest view.
    pub view: Arc<PassView>,
    /// Whether the pass still runs.
    pub is_running: bool,
}

/// The figures that the state file contains.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StateFigures {
    /// The failures and diverged items that are still open. `None` if the state file has not been read yet.
    pub open: Option<OpenWork>,
    /// The last complete verification. `None` if there is none.
    pub verification: Option<VerificationFigures>,
}

/// The result of a complete verification.
#[derive(Debug, Clone, PartialEq)]
pub struct VerificationFigures {
    /// The migration's name in the plan.
    pub migration: String,
    /// `all` or `sample`.
    pub scope: String,
    /// Number of items that were compared.
    pub compared: u64,
    /// Number of items that differ. Repaired items are not included.
    pub mismatches: u64,
    /// Number of items that a repair fixed.
    pub repaired: u64,
    /// The time at which the verification ended.
    pub ended: Option<Timestamp>,
}

impl StateFigures {
    /// Reads the figures of a migration.
    pub(super) async fn read(store: &State, migration: &str) -> Result<StateFigures, StoreError> {
        let open = store.open_work(None).await?;
        let report = store.latest_report().await?;
        let report = report.and_then(|stored| serde_json::from_str::<VerifyReport>(&stored.json).ok());
        Ok(StateFigures {
            open: Some(open),
            verification: report.as_ref().map(|report| VerificationFigures::of(report, migration)),
        })
    }
}

impl VerificationFigures {
    fn of(report: &VerifyReport, migration: &str) -> VerificationFigures {
        VerificationFigures {
            migration: migration.to_owned(),
            scope: report.scope.clone(),
            compared: report.compared,
            mismatches: report.mismatches,
            repaired: report.repaired,
            ended: report.ended_at.parse().ok(),
        }
    }
}

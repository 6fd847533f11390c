//! The types of the parts of a migration's state.

use jiff::Timestamp;

use crate::cutover::FlagChange;
use crate::playbook::{Mark, Phase, PlanKind};

/// An accepted preflight.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AcceptedPreflight {
    /// The time at which the preflight was accepted.
    pub at: Timestamp,
    /// The kind of the plan at that time.
    pub kind: PlanKind,
    /// The names of the findings that the operator accepted.
    pub accepted: Vec<String>,
}

/// The progress of expand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ExpandStatus {
    /// No pass has begun.
    #[default]
    NotBegun,
    /// A pass is running or was stopped.
    Open {
        /// The time at which the pass began.
        began: Timestamp,
    },
    /// The latest pass is complete.
    Complete {
        /// The time at which it ended.
        ended: Timestamp,
    },
}

/// A phase that has begun and is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpenPhase {
    /// The phase.
    pub phase: Phase,
    /// The time at which the phase first began. A resume does not change this time.
    pub began: Timestamp,
    /// The state of the flag when the phase began; `None` if it was not recorded.
    pub flag_mark: Option<Mark>,
}

/// The time range of a completed phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PhaseSpan {
    /// The time at which the phase first began.
    pub began: Timestamp,
    /// The time at which it ended.
    pub ended: Timestamp,
    /// The state of the flag when the phase began; `None` if it was not recorded.
    pub flag_mark: Option<Mark>,
}

/// The result of a completed verification.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReportSummary {
    /// The time range of the verification.
    pub span: PhaseSpan,
    /// Number of items that differ.
    pub mismatches: u64,
    /// Number of items that were compared, if known.
    pub compared: Option<u64>,
    /// Whether the verification also repaired mismatches. [`EventBody::Verified`](crate::playbook::EventBody::Verified)
    /// explains which mismatches are counted in this case.
    pub repair: bool,
    /// Fingerprint of the plan.
    pub plan: String,
    /// Hash of the report.
    pub hash: String,
}

/// A flag change that a command is about to make.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IntendedChange {
    /// The intended change.
    pub change: FlagChange,
    /// The flag's version before the change.
    pub version: u64,
    /// The operator's `--force` reason, if the gate was closed.
    pub forced: Option<String>,
}

/// The progress of a one-way phase: contract or rollback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PhaseStatus {
    /// The phase has not begun.
    #[default]
    NotBegun,
    /// The phase has begun and is not complete.
    Begun,
    /// The phase is complete.
    Complete,
}

/// A backup of the table, as the history records it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableBackup {
    /// The phase before which the backup was made.
    pub phase: Phase,
    /// The time at which the backup was complete.
    pub at: Timestamp,
    /// The backup's ARN.
    pub arn: String,
    /// Whether the phase has completed since the backup. If so, the next phase needs another backup.
    pub is_used: bool,
}

impl TableBackup {
    /// Returns the short name of the phase, for documents and for the names of backups.
    pub fn phase_name(phase: Phase) -> &'static str {
        match phase {
            Phase::Expand | Phase::Retry => "expand",
            Phase::Contract => "contract",
            Phase::Verify { .. } => "repair",
            Phase::OldFromNew | Phase::Undo => "back",
        }
    }
}

/// The event that discarded the last verifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Discarded {
    /// A pass that writes began.
    PassBegan,
    /// Writers began to write both attributes.
    DualWritesBegan {
        /// Whether they had written both attributes at an earlier time.
        again: bool,
    },
}

impl Discarded {
    /// Says why the gate is closed although there was a verification.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Discarded::PassBegan => "nothing has been verified since the last pass began",
            Discarded::DualWritesBegan { again: false } => "nothing has been verified since dual writes began",
            Discarded::DualWritesBegan { again: true } => "nothing has been verified since dual writes began again",
        }
    }
}

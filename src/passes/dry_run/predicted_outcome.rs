//! The classes by which a dry run counts items.

use crate::change::Outcome;

/// The predicted result for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PredictedOutcome {
    /// The item would be written.
    WouldChange,
    /// All targets already have the values that the plan implies.
    AlreadyApplied,
    /// The plan does not change the item.
    NothingToDo,
    /// The value of a target differs from what the plan implies, but counts as done.
    Skipped,
    /// The value of a target differs from what the plan implies, so a run would not change the item.
    Diverged,
    /// The item would become larger than 400 KB.
    WouldExceed,
    /// The shape of the item does not allow the change.
    Rejected,
    /// An expression or conversion of the plan has no result for the item.
    NotComputable,
}

impl PredictedOutcome {
    /// Every class, in the order in which reports list them.
    pub const ALL: [PredictedOutcome; 8] = [
        PredictedOutcome::WouldChange,
        PredictedOutcome::AlreadyApplied,
        PredictedOutcome::NothingToDo,
        PredictedOutcome::Skipped,
        PredictedOutcome::Diverged,
        PredictedOutcome::WouldExceed,
        PredictedOutcome::Rejected,
        PredictedOutcome::NotComputable,
    ];

    /// Returns the name of the class in JSON.
    pub fn name(self) -> &'static str {
        match self {
            PredictedOutcome::WouldChange => "would_change",
            PredictedOutcome::AlreadyApplied => "already_applied",
            PredictedOutcome::NothingToDo => "nothing_to_do",
            PredictedOutcome::Skipped => "skipped",
            PredictedOutcome::Diverged => "diverged",
            PredictedOutcome::WouldExceed => "would_exceed_400_kb",
            PredictedOutcome::Rejected => "rejected",
            PredictedOutcome::NotComputable => "not_computable",
        }
    }

    /// Returns the outcome that a run would record for an item of this class, if no other writer changes the item.
    pub fn outcome(self) -> Outcome {
        match self {
            PredictedOutcome::WouldChange => Outcome::Applied,
            PredictedOutcome::AlreadyApplied => Outcome::AlreadyApplied,
            PredictedOutcome::NothingToDo => Outcome::NothingToDo,
            PredictedOutcome::Skipped => Outcome::Skipped,
            PredictedOutcome::Diverged => Outcome::Diverged,
            PredictedOutcome::WouldExceed | PredictedOutcome::Rejected => Outcome::Rejected,
            PredictedOutcome::NotComputable => Outcome::NotComputable,
        }
    }

    /// Returns whether a dry run lists the reasons for this class ([`Prediction::reasons`]).
    pub fn has_reasons(self) -> bool {
        matches!(self, PredictedOutcome::Rejected | PredictedOutcome::NotComputable)
    }
}

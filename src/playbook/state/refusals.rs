//! The refusals that follow from a contract or a rollback that has begun.

use super::MigrationState;
use crate::playbook::{Goal, NextCommand, PhaseStatus, StepRefusal};

impl MigrationState {
    /// Returns the error for an event that cannot follow the beginning of contract.
    pub(super) fn contracting(&self) -> StepRefusal {
        match self.contract {
            PhaseStatus::Complete => StepRefusal::new("the migration is over, and the old attribute is gone", "status"),
            PhaseStatus::NotBegun | PhaseStatus::Begun => StepRefusal::new(
                "the old attribute is being removed, so a rollback is no longer possible",
                Goal::Contract,
            ),
        }
    }

    /// Returns the error for a command that is refused because contract has begun. Says why this command cannot run any
    /// more, and what to do instead.
    pub(in crate::playbook) fn refused_by_contract(&self, goal: Goal) -> StepRefusal {
        if self.contract == PhaseStatus::Complete {
            return match goal {
                Goal::FailuresRetry => StepRefusal::new(
                    "`contract` is complete: the old attribute is gone, so a retry has nothing to copy from. Nothing was \
                     retried. If an item lacks its new value, correct it by hand, then run `verify --all`",
                    "status",
                ),
                Goal::Run { .. }
                | Goal::Verify { .. }
                | Goal::CutoverTo(_)
                | Goal::Back { .. }
                | Goal::Contract
                | Goal::Rollback => self.contracting(),
            };
        }
        match goal {
            Goal::FailuresRetry => StepRefusal::new(
                "`contract` has begun. `failures retry` copies old values, and `contract` removes them, so nothing was \
                 retried. `failures list` shows the items that `contract` could not change, with the reasons. Correct \
                 these items, then run `contract` again: it tries each of them again",
                Goal::Contract,
            ),
            Goal::Run { .. } => StepRefusal::new(
                "`contract` has begun. A run copies old values, and `contract` removes them, so nothing was run",
                Goal::Contract,
            ),
            Goal::Verify { .. } => StepRefusal::new(
                "`contract` has begun, and it changes the items. Nothing was compared. Complete `contract` first, then \
                 run `verify --all`",
                Goal::Contract,
            ),
            Goal::CutoverTo(_) | Goal::Back { .. } | Goal::Contract | Goal::Rollback => self.contracting(),
        }
    }

    /// Returns the error for a command that is refused because a rollback has begun.
    pub(in crate::playbook) fn rolled_back(&self) -> StepRefusal {
        match self.rollback {
            PhaseStatus::Complete => StepRefusal::new(
                "the migration of this state file was rolled back, so begin again with another state file",
                self.kind().map_or(Goal::Run { again: false }.into(), NextCommand::first).with_another_state(),
            ),
            PhaseStatus::NotBegun | PhaseStatus::Begun => StepRefusal::new("the rollback has begun", Goal::Rollback),
        }
    }
}

//! Decides whether a backup is due. If the plan requires backups, one is due before each phase that destroys or
//! overwrites values.

use std::time::Duration;

use super::request::{StepRequest, add_saturating};
use super::{EventBody, Phase, Step, TableBackup};
use crate::change::{Change, OnExisting, Strategy};
use crate::cutover::FlagChange;

/// If a backup is older than this and its phase has not begun, the tool makes a new backup. This time must be longer
/// than every wait between a backup and its pass. The longest of these waits is the wait for the expiry of flags that
/// applications have cached, which takes at most one hour.
const MAX_AGE: Duration = Duration::from_secs(3 * 60 * 60);

/// The phases before which a backup is due. The phases of a rollback are never among them, because nothing may prevent
/// a rollback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupPhases {
    /// Before an expand pass.
    pub expand: bool,
    /// Before contract.
    pub contract: bool,
    /// Before a repair.
    pub repair: bool,
}

impl BackupPhases {
    /// Determines the phases for a plan that requires backups. Contract and repair always destroy or overwrite values.
    pub fn new(strategy: Strategy, changes: &[Change]) -> BackupPhases {
        let expand = changes.iter().any(|change| destroys_in_expand(change, strategy));
        BackupPhases { expand, contract: true, repair: true }
    }

    /// Returns whether a backup is due before this phase.
    pub fn includes(self, phase: Phase) -> bool {
        match phase {
            Phase::Expand => self.expand,
            Phase::Contract => self.contract,
            Phase::Verify { repair, .. } => repair && self.repair,
            // A retry belongs to the expand pass, before which a backup was made.
            Phase::Retry | Phase::OldFromNew | Phase::Undo => false,
        }
    }
}

/// Returns whether this change makes an expand pass remove or replace a value.
fn destroys_in_expand(change: &Change, strategy: Strategy) -> bool {
    let overwrites = change.on_existing() == Some(OnExisting::Overwrite);
    match change {
        Change::Move { .. } | Change::Remove { .. } => overwrites || strategy == Strategy::InPlace,
        Change::Copy { .. } | Change::Set { .. } | Change::Compute { .. } | Change::Exec { .. } => overwrites,
        Change::Convert { .. } | Change::Delete { .. } => true,
        // An `append` keeps every value.
        Change::Append { .. } => false,
        Change::Each { each } => each.destroys_values(),
        // The write raises the version and does not destroy another value.
        Change::Bump { .. } => false,
        // A derived item is put only if no item has its key.
        Change::Put { .. } => false,
    }
}

impl StepRequest<'_> {
    /// If this step begins a phase whose backup is due, returns the backup step instead. For a plan with a flag,
    /// contract begins with the change of the flag. From then on, a rollback is no longer possible.
    pub(super) fn after_backup(&self, step: Step) -> Step {
        let begins = match &step {
            Step::Record(EventBody::PhaseBegun { phase }) => Some(*phase),
            Step::Record(EventBody::FlagIntended { change: FlagChange::Contract, .. })
            | Step::Change(FlagChange::Contract) => Some(Phase::Contract),
            Step::Preflight
            | Step::Record(_)
            | Step::Confirm
            | Step::Backup(_)
            | Step::Change(_)
            | Step::RecreateFlag(_)
            | Step::Wait(_)
            | Step::RunPass(_)
            | Step::Done => None,
        };
        match begins {
            Some(phase) if self.needs_backup(phase) => Step::Backup(phase),
            Some(_) | None => step,
        }
    }

    fn needs_backup(&self, phase: Phase) -> bool {
        let counts = |backup: &TableBackup| {
            backup.phase == phase && !backup.is_used && self.now < add_saturating(backup.at, MAX_AGE)
        };
        self.context.backup.includes(phase) && !self.state.backups.iter().any(counts)
    }
}

//! In-place plans that leave nothing to derive a value from, because the same write removes the source.

use super::super::compare::{Existing, was_skipped};
use super::Repair;
use crate::change::{Change, ItemHistory, Strategy};
use crate::item::{Item, Path};

impl Repair {
    /// Whether the same write removes the source, so that nothing is left to derive the target from.
    pub(super) fn leaves_in_place(&self, change: &Change) -> bool {
        self.strategy == Strategy::InPlace
            && match change {
                Change::Move { .. } => true,
                Change::Copy { from, .. } => self.changes.iter().any(|other| other.removes(from)),
                Change::Set { .. } | Change::Remove { .. } => false,
            }
    }

    /// Whether removing this path would only delete a value, because no copy still has to be made from it.
    pub(super) fn only_removed(&self, item: &Item, path: &Path) -> bool {
        let Some(old) = path.get(item) else { return false };
        !self.changes.iter().any(|change| match change {
            Change::Copy { from, to, .. } => from == path && to.get(item) != Some(old),
            Change::Move { .. } | Change::Set { .. } | Change::Remove { .. } => false,
        })
    }

    /// Whether a path that the plan removes has to stay because one of its copies was skipped.
    pub(super) fn is_left_of_a_skip(&self, item: &Item, record: &ItemHistory, path: &Path) -> bool {
        let Some(old) = path.get(item) else { return false };
        self.changes.iter().any(|change| match change {
            Change::Copy { from, to, .. } if from == path => {
                was_skipped(item, record, old, &(to.clone(), Existing::of(change, self.strategy)))
            }
            Change::Copy { .. } | Change::Move { .. } | Change::Set { .. } | Change::Remove { .. } => false,
        })
    }
}

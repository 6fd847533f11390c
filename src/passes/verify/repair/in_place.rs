//! Repairs for in-place plans. In such plans the source of a value is removed by the write that sets the target. Later,
//! there is nothing left to derive the value from.

use super::super::compare::{Existing, was_skipped};
use super::Repair;
use crate::change::{Change, ItemHistory, Strategy};
use crate::item::{Item, Path};

impl Repair {
    /// Whether the write that sets the target of this change also removes the source. Then nothing is left to derive
    /// the target from.
    pub(super) fn leaves_in_place(&self, change: &Change) -> bool {
        self.strategy == Strategy::InPlace
            && match change {
                Change::Move { .. } => true,
                Change::Copy { from, .. } => self.changes.iter().any(|other| other.removes(from)),
                Change::Set { .. } | Change::Remove { .. } => false,
            }
    }

    /// Whether removing this path would only delete a value, because every copy of the value exists already.
    pub(super) fn only_removed(&self, item: &Item, path: &Path) -> bool {
        let Some(old) = path.get(item) else { return false };
        !self.changes.iter().any(|change| match change {
            Change::Copy { from, to, .. } => from == path && to.get(item) != Some(old),
            Change::Move { .. } | Change::Set { .. } | Change::Remove { .. } => false,
        })
    }

    /// Whether a path that the plan removes has to stay, because the plan skipped one of the copies of its value.
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

//! Helpers for repairs under in-place plans. In such a plan, the write that sets a target can also remove the source.
//! After that write, the value can no longer be derived.

use super::super::compare::SkippablePair;
use super::Repair;
use crate::change::{Change, ItemHistory, Strategy};
use crate::item::{Item, Path};

impl Repair {
    /// Returns whether the write that sets the target of this change also removes the source.
    pub(super) fn removes_source(&self, change: &Change) -> bool {
        self.strategy == Strategy::InPlace
            && match change {
                Change::Move { .. } => true,
                Change::Copy { from, .. } => self.changes.iter().any(|other| other.removes(from)),
                Change::Set { .. }
                | Change::Remove { .. }
                | Change::Compute { .. }
                | Change::Convert { .. }
                | Change::Bump { .. }
                | Change::Exec { .. }
                | Change::Append { .. }
                | Change::Delete { .. }
                | Change::Put { .. }
                | Change::Each { .. } => false,
            }
    }

    /// Returns whether a repair would only remove this path, because every copy of its value already exists.
    pub(super) fn is_removal_only(&self, item: &Item, path: &Path) -> bool {
        let Some(old) = path.get(item) else { return false };
        !self.changes.iter().any(|change| match change {
            Change::Copy { from, to, .. } => from == path && to.get(item) != Some(old),
            Change::Move { .. }
            | Change::Set { .. }
            | Change::Remove { .. }
            | Change::Compute { .. }
            | Change::Convert { .. }
            | Change::Bump { .. }
            | Change::Exec { .. }
            | Change::Append { .. }
            | Change::Delete { .. }
            | Change::Put { .. }
            | Change::Each { .. } => false,
        })
    }

    /// Returns whether a path that the plan removes has to stay because a copy of it was skipped. The value then exists
    /// only at this path.
    pub(super) fn is_kept_by_skip(&self, item: &Item, record: &ItemHistory, path: &Path) -> bool {
        let mut copies = self.changes.iter().filter_map(|change| SkippablePair::of_copy(change, path, self.strategy));
        copies.any(|copy| copy.was_skipped(item, record, &self.rules))
    }
}

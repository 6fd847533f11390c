//! The operations of `contract` for one item. They remove old attributes.

use super::draft::Draft;
use super::expand::is_other;
use super::target::Target;
use super::{Change, Condition, OnExisting, PreImage, Strategy};
use crate::item::{Path, Value};

/// What `contract` does for one change of the plan.
#[derive(Debug, Clone)]
pub(super) enum ContractOp {
    /// Removes the source of a move, unless the move was skipped.
    RemoveSource { from: Path, to: Path, skips: bool },
    /// Removes the path if all these copies of its value exist and no copy was skipped.
    Remove { path: Path, copies: Vec<Target> },
}

impl ContractOp {
    /// The operations for the changes of a plan, in the same order.
    pub(super) fn all(changes: &[Change], strategy: Strategy) -> Vec<ContractOp> {
        match strategy {
            Strategy::ExpandContract => changes.iter().filter_map(|change| ContractOp::of(change, changes)).collect(),
            // `run` has already made all changes of an in-place plan.
            Strategy::InPlace => Vec::new(),
        }
    }

    /// The operation for one change of a plan, or `None` if the change removes nothing.
    fn of(change: &Change, all: &[Change]) -> Option<ContractOp> {
        match change.clone() {
            Change::Move { from, to, on_existing } => {
                Some(ContractOp::RemoveSource { from, to, skips: on_existing == OnExisting::Skip })
            }
            Change::Remove { path } => Some(ContractOp::Remove { copies: Target::copies_of(all, &path), path }),
            Change::Copy { .. } | Change::Set { .. } => None,
        }
    }

    /// The path that the operation may change.
    pub(super) fn changed(&self) -> &Path {
        match self {
            ContractOp::RemoveSource { from: path, .. } | ContractOp::Remove { path, .. } => path,
        }
    }

    /// Whether the operation needs the recorded history of an item, which shows whether a value was skipped.
    pub(super) fn needs_history(&self) -> bool {
        match self {
            ContractOp::RemoveSource { skips, .. } => *skips,
            ContractOp::Remove { copies, .. } => copies.iter().any(|copy| copy.skips),
        }
    }
}

impl Draft<'_> {
    /// Plans one operation. A value is removed only if another copy of the value exists: an equal new value, or an
    /// entry in the journal.
    pub(super) fn contract(&mut self, op: &ContractOp) {
        match op {
            ContractOp::RemoveSource { from, to, skips } => self.drop_moved(from, to, *skips),
            ContractOp::Remove { path, copies } => self.drop_removed(path, copies),
        }
    }

    /// Removes the source of a move. If the new value differs, because applications wrote only the new attribute, the
    /// old value is recorded first. If the move was skipped, the source stays, because it has the only copy of its
    /// value.
    fn drop_moved(&mut self, from: &Path, to: &Path, skips: bool) {
        match (from.get(self.item), to.get(self.item)) {
            (None, _) => self.require(Condition::Missing(from.clone())),
            (Some(_), None) => self.diverged.push(from.clone()),
            (Some(old), Some(_)) if skips && self.was_skipped(old, to) => self.leave_skipped(from, to),
            (Some(old), Some(new)) => {
                if old == new {
                    self.require(Condition::Same(from.clone(), to.clone()));
                } else {
                    self.keep_pre_image(PreImage::of(from, old));
                    self.require(Condition::Equals(to.clone(), new.clone()));
                }
                self.remove(from, old);
            }
        }
    }

    /// Removes a path for a `remove` of the plan. If the plan also copies the path, all copies must exist.
    fn drop_removed(&mut self, path: &Path, copies: &[Target]) {
        let Some(value) = path.get(self.item) else { return self.require(Condition::Missing(path.clone())) };
        if copies.iter().any(|copy| copy.to.get(self.item).is_none()) {
            return self.diverged.push(path.clone());
        }
        if let Some(copy) = copies.iter().find(|copy| copy.skips && self.was_skipped(value, &copy.to)) {
            return self.leave_skipped(path, &copy.to);
        }
        copies.iter().for_each(|copy| self.require(Condition::Exists(copy.to.clone())));
        self.keep_pre_image(PreImage::of(path, value));
        self.remove(path, value);
    }

    /// Whether the run kept an existing value, different from the old value, at this target. For an item without a
    /// baseline this is unknown, so every different value counts as kept.
    fn was_skipped(&self, old: &Value, to: &Path) -> bool {
        let there = to.get(self.item);
        is_other(there, old)
            && (!self.record.has_baseline() || there.is_some_and(|there| self.record.is_preexisting_value(to, there)))
    }

    fn leave_skipped(&mut self, from: &Path, to: &Path) {
        self.hold(from);
        self.hold(to);
        self.skipped.push(to.clone());
    }
}

//! The operations of `contract` for one item. They remove old attributes.

use super::draft::Draft;
use super::target::CopyTarget;
use super::{Change, Condition, PreImage, Source, Strategy};
use crate::item::Path;

/// What `contract` does for one change of the plan.
#[derive(Debug, Clone)]
pub(super) enum ContractOp {
    /// Removes an old attribute that the target replaces, unless the run skipped the pair.
    RemoveSource { source: Source, to: Path, skips_existing: bool },
    /// Removes the path if each of these targets has a value and no copy was skipped.
    Remove { path: Path, copies: Vec<CopyTarget> },
}

impl ContractOp {
    /// Returns the operations for a plan's changes, in the same order.
    pub(super) fn from_changes(changes: &[Change], strategy: Strategy) -> Vec<ContractOp> {
        match strategy {
            Strategy::ExpandContract => {
                changes.iter().filter_map(|change| ContractOp::from_change(change, changes)).collect()
            }
            // For an in-place plan, `run` has already made all changes.
            Strategy::InPlace => Vec::new(),
        }
    }

    /// Returns the operation for one change of a plan, or `None` if the change removes nothing.
    fn from_change(change: &Change, all: &[Change]) -> Option<ContractOp> {
        match change.clone() {
            Change::Move { .. } | Change::Compute { replaces: Some(_), .. } => {
                let (source, to) = Source::of_change(change)?;
                Some(ContractOp::RemoveSource { source, to: to.clone(), skips_existing: change.skips_existing() })
            }
            Change::Remove { path } => Some(ContractOp::Remove { copies: CopyTarget::copies_of(all, &path), path }),
            Change::Copy { .. }
            | Change::Set { .. }
            | Change::Compute { replaces: None, .. }
            | Change::Convert { .. }
            | Change::Append { .. }
            | Change::Bump { .. }
            | Change::Delete { .. }
            | Change::Exec { .. }
            | Change::Put { .. }
            | Change::Each { .. } => None,
        }
    }

    /// Returns the path that identifies the operation's change in the plan.
    pub(super) fn own_path(&self) -> &Path {
        match self {
            ContractOp::RemoveSource { to: path, .. } | ContractOp::Remove { path, .. } => path,
        }
    }

    /// Returns the path that the operation may change.
    pub(super) fn changed_path(&self) -> &Path {
        match self {
            ContractOp::RemoveSource { source, .. } => &source.path,
            ContractOp::Remove { path, .. } => path,
        }
    }

    /// Returns whether the operation needs an item's recorded history. The history shows whether a value was skipped.
    pub(super) fn needs_history(&self) -> bool {
        match self {
            ContractOp::RemoveSource { skips_existing, .. } => *skips_existing,
            ContractOp::Remove { copies, .. } => copies.iter().any(|copy| copy.skips_existing),
        }
    }
}

impl Draft<'_> {
    /// Plans one operation. Removes a value only if another copy of it exists: an equal new value, or an entry in the
    /// journal.
    pub(super) fn contract(&mut self, op: &ContractOp) {
        if !self.applies(op.own_path()) {
            return;
        }
        match op {
            ContractOp::RemoveSource { source, to, skips_existing } => self.remove_source(source, to, *skips_existing),
            ContractOp::Remove { path, copies } => self.remove_path(path, copies),
        }
    }

    /// Removes an old attribute that the target replaces. If applications have written only the new attribute, the new
    /// value may differ from the old value. In this case, this function first records the old value in the journal. If
    /// the new value is computed from the old value, this function always records the old value, because the new value
    /// may contain less information. If the run skipped the pair, the source stays, because it contains the only copy
    /// of its value.
    fn remove_source(&mut self, source: &Source, to: &Path, skips_existing: bool) {
        let from = &source.path;
        match (from.get(self.item), self.rules.paired_value(source, to, self.item)) {
            (None, _) => self.require(Condition::Missing(from.clone())),
            (Some(_), None) => self.diverged.push(from.clone()),
            (Some(_), Some(_)) if skips_existing && self.was_skipped(source, to) => self.keep_skipped(source, to),
            (Some(old), Some(new)) => {
                if source.derivation.is_none() && old == new {
                    self.require(Condition::PathsEqual(from.clone(), to.clone()));
                } else {
                    if skips_existing {
                        // Whether the pair was skipped depends on every input of the formula.
                        self.require_pair_unchanged(source, to);
                    }
                    self.record_pre_image(PreImage::with_value(from, old));
                    self.require(Condition::Equals(to.clone(), new.clone()));
                }
                self.remove(from, old);
            }
        }
    }

    /// Removes the path that a `remove` of the plan names. If the plan also copies the path, all copies must exist.
    fn remove_path(&mut self, path: &Path, copies: &[CopyTarget]) {
        let Some(value) = path.get(self.item) else { return self.require(Condition::Missing(path.clone())) };
        if copies.iter().any(|copy| self.target_value(&copy.to, Some(value)).is_none()) {
            return self.diverged.push(path.clone());
        }
        let source = Source::same(path);
        if let Some(copy) = copies.iter().find(|copy| copy.skips_existing && self.was_skipped(&source, &copy.to)) {
            return self.keep_skipped(&source, &copy.to);
        }
        for CopyTarget { to, .. } in copies {
            match self.is_null_missing(to) {
                true => self.require_unchanged(to),
                false => self.require(Condition::Exists(to.clone())),
            }
        }
        self.record_pre_image(PreImage::with_value(path, value));
        self.remove(path, value);
    }

    /// Returns whether the run kept a preexisting value of this target that differs from what the old value implies.
    /// Without a baseline, this is unknown, so every different value counts as kept.
    fn was_skipped(&self, source: &Source, to: &Path) -> bool {
        to.get(self.item).is_some_and(|existing| {
            !source.implies(self.item, &self.rules.facts, existing)
                && (!self.history.has_baseline() || self.history.is_preexisting_value(to, existing))
        })
    }

    /// Keeps both values of a pair. Pins everything that determines whether they differ.
    pub(super) fn keep_skipped(&mut self, source: &Source, to: &Path) {
        self.require_pair_unchanged(source, to);
        self.skipped.push(to.clone());
    }
}

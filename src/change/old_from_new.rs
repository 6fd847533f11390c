//! The first phase of `rollback`, for one item: it makes old values equal to new values. This phase is needed if
//! applications have written only the new attribute.
//!
//! Every write is compare-and-set. If a live writer has changed a value since the item was read, the write fails and
//! the tool decides again. An item is reported as diverged in three cases. Its new values contradict each other. It has
//! an old value but no new value, and needs no other change. Or the old value that must change is a list element. This
//! phase also writes an item that had only its new attribute before the migration; `playbook` explains why in "What the
//! model taught".

use std::collections::BTreeMap;

use super::draft::Draft;
use super::target::CopyTarget;
use super::{Change, Condition, Leftover, PreImage, Strategy};
use crate::item::{Path, Value};

/// What this phase does for one source.
#[derive(Debug, Clone)]
pub(super) enum OldFromNewOp {
    /// Copies the targets' value to the source.
    Refresh { from: Path, targets: Vec<CopyTarget> },
}

impl OldFromNewOp {
    /// Returns the operations for these changes: one for each source, in the order of the sources' paths.
    pub(super) fn from_changes(changes: &[Change], strategy: Strategy) -> Vec<OldFromNewOp> {
        let mut sources: BTreeMap<&Path, Vec<CopyTarget>> = BTreeMap::new();
        match strategy {
            Strategy::ExpandContract => {
                for (from, target) in changes.iter().filter_map(OldFromNewOp::source_and_target) {
                    sources.entry(from).or_default().push(target);
                }
            }
            // An in-place plan has no new-only writes.
            Strategy::InPlace => {}
        }
        let refresh = |(from, targets): (&Path, _)| OldFromNewOp::Refresh { from: from.clone(), targets };
        sources.into_iter().map(refresh).collect()
    }

    /// Returns a change's source, and the target from which the source can be restored. Returns `None` if the change
    /// has no source.
    fn source_and_target(change: &Change) -> Option<(&Path, CopyTarget)> {
        match change {
            Change::Move { from, to, .. } | Change::Copy { from, to, .. } => {
                Some((from, CopyTarget { to: to.clone(), skips_existing: change.skips_existing() }))
            }
            Change::Set { .. }
            | Change::Remove { .. }
            | Change::Compute { .. }
            | Change::Convert { .. }
            | Change::Append { .. }
            | Change::Bump { .. }
            | Change::Delete { .. } => None,
        }
    }

    /// Returns the path that the operation may change.
    pub(super) fn changed_path(&self) -> &Path {
        match self {
            OldFromNewOp::Refresh { from, .. } => from,
        }
    }

    /// Returns the paths that identify the operation's changes in the plan.
    pub(super) fn own_paths(&self) -> impl Iterator<Item = &Path> {
        match self {
            OldFromNewOp::Refresh { targets, .. } => targets.iter().map(|target| &target.to),
        }
    }

    /// Returns whether the operation needs an item's recorded history. The history shows whether a value was skipped.
    pub(super) fn needs_history(&self) -> bool {
        match self {
            OldFromNewOp::Refresh { targets, .. } => targets.iter().any(|target| target.skips_existing),
        }
    }
}

impl Draft<'_> {
    /// Plans one operation.
    pub(super) fn make_old_from_new(&mut self, op: &OldFromNewOp) {
        match op {
            OldFromNewOp::Refresh { from, targets } => self.refresh_old(from, targets),
        }
    }

    /// Makes the old value equal to the new value. The old value is stale if an application has written only the new
    /// value. This is possible even if the new value existed before the migration, because an application may have
    /// written the new value since. If the item has no new value, the old value stays. Applications delete both values
    /// together, so such an item never had a new value, and the old value is its only value. If the run skipped the
    /// pair and the new value is still the preexisting value, the old value stays too.
    fn refresh_old(&mut self, from: &Path, targets: &[CopyTarget]) {
        let item = self.item;
        let old = from.get(item);
        let mut values: Vec<(&Path, Option<&Value>)> = Vec::new();
        for CopyTarget { to, skips_existing } in targets {
            if !self.applies(to) {
                continue;
            }
            match (old, self.target_value(to, old)) {
                (Some(old), Some(new))
                    if *skips_existing && old != new && self.history.is_preexisting_value(to, new) =>
                {
                    self.require_unchanged(from);
                    self.require_unchanged(to);
                    self.skipped.push(to.clone());
                }
                (_, new) => values.push((to, new)),
            }
        }
        let Some((to, new)) = values.first().copied() else { return };
        if let Some((other, _)) = values.iter().find(|(_, value)| *value != new) {
            // Two copies of one source have different values, so it is unknown which value the source should get.
            return self.diverged.push((*other).clone());
        }
        if old.is_some() && new.is_none() {
            values.iter().for_each(|(to, _)| self.require_unchanged(to));
            return self.unchanged.push(from.clone());
        }
        if old != new && from.ends_in_index() {
            // List elements are never written. The list may have changed by the time of the write, so the index may
            // refer to a different element.
            return self.diverged.push(from.clone());
        }
        match (old, new) {
            (None, None) => self.require(Condition::Missing(from.clone())),
            (Some(old), Some(new)) if old == new => self.already_applied = true,
            (Some(old), _) => self.record_pre_image(PreImage::with_value(from, old)),
            (None, Some(_)) => {
                self.require(Condition::Missing(from.clone()));
                if self.history.unreadable_reason().is_some() {
                    self.pre_images.push(PreImage::with_leftover(from, Leftover::Unknown));
                } else if values.iter().any(|(to, _)| self.history.is_preexisting(to)) {
                    self.pre_images.push(PreImage::with_leftover(from, Leftover::OldCreated));
                }
            }
        }
        for (to, value) in &values {
            match value {
                Some(_) if old == *value => self.require(Condition::PathsEqual(from.clone(), (*to).clone())),
                Some(_) | None => self.require_unchanged(to),
            }
        }
        if let Some(new) = new.filter(|new| old != Some(*new))
            && let Err(why) = self.copy_back(from, to, new)
        {
            // Report the item as a failure, because readers that switch back to the old attribute would miss this
            // value.
            self.reject(why);
        }
    }
}

//! The first phase of `rollback`, for one item: it makes old values equal to new values, or computes them with the
//! plan's inverse. This phase is needed if applications have written only the new attribute.
//!
//! Every write is compare-and-set. If a live writer has changed a value since the item was read, the write fails and
//! the tool decides again. An item is reported as diverged in three cases: its new values contradict each other; it has
//! an old value but no new value, and needs no other change; the old value that must change is a list element. This
//! phase also writes an item that had only its new attribute before the migration; `playbook` explains why in "What the
//! model taught".

use std::collections::BTreeMap;

use super::draft::{Draft, Placement};
use super::target::CopyTarget;
use super::{Change, Condition, ItemHistory, Leftover, PreImage, Source, Strategy};
use crate::expr::Facts;
use crate::item::{Item, Path, Value};

/// What this phase does for one source.
#[derive(Debug, Clone)]
pub(super) enum OldFromNewOp {
    /// Copies the targets' value to the source.
    Refresh { from: Path, targets: Vec<CopyTarget> },
    /// Computes the source's value from the target's value.
    Recompute { source: Source, target: CopyTarget },
}

impl OldFromNewOp {
    /// Returns the operations for these changes: one for each source. Sources of moves and copies come first, in the
    /// order of their paths.
    pub(super) fn from_changes(changes: &[Change], strategy: Strategy) -> Vec<OldFromNewOp> {
        // An in-place plan has no new-only writes.
        if strategy == Strategy::InPlace {
            return Vec::new();
        }
        let mut copied: BTreeMap<Path, Vec<CopyTarget>> = BTreeMap::new();
        let mut computed = Vec::new();
        for change in changes {
            let Some((source, to)) = Source::of_change(change) else { continue };
            let target = CopyTarget { to: to.clone(), skips_existing: change.skips_existing() };
            match source.derivation {
                None => copied.entry(source.path).or_default().push(target),
                // The plan's rules allow no second change of this source.
                Some(_) => computed.push(OldFromNewOp::Recompute { source, target }),
            }
        }
        let refresh = |(from, targets)| OldFromNewOp::Refresh { from, targets };
        copied.into_iter().map(refresh).chain(computed).collect()
    }

    /// Returns the path that the operation may change.
    pub(super) fn changed_path(&self) -> &Path {
        match self {
            OldFromNewOp::Refresh { from, .. } => from,
            OldFromNewOp::Recompute { source, .. } => &source.path,
        }
    }

    /// Returns the paths that identify the operation's changes in the plan.
    pub(super) fn own_paths(&self) -> impl Iterator<Item = &Path> {
        let targets = match self {
            OldFromNewOp::Refresh { targets, .. } => targets.as_slice(),
            OldFromNewOp::Recompute { target, .. } => std::slice::from_ref(target),
        };
        targets.iter().map(|target| &target.to)
    }

    /// Returns whether records show that this migration wrote every target of the operation in this item. If the item
    /// has an old value, the recorded writes must have written what this value implies, because an application may have
    /// deleted the item and created a new item with the same key.
    pub(super) fn is_proven(&self, item: &Item, facts: &Facts, history: &ItemHistory) -> bool {
        let is_written = |source: &Source, to: &Path| match source.value(item, facts) {
            Ok(Some(implied)) => history.has_written(to, &implied),
            Ok(None) => source.path.get(item).is_none() && history.has_write_of(to),
            Err(_) => false,
        };
        match self {
            OldFromNewOp::Refresh { from, targets } => {
                targets.iter().all(|target| is_written(&Source::same(from), &target.to))
            }
            OldFromNewOp::Recompute { source, target } => is_written(source, &target.to),
        }
    }

    /// Returns whether the operation needs an item's recorded history. The history shows whether a value was skipped.
    pub(super) fn needs_history(&self) -> bool {
        match self {
            OldFromNewOp::Refresh { targets, .. } => targets.iter().any(|target| target.skips_existing),
            OldFromNewOp::Recompute { target, .. } => target.skips_existing,
        }
    }
}

impl Draft<'_> {
    /// Plans one operation.
    pub(super) fn make_old_from_new(&mut self, op: &OldFromNewOp) {
        match op {
            OldFromNewOp::Refresh { from, targets } => self.refresh_old(from, targets),
            OldFromNewOp::Recompute { source, target } => self.recompute_old(source, target),
        }
    }

    /// Computes the old value from the new value with the plan's inverse. The rules are those of
    /// [`Draft::refresh_old`]. If the new value can be computed from the old value, the old value stays, because the
    /// inverse may compute a different value. If no old value can be computed, the item is a failure. Readers that
    /// switch back to the old attribute would miss the item's new value.
    fn recompute_old(&mut self, source: &Source, CopyTarget { to, skips_existing }: &CopyTarget) {
        let item = self.item;
        let from = &source.path;
        let old = from.get(item);
        if !self.applies(to) {
            return;
        }
        let Some(new) = self.rules.paired_value(source, to, item) else {
            self.require_unchanged(from);
            self.require_unchanged(to);
            return self.unchanged.extend(old.map(|_| from.clone()));
        };
        if source.implies(item, &self.rules.facts, new) {
            self.already_applied = true;
            return self.require_pair(source, to);
        }
        if old.is_some() && *skips_existing && self.history.is_preexisting_value(to, new) {
            return self.keep_skipped(source, to);
        }
        let inverse = source.derivation.as_ref().and_then(|derivation| derivation.inverse.as_ref());
        let Some(inverse) = inverse else {
            return self.reject(format!(
                "`{from}` cannot be restored from `{to}`, because the plan has no `inverse` for `{to}`"
            ));
        };
        let value = match inverse.value(item, &self.rules.facts) {
            Ok(Some(value)) => value,
            // The item has a new value, so the inverse has a result or an error.
            Ok(None) => return,
            Err(why) => return self.mark_not_computable(why),
        };
        inverse.inputs().iter().for_each(|input| self.require_unchanged(input));
        match old {
            Some(old) => self.record_pre_image(PreImage::with_value(from, old)),
            None => self.create_old(from, [to]),
        }
        if let Err(why) = self.write_old(from, value) {
            self.reject(why);
        }
    }

    /// Writes a computed old value. Returns the reason if the value cannot be written. The caller must already have
    /// recorded the value that this write replaces.
    fn write_old(&mut self, from: &Path, value: Value) -> Result<(), String> {
        if let Some(old) = from.get(self.item) {
            self.subtract_bytes(from, old);
            self.set(from, &value);
            return Ok(());
        }
        match self.placement(from) {
            Placement::Ready => {
                self.require_parent(from);
                self.set(from, &value);
            }
            Placement::ParentMissing(root) => self.put_in_new_map(root, from, value),
            Placement::Impossible(why) => return Err(why),
        }
        Ok(())
    }

    /// Requires that the old attribute is still missing. If a rollback may leave the old attribute on an item that had
    /// only the new attribute before the migration, the journal gets a note.
    fn create_old<'p>(&mut self, from: &Path, targets: impl IntoIterator<Item = &'p Path>) {
        self.require(Condition::Missing(from.clone()));
        if self.history.unreadable_reason().is_some() {
            self.pre_images.push(PreImage::with_leftover(from, Leftover::Unknown));
        } else if targets.into_iter().any(|to| self.history.is_preexisting(to)) {
            self.pre_images.push(PreImage::with_leftover(from, Leftover::OldCreated));
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
            // The tool never writes list elements. If the list changes before the write arrives, the index may refer to
            // a different element.
            return self.diverged.push(from.clone());
        }
        match (old, new) {
            (None, None) => self.require(Condition::Missing(from.clone())),
            (Some(old), Some(new)) if old == new => self.already_applied = true,
            (Some(old), _) => self.record_pre_image(PreImage::with_value(from, old)),
            (None, Some(_)) => self.create_old(from, values.iter().map(|(to, _)| *to)),
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

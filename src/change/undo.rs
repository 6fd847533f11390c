//! The last phase of `rollback`, for one item: it removes [copies that the migration made](UndoOp::Copy) and
//! restores values that the migration overwrote or removed.
//!
//! Every write is compare-and-set. If a live writer has changed a value since the run, the value stays and the item is
//! reported as diverged. An item is also reported as diverged if its shape no longer allows the tool to restore a
//! value. The journal stores every value that a removal would lose. This phase removes a value that existed before the
//! migration only if the value equals the item's old value and the records do not show who wrote it. If an item has no
//! baseline, this phase removes a copy only if the copy is equal to the item's old value.

use std::collections::BTreeMap;

use super::draft::{Draft, Placement};
use super::{
    Action, Addition, Change, Condition, Leftover, PreImage, PriorValue, Selected, SelectingIndex, Source, Strategy,
};
use crate::item::{Item, KeySchema, Path, Value};

/// What this phase does to undo one change of the plan.
#[derive(Debug, Clone)]
pub(super) enum UndoOp {
    /// Restores a target to its state before the migration. The target is that of a copy, of a move whose source
    /// stayed, or of a computed value whose old attribute stayed.
    Copy { source: Source, to: Path, skips_existing: bool, in_place: bool },
    /// Reverses an in-place move: moves the value back to the source.
    Move { from: Path, to: Path },
    /// Removes the constant and restores the value that existed before the migration.
    Set { to: Path, value: Value },
    /// Restores a value that was removed in place.
    Remove { path: Path },
    /// Removes a computed value, or restores the value that it replaced.
    Computed { to: Path },
    /// Restores the value that was converted under the same name.
    Converted { path: Path },
    /// Restores a list or map to its state before the changes in its elements.
    Elements { container: Path },
    /// Removes what the migration added to a set or a list.
    Appended { to: Path, addition: Addition },
    /// Restores a deleted item.
    Restore,
    /// Deletes a derived item.
    RemoveDerived,
}

impl UndoOp {
    /// Returns the operations for a plan's changes, in the same order.
    pub(super) fn from_changes(changes: &[Change], strategy: Strategy) -> Vec<UndoOp> {
        changes.iter().flat_map(|change| UndoOp::from_change(change, strategy)).collect()
    }

    /// Returns the operations for one change of a plan. There are none if `run` does nothing for this change.
    fn from_change(change: &Change, strategy: Strategy) -> Vec<UndoOp> {
        let in_place = strategy == Strategy::InPlace;
        let op = match change.clone() {
            Change::Move { from, to, .. } if in_place => Some(UndoOp::Move { from, to }),
            Change::Move { .. } | Change::Copy { .. } | Change::Compute { replaces: Some(_), .. } => {
                let skips_existing = change.skips_existing();
                let pair = Source::of_change(change);
                pair.map(|(source, to)| UndoOp::Copy { source, to: to.clone(), skips_existing, in_place })
            }
            Change::Set { to, value, .. } => Some(UndoOp::Set { to, value }),
            Change::Remove { path } => in_place.then_some(UndoOp::Remove { path }),
            Change::Compute { to, replaces: None, .. } => Some(UndoOp::Computed { to }),
            Change::Convert { path, .. } => Some(UndoOp::Converted { path }),
            Change::Each { each } => Some(UndoOp::Elements { container: each.container().clone() }),
            Change::Append { to, addition } => Some(UndoOp::Appended { to, addition }),
            // Undo never restores the version.
            Change::Bump { .. } => None,
            Change::Delete { keeps_image, .. } => keeps_image.then_some(UndoOp::Restore),
            Change::Put { .. } => Some(UndoOp::RemoveDerived),
            Change::Exec { exec, .. } => {
                return exec.targets().map(|to| UndoOp::Computed { to: to.clone() }).collect();
            }
        };
        op.into_iter().collect()
    }

    /// Returns the paths that the operation may change. Returns no path if it restores a whole item, or deletes a
    /// derived item.
    pub(super) fn changed_paths(&self) -> impl Iterator<Item = &Path> {
        let (one, another) = match self {
            UndoOp::Move { from, to } => (Some(to), Some(from)),
            UndoOp::Copy { to: path, .. }
            | UndoOp::Set { to: path, .. }
            | UndoOp::Computed { to: path }
            | UndoOp::Converted { path }
            | UndoOp::Elements { container: path }
            | UndoOp::Appended { to: path, .. }
            | UndoOp::Remove { path } => (Some(path), None),
            UndoOp::Restore | UndoOp::RemoveDerived => (None, None),
        };
        one.into_iter().chain(another)
    }
}

impl<'a> Draft<'a> {
    /// Adds the actions and conditions for all operations. If one operation restores a value, the other operations use
    /// the restored value.
    pub(super) fn undo(&mut self, ops: &'a [UndoOp], key: &KeySchema) {
        self.restored = self.restored_values(ops);
        let stable_changed = self.history.changed_stable(&self.rules.stable, self.item);
        for op in ops {
            match op {
                UndoOp::Copy { source, to, skips_existing, in_place } => {
                    // In an in-place plan, every write of a copy is recorded.
                    let is_recorded = *in_place && self.history.has_creations();
                    self.needs_record = is_recorded || stable_changed.is_some() || !self.is_surely_selected(to);
                    self.revert_copy(source, to, *skips_existing, *in_place);
                }
                UndoOp::Move { from, to } => self.revert_move(from, to),
                UndoOp::Set { to, value } => self.revert_value(to, self.history.prior(to), |now| now == value),
                UndoOp::Remove { path } => self.revert_remove(path),
                UndoOp::Computed { to } => {
                    let history = self.history;
                    self.revert_value(to, history.prior(to), |now| history.is_own_value(to, now));
                }
                UndoOp::Appended { to, addition } => self.revert_append(to, addition),
                UndoOp::Converted { path } => {
                    let history = self.history;
                    self.revert_value(path, history.last_foreign(path), |now| history.is_own_value(path, now));
                }
                UndoOp::Elements { container } => self.revert_elements(container),
                UndoOp::Restore => self.restore(key),
                UndoOp::RemoveDerived => self.remove_derived(key),
            }
        }
    }

    /// Returns whether the plan's selection and the change's own `where` both include the item and cannot change. Pins
    /// everything that they read.
    fn is_surely_selected(&mut self, to: &Path) -> bool {
        let rules = self.rules;
        let key = self.key;
        let selections = rules.selection.iter().chain(rules.options.of(to).applies_to.as_ref());
        let is_key = |name: &str| key.names().any(|key| key == name);
        // A selection through an index can change, because items enter and leave an index, and the index may have been
        // deleted since the run.
        rules.index == SelectingIndex::None
            && selections.into_iter().all(|selection| {
                let is_fixed = selection.is_fixed(is_key);
                is_fixed && self.select(selection) == Selected::Yes
            })
    }

    /// Removes the copy that the migration made, or restores the value that the migration overwrote.
    fn revert_copy(&mut self, source: &Source, to: &Path, skips_existing: bool, in_place: bool) {
        let item = self.item;
        let history = self.history;
        let from = &source.path;
        let restored = self.restored.get(from).copied();
        let old = from.get(item).or(restored);
        let new = to.get(item);
        // If this write restores the old value, the run's copy must equal the restored value.
        let is_implied = |new: &Value| match from.get(item) {
            Some(_) => source.implies(item, &self.rules.facts, new),
            None => restored == Some(new),
        };
        let is_implied = new.is_some_and(is_implied);
        // If old-from-new left the item unchanged, the target may have the only copy of its value.
        let is_last_copy = old.is_none() && self.history.changed_stable(&self.rules.stable, item).is_some();
        let is_preexisting = history.is_preexisting(to);
        let mut prior = history.prior_of_copy(to, new);
        if in_place && self.needs_record && !is_preexisting {
            // The records show which value the migration found, even if a writer stored it after the first pass had read
            // the item. No application writes both attributes, so this value does not follow from the old attribute.
            prior = prior.or_else(|| history.prior(to));
        }
        if let Some(PriorValue::Value(before)) = prior {
            return match new {
                Some(new) if new == before => self.mark_undone(to, new),
                Some(new) if history.is_own_value(to, new) => {
                    if is_last_copy {
                        return self.reject_if_stable_changed();
                    }
                    if is_implied {
                        self.require_implied(source, to, new, restored);
                        self.require(Condition::Equals(to.clone(), new.clone()));
                    } else {
                        // The old value has changed since the migration copied it.
                        self.record_difference(from, to, new);
                    }
                    self.overwrite(to, new, before);
                }
                // Applications write both attributes, and the value follows from the old attribute. So undo restores
                // the NULL that counts as missing. If the target had been absent, undo would remove the value.
                Some(new) if is_implied && !self.needs_record && *before == Value::Null && self.is_null_missing(to) => {
                    self.require_implied(source, to, new, restored);
                    self.require(Condition::Equals(to.clone(), new.clone()));
                    self.overwrite(to, new, before);
                }
                // The target no longer has a value that the tool wrote. Either somebody wrote the target after the
                // migration, perhaps together with the source, or this is a new item with the same key.
                _ => self.diverged.push(to.clone()),
            };
        }
        let is_own = |new: &Value| history.is_own_value(to, new);
        // In an in-place plan, the record of a write to a missing target shows that an application removed the preexisting
        // value before.
        let was_removed = in_place && self.needs_record && prior == Some(&PriorValue::Nothing);
        if is_preexisting && !(was_removed && new.is_some_and(is_own)) {
            return;
        }
        if self.needs_record {
            // Undo changes the item only if a record shows a write to the target: a write that created the value, or one
            // that overwrote a value.
            match new {
                Some(new) if is_own(new) => {}
                // The recorded write did not take effect.
                Some(new) if !history.was_created(to) && is_value(history.prior(to), new) => {
                    return self.mark_undone(to, new);
                }
                Some(_) if history.has_write_of(to) => return self.diverged.push(to.clone()),
                Some(_) => return self.reject_if_stable_changed(),
                None => {}
            }
        }
        let Some(new) = new else { return self.require(Condition::Missing(to.clone())) };
        if is_implied {
            self.require_implied(source, to, new, restored);
            if history.may_be_preexisting(to) {
                self.pre_images.push(PreImage::with_leftover(to, Leftover::NewRemoved));
            }
        } else if !history.has_baseline() {
            // It is unknown whether the target existed before the migration. If there is no old value, no run created
            // the target, so the target is not reported.
            self.diverged.extend(old.map(|_| to.clone()));
            return;
        } else if skips_existing && !history.was_created(to) {
            // With `skip`, a target that the migration did not write keeps a value that differs from the old value.
            return self.diverged.push(to.clone());
        } else if is_last_copy {
            return self.reject_if_stable_changed();
        } else {
            self.record_difference(from, to, new);
        }
        self.remove(to, new);
    }

    /// Reverses an in-place move if the journal records the move.
    fn revert_move(&mut self, from: &Path, to: &Path) {
        let item = self.item;
        let history = self.history;
        let Some(prior) = history.prior(to) else { return };
        match (from.get(item), to.get(item), prior) {
            (None, None, _) => {
                self.require(Condition::Missing(from.clone()));
                self.require(Condition::Missing(to.clone()));
            }
            // The move has already been undone, or it never happened.
            (Some(_), None, PriorValue::Nothing) => {
                self.already_applied = true;
                self.require(Condition::Missing(to.clone()));
            }
            (Some(_), Some(new), PriorValue::Value(before)) if new == before => self.mark_undone(to, new),
            (Some(old), Some(new), prior) if old == new => {
                self.require(Condition::PathsEqual(from.clone(), to.clone()));
                self.clear_target(to, new, prior);
            }
            (None, Some(new), prior) => {
                self.require(Condition::Missing(from.clone()));
                self.require(Condition::Exists(to.clone()));
                match self.copy_back(from, to, new) {
                    Ok(()) => self.clear_target(to, new, prior),
                    Err(_) => self.diverged.push(from.clone()),
                }
            }
            (Some(_), _, _) => self.diverged.push(to.clone()),
        }
    }

    /// Cleans up the target of an in-place move after the value has been moved back to the source.
    fn clear_target(&mut self, to: &Path, new: &Value, prior: &PriorValue) {
        match prior {
            PriorValue::Nothing => self.remove(to, new),
            PriorValue::SameAsSource | PriorValue::Item(_) | PriorValue::Mark(_) | PriorValue::Leftover(_) => {
                self.already_applied = true;
            }
            PriorValue::Value(before) => self.overwrite(to, new, before),
        }
    }

    /// Restores a list or map, unless a live writer may have derived it from a value of the tool. Restoring such a list
    /// or map would leave a part of the migration in place, and would lose values that an earlier write removed.
    fn revert_elements(&mut self, container: &Path) {
        let history = self.history;
        if history.last_foreign_may_be_mixed(container) {
            return self.diverged.push(container.clone());
        }
        self.revert_value(container, history.last_foreign(container), |now| history.is_own_value(container, now));
    }

    /// Restores a removed value, unless the path currently has a different value.
    fn revert_remove(&mut self, path: &Path) {
        let Some(PriorValue::Value(before)) = self.history.prior(path) else { return };
        match path.get(self.item) {
            Some(now) if now == before => self.mark_undone(path, now),
            Some(_) => self.diverged.push(path.clone()),
            None => match self.placement(path) {
                Placement::Ready => {
                    self.require(Condition::Missing(path.clone()));
                    self.require_parent(path);
                    self.set(path, before);
                }
                Placement::ParentMissing(root) => self.put_in_new_map(root, path, before.clone()),
                Placement::Impossible(_) => self.diverged.push(path.clone()),
            },
        }
    }

    /// Requires that the old value still implies the new value. If the same write restores the old value, the condition
    /// compares the new value with the restored value instead.
    fn require_implied(&mut self, source: &Source, to: &Path, new: &Value, restored: Option<&Value>) {
        match source.path.get(self.item) {
            None if restored.is_some() => self.require(Condition::Equals(to.clone(), new.clone())),
            _ => self.require_pair(source, to),
        }
    }

    /// Records a new value that differs from the old value, and requires that neither value changes before the write.
    fn record_difference(&mut self, from: &Path, to: &Path, new: &Value) {
        self.record_pre_image(PreImage::with_value(to, new));
        self.require(match from.get(self.item) {
            Some(old) => Condition::Equals(from.clone(), old.clone()),
            None => Condition::Missing(from.clone()),
        });
    }

    pub(super) fn mark_undone(&mut self, path: &Path, value: &Value) {
        self.already_applied = true;
        self.require(Condition::Equals(path.clone(), value.clone()));
    }

    pub(super) fn overwrite(&mut self, path: &Path, now: &Value, before: &Value) {
        self.subtract_bytes(path, now);
        self.set(path, before);
    }

    /// Returns the values that [`UndoOp::Remove`] restores in this write. Before this write, the copies of these
    /// values have no source in the item.
    fn restored_values(&self, ops: &'a [UndoOp]) -> BTreeMap<&'a Path, &'a Value> {
        let removed = ops.iter().filter_map(|op| match op {
            UndoOp::Remove { path } => Some(path),
            UndoOp::Copy { .. }
            | UndoOp::Move { .. }
            | UndoOp::Set { .. }
            | UndoOp::Computed { .. }
            | UndoOp::Converted { .. }
            | UndoOp::Elements { .. }
            | UndoOp::Appended { .. }
            | UndoOp::Restore
            | UndoOp::RemoveDerived => None,
        });
        let gone = removed.filter(|path| path.get(self.item).is_none());
        gone.filter_map(|path| Some((path, self.history.prior(path)?.value()?))).collect()
    }

    /// Removes maps that the migration created for the removed values, if these maps contain nothing else. A map that
    /// replaced a NULL becomes a NULL again.
    pub(super) fn remove_created_maps(&mut self) {
        let ours = |path: &Path| path.ancestors().find(|ancestor| self.history.map_was_created(ancestor));
        let removed: Vec<(Path, Path)> = self
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Remove { path } => Some((path.clone(), ours(path)?)),
                Action::SetFrom { .. }
                | Action::SetValue { .. }
                | Action::DeleteItem { .. }
                | Action::PutItem { .. }
                | Action::PutDerived { .. } => None,
            })
            .collect();
        if removed.is_empty() {
            return;
        }
        let mut after = self.image_after();
        for (path, root) in &removed {
            // Of the maps that the migration created, visit the innermost first and the outermost last.
            let mut emptied = None;
            let mut inner = path.parent();
            while let Some(map) = inner.filter(|map| map.steps().len() >= root.steps().len()) {
                match map.get(&after) {
                    Some(Value::M(members)) if members.is_empty() && self.history.map_replaced_null(&map) => {
                        map.set(&mut after, Value::Null);
                        emptied = Some(map);
                        break;
                    }
                    Some(Value::M(members)) if members.is_empty() => drop(map.remove(&mut after)),
                    // The removal of another path already removes this map.
                    None => {}
                    Some(_) => break,
                }
                inner = map.parent();
                emptied = Some(map);
            }
            if let Some(map) = emptied {
                self.remove_map(&map);
            }
        }
    }

    /// Replaces the removals inside a map with one removal of the map, or with the NULL that the map replaced.
    fn remove_map(&mut self, map: &Path) {
        let item: &'a Item = self.item;
        let Some(value) = map.get(item) else { return };
        let inside = |action: &Action| matches!(action, Action::Remove { path } if map.overlaps(path));
        let removals: Vec<Action> = self.actions.extract_if(.., |action| inside(action)).collect();
        for removal in removals {
            if let Action::Remove { path } = removal
                && let Some(value) = path.get(item)
            {
                self.add_back_bytes(&path, value);
            }
        }
        self.require(Condition::Equals(map.clone(), value.clone()));
        match self.history.map_replaced_null(map) {
            true => self.overwrite(map, value, &Value::Null),
            false => self.remove(map, value),
        }
    }
}

/// Returns whether the path had this value before a write.
fn is_value(prior: Option<&PriorValue>, value: &Value) -> bool {
    matches!(prior, Some(PriorValue::Value(before)) if before == value)
}

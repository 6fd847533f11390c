//! The last phase of `rollback`, for one item: it removes [copies that the migration made](UndoOp::Uncopy) and restores
//! values that the migration overwrote or removed.
//!
//! Every write is compare-and-set. If a live writer has changed a value since the run, the value stays and the item is
//! reported as diverged. An item is also reported as diverged if the item's shape no longer allows a value to be
//! restored. The journal keeps every value that a removal would lose. This phase never removes a value that existed
//! before the migration. If an item has no baseline, this phase removes only values that are equal to the item's old
//! value.

use std::collections::BTreeMap;

use super::draft::{Draft, Place};
use super::{Action, Change, Condition, Leftover, OnExisting, PreImage, PriorValue, Strategy};
use crate::item::{Item, Path, Value};

/// What this phase does to undo one change of the plan.
#[derive(Debug, Clone)]
pub(super) enum UndoOp {
    /// Restores the target of a copy, or of a move whose source stayed, to its state before the migration.
    Uncopy { from: Path, to: Path, skips: bool },
    /// Moves the value of an in-place move back to its source.
    Unmove { from: Path, to: Path },
    /// Removes the constant and restores the value that existed before.
    Unset { to: Path, value: Value },
    /// Restores a value that was removed in place.
    Unremove { path: Path },
}

impl UndoOp {
    /// The operations for the changes of a plan, in the same order.
    pub(super) fn all(changes: &[Change], strategy: Strategy) -> Vec<UndoOp> {
        changes.iter().filter_map(|change| UndoOp::of(change, strategy)).collect()
    }

    /// The operation for one change of a plan, or `None` if `run` does nothing for this change.
    fn of(change: &Change, strategy: Strategy) -> Option<UndoOp> {
        let in_place = strategy == Strategy::InPlace;
        match change.clone() {
            Change::Move { from, to, .. } if in_place => Some(UndoOp::Unmove { from, to }),
            Change::Move { from, to, on_existing } | Change::Copy { from, to, on_existing } => {
                Some(UndoOp::Uncopy { from, to, skips: on_existing == OnExisting::Skip })
            }
            Change::Set { to, value, .. } => Some(UndoOp::Unset { to, value }),
            Change::Remove { path } => in_place.then_some(UndoOp::Unremove { path }),
        }
    }

    /// The paths that the operation may change.
    pub(super) fn changed(&self) -> impl Iterator<Item = &Path> {
        let (one, another) = match self {
            UndoOp::Unmove { from, to } => (to, Some(from)),
            UndoOp::Uncopy { to: path, .. } | UndoOp::Unset { to: path, .. } | UndoOp::Unremove { path } => {
                (path, None)
            }
        };
        std::iter::once(one).chain(another)
    }
}

impl<'a> Draft<'a> {
    /// Adds the actions and conditions of all operations. If one operation restores a value, the other operations use
    /// that value.
    pub(super) fn undo(&mut self, ops: &'a [UndoOp]) {
        self.restored = self.restored_by(ops);
        for op in ops {
            match op {
                UndoOp::Uncopy { from, to, skips } => self.uncopy(from, to, *skips),
                UndoOp::Unmove { from, to } => self.unmove(from, to),
                UndoOp::Unset { to, value } => self.unset(to, value),
                UndoOp::Unremove { path } => self.unremove(path),
            }
        }
    }

    /// Removes the copy that the migration made, or restores the value that the migration overwrote.
    fn uncopy(&mut self, from: &Path, to: &Path, skips: bool) {
        let item = self.item;
        let record = self.record;
        let restored = self.restored.get(from).copied();
        let old = from.get(item).or(restored);
        let new = to.get(item);
        if let Some(PriorValue::Value(before)) = record.prior_of_copy(to, new) {
            return match new {
                Some(new) if new == before => self.is_undone(to, new),
                Some(new) if record.is_ours(to, new) => {
                    if Some(new) == old {
                        self.hold_equal(from, to, new, restored);
                        self.require(Condition::Equals(to.clone(), new.clone()));
                    } else {
                        // The old value has changed since the copy was made.
                        self.keep_apart(from, to, new);
                    }
                    self.overwrite(to, new, before);
                }
                // Somebody has written the target after the migration, perhaps together with the source. Or the item
                // was deleted, and this is a new item with the same key.
                _ => self.diverged.push(to.clone()),
            };
        }
        if record.is_preexisting(to) {
            return;
        }
        let Some(new) = new else { return self.require(Condition::Missing(to.clone())) };
        if Some(new) == old {
            self.hold_equal(from, to, new, restored);
            if record.may_be_older(to) {
                self.pre_images.push(PreImage::left(to, Leftover::NewRemoved));
            }
        } else if !record.has_baseline() {
            // It is unknown whether the target existed before. If there is no old value, no run created the target.
            self.diverged.extend(old.map(|_| to.clone()));
            return;
        } else if skips && !record.made(to) {
            // With `skip`, if the migration did not write the target, a value that differs from the old value stays
            // there.
            return self.diverged.push(to.clone());
        } else {
            self.keep_apart(from, to, new);
        }
        self.remove(to, new);
    }

    /// Reverses an in-place move if the journal has a record of it.
    fn unmove(&mut self, from: &Path, to: &Path) {
        let item = self.item;
        let record = self.record;
        let Some(prior) = record.prior(to) else { return };
        match (from.get(item), to.get(item), prior) {
            (None, None, _) => {
                self.require(Condition::Missing(from.clone()));
                self.require(Condition::Missing(to.clone()));
            }
            // The move is already undone, or it never happened.
            (Some(_), None, PriorValue::Nothing) => {
                self.already = true;
                self.require(Condition::Missing(to.clone()));
            }
            (Some(_), Some(new), PriorValue::Value(before)) if new == before => self.is_undone(to, new),
            (Some(old), Some(new), prior) if old == new => {
                self.require(Condition::Same(from.clone(), to.clone()));
                self.clear_moved(to, new, prior);
            }
            (None, Some(new), prior) => {
                self.require(Condition::Missing(from.clone()));
                self.require(Condition::Exists(to.clone()));
                match self.bring_back(from, to, new) {
                    Ok(()) => self.clear_moved(to, new, prior),
                    Err(_) => self.diverged.push(from.clone()),
                }
            }
            (Some(_), _, _) => self.diverged.push(to.clone()),
        }
    }

    /// Cleans up the target of an in-place move after the value was moved back to the source.
    fn clear_moved(&mut self, to: &Path, new: &Value, prior: &PriorValue) {
        match prior {
            PriorValue::Nothing => self.remove(to, new),
            PriorValue::Same | PriorValue::Left(_) => self.already = true,
            PriorValue::Value(before) => self.overwrite(to, new, before),
        }
    }

    /// Removes a constant if it is still there.
    fn unset(&mut self, to: &Path, value: &Value) {
        match (to.get(self.item), self.record.prior(to)) {
            (_, None | Some(PriorValue::Same | PriorValue::Left(_))) => {}
            (None, Some(PriorValue::Nothing)) => {
                self.already = true;
                self.require(Condition::Missing(to.clone()));
            }
            (Some(now), Some(PriorValue::Value(before))) if now == before => self.is_undone(to, now),
            (Some(now), Some(prior)) if now == value => {
                self.require(Condition::Equals(to.clone(), value.clone()));
                match prior {
                    PriorValue::Value(before) => self.overwrite(to, now, before),
                    PriorValue::Nothing | PriorValue::Same | PriorValue::Left(_) => self.remove(to, now),
                }
            }
            (None, Some(PriorValue::Value(_))) | (Some(_), Some(PriorValue::Value(_) | PriorValue::Nothing)) => {
                self.diverged.push(to.clone())
            }
        }
    }

    /// Restores a removed value, unless the path has a different value now.
    fn unremove(&mut self, path: &Path) {
        let Some(PriorValue::Value(before)) = self.record.prior(path) else { return };
        match path.get(self.item) {
            Some(now) if now == before => self.is_undone(path, now),
            Some(_) => self.diverged.push(path.clone()),
            None => match self.place(path) {
                Place::Ready => {
                    self.require(Condition::Missing(path.clone()));
                    self.require_parent(path);
                    self.set(path, before);
                }
                Place::ParentMissing(root) => self.make(root, path, before.clone()),
                Place::Impossible(_) => self.diverged.push(path.clone()),
            },
        }
    }

    /// Requires that the new value is equal to the old value. If the same write restores the old value, the condition
    /// compares the new value with the restored value.
    fn hold_equal(&mut self, from: &Path, to: &Path, new: &Value, restored: Option<&Value>) {
        self.require(match from.get(self.item) {
            None if restored.is_some() => Condition::Equals(to.clone(), new.clone()),
            _ => Condition::Same(from.clone(), to.clone()),
        });
    }

    /// Records a new value that differs from the old value, and requires that neither value changes before the write.
    fn keep_apart(&mut self, from: &Path, to: &Path, new: &Value) {
        self.keep_pre_image(PreImage::of(to, new));
        self.require(match from.get(self.item) {
            Some(old) => Condition::Equals(from.clone(), old.clone()),
            None => Condition::Missing(from.clone()),
        });
    }

    fn is_undone(&mut self, path: &Path, value: &Value) {
        self.already = true;
        self.require(Condition::Equals(path.clone(), value.clone()));
    }

    fn overwrite(&mut self, path: &Path, now: &Value, before: &Value) {
        self.shrinks_by(path, now);
        self.set(path, before);
    }

    /// The values that [`UndoOp::Unremove`] restores in this write. Before this write, the copies of these values have
    /// no source in the item.
    fn restored_by(&self, ops: &'a [UndoOp]) -> BTreeMap<&'a Path, &'a Value> {
        let removed = ops.iter().filter_map(|op| match op {
            UndoOp::Unremove { path } => Some(path),
            UndoOp::Uncopy { .. } | UndoOp::Unmove { .. } | UndoOp::Unset { .. } => None,
        });
        let gone = removed.filter(|path| path.get(self.item).is_none());
        gone.filter_map(|path| Some((path, self.record.prior(path)?.value()?))).collect()
    }

    /// Also removes maps that the migration created for the removed values, if nothing else is in them.
    pub(super) fn remove_made_maps(&mut self) {
        let ours = |path: &Path| path.ancestors().find(|ancestor| self.record.made(ancestor));
        let removed: Vec<(Path, Path)> = self
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Remove { path } => Some((path.clone(), ours(path)?)),
                Action::SetFrom { .. } | Action::SetValue { .. } => None,
            })
            .collect();
        if removed.is_empty() {
            return;
        }
        let mut after = self.after();
        for (path, root) in &removed {
            // Go from the innermost map to the outermost map that the migration created.
            let mut emptied = None;
            let mut inner = path.parent();
            while let Some(map) = inner.filter(|map| map.steps().len() >= root.steps().len()) {
                match map.get(&after) {
                    Some(Value::M(members)) if members.is_empty() => drop(map.remove(&mut after)),
                    // The removal of another path already removes this map.
                    None => {}
                    Some(_) => break,
                }
                inner = map.parent();
                emptied = Some(map);
            }
            if let Some(map) = emptied {
                self.remove_whole(&map);
            }
        }
    }

    /// Replaces the removals inside a map by one removal of the map.
    fn remove_whole(&mut self, map: &Path) {
        let item: &'a Item = self.item;
        let Some(value) = map.get(item) else { return };
        let inside = |action: &Action| matches!(action, Action::Remove { path } if map.overlaps(path));
        let removals: Vec<Action> = self.actions.extract_if(.., |action| inside(action)).collect();
        for removal in removals {
            if let Action::Remove { path } = removal
                && let Some(value) = path.get(item)
            {
                self.unshrink_by(&path, value);
            }
        }
        self.require(Condition::Equals(map.clone(), value.clone()));
        self.remove(map, value);
    }
}

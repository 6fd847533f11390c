//! What the last phase of `rollback` does to one item: [what the migration made](UndoOp::Uncopy) goes, and what it overwrote
//! or removed comes back.
//!
//! Everything is compare-and-set: what a live writer changed since stays, and is reported as diverged; so is a value that
//! would come back where its shape has no place for it any more. The journal keeps what a removal would lose. This
//! phase keeps what existed before the migration. From an item without a baseline it removes only values that are equal
//! to the item's old value.

use std::collections::BTreeMap;

use super::draft::{Draft, Place};
use super::{Action, Change, Condition, Leftover, OnExisting, PreImage, PriorValue, Strategy};
use crate::item::{Item, Path, Value};

/// A change as this phase undoes it.
#[derive(Debug, Clone)]
pub(super) enum UndoOp {
    /// The target of a copy, or of a move whose source has stayed, is as it was before.
    Uncopy { from: Path, to: Path, skips: bool },
    /// The value of a move in place is at its source again.
    Unmove { from: Path, to: Path },
    /// The constant goes, and what existed before comes back.
    Unset { to: Path, value: Value },
    /// What was removed in place is back.
    Unremove { path: Path },
}

impl UndoOp {
    /// The operations for these changes, in their order.
    pub(super) fn all(changes: &[Change], strategy: Strategy) -> Vec<UndoOp> {
        changes.iter().filter_map(|change| UndoOp::of(change, strategy)).collect()
    }

    /// The operation for one change of a plan; none if `run` has made nothing of it.
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

    /// The paths that it may change.
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
    /// Plans all operations: what one of them brings back counts for the others.
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

    /// Removes what a move or copy has made, or brings back what it overwrote.
    fn uncopy(&mut self, from: &Path, to: &Path, skips: bool) {
        let (item, record) = (self.item, self.record);
        let restored = self.restored.get(from).copied();
        let (old, new) = (from.get(item).or(restored), to.get(item));
        if let Some(PriorValue::Value(before)) = record.prior_of_copy(to, new) {
            return match new {
                Some(new) if new == before => self.is_undone(to, new),
                Some(new) if record.is_ours(to, new) => {
                    if Some(new) == old {
                        self.hold_equal(from, to, new, restored);
                        self.require(Condition::Equals(to.clone(), new.clone()));
                    } else {
                        // The old value has changed since.
                        self.keep_apart(from, to, new);
                    }
                    self.overwrite(to, new, before);
                }
                // Somebody has written it since, maybe both; or it is of another item, which has got the key.
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
            // It is unknown whether the target existed before. Without an old value, no run made it.
            self.diverged.extend(old.map(|_| to.clone()));
            return;
        } else if skips && !record.made(to) {
            // A change that skips removes no other value from a target that the migration has not filled.
            return self.diverged.push(to.clone());
        } else {
            self.keep_apart(from, to, new);
        }
        self.remove(to, new);
    }

    /// The reverse of a move in place, for an item whose journal has one.
    fn unmove(&mut self, from: &Path, to: &Path) {
        let (item, record) = (self.item, self.record);
        let Some(prior) = record.prior(to) else { return };
        match (from.get(item), to.get(item), prior) {
            (None, None, _) => {
                self.require(Condition::Missing(from.clone()));
                self.require(Condition::Missing(to.clone()));
            }
            // Undone, or never done.
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

    /// What becomes of the target of a move in place when its value is at the source again.
    fn clear_moved(&mut self, to: &Path, new: &Value, prior: &PriorValue) {
        match prior {
            PriorValue::Nothing => self.remove(to, new),
            PriorValue::Same | PriorValue::Left(_) => self.already = true,
            PriorValue::Value(before) => self.overwrite(to, new, before),
        }
    }

    /// Takes a constant back, where it still stands.
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

    /// Puts a removed value back, where nothing has come in its place.
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

    /// Holds the new value to the old one; where the same write brings that back, to its value.
    fn hold_equal(&mut self, from: &Path, to: &Path, new: &Value, restored: Option<&Value>) {
        self.require(match from.get(self.item) {
            None if restored.is_some() => Condition::Equals(to.clone(), new.clone()),
            _ => Condition::Same(from.clone(), to.clone()),
        });
    }

    /// Keeps a new value that the old one does not repeat, and holds both to what they are.
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

    /// Values that [`UndoOp::Unremove`] puts back in this write: until then their copies have no source.
    fn restored_by(&self, ops: &'a [UndoOp]) -> BTreeMap<&'a Path, &'a Value> {
        let removed = ops.iter().filter_map(|op| match op {
            UndoOp::Unremove { path } => Some(path),
            UndoOp::Uncopy { .. } | UndoOp::Unmove { .. } | UndoOp::Unset { .. } => None,
        });
        let gone = removed.filter(|path| path.get(self.item).is_none());
        gone.filter_map(|path| Some((path, self.record.prior(path)?.value()?))).collect()
    }

    /// Maps that the migration made for what is removed now go with it, where nothing else is in them.
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
            // From the innermost map to the outermost that is ours.
            let mut emptied = None;
            let mut inner = path.parent();
            while let Some(map) = inner.filter(|map| map.steps().len() >= root.steps().len()) {
                match map.get(&after) {
                    Some(Value::M(members)) if members.is_empty() => drop(map.remove(&mut after)),
                    // Another removed path has emptied it.
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

    /// One removal of a map in place of those inside it.
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

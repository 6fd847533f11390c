//! What `rollback` wants of one item. Two phases, of which the first is only needed where applications have written the
//! new attribute alone: [old values are made equal to new ones](Wanted::Refresh); then [what the migration
//! made](Wanted::Uncopy) goes, and what it overwrote or removed comes back.
//!
//! Everything is compare-and-set: what a live writer has changed since stays, and is reported as diverged; also where its
//! shape has no place any more for what would come back. The journal keeps what a removal would lose. The last phase
//! leaves alone what was there before the migration, and of items that no pass has met all but what their old value
//! repeats; the first one passes over no item (`playbook`, "What the model taught").

use std::collections::BTreeMap;

use super::decide::{Target, Wanted};
use super::draft::{Draft, Place};
use super::{Action, Condition, Leftover, PreImage, Was};
use crate::item::{Item, Path, Value};

impl<'a> Draft<'a> {
    pub(super) fn roll_back(&mut self, wanted: &'a Wanted) {
        match wanted {
            Wanted::Refresh { from, targets } => self.refresh(from, targets),
            Wanted::Uncopy { from, to, skips } => self.uncopy(from, to, *skips),
            Wanted::Unmove { from, to } => self.unmove(from, to),
            Wanted::Unset { to, value } => self.unset(to, value),
            Wanted::Unremove { path } => self.unremove(path),
            _ => {}
        }
    }

    /// Makes the old value equal to the new one, as applications that write only the new one have left it; also where the
    /// new one was there before the migration: an application may have written it since. An old value without a new one
    /// stays: applications delete both, so that it is of an item which was never given a new one, and the only value there.
    /// A pair that the run skipped stays as it is, as long as the new value is the one of before.
    fn refresh(&mut self, from: &Path, targets: &[Target]) {
        let item = self.item;
        let old = from.get(item);
        let mut values: Vec<(&Path, Option<&Value>)> = Vec::new();
        for Target { to, skips } in targets {
            match (old, to.get(item)) {
                (Some(old), Some(new)) if *skips && old != new && self.record.is_existing(to, new) => {
                    self.hold(from);
                    self.hold(to);
                    self.skipped.push(to.clone());
                }
                (_, new) => values.push((to, new)),
            }
        }
        let Some((to, new)) = values.first().copied() else { return };
        if let Some((other, _)) = values.iter().find(|(_, value)| *value != new) {
            // Two copies of one source: nobody knows which of them it should equal.
            return self.diverged.push((*other).clone());
        }
        if old.is_some() && new.is_none() {
            values.iter().for_each(|(to, _)| self.require(Condition::Missing((*to).clone())));
            return self.kept.push(from.clone());
        }
        if old != new && from.ends_in_index() {
            // Of a list, elements are never written: another one may be there by then.
            return self.diverged.push(from.clone());
        }
        match (old, new) {
            (None, None) => self.require(Condition::Missing(from.clone())),
            (Some(old), Some(new)) if old == new => self.already = true,
            (Some(old), _) => self.keep_pre_image(PreImage::of(from, old)),
            (None, Some(_)) => {
                self.require(Condition::Missing(from.clone()));
                if self.record.why_unreadable().is_some() {
                    self.pre_images.push(PreImage::left(from, Leftover::Unknown));
                } else if values.iter().any(|(to, _)| self.record.was_there_before(to)) {
                    self.pre_images.push(PreImage::left(from, Leftover::OldMade));
                }
            }
        }
        for (to, value) in &values {
            self.require(match value {
                Some(_) if old == *value => Condition::Same(from.clone(), (*to).clone()),
                Some(value) => Condition::Equals((*to).clone(), (*value).clone()),
                None => Condition::Missing((*to).clone()),
            });
        }
        if let Some(new) = new.filter(|new| old != Some(*new))
            && let Err(why) = self.bring_back(from, to, new)
        {
            // Readers that go back would miss it.
            self.reject(why);
        }
    }

    /// Removes what a move or copy has made, or brings back what it overwrote.
    fn uncopy(&mut self, from: &Path, to: &Path, skips: bool) {
        let (item, record) = (self.item, self.record);
        let restored = self.restored.get(from).copied();
        let (old, new) = (from.get(item).or(restored), to.get(item));
        if let Some(Was::Value(before)) = record.was_copied_over(to, new) {
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
        if record.was_there_before(to) {
            return;
        }
        let Some(new) = new else { return self.require(Condition::Missing(to.clone())) };
        if Some(new) == old {
            self.hold_equal(from, to, new, restored);
            if record.may_be_older(to) {
                self.pre_images.push(PreImage::left(to, Leftover::NewRemoved));
            }
        } else if !record.is_met() {
            // Nobody knows whether it was there before. Without an old value it is none that a run has made.
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

    /// The reverse of a move in place, for an item that one is on record of.
    fn unmove(&mut self, from: &Path, to: &Path) {
        let (item, record) = (self.item, self.record);
        let Some(was) = record.was(to) else { return };
        match (from.get(item), to.get(item), was) {
            (None, None, _) => {
                self.require(Condition::Missing(from.clone()));
                self.require(Condition::Missing(to.clone()));
            }
            // Undone, or never done.
            (Some(_), None, Was::Nothing) => {
                self.already = true;
                self.require(Condition::Missing(to.clone()));
            }
            (Some(_), Some(new), Was::Value(before)) if new == before => self.is_undone(to, new),
            (Some(old), Some(new), was) if old == new => {
                self.require(Condition::Same(from.clone(), to.clone()));
                self.clear_moved(to, new, was);
            }
            (None, Some(new), was) => {
                self.require(Condition::Missing(from.clone()));
                self.require(Condition::Exists(to.clone()));
                match self.bring_back(from, to, new) {
                    Ok(()) => self.clear_moved(to, new, was),
                    Err(_) => self.diverged.push(from.clone()),
                }
            }
            (Some(_), _, _) => self.diverged.push(to.clone()),
        }
    }

    /// What becomes of the target of a move in place when its value is at the source again.
    fn clear_moved(&mut self, to: &Path, new: &Value, was: &Was) {
        match was {
            Was::Nothing => self.remove(to, new),
            Was::Same | Was::Left(_) => self.already = true,
            Was::Value(before) => self.overwrite(to, new, before),
        }
    }

    /// Takes a constant back, where it still stands.
    fn unset(&mut self, to: &Path, value: &Value) {
        match (to.get(self.item), self.record.was(to)) {
            (_, None | Some(Was::Same | Was::Left(_))) => {}
            (None, Some(Was::Nothing)) => {
                self.already = true;
                self.require(Condition::Missing(to.clone()));
            }
            (Some(now), Some(Was::Value(before))) if now == before => self.is_undone(to, now),
            (Some(now), Some(was)) if now == value => {
                self.require(Condition::Equals(to.clone(), value.clone()));
                match was {
                    Was::Value(before) => self.overwrite(to, now, before),
                    _ => self.remove(to, now),
                }
            }
            _ => self.diverged.push(to.clone()),
        }
    }

    /// Puts a removed value back, where nothing has come in its place.
    fn unremove(&mut self, path: &Path) {
        let Some(Was::Value(before)) = self.record.was(path) else { return };
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

    /// The value at `to` is to be at `from`: of both, the caller holds what is there. If it cannot be there, why.
    fn bring_back(&mut self, from: &Path, to: &Path, new: &Value) -> Result<(), String> {
        if let Some(old) = from.get(self.item) {
            self.shrinks_by(from, old);
            self.copy(to, from, new);
            return Ok(());
        }
        match self.place(from) {
            Place::Ready => {
                self.require_parent(from);
                self.copy(to, from, new);
            }
            Place::ParentMissing(root) => {
                self.require(Condition::Equals(to.clone(), new.clone()));
                self.make(root, from, new.clone());
            }
            Place::Impossible(why) => return Err(why),
        }
        Ok(())
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

    /// Values that [`Wanted::Unremove`] puts back in this write: until then their copies have no source.
    pub(super) fn restored(&self, steps: &'a [Wanted]) -> BTreeMap<&'a Path, &'a Value> {
        let (item, record) = (self.item, self.record);
        let restored = steps.iter().filter_map(|wanted| match wanted {
            Wanted::Unremove { path } if path.get(item).is_none() => match record.was(path)? {
                Was::Value(value) => Some((path, value)),
                _ => None,
            },
            _ => None,
        });
        restored.collect()
    }

    /// Maps that the migration made for what is removed now go with it, where nothing else is in them.
    pub(super) fn remove_made_maps(&mut self) {
        let ours = |path: &Path| path.ancestors().find(|ancestor| self.record.made(ancestor));
        let removed: Vec<(Path, Path)> = self
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Remove { path } => Some((path.clone(), ours(path)?)),
                _ => None,
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

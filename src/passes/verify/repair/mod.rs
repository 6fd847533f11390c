//! Decides what a repair writes to one mismatching item. Pure. A repair makes the derived side equal to the side that
//! is the truth.
//!
//! Every write has a condition: both values of a pair must be the same as in the image. If a value will be overwritten
//! or removed, it is stored durably as a pre-image before the write. DynamoDB copies values itself, as in `run`. If a
//! live writer changes the pair in between, the condition fails, and the repair decides again from the returned image.
//!
//! If the correct value of one change cannot be derived, the whole item is not changed: see [`Repair::decide`].

mod in_place;
mod pair;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::compare::Existing;
use crate::change::{Change, Changes, Condition, Decides, Decision, Indexes, ItemHistory, OnExisting, Strategy};
use crate::cutover::{Truth, Truths};
use crate::item::{Item, KeySchema, Path};
use pair::Pair;

/// How to repair the items of one table before `contract`. After `contract` there is nothing to repair; instead,
/// rerunning `contract` removes old values that are left.
#[derive(Debug, Clone)]
pub struct Repair {
    changes: Vec<Change>,
    strategy: Strategy,
    truths: Truths,
    removes: bool,
    key: KeySchema,
    indexes: Indexes,
}

/// The repair of the items of one page, with their recorded history.
#[derive(Debug)]
pub(super) struct PageRepair {
    /// The repair of one item.
    pub(super) repair: Repair,
    /// The recorded history of each item, by the text of its key.
    pub(super) records: BTreeMap<String, ItemHistory>,
}

/// The changes and conditions that have been collected for one item so far.
#[derive(Default)]
struct Needs {
    changes: Vec<Change>,
    conditions: Vec<Condition>,
    left: Vec<Path>,
}

impl Repair {
    /// Creates the repair for a plan's changes.
    pub fn new(
        changes: &[Change],
        strategy: Strategy,
        truths: impl Into<Truths>,
        key: KeySchema,
        indexes: impl Into<Indexes>,
    ) -> Repair {
        Repair {
            changes: changes.to_vec(),
            strategy,
            truths: truths.into(),
            removes: false,
            key,
            indexes: indexes.into(),
        }
    }

    /// The same repair, but it also removes values that nothing implies. Applications may still use such values, so the
    /// operator has to request this by name.
    #[must_use]
    pub fn removing(self) -> Repair {
        Repair { removes: true, ..self }
    }

    /// The table's key.
    pub(super) fn key(&self) -> &KeySchema {
        &self.key
    }

    /// The table's indexes, as currently known.
    pub(super) fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    /// Decides which write this item needs. A preexisting new value without an old one matches and stays, as long as
    /// old values cannot be stale. If there is an old value, the preexisting value is compared with it like any other,
    /// unless it counts as done because of `on_existing = "skip"`.
    ///
    /// If the item must not be written, the result is `Diverged` with the paths that are the reason. Each of these
    /// paths has one of these values:
    ///
    /// - an old value without a new one while only new values are written, because it may be the only copy
    /// - a constant with another value while readers read the new side
    /// - a source whose targets disagree, or that is an element of a list
    /// - a value that nothing implies, unless this repair is [removing](Repair::removing) those
    /// - with `skip`, a new value that is neither the preexisting one nor one that the migration wrote
    pub fn decide(&self, item: &Item, record: &ItemHistory) -> Decision {
        if let Some(why) = record.why_unreadable() {
            return Decision::Rejected(format!(
                "its record in the state file cannot be read: {why}; it was not written"
            ));
        }
        let mut needs = Needs::default();
        let truth = self.truths.at(item.get(&self.key.partition.name));
        for change in &self.changes {
            match change {
                Change::Move { from, to, .. } | Change::Copy { from, to, .. } if self.leaves_in_place(change) => {
                    needs.hold(from, item);
                    // If both sides exist and are equal, only the source has to be removed.
                    let only_removes = from.get(item).is_some() && from.get(item) == to.get(item);
                    needs.keep(from, only_removes && !self.removes);
                    needs.changes.push(overwriting(change));
                }
                Change::Move { from, to, .. } | Change::Copy { from, to, .. } => {
                    let pair = Pair { old: from, new: to, existing: Existing::of(change, self.strategy) };
                    self.pair(&mut needs, item, record, &pair, truth);
                }
                // A `set` is not compared in this case (`compare/`), so it must not block the repair of a pair.
                Change::Set { .. } if truth.is_new_alone() => {}
                Change::Set { to, value, .. } => {
                    let other = to.get(item).is_some_and(|there| there != value) && !change.skips();
                    needs.keep(to, other && truth != Truth::Old);
                    needs.changes.push(overwriting(change));
                }
                Change::Remove { path } if self.strategy == Strategy::InPlace => {
                    if !self.is_left_of_a_skip(item, record, path) {
                        needs.keep(path, self.only_removed(item, path) && !self.removes);
                        needs.changes.push(change.clone());
                    }
                }
                Change::Remove { .. } => {}
            }
        }
        if !needs.left.is_empty() {
            return Decision::Diverged(needs.left);
        }
        // Use the in-place strategy, because unexpected values are removed in the same write.
        let way = Strategy::InPlace;
        let indexes = self.indexes.schemas().to_vec();
        let changes = Changes::for_expand(&needs.changes, way, self.key.clone(), indexes);
        let decided = changes.decide(item);
        let Decision::Write(mut write) = decided else { return decided };
        for condition in needs.conditions {
            if let Condition::Equals(path, _) = &condition {
                // A condition that the value is equal already implies that the path exists.
                write.conditions.retain(|other| *other != Condition::Exists(path.clone()));
            }
            if !write.conditions.contains(&condition) {
                write.conditions.push(condition);
            }
        }
        Decision::Write(write)
    }
}

/// The change in the form that a repair uses. It overwrites a different value, unless the plan counts that value as
/// done.
fn overwriting(change: &Change) -> Change {
    let answer = if change.skips() { OnExisting::Skip } else { OnExisting::Overwrite };
    change.clone().with_existing(answer)
}

impl Needs {
    /// Makes the write conditional on the image's value at a path.
    fn hold(&mut self, path: &Path, item: &Item) {
        self.conditions.push(match path.get(item) {
            Some(value) => Condition::Equals(path.clone(), value.clone()),
            None => Condition::Missing(path.clone()),
        });
    }

    fn keep(&mut self, path: &Path, kept: bool) {
        if kept && !self.left.contains(path) {
            self.left.push(path.clone());
        }
    }
}

impl Decides for PageRepair {
    fn decide(&self, item: &Item) -> Decision {
        let key = self.repair.key.key_of(item).map(|key| key.to_text());
        let none = ItemHistory::default();
        let record = key.and_then(|key| self.records.get(&key)).unwrap_or(&none);
        self.repair.decide(item, record)
    }
}

//! What a repair wants of one mismatching item: pure. The side that is derived becomes equal to the side that is the truth.
//!
//! Everything is compare-and-set on both values of a pair, as the image had them, and what is overwritten or removed is a
//! pre-image: durable before the write, and in its condition. A value is copied by DynamoDB, as in `run`. Whatever a live
//! writer does in between, it fails as a condition, and its image is decided on anew.
//!
//! An item is left alone as a whole where one of its mismatching changes cannot be derived: see [`Repair::decide`].

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

/// How items of one table are repaired, before `contract`: it removes what is left by itself, when it is run again.
#[derive(Debug, Clone)]
pub struct Repair {
    changes: Vec<Change>,
    strategy: Strategy,
    truths: Truths,
    removes: bool,
    key: KeySchema,
    indexes: Indexes,
}

/// A repair of the items of one page, with what is known of them.
#[derive(Debug)]
pub(super) struct PageRepair {
    /// How.
    pub(super) repair: Repair,
    /// The recorded history of each item, by the text of its key.
    pub(super) records: BTreeMap<String, ItemHistory>,
}

/// What one item needs, so far.
#[derive(Default)]
struct Needs {
    changes: Vec<Change>,
    conditions: Vec<Condition>,
    left: Vec<Path>,
}

impl Repair {
    /// Repairs of a plan's changes.
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

    /// The same, which also removes values that nothing implies. They may be live: that has to be asked for by name.
    #[must_use]
    pub fn removing(self) -> Repair {
        Repair { removes: true, ..self }
    }

    /// The table's key.
    pub(super) fn key(&self) -> &KeySchema {
        &self.key
    }

    /// Its indexes, as they are known now.
    pub(super) fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    /// What this item needs. A preexisting new value without an old one matches and stays, as long as old values are not
    /// stale. A new value beside an old one is compared with it like any other, unless `on_existing = "skip"` counts it as
    /// done.
    ///
    /// `Diverged` names what the item is left alone for: an old value that is alone where only new ones are written, because
    /// it may be the only one that the item has; a constant that another value has taken while readers read them; a
    /// source whose targets disagree, or that is an element of a list; a value that nothing implies, unless the repair
    /// [removes](Repair::removing) those; with `skip`, a new value that is neither the one of
    /// before nor what the migration wrote.
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
                    // Both are there, and equal: all that is left is to remove the source.
                    let only_removes = from.get(item).is_some() && from.get(item) == to.get(item);
                    needs.keep(from, only_removes && !self.removes);
                    needs.changes.push(overwriting(change));
                }
                Change::Move { from, to, .. } | Change::Copy { from, to, .. } => {
                    let pair = Pair { old: from, new: to, existing: Existing::of(change, self.strategy) };
                    self.pair(&mut needs, item, record, &pair, truth);
                }
                // Not held (`compare/`), and nothing that holds a pair's repair up.
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
        // In place, because what is unexpected goes at once; overwriting, because what differs is to be made equal.
        let (way, indexes) = (Strategy::InPlace, self.indexes.schemas().to_vec());
        let changes = Changes::for_expand(&needs.changes, way, self.key.clone(), indexes);
        let decided = changes.decide(item);
        let Decision::Write(mut write) = decided else { return decided };
        for condition in needs.conditions {
            if let Condition::Equals(path, _) = &condition {
                // It says more than that there is one.
                write.conditions.retain(|other| *other != Condition::Exists(path.clone()));
            }
            if !write.conditions.contains(&condition) {
                write.conditions.push(condition);
            }
        }
        Decision::Write(write)
    }
}

/// The change as a repair makes it: what differs is made equal, except where the plan counts it as done.
fn overwriting(change: &Change) -> Change {
    let answer = if change.skips() { OnExisting::Skip } else { OnExisting::Overwrite };
    change.clone().with_existing(answer)
}

impl Needs {
    /// Holds the write to what the image has at a path.
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

//! Decides which write repairs one mismatching item. This module is pure. A repair makes the derived side equal to the
//! true side.
//!
//! The condition of every write requires that both values of a pair still equal the values in the image. Before a write
//! overwrites or removes a value, the tool durably stores the value as a pre-image. DynamoDB copies values itself, as
//! in `run`. If a live writer changes the pair before the write, the condition fails, and the repair makes a new
//! decision from the returned image.
//!
//! If the correct value for one change cannot be derived, the whole item stays unchanged (see [`Repair::decide`]).

mod in_place;
mod pair;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::compare::SkipRule;
use crate::change::{
    Change, Changes, Condition, Decider, Decision, ExecFault, Indexes, ItemHistory, ItemRules, OnExisting,
    ProgramAnswers, Selected, Source, Strategy, inseparable, stable_changed,
};
use crate::cutover::{Truth, TruthByKey};
use crate::item::{Item, KeySchema, Path};
use crate::state::Verdict;
use pair::Pair;

/// Repairs the items of one table before `contract`. After `contract`, nothing can be repaired. To remove remaining old
/// values, run `contract` again.
#[derive(Debug, Clone)]
pub struct Repair {
    changes: Vec<Change>,
    strategy: Strategy,
    truths: TruthByKey,
    removes: bool,
    key: KeySchema,
    indexes: Indexes,
    rules: ItemRules,
    /// Whether an item may need several writes.
    splits: bool,
}

/// Repairs the items of one page, based on their recorded history.
#[derive(Debug)]
pub(super) struct PageRepair {
    /// Decides on the repair of one item.
    pub(super) repair: Repair,
    /// The recorded history of the items. The map's key is the text of the item's key.
    pub(super) records: BTreeMap<String, ItemHistory>,
    /// The keys, as text, of items that have a wrong output which only a program can detect. The repair leaves these
    /// items unchanged.
    pub(super) unanswered: BTreeSet<String>,
}

/// Collects the changes and conditions for the repair of one item.
#[derive(Default)]
struct RepairNeeds {
    changes: Vec<Change>,
    conditions: Vec<Condition>,
    left: Vec<Path>,
    /// The current change's position in the plan.
    position: usize,
    /// For each element of `changes`, the position of the plan's change that added it.
    needed_for: Vec<usize>,
    /// For each element of `conditions`, the position of the plan's change that added it.
    pinned_for: Vec<usize>,
}

impl Repair {
    /// Creates the repair for a plan's changes.
    pub fn new(
        changes: &[Change],
        strategy: Strategy,
        truths: impl Into<TruthByKey>,
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
            rules: ItemRules::default(),
            splits: false,
        }
    }

    /// Repairs only items that these rules select, and evaluates expressions by these rules.
    #[must_use]
    pub fn with_rules(self, rules: ItemRules) -> Repair {
        Repair { rules, ..self }
    }

    /// Sets whether an item may need several writes (`split = true`).
    #[must_use]
    pub fn with_split(self, splits: bool) -> Repair {
        Repair { splits, ..self }
    }

    /// Makes the repair also remove values that the plan does not imply. Applications might still use such values, so
    /// the operator has to request their removal explicitly.
    #[must_use]
    pub fn with_removals(self) -> Repair {
        Repair { removes: true, ..self }
    }

    /// Returns the table's key.
    pub(super) fn key(&self) -> &KeySchema {
        &self.key
    }

    /// Returns the number of the plan's changes.
    pub(super) fn number_of_changes(&self) -> usize {
        self.changes.len()
    }

    /// Returns the table's indexes, as currently known.
    pub(super) fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    /// Returns whether one of these paths has a missing or outdated value that only a program can compute.
    pub(super) fn needs_program(&self, wrong: &[(Path, Verdict)]) -> bool {
        let programs = self.changes.iter().filter_map(Change::program);
        let targets: Vec<&Path> = programs.flat_map(|exec| exec.targets()).collect();
        wrong.iter().any(|(path, verdict)| *verdict != Verdict::Unexpected && targets.contains(&path))
    }

    /// Returns whether one of these paths is an output whose error only a program can detect. [`Repair::decide`] cannot
    /// detect it.
    pub(super) fn needs_answer(&self, wrong: &[(Path, Verdict)]) -> bool {
        let programs = self.changes.iter().filter_map(Change::program).filter(|exec| exec.is_deterministic());
        let outputs: Vec<&Path> = programs.flat_map(|exec| &exec.outputs).collect();
        wrong.iter().any(|(path, verdict)| *verdict == Verdict::Stale && outputs.contains(&path))
    }

    /// Returns the targets of the plan at which the item has a value.
    fn present_targets(&self, item: &Item) -> Vec<Path> {
        let targets = self.changes.iter().flat_map(|change| change.paths().writes);
        targets.filter(|to| to.get(item).is_some()).cloned().collect()
    }

    /// Returns whether the change applies to the item. Makes the write conditional on every value that the `where` of
    /// the change read. The key of an item never changes, so it needs no condition.
    fn applies(&self, needs: &mut RepairNeeds, change: &Change, item: &Item) -> Selected {
        let Some(selection) = &self.rules.options.of_change(change).applies_to else { return Selected::Yes };
        let inputs = selection.condition.inputs().iter();
        let changeable = inputs.filter(|input| !self.key.names().any(|name| name == input.root()));
        changeable.for_each(|input| needs.pin(input, item));
        selection.includes(item, &self.rules.facts)
    }

    /// Decides which write this item needs. An item with a preexisting new value and no old value needs no write,
    /// except while applications write only new values. If the item also has an old value, the repair ignores that the
    /// new value is preexisting. There is one exception. With `on_existing = "skip"`, a preexisting new value can count
    /// as done.
    ///
    /// If the item must not be written, the result is `Diverged` with the paths that prevent the write. Each of these
    /// cases prevents the write:
    ///
    /// - an old value without a new one while applications write only new values, because the old value may be the only
    ///   copy
    /// - a value that differs from the plan's constant while readers read the new side
    /// - a source whose targets have different values, or that is an element of a list
    /// - an old value that only an inverse could compute, if the plan has none
    /// - a value that the plan does not imply, unless this repair [removes](Repair::with_removals) such values
    /// - with `skip`, a new value that is neither the preexisting value nor a value that the migration wrote
    pub fn decide(&self, item: &Item, record: &ItemHistory) -> Decision {
        if let Some(why) = record.unreadable_reason() {
            return Decision::Rejected(format!(
                "its record in the state file cannot be read: {why}; the item was not written"
            ));
        }
        if let Some(path) = record.changed_stable(&self.rules.stable, item) {
            return Decision::Rejected(stable_changed(path));
        }
        if self.rules.includes(item) != Selected::Yes {
            // The plan no longer applies to this item. A value that the migration wrote stays until a rollback.
            return Decision::Diverged(self.present_targets(item));
        }
        let mut needs = RepairNeeds::default();
        let truth = self.truths.at(item.get(&self.key.partition.name));
        for (position, change) in self.changes.iter().enumerate() {
            needs.position = position;
            match self.applies(&mut needs, change, item) {
                Selected::Yes => {}
                Selected::No => {
                    // The plan no longer applies to this target. A value that the migration wrote stays until a
                    // rollback.
                    let is_own = |to: &&Path| to.get(item).is_some_and(|now| record.is_own_value(to, now));
                    change.paths().writes.into_iter().filter(is_own).for_each(|to| needs.leave_if(to, true));
                    continue;
                }
                Selected::NotComputable(_) => return Decision::Diverged(self.present_targets(item)),
            }
            match change {
                Change::Move { from, to, .. } | Change::Copy { from, to, .. } if self.removes_source(change) => {
                    needs.pin(from, item);
                    // If both sides exist and are equal, the repair only removes the source.
                    let only_removes = from.get(item).is_some() && from.get(item) == to.get(item);
                    needs.leave_if(from, only_removes && !self.removes);
                    needs.add(overwriting(change));
                }
                Change::Move { .. } | Change::Copy { .. } | Change::Compute { replaces: Some(_), .. } => {
                    let Some((source, new)) = Source::of_change(change) else { continue };
                    let skip_rule = SkipRule::from_change(change, self.strategy);
                    self.pair(&mut needs, item, record, &Pair { source, new, skip_rule }, truth);
                }
                // Under this truth, verification does not compare a `set` (`compare/`), so the `set` must not prevent
                // the repair of a pair.
                Change::Set { .. } | Change::Compute { .. } | Change::Append { .. } | Change::Exec { .. }
                    if truth.is_new_only() => {}
                Change::Set { to, value, .. } => {
                    let there = self.rules.options.of(to).target_value(to, item, Some(value));
                    let other = there.is_some_and(|there| there != value) && !change.skips_existing();
                    needs.leave_if(to, other && truth != Truth::Old);
                    needs.add(overwriting(change));
                }
                Change::Remove { path } if self.strategy == Strategy::InPlace => {
                    if !self.is_kept_by_skip(item, record, path) {
                        needs.leave_if(path, self.is_removal_only(item, path) && !self.removes);
                        needs.add(change.clone());
                    }
                }
                Change::Remove { .. } => {}
                Change::Compute { to, formula, replaces: None, .. } => {
                    // If the formula has no result, the decision below handles this case.
                    let value = formula.value(item, &self.rules.facts).ok().flatten();
                    let there = self.rules.options.of(to).target_value(to, item, value.as_ref());
                    let other = there.is_some_and(|there| value.as_ref().is_some_and(|value| value != there));
                    needs.leave_if(to, other && !change.skips_existing() && truth != Truth::Old);
                    // Without a source, the plan does not imply the value that the migration wrote.
                    needs.leave_if(to, value.is_none() && to.get(item).is_some_and(|now| record.is_own_value(to, now)));
                    needs.add(overwriting(change));
                }
                Change::Convert { .. } | Change::Append { .. } | Change::Bump { .. } | Change::Delete { .. } => {
                    needs.add(change.clone());
                }
                Change::Each { each } => {
                    // Without --repair-remove, a repair keeps a value that a writer has written at an old name.
                    let edited = each.edit(item, &self.rules.facts);
                    let removes = edited.is_ok_and(|edited| edited.has_unexpected);
                    needs.leave_if(each.container(), removes && !self.removes);
                    needs.add(change.clone());
                }
                // Only `run` puts derived items. The playbook refuses the repair of such a plan.
                Change::Put { .. } => return Decision::Diverged(Vec::new()),
                // Only `run` asks programs.
                Change::Exec { exec, .. } => {
                    let none = ProgramAnswers::default();
                    if let Some((path, fault)) = exec.compare(position, item, record, change.skips_existing(), &none) {
                        needs.leave_if(path, fault != ExecFault::Skipped);
                    }
                }
            }
        }
        if !needs.left.is_empty() {
            return Decision::Diverged(needs.left);
        }
        // Use the in-place strategy, because the same write has to remove unexpected values.
        let strategy = Strategy::InPlace;
        let indexes = self.indexes.schemas().to_vec();
        let mut changes =
            Changes::for_expand(&needs.changes, strategy, self.key.clone(), indexes).with_rules(self.rules.clone());
        if self.splits {
            changes = self.split(changes, &needs, strategy);
        }
        let decided = changes.decide(item);
        if decided == Decision::Skipped(Vec::new()) {
            // A change has no result for the item, so the item stays a mismatch.
            return Decision::Diverged(self.present_targets(item));
        }
        let Decision::Write(write) = decided else { return decided };
        // If an item may need several writes, `split` has already added the conditions to each write.
        Decision::Write(if self.splits { write } else { write.with_conditions(&needs.conditions) })
    }

    /// Allows several writes for one item. The condition of each write pins every value on which the decision about its
    /// changes depends, even if the write does not use this value. For example, an old value is derived only if all its
    /// copies are equal, so every copy is pinned.
    fn split(&self, changes: Changes, needs: &RepairNeeds, strategy: Strategy) -> Changes {
        let mut of_group: Vec<(Vec<usize>, Vec<Condition>)> = Vec::new();
        for group in inseparable(&self.changes, &self.rules.options) {
            let positions = |of: &[usize]| -> Vec<usize> {
                of.iter().enumerate().filter(|(_, change)| group.contains(change)).map(|(at, _)| at).collect()
            };
            let pins = positions(&needs.pinned_for).into_iter().map(|at| needs.conditions[at].clone()).collect();
            of_group.push((positions(&needs.needed_for), pins));
        }
        let (groups, pins): (Vec<_>, Vec<_>) = of_group.into_iter().unzip();
        changes.with_pinned_groups(&needs.changes, strategy, &groups, pins)
    }
}

/// Returns the change with the `on_existing` that a repair uses. A repair overwrites a different value, unless the plan
/// skips existing values.
fn overwriting(change: &Change) -> Change {
    let answer = if change.skips_existing() { OnExisting::Skip } else { OnExisting::Overwrite };
    change.clone().with_on_existing(answer)
}

impl RepairNeeds {
    /// Makes the write conditional on the image's value at this path.
    fn pin(&mut self, path: &Path, item: &Item) {
        self.pinned_for.push(self.position);
        self.conditions.push(match path.get(item) {
            Some(value) => Condition::Equals(path.clone(), value.clone()),
            None => Condition::Missing(path.clone()),
        });
    }

    /// Adds a change that the item needs.
    fn add(&mut self, change: Change) {
        self.needed_for.push(self.position);
        self.changes.push(change);
    }

    fn leave_if(&mut self, path: &Path, condition: bool) {
        if condition && !self.left.contains(path) {
            self.left.push(path.clone());
        }
    }
}

impl Decider for PageRepair {
    fn decide(&self, item: &Item) -> Decision {
        let key = self.repair.key.key_of(item).map(|key| key.to_text());
        let none = ItemHistory::default();
        if key.as_ref().is_some_and(|key| self.unanswered.contains(key)) {
            return Decision::Diverged(self.repair.present_targets(item));
        }
        let record = key.and_then(|key| self.records.get(&key)).unwrap_or(&none);
        self.repair.decide(item, record)
    }
}

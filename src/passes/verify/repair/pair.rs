//! Repairs one pair. The truth and the two values decide whether the new value is derived from the old one, the old
//! value from the new one, or neither.

use super::super::compare::SkipRule;
use super::{Repair, RepairNeeds};
use crate::change::{Change, Formula, ItemHistory, OnExisting, Selected, Source};
use crate::cutover::Truth;
use crate::item::{Item, Path, Value};

/// The old and the new attribute of a change.
pub(super) struct Pair<'a> {
    pub(super) source: Source,
    pub(super) new: &'a Path,
    pub(super) skip_rule: SkipRule,
}

impl Repair {
    /// Adds the changes and conditions that an item needs for this pair.
    pub(super) fn pair(
        &self,
        needs: &mut RepairNeeds,
        item: &Item,
        record: &ItemHistory,
        pair: &Pair<'_>,
        truth: Truth,
    ) {
        let Pair { source, new, skip_rule } = pair;
        let (old, new, skip_rule) = (&source.path, *new, *skip_rule);
        needs.pin(old, item);
        needs.pin(new, item);
        // A NULL that counts as missing is pinned, but otherwise treated like a missing value.
        match (old.get(item), self.rules.paired_value(source, new, item), truth) {
            (None, None, _) | (Some(_), None, Truth::NewDuringRollback) => {}
            // The migration replaced a preexisting value. A rollback can restore that value only if the item still has
            // the value that the migration wrote.
            (None, Some(b), Truth::Old | Truth::NewThenOld) if record.is_preexisting(new) => {
                needs.leave_if(new, record.is_own_value(new, b));
            }
            (Some(_), Some(b), _)
                if source.implies(item, &self.rules.facts, b) || skip_rule.accepts(record, new, b) => {}
            (Some(_), None, Truth::New) => needs.leave_if(new, true),
            // The new value may be overwritten or removed only if the migration itself wrote it.
            (_, Some(b), Truth::Old) if skip_rule == SkipRule::IfPreexisting && !record.is_own_value(new, b) => {
                needs.leave_if(new, true);
            }
            // With `OnExisting::Skip`, the write also records that the migration wrote the new value.
            (Some(_), None, _) if skip_rule != SkipRule::Never => {
                needs.add(derive_new(source, new).with_on_existing(OnExisting::Skip));
            }
            (Some(_), None, _) | (Some(_), Some(_), Truth::Old) => needs.add(derive_new(source, new)),
            (None, Some(_), _) if skip_rule == SkipRule::Always => {}
            (None, Some(_), Truth::Old) if !self.removes => needs.leave_if(new, true),
            (None, Some(_), Truth::Old) => needs.add(Change::Remove { path: new.clone() }),
            (_, Some(_), _) => self.derive_old(needs, item, record, pair),
        }
    }

    /// Derives the old value from the new one. If the old path has several targets, derives the old value only once,
    /// and only if all targets have the same value. If the new value was computed, the inverse of the plan computes the
    /// old value.
    fn derive_old(&self, needs: &mut RepairNeeds, item: &Item, record: &ItemHistory, pair: &Pair<'_>) {
        let old = &pair.source.path;
        if let Some(derivation) = &pair.source.derivation {
            match &derivation.inverse {
                Some(inverse) => needs.add(compute(old, Formula::Inverse(inverse.clone()))),
                None => needs.leave_if(old, true),
            }
            return;
        }
        let targets = self.changes.iter().filter_map(|change| match change {
            Change::Move { from, to, .. } | Change::Copy { from, to, .. }
                if from == old && self.rules.applies(to, item) == Selected::Yes =>
            {
                let there = self.rules.options.of(to).target_value(to, item, old.get(item));
                let done = |there: &Value| SkipRule::from_change(change, self.strategy).accepts(record, to, there);
                // The old value cannot be derived from a target that counts as done.
                (!there.is_some_and(|there| old.get(item).is_some() && done(there))).then_some(there)
            }
            Change::Move { .. }
            | Change::Copy { .. }
            | Change::Set { .. }
            | Change::Remove { .. }
            | Change::Compute { .. }
            | Change::Convert { .. }
            | Change::Bump { .. }
            | Change::Exec { .. }
            | Change::Append { .. }
            | Change::Delete { .. }
            | Change::Put { .. }
            | Change::Each { .. } => None,
        });
        let values: Vec<Option<&Value>> = targets.collect();
        // List elements are never written, because another element could have this index at the time of the write.
        if values.windows(2).any(|two| two[0] != two[1]) || old.ends_in_index() {
            return needs.leave_if(old, true);
        }
        if !needs.changes.iter().any(|change| matches!(change, Change::Copy { to, .. } if to == old)) {
            needs.add(copy(pair.new, old));
        }
    }
}

/// Returns the change that derives the new value from the old one.
fn derive_new(source: &Source, new: &Path) -> Change {
    match &source.derivation {
        None => copy(&source.path, new),
        Some(derivation) => compute(new, derivation.formula.clone()),
    }
}

fn copy(from: &Path, to: &Path) -> Change {
    Change::Copy { from: from.clone(), to: to.clone(), on_existing: OnExisting::Overwrite }
}

fn compute(to: &Path, formula: Formula) -> Change {
    Change::Compute { to: to.clone(), formula, on_existing: OnExisting::Overwrite, replaces: None }
}

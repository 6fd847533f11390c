//! The counts of a dry run, which predict the outcomes of a run.

use std::collections::{BTreeMap, BTreeSet};

use super::heaviest::{HeaviestKeys, KeyUsage};
use super::predicted_outcome::PredictedOutcome;
use super::shape::{Shape, shape};
use crate::change::{Action, Changes, Decision, GuardedWrite, ItemHistory, Leftover, OtherTable, PreImage, WriteCost};
use crate::item::{ExpiryCounts, Item, ItemKey, PartitionHash, Path, Units, Value, encryption_marker, item_bytes};
use crate::state::reject_if_unreadable;

/// The maximum number of distinct shapes to list.
const MAX_SHAPES: usize = 10;

/// The maximum number of example keys to keep for each class and each reason.
const MAX_EXAMPLES: usize = 5;

/// The maximum number of distinct reasons to keep for each class. Few distinct reasons are likely, because reasons
/// contain only paths of the plan. Further reasons count as [`OTHER_REASONS`].
const MAX_REASONS: usize = 20;

const OTHER_REASONS: &str = "other reasons";

/// The predicted outcomes of a run, as counted by a dry run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prediction {
    /// Number of items read.
    pub scanned: u64,
    /// The tool's estimate of the total size in bytes of the items read.
    pub bytes: u64,
    /// Number of pages read.
    pub pages: u64,
    /// Number of keys in the plan's file of keys without an item in the table. `scanned` does not include them.
    pub missing: u64,
    /// Number of items that would be written.
    pub would_change: u64,
    /// Number of writes to these items. An item has several only if the plan says `split = true`.
    pub writes: u64,
    /// Number of items whose targets already have all the values that the plan implies.
    pub already_applied: u64,
    /// Number of items that the plan does not change, for example because they have no source.
    pub nothing_to_do: u64,
    /// Number of items that need no write, because the existing value of a target counts as done although it differs
    /// from what the plan implies.
    pub skipped: u64,
    /// Number of items in which the value of a target differs from what the plan implies. A run would not change these
    /// items.
    pub diverged: u64,
    /// Number of items whose shape does not allow the change. The items would become failures.
    pub rejected: u64,
    /// Number of items for which an expression or conversion of the plan has no result. The items would become
    /// failures.
    pub not_computable: u64,
    /// Number of items that, by the tool's own estimate, would become larger than 400 KB. DynamoDB would reject their
    /// writes, so these items would become failures too. `would_change` does not include these items.
    pub would_exceed: u64,
    /// Estimated write capacity units that the writes would consume on the table and its indexes.
    pub write_units: Units,
    /// The part of `write_units` that each global index would consume, by index name. Indexes that would consume
    /// nothing are omitted.
    pub index_write_units: BTreeMap<String, Units>,
    /// The part of `write_units` that the table itself would consume that gets derived items, if it is not the table of
    /// their sources. Without the units of its global indexes, which are in `index_write_units`.
    pub elsewhere_write_units: Units,
    /// The partition keys with the largest loads in that other table.
    pub heaviest_elsewhere: HeaviestKeys,
    /// The partition keys with the largest loads. Empty if the table has no sort key, because each partition key then
    /// has at most one item.
    pub heaviest: HeaviestKeys,
    /// Read capacity units that the dry run consumed.
    pub read_units: Units,
    /// The most frequent kinds of change, without attribute values. There are at most ten.
    pub shapes: Vec<Shape>,
    /// The reasons why items are rejected or not computable, without attribute values. Each class has at most
    /// twenty-one reasons.
    pub reasons: BTreeMap<PredictedOutcome, BTreeMap<String, ItemGroup>>,
    /// Items that a rollback would not restore exactly, grouped by reason.
    pub leftovers: BTreeMap<Leftover, ItemGroup>,
    /// Example keys of each class, at most five per class.
    pub examples: BTreeMap<PredictedOutcome, Vec<ItemKey>>,
    /// The types of the values at each written path.
    pub types: BTreeMap<Path, BTreeSet<&'static str>>,
    /// For each written path, the number of values that look like times.
    pub times: BTreeMap<Path, ExpiryCounts>,
    /// Number of items that need a write and are signed or encrypted on the client.
    pub encrypted: u64,
    /// The counts of each change of the plan, in the plan's order. Empty in the dry run of another phase than `run`.
    pub by_change: Vec<ChangeCount>,
    /// For each path that the plan reads, the number of items that have a value there. A path that no item has is
    /// missing from the map.
    pub sources: BTreeMap<Path, u64>,
}

/// The counts of one change of the plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChangeCount {
    /// Number of items that this change would change.
    pub would_change: u64,
    /// Number of items to which the change applies and that have something that it reads. The change may already be
    /// applied to these items.
    pub concerned: u64,
}

/// A group of items with the same reason.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ItemGroup {
    /// Number of items.
    pub items: u64,
    /// Example keys of these items, at most five.
    pub examples: Vec<ItemKey>,
}

impl Prediction {
    /// Returns the number of items of a class.
    pub fn of(&self, class: PredictedOutcome) -> u64 {
        match class {
            PredictedOutcome::WouldChange => self.would_change,
            PredictedOutcome::AlreadyApplied => self.already_applied,
            PredictedOutcome::NothingToDo => self.nothing_to_do,
            PredictedOutcome::Skipped => self.skipped,
            PredictedOutcome::Diverged => self.diverged,
            PredictedOutcome::WouldExceed => self.would_exceed,
            PredictedOutcome::Rejected => self.rejected,
            PredictedOutcome::NotComputable => self.not_computable,
        }
    }

    /// Makes a decision for one item, and counts the item. `record` is the recorded history of the item. Does not start
    /// a program. If an item needs the answer of a program, it counts as changed, but the capacity for the program's
    /// values is not counted.
    pub fn add(&mut self, item: &Item, changes: &Changes, record: &ItemHistory) -> PredictedOutcome {
        self.add_decided(item, changes, record, reject_if_unreadable(changes.decide_with(item, record)))
    }

    /// Counts one item for which this decision was made. `record` is the recorded history of the item.
    pub fn add_decided(
        &mut self,
        item: &Item,
        changes: &Changes,
        record: &ItemHistory,
        mut decision: Decision,
    ) -> PredictedOutcome {
        self.scanned += 1;
        let bytes = item_bytes(item);
        self.bytes += bytes as u64;
        let mut usage = KeyUsage { write: 0.0, bytes: bytes as f64 };
        self.add_sources(item, changes);
        let mut unanswered = Vec::new();
        if let Decision::NeedsAnswers(questions, least) = decision {
            // The program is not started, so assume that existing outputs are right.
            let is_complete = least.actions.is_empty() && questions.iter().all(|question| question.compares);
            decision = if is_complete { Decision::AlreadyApplied } else { Decision::Write(*least) };
            unanswered = questions;
        }
        let derives = matches!(&decision, Decision::Write(write) if write.derived_item().is_some());
        if matches!(decision, Decision::Write(_) | Decision::Refused(..)) && !derives {
            self.encrypted += u64::from(encryption_marker(item).is_some());
        }
        if !matches!(decision, Decision::Write(_)) {
            for note in
                changes.notes_without_write(item, record).iter().filter_map(PreImage::leftover).collect::<BTreeSet<_>>()
            {
                let key = changes.key().key_of(item);
                self.add_leftover(note, ItemGroup { items: 1, examples: key.into_iter().collect() });
            }
        }
        let class = match decision {
            Decision::NothingToDo => PredictedOutcome::NothingToDo,
            Decision::AlreadyApplied => PredictedOutcome::AlreadyApplied,
            Decision::Skipped(_) => PredictedOutcome::Skipped,
            Decision::Diverged(_) => PredictedOutcome::Diverged,
            Decision::Rejected(why) => {
                let key = changes.key().key_of(item);
                let group = ItemGroup { items: 1, examples: key.into_iter().collect() };
                self.add_reason(PredictedOutcome::Rejected, why, group);
                PredictedOutcome::Rejected
            }
            Decision::NotComputable(why) => {
                let key = changes.key().key_of(item);
                let group = ItemGroup { items: 1, examples: key.into_iter().collect() };
                self.add_reason(PredictedOutcome::NotComputable, why.to_string(), group);
                PredictedOutcome::NotComputable
            }
            Decision::Refused(_, rule) if rule.is_item_size() => PredictedOutcome::WouldExceed,
            Decision::Refused(write, rule) => {
                let group = ItemGroup { items: 1, examples: vec![write.key] };
                self.add_reason(PredictedOutcome::Rejected, rule.to_string(), group);
                PredictedOutcome::Rejected
            }
            // This decision cannot occur here, because the code above has replaced it.
            Decision::NeedsAnswers(..) => PredictedOutcome::WouldChange,
            Decision::Write(write) => {
                let mut writes = changes.all_writes(write, record);
                self.writes += writes.len() as u64;
                for write in &writes {
                    self.write_units += write.total_cost();
                    usage.write += write.cost.table;
                    self.add_derived_usage(changes, write);
                    for (place, units) in &write.cost.indexes {
                        self.add_to_index(&changes.indexes().schemas()[*place].name, *units);
                    }
                }
                // The writes of an item have the same effect as one write with all of their actions.
                let mut write = writes.remove(0);
                for later in writes {
                    write.actions.extend(later.actions);
                    write.pre_images.extend(later.pre_images);
                }
                for leftover in write.pre_images.iter().filter_map(PreImage::leftover).collect::<BTreeSet<_>>() {
                    self.add_leftover(leftover, ItemGroup { items: 1, examples: vec![write.key.clone()] });
                }
                for position in changes.made_by(item, &write, &unanswered) {
                    self.change_count(position).would_change += 1;
                }
                self.add_types(item, &write);
                self.add_shape(shape(item, &write));
                PredictedOutcome::WouldChange
            }
        };
        if changes.key().sort.is_some()
            && let Some(key) = item.get(&changes.key().partition.name)
        {
            self.heaviest.add(PartitionHash::from_value(key), usage);
        }
        *self.count(class) += 1;
        let kept = self.examples.entry(class).or_default();
        if kept.len() < MAX_EXAMPLES {
            kept.extend(changes.key().key_of(item));
        }
        class
    }

    /// Adds the counts of another prediction.
    pub fn merge(&mut self, other: Prediction) {
        self.scanned += other.scanned;
        self.bytes += other.bytes;
        self.pages += other.pages;
        self.missing += other.missing;
        for class in PredictedOutcome::ALL {
            *self.count(class) += other.of(class);
        }
        self.writes += other.writes;
        self.write_units += other.write_units;
        self.read_units += other.read_units;
        self.heaviest.merge(other.heaviest);
        self.elsewhere_write_units += other.elsewhere_write_units;
        self.heaviest_elsewhere.merge(other.heaviest_elsewhere);
        other.index_write_units.iter().for_each(|(name, units)| self.add_to_index(name, *units));
        other.shapes.into_iter().for_each(|shape| self.add_shape(shape));
        for (class, reasons) in other.reasons {
            reasons.into_iter().for_each(|(why, group)| self.add_reason(class, why, group));
        }
        other.leftovers.into_iter().for_each(|(leftover, group)| self.add_leftover(leftover, group));
        for (class, keys) in other.examples {
            add_examples(self.examples.entry(class).or_default(), keys);
        }
        for (path, types) in other.types {
            self.types.entry(path).or_default().extend(types);
        }
        for (path, times) in other.times {
            self.times.entry(path).or_default().merge(times);
        }
        self.encrypted += other.encrypted;
        for (position, count) in other.by_change.into_iter().enumerate() {
            let kept = self.change_count(position);
            kept.would_change += count.would_change;
            kept.concerned += count.concerned;
        }
        for (path, items) in other.sources {
            *self.sources.entry(path).or_default() += items;
        }
    }

    /// Returns the same prediction with the most frequent shapes first.
    pub fn sorted(mut self) -> Prediction {
        self.shapes.sort_by(|a, b| b.items.cmp(&a.items).then_with(|| a.before.cmp(&b.before)));
        self
    }

    fn count(&mut self, class: PredictedOutcome) -> &mut u64 {
        match class {
            PredictedOutcome::WouldChange => &mut self.would_change,
            PredictedOutcome::AlreadyApplied => &mut self.already_applied,
            PredictedOutcome::NothingToDo => &mut self.nothing_to_do,
            PredictedOutcome::Skipped => &mut self.skipped,
            PredictedOutcome::Diverged => &mut self.diverged,
            PredictedOutcome::WouldExceed => &mut self.would_exceed,
            PredictedOutcome::Rejected => &mut self.rejected,
            PredictedOutcome::NotComputable => &mut self.not_computable,
        }
    }

    /// Counts what the changes of the plan can read in this item.
    fn add_sources(&mut self, item: &Item, changes: &Changes) {
        if let Some(last) = changes.planned().checked_sub(1) {
            self.change_count(last);
        }
        for position in changes.concerned(item) {
            self.change_count(position).concerned += 1;
        }
        let present: BTreeSet<&Path> = changes.planned_sources().filter(|path| path.get(item).is_some()).collect();
        for path in present {
            match self.sources.get_mut(path) {
                Some(items) => *items += 1,
                None => drop(self.sources.insert(path.clone(), 1)),
            }
        }
    }

    fn change_count(&mut self, position: usize) -> &mut ChangeCount {
        if self.by_change.len() <= position {
            self.by_change.resize(position + 1, ChangeCount::default());
        }
        &mut self.by_change[position]
    }

    /// Adds the load that a derived item causes on its own partition key. The transaction also checks the source, which
    /// causes load on the partition key of the source.
    fn add_derived_usage(&mut self, changes: &Changes, write: &GuardedWrite) {
        if let (Some(table), Some(cost)) = (changes.other_table(), &write.cost_elsewhere) {
            return self.add_usage_elsewhere(table, write, cost);
        }
        if let Some(key) = write.derived_key().filter(|_| changes.key().sort.is_some()) {
            let usage = KeyUsage { write: write.cost.table, bytes: 0.0 };
            self.heaviest.add(key.partition_hash(&changes.key().partition.name), usage);
        }
    }

    /// Adds the load that a derived item puts on another table. Names each index of that table after the table too.
    fn add_usage_elsewhere(&mut self, table: &OtherTable, write: &GuardedWrite, cost: &WriteCost) {
        self.elsewhere_write_units += cost.table;
        for (place, units) in &cost.indexes {
            self.add_to_index(&table.index_name(&table.indexes().schemas()[*place].name), *units);
        }
        if let Some(key) = write.derived_key().filter(|_| table.key.sort.is_some()) {
            let usage = KeyUsage { write: cost.table, bytes: 0.0 };
            self.heaviest_elsewhere.add(key.partition_hash(&table.key.partition.name), usage);
        }
    }

    fn add_to_index(&mut self, name: &str, units: Units) {
        *self.index_write_units.entry(name.to_owned()).or_default() += units;
    }

    fn add_reason(&mut self, class: PredictedOutcome, why: String, group: ItemGroup) {
        let reasons = self.reasons.entry(class).or_default();
        let full = reasons.len() >= MAX_REASONS && !reasons.contains_key(&why);
        let kept = reasons.entry(if full { OTHER_REASONS.to_owned() } else { why }).or_default();
        kept.items += group.items;
        add_examples(&mut kept.examples, group.examples);
    }

    fn add_leftover(&mut self, leftover: Leftover, group: ItemGroup) {
        let kept = self.leftovers.entry(leftover).or_default();
        kept.items += group.items;
        add_examples(&mut kept.examples, group.examples);
    }

    fn add_types(&mut self, item: &Item, write: &GuardedWrite) {
        for action in &write.actions {
            let (path, value) = match action {
                Action::SetFrom { to, from, .. } => (to, from.get(item)),
                Action::SetValue { to, value } => (to, Some(value)),
                Action::Remove { .. }
                | Action::DeleteItem { .. }
                | Action::PutItem { .. }
                | Action::PutDerived { .. } => continue,
            };
            let kind = value.map_or("-", Value::type_name);
            match (self.times.get_mut(path), value) {
                (Some(times), Some(value)) => times.add(value),
                (None, Some(value)) => self.times.entry(path.clone()).or_default().add(value),
                (_, None) => {}
            }
            match self.types.get_mut(path) {
                Some(kinds) => drop(kinds.insert(kind)),
                None => drop(self.types.insert(path.clone(), BTreeSet::from([kind]))),
            }
        }
    }

    fn add_shape(&mut self, shape: Shape) {
        let known = self.shapes.iter().position(|s| s.before == shape.before && s.after == shape.after);
        match known {
            Some(known) => self.shapes[known].items += shape.items,
            None if self.shapes.len() < MAX_SHAPES => self.shapes.push(shape),
            None => {}
        }
    }
}

fn add_examples(kept: &mut Vec<ItemKey>, more: Vec<ItemKey>) {
    let room = MAX_EXAMPLES.saturating_sub(kept.len());
    kept.extend(more.into_iter().take(room));
}

#[cfg(test)]
mod tests;

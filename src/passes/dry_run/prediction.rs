//! The counts of a dry run, which predict the outcomes of a run.

use std::collections::{BTreeMap, BTreeSet};

use super::heaviest::{HeaviestKeys, KeyUsage};
use crate::change::{Action, Changes, Decision, GuardedWrite, ItemHistory, Leftover, Outcome, PreImage};
use crate::item::{ExpiryCounts, Item, ItemKey, PartitionHash, Path, Units, Value, encryption_marker, item_bytes};
use crate::state::reject_if_unreadable;

/// Number of distinct shapes to list. Other shapes are not listed.
const MAX_SHAPES: usize = 10;

/// Number of example keys to keep for each class and each reason.
const MAX_EXAMPLES: usize = 5;

/// Number of distinct reasons to keep for each class. A reason names paths of the plan, and a plan has few paths.
/// Further reasons count as [`OTHER_REASONS`].
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
    /// Number of keys in the plan's file for which there is no item. `scanned` does not include them.
    pub missing: u64,
    /// Number of items that would be written.
    pub would_change: u64,
    /// Number of writes to these items. An item has several only if the plan says `split = true`.
    pub writes: u64,
    /// Number of items whose targets already have all the values that the plan implies.
    pub already_applied: u64,
    /// Number of items that the plan does not change, for example because they have no source.
    pub nothing_to_do: u64,
    /// Number of items that need no write, because a target's different, existing value counts as done.
    pub skipped: u64,
    /// Number of items in which a target's value differs from what the plan implies. A run would not change these
    /// items.
    pub diverged: u64,
    /// Number of items whose shape does not allow the change. The items would become failures.
    pub rejected: u64,
    /// Number of items for which an expression or conversion of the plan has no result. The items would become
    /// failures.
    pub not_computable: u64,
    /// Number of items that, by the tool's own estimate, would become larger than 400 KB. DynamoDB would reject these
    /// items' writes, so these items would become failures too. `would_change` does not include these items.
    pub would_exceed: u64,
    /// Estimated write capacity units that the writes would consume on the table and its indexes.
    pub write_units: Units,
    /// The part of `write_units` that each global index would consume, by index name. Indexes that would consume
    /// nothing are omitted.
    pub index_write_units: BTreeMap<String, Units>,
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
}

/// The predicted result for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PredictedOutcome {
    /// The item would be written.
    WouldChange,
    /// All targets already have the values that the plan implies.
    AlreadyApplied,
    /// The plan does not change the item.
    NothingToDo,
    /// A target has a different value, which counts as done.
    Skipped,
    /// A target's value differs from what the plan implies. A run would not change the item.
    Diverged,
    /// The item would become larger than 400 KB.
    WouldExceed,
    /// The shape of the item does not allow the change.
    Rejected,
    /// An expression or conversion of the plan has no result for the item.
    NotComputable,
}

/// A group of items with the same reason.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ItemGroup {
    /// Number of items.
    pub items: u64,
    /// Example keys of these items, at most five.
    pub examples: Vec<ItemKey>,
}

/// One kind of change: the paths that it touches, and the types of their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The touched paths and their current types (`-` if absent).
    pub before: String,
    /// The types at the same paths after the change.
    pub after: String,
    /// Number of items with this shape.
    pub items: u64,
}

impl PredictedOutcome {
    /// Every class, in the order in which reports list them.
    pub const ALL: [PredictedOutcome; 8] = [
        PredictedOutcome::WouldChange,
        PredictedOutcome::AlreadyApplied,
        PredictedOutcome::NothingToDo,
        PredictedOutcome::Skipped,
        PredictedOutcome::Diverged,
        PredictedOutcome::WouldExceed,
        PredictedOutcome::Rejected,
        PredictedOutcome::NotComputable,
    ];

    /// Returns the name that JSON uses for the class.
    pub fn name(self) -> &'static str {
        match self {
            PredictedOutcome::WouldChange => "would_change",
            PredictedOutcome::AlreadyApplied => "already_applied",
            PredictedOutcome::NothingToDo => "nothing_to_do",
            PredictedOutcome::Skipped => "skipped",
            PredictedOutcome::Diverged => "diverged",
            PredictedOutcome::WouldExceed => "would_exceed_400_kb",
            PredictedOutcome::Rejected => "rejected",
            PredictedOutcome::NotComputable => "not_computable",
        }
    }

    /// Returns the outcome that a run would record for an item of this class, if no other writer changes the item.
    pub fn outcome(self) -> Outcome {
        match self {
            PredictedOutcome::WouldChange => Outcome::Applied,
            PredictedOutcome::AlreadyApplied => Outcome::AlreadyApplied,
            PredictedOutcome::NothingToDo => Outcome::NothingToDo,
            PredictedOutcome::Skipped => Outcome::Skipped,
            PredictedOutcome::Diverged => Outcome::Diverged,
            PredictedOutcome::WouldExceed | PredictedOutcome::Rejected => Outcome::Rejected,
            PredictedOutcome::NotComputable => Outcome::NotComputable,
        }
    }

    /// Returns whether a dry run lists the reasons for this class ([`Prediction::reasons`]).
    pub fn has_reasons(self) -> bool {
        matches!(self, PredictedOutcome::Rejected | PredictedOutcome::NotComputable)
    }
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

    /// Decides about one item, and counts it. `record` is the recorded history of the item. Asks no program: an item
    /// that needs an answer counts as changed, without the capacity for the values that the program computes.
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
        if let Decision::NeedsAnswers(_, least) = decision {
            decision = Decision::Write(*least);
        }
        let derives = matches!(&decision, Decision::Write(write) if write.derived_item().is_some());
        if matches!(decision, Decision::Write(_) | Decision::Refused(..)) && !derives {
            self.encrypted += u64::from(encryption_marker(item).is_some());
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
            // This decision cannot occur here: it was replaced by `Write` above.
            Decision::NeedsAnswers(..) => PredictedOutcome::WouldChange,
            Decision::Write(write) => {
                let mut writes = changes.all_writes(write, record);
                self.writes += writes.len() as u64;
                for write in &writes {
                    self.write_units += write.cost.total();
                    usage.write += write.cost.table;
                    self.add_derived_usage(changes, write);
                    for (place, units) in &write.cost.indexes {
                        self.add_to_index(&changes.indexes().schemas()[*place].name, *units);
                    }
                }
                // Together, the writes of an item have the effect of one write with all their actions.
                let mut write = writes.remove(0);
                for later in writes {
                    write.actions.extend(later.actions);
                    write.pre_images.extend(later.pre_images);
                }
                for leftover in write.pre_images.iter().filter_map(PreImage::leftover).collect::<BTreeSet<_>>() {
                    self.add_leftover(leftover, ItemGroup { items: 1, examples: vec![write.key.clone()] });
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

    /// Adds the load that a derived item puts on its own partition key. The check of its source loads the partition key
    /// of the source.
    fn add_derived_usage(&mut self, changes: &Changes, write: &GuardedWrite) {
        if let Some(key) = write.derived_key().filter(|_| changes.key().sort.is_some()) {
            let usage = KeyUsage { write: write.cost.table, bytes: 0.0 };
            self.heaviest.add(key.partition_hash(&changes.key().partition.name), usage);
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

/// Returns the paths that a write touches, with their types before and after the write.
fn shape(item: &Item, write: &GuardedWrite) -> Shape {
    let mut before: BTreeMap<&Path, &'static str> = BTreeMap::new();
    let mut after: BTreeMap<&Path, &'static str> = BTreeMap::new();
    let kind = |path: &Path| path.get(item).map_or("-", |v| v.type_name());
    for action in &write.actions {
        match action {
            Action::SetFrom { to, from, .. } => {
                before.insert(from, kind(from));
                before.insert(to, kind(to));
                after.entry(from).or_insert_with(|| kind(from));
                after.insert(to, kind(from));
            }
            Action::SetValue { to, value } => {
                before.insert(to, kind(to));
                after.insert(to, value.type_name());
            }
            Action::Remove { path } => {
                before.insert(path, kind(path));
                after.insert(path, "-");
            }
            Action::DeleteItem { .. } => return Shape { before: "an item".into(), after: "no item".into(), items: 1 },
            Action::PutItem { .. } => return Shape { before: "no item".into(), after: "an item".into(), items: 1 },
            Action::PutDerived { .. } => {
                return Shape { before: "no derived item".into(), after: "a derived item".into(), items: 1 };
            }
        }
    }
    let text = |side: BTreeMap<&Path, &'static str>| {
        side.iter().map(|(path, kind)| format!("{path}: {kind}")).collect::<Vec<_>>().join(", ")
    };
    Shape { before: text(before), after: text(after), items: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Change, OnExisting, Strategy};
    use crate::dynamodb::TableDescription;

    fn changes() -> Changes {
        let path = |text: &str| text.parse::<Path>().unwrap();
        let plan = [Change::Move { from: path("old"), to: path("doc.new"), on_existing: OnExisting::Keep }];
        let key = TableDescription::for_tests().key;
        Changes::for_expand(&plan, Strategy::ExpandContract, key, Vec::new())
    }

    fn item(n: usize, attributes: &[(&str, Value)]) -> Item {
        let mut item: Item = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        item.insert("pk".into(), Value::S(format!("P#{n}")));
        item.insert("sk".into(), Value::S("S".into()));
        item
    }

    fn s(text: &str) -> Value {
        Value::S(text.into())
    }

    #[test]
    fn classes_add_up_and_examples_are_few() {
        let mut whole = Prediction::default();
        let none = ItemHistory::default();
        for n in 0..40 {
            let mut page = Prediction::default();
            page.add(&item(n, &[("old", s("v")), ("doc", Value::M(Item::new()))]), &changes(), &none);
            page.add(&item(n, &[("x", s("v"))]), &changes(), &none);
            page.add(&item(n, &[("old", s("v")), ("doc", s("not a map"))]), &changes(), &none);
            page.add(&item(n, &[("old", s(&"v".repeat(250_000)))]), &changes(), &none);
            whole.merge(page);
        }
        let counts = PredictedOutcome::ALL.map(|class| whole.of(class));
        assert_eq!((counts, whole.scanned), ([40, 0, 40, 0, 0, 40, 40, 0], 160));
        assert!(whole.examples.values().all(|keys| keys.len() == 5), "{:?}", whole.examples);
        let rejected = &whole.reasons[&PredictedOutcome::Rejected];
        let [(why, group)] = &rejected.iter().collect::<Vec<_>>()[..] else { panic!("{:?}", whole.reasons) };
        assert_eq!((group.items, group.examples.len()), (40, 5));
        assert!(why.contains("doc"), "{why}");
        assert_eq!(whole.types, BTreeMap::from([("doc.new".parse().unwrap(), BTreeSet::from(["S"]))]));
    }

    /// Each class has its own bound, and merging keeps the classes apart.
    #[test]
    fn reasons_beyond_the_bound_are_counted_together() {
        let mut all = Prediction::default();
        for n in 0..50 {
            let mut page = Prediction::default();
            for (class, items) in [(PredictedOutcome::Rejected, 2), (PredictedOutcome::NotComputable, 3)] {
                page.add_reason(class, format!("reason {n}"), ItemGroup { items, examples: Vec::new() });
            }
            all.merge(page);
        }
        for (class, others) in [(PredictedOutcome::Rejected, 60), (PredictedOutcome::NotComputable, 90)] {
            assert_eq!(all.reasons[&class].len(), MAX_REASONS + 1);
            assert_eq!(all.reasons[&class][OTHER_REASONS].items, others);
        }
    }
}

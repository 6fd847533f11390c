//! The counts of a dry run, which predict the outcomes of a run.

use std::collections::{BTreeMap, BTreeSet};

use super::heaviest::{Heaviest, Load};
use crate::change::{Action, Changes, Decision, GuardedWrite, ItemHistory, Leftover, Outcome, PreImage};
use crate::item::{Item, ItemKey, PartitionHash, Path, Times, Units, Value, client_encryption, item_bytes};
use crate::state::only_if_kept;

/// Number of distinct shapes to list. Other shapes are not listed.
const MAX_SHAPES: usize = 10;

/// Number of example keys to keep for each class and each reason.
const MAX_EXAMPLES: usize = 5;

/// Number of distinct reasons to keep. A reason names paths of the plan, and a plan has few paths. Further reasons
/// count as [`OTHER`].
const MAX_REASONS: usize = 20;

const OTHER: &str = "other reasons";

/// The predicted outcomes of a run, as counted by a dry run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prediction {
    /// Number of items read.
    pub scanned: u64,
    /// Total size of the items read in bytes, as estimated by the tool.
    pub bytes: u64,
    /// Number of pages read.
    pub pages: u64,
    /// Number of items that would be written.
    pub would_change: u64,
    /// Number of items in which all targets already have the values that the plan implies.
    pub already_applied: u64,
    /// Number of items that the plan does not change, for example because they have no source.
    pub nothing_to_do: u64,
    /// Number of items that need no write because a target's different value counts as done.
    pub skipped: u64,
    /// Number of items in which a target has a different value. A run would not change these items.
    pub diverged: u64,
    /// Number of items whose shape does not allow the change. The items would become failures.
    pub rejected: u64,
    /// Number of items that would become larger than 400 KB by the tool's own estimate. DynamoDB would reject the
    /// writes of these items, so they would become failures too. These items are not part of `would_change`.
    pub would_exceed: u64,
    /// Estimated write capacity units that the writes would consume on the table and its indexes.
    pub write_units: Units,
    /// The part of `write_units` that each global index would consume, by name. Indexes that would consume nothing are
    /// omitted.
    pub index_write_units: BTreeMap<String, Units>,
    /// The loads of single partition keys, if a partition key can have several items.
    pub heaviest: Heaviest,
    /// Read capacity units that the dry run consumed.
    pub read_units: Units,
    /// The most frequent kinds of change, without attribute values. There are at most ten.
    pub shapes: Vec<Shape>,
    /// The reasons why items are rejected, without attribute values. There are at most twenty-one reasons.
    pub reasons: BTreeMap<String, Group>,
    /// Items that a rollback would not restore exactly, by reason.
    pub leftovers: BTreeMap<Leftover, Group>,
    /// Example keys of each class, at most five per class.
    pub examples: BTreeMap<Class, Vec<ItemKey>>,
    /// The types of the values at each written path.
    pub types: BTreeMap<Path, BTreeSet<&'static str>>,
    /// Number of values at each written path that look like times.
    pub times: BTreeMap<Path, Times>,
    /// Number of items that need a write although they are signed or encrypted on the client.
    pub encrypted: u64,
}

/// The predicted result for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The item would be written.
    WouldChange,
    /// All targets already have the values that the plan implies.
    AlreadyApplied,
    /// The plan does not change the item.
    NothingToDo,
    /// A target has a different value, which counts as done.
    Skipped,
    /// A target has a different value. A run would not change the item.
    Diverged,
    /// The item would become larger than 400 KB.
    WouldExceed,
    /// The shape of the item does not allow the change.
    Rejected,
}

/// The items with the same reason.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
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

impl Class {
    /// Every class, in the order that reports list them.
    pub const ALL: [Class; 7] = [
        Class::WouldChange,
        Class::AlreadyApplied,
        Class::NothingToDo,
        Class::Skipped,
        Class::Diverged,
        Class::WouldExceed,
        Class::Rejected,
    ];

    /// The name of the class in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Class::WouldChange => "would_change",
            Class::AlreadyApplied => "already_applied",
            Class::NothingToDo => "nothing_to_do",
            Class::Skipped => "skipped",
            Class::Diverged => "diverged",
            Class::WouldExceed => "would_exceed_400_kb",
            Class::Rejected => "rejected",
        }
    }

    /// The outcome that a run would have for an item of this class, if no other writer changes the item.
    pub fn outcome(self) -> Outcome {
        match self {
            Class::WouldChange => Outcome::Applied,
            Class::AlreadyApplied => Outcome::AlreadyApplied,
            Class::NothingToDo => Outcome::NothingToDo,
            Class::Skipped => Outcome::Skipped,
            Class::Diverged => Outcome::Diverged,
            Class::WouldExceed | Class::Rejected => Outcome::Rejected,
        }
    }
}

impl Prediction {
    /// Number of items of a class.
    pub fn of(&self, class: Class) -> u64 {
        match class {
            Class::WouldChange => self.would_change,
            Class::AlreadyApplied => self.already_applied,
            Class::NothingToDo => self.nothing_to_do,
            Class::Skipped => self.skipped,
            Class::Diverged => self.diverged,
            Class::WouldExceed => self.would_exceed,
            Class::Rejected => self.rejected,
        }
    }

    /// Counts one item. `record` is the recorded history of the item.
    pub fn add(&mut self, item: &Item, changes: &Changes, record: &ItemHistory) -> Class {
        self.scanned += 1;
        let bytes = item_bytes(item);
        self.bytes += bytes as u64;
        let mut load = Load { write: 0.0, bytes: bytes as f64 };
        let decision = only_if_kept(changes.decide_with(item, record));
        if matches!(decision, Decision::Write(_) | Decision::Refused(..)) {
            self.encrypted += u64::from(client_encryption(item).is_some());
        }
        let class = match decision {
            Decision::NothingToDo => Class::NothingToDo,
            Decision::AlreadyApplied => Class::AlreadyApplied,
            Decision::Skipped(_) => Class::Skipped,
            Decision::Diverged(_) => Class::Diverged,
            Decision::Rejected(why) => {
                let key = changes.key().key_of(item);
                self.keep_reason(why, Group { items: 1, examples: key.into_iter().collect() });
                Class::Rejected
            }
            Decision::Refused(_, rule) if rule.is_item_size() => Class::WouldExceed,
            Decision::Refused(write, rule) => {
                self.keep_reason(rule.to_string(), Group { items: 1, examples: vec![write.key] });
                Class::Rejected
            }
            Decision::Write(write) => {
                self.write_units += write.cost.total();
                load.write = write.cost.table;
                for (place, units) in &write.cost.indexes {
                    self.add_to_index(&changes.indexes().schemas()[*place].name, *units);
                }
                for leftover in write.pre_images.iter().filter_map(PreImage::leaves).collect::<BTreeSet<_>>() {
                    self.keep_leftover(leftover, Group { items: 1, examples: vec![write.key.clone()] });
                }
                self.keep_types(item, &write);
                self.keep_shape(shape(item, &write));
                Class::WouldChange
            }
        };
        if changes.key().sort.is_some()
            && let Some(key) = item.get(&changes.key().partition.name)
        {
            self.heaviest.add(PartitionHash::of(key), load);
        }
        *self.count(class) += 1;
        let kept = self.examples.entry(class).or_default();
        if kept.len() < MAX_EXAMPLES {
            kept.extend(changes.key().key_of(item));
        }
        class
    }

    /// Adds the counts of a different prediction.
    pub fn merge(&mut self, other: Prediction) {
        self.scanned += other.scanned;
        self.bytes += other.bytes;
        self.pages += other.pages;
        for class in Class::ALL {
            *self.count(class) += other.of(class);
        }
        self.write_units += other.write_units;
        self.read_units += other.read_units;
        self.heaviest.merge(other.heaviest);
        other.index_write_units.iter().for_each(|(name, units)| self.add_to_index(name, *units));
        other.shapes.into_iter().for_each(|shape| self.keep_shape(shape));
        other.reasons.into_iter().for_each(|(why, group)| self.keep_reason(why, group));
        other.leftovers.into_iter().for_each(|(leftover, group)| self.keep_leftover(leftover, group));
        for (class, keys) in other.examples {
            keep(self.examples.entry(class).or_default(), keys);
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

    fn count(&mut self, class: Class) -> &mut u64 {
        match class {
            Class::WouldChange => &mut self.would_change,
            Class::AlreadyApplied => &mut self.already_applied,
            Class::NothingToDo => &mut self.nothing_to_do,
            Class::Skipped => &mut self.skipped,
            Class::Diverged => &mut self.diverged,
            Class::WouldExceed => &mut self.would_exceed,
            Class::Rejected => &mut self.rejected,
        }
    }

    fn add_to_index(&mut self, name: &str, units: Units) {
        *self.index_write_units.entry(name.to_owned()).or_default() += units;
    }

    fn keep_reason(&mut self, why: String, group: Group) {
        let full = self.reasons.len() >= MAX_REASONS && !self.reasons.contains_key(&why);
        let kept = self.reasons.entry(if full { OTHER.to_owned() } else { why }).or_default();
        kept.items += group.items;
        keep(&mut kept.examples, group.examples);
    }

    fn keep_leftover(&mut self, leftover: Leftover, group: Group) {
        let kept = self.leftovers.entry(leftover).or_default();
        kept.items += group.items;
        keep(&mut kept.examples, group.examples);
    }

    fn keep_types(&mut self, item: &Item, write: &GuardedWrite) {
        for action in &write.actions {
            let (path, value) = match action {
                Action::SetFrom { to, from, .. } => (to, from.get(item)),
                Action::SetValue { to, value } => (to, Some(value)),
                Action::Remove { .. } => continue,
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

    fn keep_shape(&mut self, shape: Shape) {
        let known = self.shapes.iter().position(|s| s.before == shape.before && s.after == shape.after);
        match known {
            Some(known) => self.shapes[known].items += shape.items,
            None if self.shapes.len() < MAX_SHAPES => self.shapes.push(shape),
            None => {}
        }
    }
}

fn keep(kept: &mut Vec<ItemKey>, more: Vec<ItemKey>) {
    let room = MAX_EXAMPLES.saturating_sub(kept.len());
    kept.extend(more.into_iter().take(room));
}

/// The touched paths and their types before and after a write.
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
        let key = TableDescription::of_a_test().key;
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
        let counts = Class::ALL.map(|class| whole.of(class));
        assert_eq!((counts, whole.scanned), ([40, 0, 40, 0, 0, 40, 40], 160));
        assert!(whole.examples.values().all(|keys| keys.len() == 5), "{:?}", whole.examples);
        let [(why, group)] = &whole.reasons.iter().collect::<Vec<_>>()[..] else { panic!("{:?}", whole.reasons) };
        assert_eq!((group.items, group.examples.len()), (40, 5));
        assert!(why.contains("doc"), "{why}");
        assert_eq!(whole.types, BTreeMap::from([("doc.new".parse().unwrap(), BTreeSet::from(["S"]))]));
    }

    #[test]
    fn reasons_beyond_the_bound_are_counted_together() {
        let mut all = Prediction::default();
        for n in 0..50 {
            all.keep_reason(format!("reason {n}"), Group { items: 2, examples: Vec::new() });
        }
        assert_eq!(all.reasons.len(), MAX_REASONS + 1);
        assert_eq!(all.reasons[OTHER].items, 60);
    }
}

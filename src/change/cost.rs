//! Computes the capacity that a write consumes on the table, and on every index in which the write changes an entry.
//!
//! Sources: The developer guide, "Provisioned throughput", says that a write costs the item's size before or after the
//! write, whichever is larger, rounded up to the next KB. The developer guide, "Global secondary indexes", "Provisioned
//! throughput considerations", says that an index entry that appears, disappears or changes costs one write of the
//! entry's size. If the index key changes, the entry costs two writes. Local indexes have the same costs, but consume
//! the table's capacity. A transaction costs twice the units of each put and of each condition check ("Amazon DynamoDB
//! Transactions: How it works"). Third-party recordings of AWS responses show two more facts: index entries cost no
//! more in a transaction than in a single write, and an unchanged entry costs nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Action, Indexes, WriteCost};
use crate::item::{
    IndexSchema, Item, KeyAttribute, KeySchema, Projection, Units, Value, attribute_bytes, item_bytes, write_units,
};

/// The cost calculation for one phase's writes. It includes only the indexes that the phase can touch.
#[derive(Debug, Clone)]
pub(super) struct Pricing {
    /// The top-level attributes that the phase changes. `None` if it deletes or creates whole items.
    changed: Option<Arc<[String]>>,
    table_key: KeySchema,
    indexes: Indexes,
    /// A cache of the indexes that the phase can touch, with the version of `indexes` from which it was computed.
    affected_indexes: Arc<RwLock<(u64, Arc<[AffectedIndex]>)>>,
}

/// An index in which one of the phase's writes may change an entry.
#[derive(Debug, Clone)]
struct AffectedIndex {
    /// The index's position in [`Indexes`].
    position: usize,
    local: bool,
    key: Vec<KeyAttribute>,
    /// Every attribute of an entry: the index key, the table key and the projected attributes. `None` means all
    /// attributes.
    attributes: Option<Vec<String>>,
}

impl Pricing {
    /// Prepares the calculation for a phase that changes only these top-level attributes, or values inside them.
    pub(super) fn new(changed: Vec<&str>, table_key: &KeySchema, indexes: &Indexes) -> Pricing {
        Pricing::of(Some(changed.into_iter().map(str::to_owned).collect()), table_key, indexes)
    }

    /// Prepares the calculation for a phase that deletes or creates whole items.
    pub(super) fn for_whole_items(table_key: &KeySchema, indexes: &Indexes) -> Pricing {
        Pricing::of(None, table_key, indexes)
    }

    fn of(changed: Option<Arc<[String]>>, table_key: &KeySchema, indexes: &Indexes) -> Pricing {
        let version = indexes.version();
        let affected_indexes = affected_indexes(changed.as_deref(), table_key, &indexes.schemas());
        let table_key = table_key.clone();
        let indexes = indexes.clone();
        Pricing { changed, table_key, indexes, affected_indexes: Arc::new(RwLock::new((version, affected_indexes))) }
    }

    /// Returns the currently known indexes that the phase can touch.
    fn affected_indexes(&self) -> Arc<[AffectedIndex]> {
        // Read the version before the schemas. If the indexes change between the two reads, the only consequence is
        // that the result is computed once more.
        let version = self.indexes.version();
        {
            let cached = self.affected_indexes.read().unwrap_or_else(PoisonError::into_inner);
            if cached.0 == version {
                return Arc::clone(&cached.1);
            }
        }
        let now = affected_indexes(self.changed.as_deref(), &self.table_key, &self.indexes.schemas());
        *self.affected_indexes.write().unwrap_or_else(PoisonError::into_inner) = (version, Arc::clone(&now));
        now
    }

    /// Returns the cost of a write with these actions on this image. `before` and `after` are the item's sizes in
    /// bytes, before and after the write.
    pub(super) fn cost(&self, image: &Item, actions: &[Action], before: usize, after: usize) -> WriteCost {
        if let Some(item) = derived(actions) {
            let put = self.derived_cost(item);
            return WriteCost { table: put.table + check_units(image), ..put };
        }
        let whole_item = whole_item(actions);
        let mut cost = WriteCost { table: write_units(before, after), indexes: Vec::new() };
        let affected_indexes = self.affected_indexes();
        if affected_indexes.is_empty() {
            return cost;
        }
        let write = PricedWrite { image, changed: changed(&affected_indexes, image, actions), before, after };
        for index in affected_indexes.iter() {
            let units = match whole_item {
                Some(item) => index.entry_units(item),
                None => index.units(&write),
            };
            if index.local {
                cost.table += units;
            } else if units > 0.0 {
                cost.indexes.push((index.position, units));
            }
        }
        cost
    }

    /// Returns the cost of the put of this item in a transaction. A transaction costs twice as much as its writes and
    /// checks would cost alone.
    pub(super) fn derived_cost(&self, item: &Item) -> WriteCost {
        let mut cost = WriteCost { table: 2.0 * write_units(0, item_bytes(item)), indexes: Vec::new() };
        for index in self.affected_indexes().iter() {
            let units = index.entry_units(item);
            if index.local {
                cost.table += units;
            } else if units > 0.0 {
                cost.indexes.push((index.position, units));
            }
        }
        cost
    }
}

/// Returns the units of a condition check of this item in a transaction.
pub(super) fn check_units(image: &Item) -> Units {
    2.0 * write_units(item_bytes(image), 0)
}

/// Returns the indexes that contain at least one of the changed attributes, or all indexes for whole items.
fn affected_indexes(
    changed: Option<&[String]>,
    table_key: &KeySchema,
    indexes: &[IndexSchema],
) -> Arc<[AffectedIndex]> {
    let affected_indexes =
        indexes.iter().enumerate().map(|(position, index)| AffectedIndex::new(position, index, table_key));
    let is_affected =
        |index: &AffectedIndex| changed.is_none_or(|changed| changed.iter().any(|name| index.has_attribute(name)));
    affected_indexes.filter(is_affected).collect()
}

/// Returns the item that the actions delete or create, or `None` if they change only paths.
fn whole_item(actions: &[Action]) -> Option<&Item> {
    actions.iter().find_map(|action| match action {
        Action::DeleteItem { image: item } | Action::PutItem { item } => Some(item),
        Action::SetFrom { .. } | Action::SetValue { .. } | Action::Remove { .. } | Action::PutDerived { .. } => None,
    })
}

/// Returns the derived item that the actions put in a transaction, or `None` if they put no derived item.
fn derived(actions: &[Action]) -> Option<&Item> {
    actions.iter().find_map(Action::derived_item)
}

/// Returns the new value of each top-level attribute that the actions change and that is in an index. The value is
/// `None` if the actions remove the attribute.
fn changed<'a>(
    affected_indexes: &[AffectedIndex],
    image: &'a Item,
    actions: &'a [Action],
) -> BTreeMap<&'a str, Option<Cow<'a, Value>>> {
    let mut changed = BTreeMap::new();
    for action in actions {
        // DynamoDB copies the value that a source had before the write, even if another action changes the source.
        let Some(path) = action.path() else { continue };
        let value = action.written_value(image);
        let root = path.root();
        if !affected_indexes.iter().any(|index| index.has_attribute(root)) {
            continue;
        }
        if path.is_top_level() {
            changed.insert(root, value.map(Cow::Borrowed));
            continue;
        }
        let attribute = changed.entry(root).or_insert_with(|| image.get(root).map(Cow::Borrowed));
        let document = attribute.take().map(|value| (root.to_owned(), value.into_owned()));
        let mut document: Item = document.into_iter().collect();
        match value {
            Some(value) => drop(path.set(&mut document, value.clone())),
            None => drop(path.remove(&mut document)),
        }
        *attribute = document.remove(root).map(Cow::Owned);
    }
    changed.retain(|name, value| value.as_deref() != image.get(*name));
    changed
}

/// The facts about a write that determine its cost on an index.
struct PricedWrite<'a> {
    image: &'a Item,
    changed: BTreeMap<&'a str, Option<Cow<'a, Value>>>,
    /// The item's size in bytes before the write. `after` is its size after the write.
    before: usize,
    after: usize,
}

impl PricedWrite<'_> {
    fn value_before(&self, name: &str) -> Option<&Value> {
        self.image.get(name)
    }

    fn value_after(&self, name: &str) -> Option<&Value> {
        match self.changed.get(name) {
            Some(value) => value.as_deref(),
            None => self.image.get(name),
        }
    }
}

impl AffectedIndex {
    fn new(position: usize, index: &IndexSchema, table_key: &KeySchema) -> AffectedIndex {
        let projected = match &index.projection {
            Projection::All => None,
            Projection::KeysOnly => Some(&[][..]),
            Projection::Include(names) => Some(&names[..]),
        };
        let attributes = projected.map(|names| {
            let keys = index.key.iter().map(|key| key.name.as_str()).chain(table_key.names());
            let mut attributes: Vec<String> = keys.chain(names.iter().map(String::as_str)).map(str::to_owned).collect();
            attributes.sort();
            attributes.dedup();
            attributes
        });
        AffectedIndex { position, local: index.local, key: index.key.clone(), attributes }
    }

    fn has_attribute(&self, name: &str) -> bool {
        match &self.attributes {
            Some(attributes) => attributes.iter().any(|n| n == name),
            None => true,
        }
    }

    /// Returns the number of units that the write consumes on the index: zero if the write does not change the item's
    /// entry.
    fn units(&self, write: &PricedWrite<'_>) -> Units {
        let is_in = self.has_entry(|name| write.value_before(name));
        let will_be_in = self.has_entry(|name| write.value_after(name));
        let before = || write_units(self.bytes(write.before, |name| write.value_before(name)), 0);
        let after = || write_units(0, self.bytes(write.after, |name| write.value_after(name)));
        match (is_in, will_be_in) {
            (false, false) => 0.0,
            (false, true) => after(),
            (true, false) => before(),
            // If the index key changes, DynamoDB removes the old index entry and adds a new one.
            (true, true) if self.key.iter().any(|key| write.changed.contains_key(key.name.as_str())) => {
                before() + after()
            }
            (true, true) if write.changed.keys().any(|name| self.has_attribute(name)) => before().max(after()),
            (true, true) => 0.0,
        }
    }

    /// Returns the number of units that the index consumes if this item is deleted or created.
    fn entry_units(&self, item: &Item) -> Units {
        let value = |name: &str| item.get(name);
        if self.has_entry(value) { write_units(self.bytes(item_bytes(item), value), 0) } else { 0.0 }
    }

    /// Returns whether an item is in the index. An item is in the index if it has every key attribute with the declared
    /// type. A write cannot give an index key a value of a different type or an empty value. But the item may already
    /// have had such a value when the index was created.
    fn has_entry<'v>(&self, value: impl Fn(&str) -> Option<&'v Value>) -> bool {
        self.key.iter().all(|key| match value(&key.name) {
            Some(Value::S(s)) => key.kind == "S" && !s.is_empty(),
            Some(Value::B(b)) => key.kind == "B" && !b.is_empty(),
            Some(Value::N(_)) => key.kind == "N",
            Some(
                Value::Bool(_) | Value::Null | Value::Ss(_) | Value::Ns(_) | Value::Bs(_) | Value::L(_) | Value::M(_),
            )
            | None => false,
        })
    }

    /// Returns the size in bytes of an item's entry in the index. `whole` is the item's total size.
    fn bytes<'v>(&self, whole: usize, value: impl Fn(&str) -> Option<&'v Value>) -> usize {
        match &self.attributes {
            None => whole,
            Some(attributes) => attributes.iter().filter_map(|name| Some(attribute_bytes(name, value(name)?))).sum(),
        }
    }
}

#[cfg(test)]
mod tests;

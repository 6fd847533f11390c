//! The rules by which DynamoDB applies a guarded write to an item. This module is pure.
//!
//! Sources: API reference, "UpdateItem" (an update creates a missing item); developer guide, "Update expressions"
//! (every operand is read as it was before the update; if an operand or the parent of a target does not exist, the
//! update is a validation error; removing a missing attribute is not an error), "Condition expressions", and "Service
//! quotas" (item size, nesting). Third-party recordings of AWS show that DynamoDB evaluates the condition before it
//! reports such errors.
//!
//! This module does not use the code that plans writes, so tests can check that code against this module.

use std::str::FromStr as _;

use bigdecimal::BigDecimal;

use crate::change::{Action, Condition, FilterComparison, FilterTerm, GuardedWrite, index_key_fault};
use crate::dynamodb::WriteConsumption;
use crate::item::{
    IndexSchema, Item, KeySchema, MAX_ITEM_BYTES, MAX_LEVELS, Num, Path, PathStep, Projection, Units, Value,
};
use crate::item::{item_bytes, write_units};

/// The effect of a write on an item.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteEffect {
    /// The write is applied. The value is the new item, or `None` if the write deletes the item.
    Applied(Option<Item>),
    /// A condition is false, so the write changes nothing.
    ConditionFailed,
    /// DynamoDB rejects the write. The text states the reason and contains no attribute values.
    Rejected(&'static str),
}

/// Returns the effect of `write` on an item. `image` is the current item, or `None` if the item does not exist.
pub fn effect(write: &GuardedWrite, image: Option<&Item>, key: &KeySchema, indexes: &[IndexSchema]) -> WriteEffect {
    let nothing = Item::new();
    let before = image.unwrap_or(&nothing);
    if !write.conditions.iter().all(|condition| is_met(condition, before)) {
        return WriteEffect::ConditionFailed;
    }
    if write.deleted_item().is_some() {
        return WriteEffect::Applied(None);
    }
    if write.derived_item().is_some() {
        // A condition check changes nothing.
        return WriteEffect::Applied(image.cloned());
    }
    if let Some(created) = write.created_item() {
        // A `PutItem` replaces any existing item, and DynamoDB checks every key attribute of the new item.
        return match rejection_reason(&nothing, created, indexes) {
            Some(why) => WriteEffect::Rejected(why),
            None => WriteEffect::Applied(Some(created.clone())),
        };
    }
    let mut after = image.cloned().unwrap_or_else(|| write.key.attributes().clone());
    for action in &write.actions {
        if let Err(why) = apply_action(action, before, &mut after, key) {
            return WriteEffect::Rejected(why);
        }
    }
    match rejection_reason(before, &after, indexes) {
        Some(why) => WriteEffect::Rejected(why),
        None => WriteEffect::Applied(Some(after)),
    }
}

/// The effect of a transaction that puts a derived item.
#[derive(Debug, Clone, PartialEq)]
pub enum DerivedEffect {
    /// The transaction puts the derived item.
    Put(Item),
    /// A condition on the source item is false, so the transaction changes nothing.
    ConditionFailed,
    /// An item with the derived key exists, so the transaction changes nothing.
    Exists,
    /// DynamoDB rejects the put.
    Rejected(&'static str),
}

/// Returns the effect of a transaction that puts a derived item, or `None` if `write` puts none. `source` is the
/// current item of the write, and `existing` the item with the derived key. `indexes` are those of the derived item's table.
pub fn derived_effect(
    write: &GuardedWrite,
    source: Option<&Item>,
    existing: Option<&Item>,
    indexes: &[IndexSchema],
) -> Option<DerivedEffect> {
    let derived = write.derived_item()?;
    let nothing = Item::new();
    let source = source.unwrap_or(&nothing);
    if !write.conditions.iter().all(|condition| is_met(condition, source)) {
        return Some(DerivedEffect::ConditionFailed);
    }
    if existing.is_some() {
        return Some(DerivedEffect::Exists);
    }
    Some(match rejection_reason(&nothing, derived, indexes) {
        Some(why) => DerivedEffect::Rejected(why),
        None => DerivedEffect::Put(derived.clone()),
    })
}

/// Returns the write capacity that a transaction consumes on the table of the derived item, if it puts this item there.
/// The table consumes twice the usual units, and each index the usual units (third-party recordings).
pub fn consumed_by_put(derived: &Item, key: &KeySchema, indexes: &[IndexSchema]) -> WriteConsumption {
    let put = consumed(None, Some(derived), key, indexes);
    WriteConsumption { table: put.table + write_units(0, item_bytes(derived)), ..put }
}

/// Returns the write capacity that a transaction consumes on the table of the source for the check of this item: twice
/// the usual units.
pub fn consumed_by_check(source: Option<&Item>) -> Units {
    2.0 * write_units(source.map_or(0, item_bytes), 0)
}

fn is_met(condition: &Condition, item: &Item) -> bool {
    match condition {
        Condition::ItemExists(name) => item.contains_key(name),
        Condition::ItemMissing(name) => !item.contains_key(name),
        Condition::Exists(path) => path.get(item).is_some(),
        Condition::Missing(path) => path.get(item).is_none(),
        Condition::IsMap(path) => matches!(path.get(item), Some(Value::M(_))),
        Condition::Equals(path, value) => path.get(item) == Some(value),
        Condition::PathsEqual(a, b) => a.get(item).is_some_and(|value| b.get(item) == Some(value)),
    }
}

/// Returns whether a scan with this filter returns the item (developer guide, "Comparison operator and function
/// reference").
pub fn includes(filter: &FilterTerm, item: &Item) -> bool {
    match filter {
        FilterTerm::Exists(path) => path.get(item).is_some(),
        FilterTerm::Missing(path) => path.get(item).is_none(),
        FilterTerm::HasType(path, name) => path.get(item).is_some_and(|value| value.type_name() == *name),
        FilterTerm::Compare(path, comparison, other) => {
            path.get(item).is_some_and(|value| compares(value, *comparison, other))
        }
        FilterTerm::OneOf(path, others) => path.get(item).is_some_and(|value| others.contains(value)),
        FilterTerm::BeginsWith(path, start) => {
            matches!(path.get(item), Some(Value::S(text)) if text.starts_with(start.as_str()))
        }
        FilterTerm::Contains(path, part) => match path.get(item) {
            Some(Value::S(text)) => text.contains(part.as_str()),
            Some(Value::Ss(members)) => members.contains(part),
            Some(Value::L(elements)) => elements.contains(&Value::S(part.clone())),
            Some(Value::N(_) | Value::B(_) | Value::Bool(_) | Value::Null) => false,
            Some(Value::Ns(_) | Value::Bs(_) | Value::M(_)) | None => false,
        },
        FilterTerm::Not(term) => !includes(term, item),
        FilterTerm::All(terms) => terms.iter().all(|term| includes(term, item)),
        FilterTerm::Any(terms) => terms.iter().any(|term| includes(term, item)),
    }
}

/// Returns whether this comparison of a value with a constant is true. Returns false if their types differ.
fn compares(value: &Value, comparison: FilterComparison, other: &Value) -> bool {
    let order = if let (Value::S(a), Value::S(b)) = (value, other) {
        a.as_bytes().cmp(b.as_bytes())
    } else if let (Value::B(a), Value::B(b)) = (value, other) {
        a.cmp(b)
    } else if let (Value::N(a), Value::N(b)) = (value, other) {
        let number = |number: &Num| BigDecimal::from_str(number.as_str()).ok();
        let (Some(a), Some(b)) = (number(a), number(b)) else { return false };
        a.cmp(&b)
    } else {
        return comparison == FilterComparison::Equal && value == other;
    };
    match comparison {
        FilterComparison::Equal => order.is_eq(),
        FilterComparison::Less => order.is_lt(),
        FilterComparison::LessOrEqual => order.is_le(),
        FilterComparison::Greater => order.is_gt(),
        FilterComparison::GreaterOrEqual => order.is_ge(),
    }
}

/// Carries out one action of a write. Reads operands from `before`, the item as it was before the whole write.
fn apply_action(action: &Action, before: &Item, after: &mut Item, key: &KeySchema) -> Result<(), &'static str> {
    let (to, value) = match action {
        Action::SetFrom { to, from, .. } => {
            let value =
                from.get(before).ok_or("The expression refers to an attribute that does not exist in the item")?;
            (to, Some(value))
        }
        Action::SetValue { to, value } => (to, Some(value)),
        Action::Remove { path } => (path, None),
        Action::DeleteItem { .. } | Action::PutItem { .. } | Action::PutDerived { .. } => {
            return Err("An update cannot delete or replace the item");
        }
    };
    if key.names().any(|name| name == to.root()) {
        return Err("An attribute of the key cannot be updated");
    }
    let slot = find_slot(to, after).ok_or("The document path of the update is invalid for the item")?;
    match (slot, value) {
        (ValueSlot::Member(map, name), Some(value)) => drop(map.insert(name.to_owned(), value.clone())),
        (ValueSlot::Member(map, name), None) => drop(map.remove(name)),
        (ValueSlot::Element(list, at), Some(value)) if at < list.len() => list[at] = value.clone(),
        (ValueSlot::Element(list, _), Some(value)) => list.push(value.clone()),
        (ValueSlot::Element(list, at), None) if at < list.len() => drop(list.remove(at)),
        (ValueSlot::Element(..), None) => {}
    }
    Ok(())
}

/// The location of a value, either a member of a map or an element of a list.
enum ValueSlot<'a> {
    Member(&'a mut Item, &'a str),
    Element(&'a mut Vec<Value>, usize),
}

/// Finds the location in the item to which the path leads. Returns `None` if a map or a list on the path is missing or
/// has a different type.
fn find_slot<'a>(path: &'a Path, item: &'a mut Item) -> Option<ValueSlot<'a>> {
    let Some(parent) = path.parent() else { return Some(ValueSlot::Member(item, path.root())) };
    let mut value = item.get_mut(parent.root())?;
    for step in &path.steps()[1..path.steps().len() - 1] {
        value = match (step, value) {
            (PathStep::Name(name), Value::M(map)) => map.get_mut(name)?,
            (PathStep::Index(at), Value::L(list)) => list.get_mut(*at)?,
            (PathStep::Name(_) | PathStep::Index(_), _) => return None,
        };
    }
    match (path.steps().last()?, value) {
        (PathStep::Name(name), Value::M(map)) => Some(ValueSlot::Member(map, name)),
        (PathStep::Index(at), Value::L(list)) => Some(ValueSlot::Element(list, *at)),
        (PathStep::Name(_) | PathStep::Index(_), _) => None,
    }
}

/// Returns the reason why DynamoDB rejects the updated item, or `None` if DynamoDB accepts the item. Of the index key
/// attributes, checks only those that the write changes.
fn rejection_reason(before: &Item, after: &Item, indexes: &[IndexSchema]) -> Option<&'static str> {
    let bytes = item_bytes(after);
    if bytes > MAX_ITEM_BYTES && bytes > item_bytes(before) {
        return Some("Item size to update has exceeded the maximum allowed size");
    }
    if after.values().any(|value| value.nests_deeper_than(MAX_LEVELS)) {
        return Some("Nesting levels have exceeded supported limits");
    }
    let mut changed = after.iter().filter(|(name, value)| before.get(*name) != Some(*value));
    let fault = changed.find_map(|(name, value)| index_key_fault(name, value, indexes));
    fault.map(|_| "A value is not valid for the key of an index")
}

/// Returns the write capacity that a write consumes. If the write's condition failed, `before` and `after` are the same
/// image.
///
/// Sources: the developer guide's sections "Provisioned throughput" and, for global indexes, "Provisioned throughput
/// considerations".
pub fn consumed(
    before: Option<&Item>,
    after: Option<&Item>,
    key: &KeySchema,
    indexes: &[IndexSchema],
) -> WriteConsumption {
    let bytes = |item: Option<&Item>| item.map_or(0, item_bytes);
    let mut consumed =
        WriteConsumption { table: write_units(bytes(before), bytes(after)), ..WriteConsumption::default() };
    for index in indexes {
        let [old, new] = [before, after].map(|item| item.and_then(|item| entry(item, key, index)));
        let units = entry_units(old.as_ref(), new.as_ref(), index);
        match (index.local, units > 0.0) {
            (true, _) => consumed.table += units,
            (false, true) => consumed.indexes.push((index.name.clone(), units)),
            (false, false) => {}
        }
    }
    consumed
}

/// Returns the item's entry in an index. Returns `None` if the item lacks an attribute of the index key.
fn entry(item: &Item, key: &KeySchema, index: &IndexSchema) -> Option<Item> {
    let keys: Vec<&str> = index.key.iter().map(|attribute| attribute.name.as_str()).chain(key.names()).collect();
    if !keys.iter().all(|name| item.contains_key(*name)) {
        return None;
    }
    let projected = |name: &str| match &index.projection {
        Projection::All => true,
        Projection::KeysOnly => false,
        Projection::Include(names) => names.iter().any(|projected| projected == name),
    };
    let entry = item.iter().filter(|(name, _)| keys.contains(&name.as_str()) || projected(name));
    Some(entry.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn entry_units(old: Option<&Item>, new: Option<&Item>, index: &IndexSchema) -> Units {
    match (old, new) {
        (None, None) => 0.0,
        (Some(gone), None) => write_units(item_bytes(gone), 0),
        (None, Some(made)) => write_units(0, item_bytes(made)),
        (Some(old), Some(new)) if old == new => 0.0,
        (Some(old), Some(new)) if index.key.iter().all(|key| old.get(&key.name) == new.get(&key.name)) => {
            write_units(item_bytes(old), item_bytes(new))
        }
        (Some(old), Some(new)) => write_units(item_bytes(old), 0) + write_units(0, item_bytes(new)),
    }
}

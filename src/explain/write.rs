//! A planned write, as the request to DynamoDB would contain it.

use std::collections::BTreeMap;

use crate::change::{Change, GuardedWrite, ItemMark, PreImage, PriorValue, WriteCost, render};
use crate::item::{IndexSchema, Item, Path, Units, Value, value_bytes};

/// A planned write: its expressions, its size and its cost.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedWrite {
    /// Whether the pass sends the write; false if a rule forbids the write.
    pub is_sent: bool,
    /// The request: `UpdateItem`, `DeleteItem`, `PutItem` or `TransactWriteItems`.
    pub request: &'static str,
    /// `UpdateExpression`. Empty if the request is not an `UpdateItem`.
    pub update: String,
    /// `ConditionExpression`; in a transaction, the expression of the `ConditionCheck`.
    pub condition: String,
    /// `ExpressionAttributeNames`.
    pub names: BTreeMap<String, String>,
    /// `ExpressionAttributeValues`, ordered by their placeholders.
    pub values: Vec<ExplainedValue>,
    /// The `Put` of a transaction.
    pub derived: Option<ExplainedPut>,
    /// The paths whose prior state the pass records before it sends the write.
    pub journal: Vec<(Path, &'static str)>,
    /// The item's size in bytes before the write.
    pub bytes_before: usize,
    /// The item's size in bytes after the write.
    pub bytes_after: usize,
    /// Write capacity units for the table, including its local indexes.
    pub table_units: Units,
    /// The write capacity units of each index.
    pub indexes: Vec<IndexCost>,
}

/// The `Put` of a transaction: the derived item.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedPut {
    /// The derived item, with its key.
    pub item: Item,
    /// `ConditionExpression` of the put.
    pub condition: String,
    /// The table that gets the item, if it is not the table of the plan.
    pub table: Option<String>,
    /// Write capacity units that the put consumes on that other table and its indexes. 0 if there is no other table.
    pub units_elsewhere: Units,
}

/// A value of an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedValue {
    /// The placeholder in the expressions.
    pub placeholder: String,
    /// The value.
    pub value: Value,
    /// Whether the value is part of the plan or of the expression's syntax. Such a value is not data, so it may always
    /// be shown.
    pub is_constant: bool,
}

/// The cost of a write on one index.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexCost {
    /// The name of the index.
    pub name: String,
    /// Write capacity units, or `None` for a local index: its units are part of the table's.
    pub units: Option<Units>,
}

impl ExplainedWrite {
    /// Describes a write. `plan` contains the changes of the plan. `indexes` are the table's indexes, by position.
    pub(super) fn new(write: GuardedWrite, is_sent: bool, plan: &[Change], indexes: &[IndexSchema]) -> ExplainedWrite {
        let expression = render(&write);
        let constants: Vec<&Value> = plan.iter().filter_map(constant).collect();
        let value = |(placeholder, value): (String, Value)| ExplainedValue {
            is_constant: placeholder == TYPE_PLACEHOLDER || constants.contains(&&value),
            placeholder,
            value,
        };
        let is_target = |path: &Path| plan.iter().any(|change| change.paths().writes.contains(&path));
        let prior = |pre: &PreImage| match &pre.prior {
            PriorValue::Value(_) => "value",
            PriorValue::Nothing => "nothing",
            PriorValue::SameAsSource if !is_target(&pre.path) => STABLE,
            PriorValue::SameAsSource => "same_as_source",
            PriorValue::Item(_) => "item",
            PriorValue::Mark(ItemMark::Deleted | ItemMark::DeletedChanged) => "deleted",
            PriorValue::Mark(ItemMark::PuttingBack) => "putting_back",
            PriorValue::Mark(ItemMark::PutBack) => "put_back",
            PriorValue::Leftover(leftover) => leftover.id(),
        };
        let derived = write.derived_item().map(|item| ExplainedPut {
            item: item.clone(),
            // The transaction requires that no item with the derived key exists.
            condition: "attribute_not_exists(#0)".to_owned(),
            table: write.other_table().map(str::to_owned),
            units_elsewhere: write.cost_elsewhere.as_ref().map_or(0.0, WriteCost::total),
        });
        ExplainedWrite {
            is_sent,
            request: match (write.deleted_item(), write.created_item(), &derived) {
                (Some(_), _, _) => "DeleteItem",
                (None, Some(_), _) => "PutItem",
                (None, None, Some(_)) => "TransactWriteItems",
                (None, None, None) => "UpdateItem",
            },
            derived,
            update: expression.update,
            condition: expression.condition,
            names: expression.names,
            values: expression.values.into_iter().map(value).collect(),
            journal: write.pre_images.iter().map(|pre| (pre.path.clone(), prior(pre))).collect(),
            bytes_before: write.bytes_before,
            bytes_after: write.bytes_after,
            table_units: write.cost.table,
            indexes: index_costs(&write.cost, indexes),
        }
    }

    /// Returns the sum of all write capacity units.
    pub fn units(&self) -> Units {
        let elsewhere = self.derived.as_ref().map_or(0.0, |derived| derived.units_elsewhere);
        self.table_units + self.indexes.iter().filter_map(|index| index.units).sum::<Units>() + elsewhere
    }
}

impl ExplainedValue {
    /// Returns the size of the value in bytes.
    pub fn bytes(&self) -> usize {
        value_bytes(&self.value)
    }
}

/// The kind of a record of a stable attribute. The write leaves the attribute unchanged. A later pass compares it with
/// the record.
pub(super) const STABLE: &str = "stable";

/// The placeholder of the operand of `attribute_type`, which is a type name.
const TYPE_PLACEHOLDER: &str = ":m";

/// Returns the constant that a change writes, if it writes one.
fn constant(change: &Change) -> Option<&Value> {
    match change {
        Change::Set { value, .. } => Some(value),
        Change::Move { .. }
        | Change::Copy { .. }
        | Change::Remove { .. }
        | Change::Compute { .. }
        | Change::Convert { .. }
        | Change::Bump { .. }
        | Change::Exec { .. }
        | Change::Append { .. }
        | Change::Delete { .. }
        | Change::Put { .. }
        | Change::Each { .. } => None,
    }
}

/// Returns the cost on each index. An index that was deleted has no key and is omitted.
fn index_costs(cost: &WriteCost, indexes: &[IndexSchema]) -> Vec<IndexCost> {
    let units = |position: usize| cost.indexes.iter().find(|(at, _)| *at == position).map_or(0.0, |(_, units)| *units);
    let existing = indexes.iter().enumerate().filter(|(_, index)| !index.key.is_empty());
    let of = |(position, index): (usize, &IndexSchema)| IndexCost {
        name: index.name.clone(),
        units: (!index.local).then(|| units(position)),
    };
    existing.map(of).collect()
}

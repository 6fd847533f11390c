//! What the job may take of each scope, and why so much: from the plan's `[capacity]` and the table's description.
//! Pure.

mod throughput;

#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Value as Json, json};

use super::{Budget, Budgets};
use crate::item::Units;
use crate::plan::{Access, BudgetError, Capacity, CapacityField, Rate, ScopeCapacity};
use crate::table::{IndexDescription, TableDescription};
use throughput::{Found, Throughput, per_second};

/// Without a stated budget a job on an on-demand table takes this: a quarter of what a new on-demand table sustains in
/// writes, less in reads (developer guide, "Pre-warming on-demand capacity": 4,000 writes and 12,000 reads per second).
const ON_DEMAND: Budget = Budget { write: 1_000.0, read: 2_000.0 };

/// Without a stated budget, one key range or partition key gets this: a quarter of what one partition serves (developer
/// guide, "Partition key design": 1,000 writes and 3,000 reads per second).
const NARROW: Budget = Budget { write: 250.0, read: 750.0 };

/// The budgets of a job, and where each comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// For the token buckets.
    pub budgets: Budgets,
    /// For people: every budget there is, widest scope first, writes before reads.
    pub scopes: Vec<ScopeBudget>,
}

/// One budget of one scope.
#[derive(Debug, Clone, PartialEq)]
pub struct ScopeBudget {
    /// Whose it is.
    pub scope: Scope,
    /// Writes or reads.
    pub access: Access,
    /// Capacity units per second.
    pub units: Units,
    /// Where it comes from, in words.
    pub basis: String,
}

/// What a budget is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The whole table.
    Table,
    /// One key range: one segment of the run.
    KeyRange,
    /// The items of one partition key.
    PartitionKey,
    /// The global index of this name.
    Index(String),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Table => f.write_str("table"),
            Scope::KeyRange => f.write_str("key range"),
            Scope::PartitionKey => f.write_str("partition key"),
            Scope::Index(name) => write!(f, "index {name}"),
        }
    }
}

/// `1000 WCU/s (default on demand)`
impl fmt::Display for ScopeBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", per_second(self.units, self.access), self.basis)
    }
}

impl ScopeBudget {
    /// As JSON.
    pub fn to_json(&self) -> Json {
        let (scope, index) = match &self.scope {
            Scope::Table => ("table", None),
            Scope::KeyRange => ("key_range", None),
            Scope::PartitionKey => ("partition_key", None),
            Scope::Index(name) => ("index", Some(name)),
        };
        let access = if self.access == Access::Write { "write" } else { "read" };
        json!({ "scope": scope, "index": index, "access": access, "units_per_second": self.units, "basis": self.basis })
    }
}

impl Resolved {
    /// A line for each scope, and its label.
    pub fn lines(&self) -> impl Iterator<Item = (String, String)> {
        self.scopes.chunk_by(|a, b| a.scope == b.scope).map(|scope| {
            let budgets: Vec<String> = scope.iter().map(ToString::to_string).collect();
            (scope[0].scope.to_string(), budgets.join(", "))
        })
    }
}

/// The budgets of a job on this table, or all that is wrong with the stated ones.
pub fn resolve(capacity: &Capacity, table: &TableDescription) -> Result<Resolved, Vec<BudgetError>> {
    let mut sheet = Sheet::default();
    let mut whole = |access, stated, on_demand| {
        let field = CapacityField::Table(access);
        let found = Throughput::of_table(table, access).budget(stated, field, on_demand);
        sheet.enter(Scope::Table, access, found)
    };
    let write = whole(Access::Write, capacity.write, ON_DEMAND.write);
    let read = whole(Access::Read, capacity.read, ON_DEMAND.read);
    // Where the table's own budget is wrong, nothing comes of the narrower ones either, but they are checked.
    let table_budget = Budget { write, read };
    let per_key_range = sheet.narrow(Scope::KeyRange, capacity.per_key_range, table_budget, table);
    let per_partition_key = sheet.narrow(Scope::PartitionKey, capacity.per_partition_key, table_budget, table);
    let indexes = table.indexes.iter().map(|index| sheet.index(index, capacity)).collect();
    sheet.unknown_indexes(capacity, table);
    if sheet.errors.is_empty() {
        let budgets = Budgets { table: table_budget, per_key_range, per_partition_key, indexes };
        Ok(Resolved { budgets, scopes: sheet.scopes })
    } else {
        Err(sheet.errors)
    }
}

/// Collects what is found, scope by scope.
#[derive(Default)]
struct Sheet {
    scopes: Vec<ScopeBudget>,
    errors: Vec<BudgetError>,
}

impl Sheet {
    /// Enters one budget; in place of a wrong one the rest is checked against no bound.
    fn enter(&mut self, scope: Scope, access: Access, found: Found) -> Units {
        match found {
            Ok((units, basis)) => {
                self.scopes.push(ScopeBudget { scope, access, units, basis });
                units
            }
            Err(error) => {
                self.errors.push(error);
                Units::INFINITY
            }
        }
    }

    /// A narrow scope never gets more than the table as a whole.
    fn narrow(&mut self, scope: Scope, stated: ScopeCapacity, whole: Budget, table: &TableDescription) -> Budget {
        let field = if scope == Scope::KeyRange { CapacityField::KeyRange } else { CapacityField::PartitionKey };
        let mut one = |access, stated: Option<Units>, default: Units, whole: Units| {
            let found = match stated {
                Some(units) => Throughput::of_table(table, access).stated(Rate::Units(units), field(access)),
                None => Ok((default, "default: a quarter of a partition".to_owned())),
            };
            let within = found.map(|(units, basis)| {
                if units > whole {
                    (whole, format!("{basis}, but no more than the table's budget"))
                } else {
                    (units, basis)
                }
            });
            self.enter(scope.clone(), access, within)
        };
        Budget {
            write: one(Access::Write, stated.write, NARROW.write, whole.write),
            read: one(Access::Read, stated.read, NARROW.read, whole.read),
        }
    }

    /// The budget of a global index; a local one is paid for by the table.
    fn index(&mut self, index: &IndexDescription, capacity: &Capacity) -> Option<Units> {
        let name = &index.schema.name;
        let place = capacity.indexes.iter().position(|(stated, _)| stated == name);
        if index.schema.local {
            self.errors.extend(place.map(|place| BudgetError {
                field: CapacityField::IndexName(place),
                title: format!("the local index `{name}` has no capacity of its own"),
                label: "a local secondary index".into(),
                help: vec!["leave it out: what is written to it is paid from the table's budget, `write`".into()],
            }));
            return None;
        }
        let stated = place.map(|place| (capacity.indexes[place].1, CapacityField::Index(place)));
        let has = Throughput::of_index(index);
        let found = match stated {
            Some((rate, field)) => has.stated(rate, field),
            None => Ok(has.default(ON_DEMAND.write)),
        };
        Some(self.enter(Scope::Index(name.clone()), Access::Write, found))
    }

    /// Reports names that no index has.
    fn unknown_indexes(&mut self, capacity: &Capacity, table: &TableDescription) {
        let global: Vec<String> =
            table.indexes.iter().filter(|i| !i.schema.local).map(|i| format!("{:?}", i.schema.name)).collect();
        for (place, (name, _)) in capacity.indexes.iter().enumerate() {
            if table.indexes.iter().any(|index| index.schema.name == *name) {
                continue;
            }
            let help = match global.as_slice() {
                [] => "it has no global index at all: leave [capacity.index] out".to_owned(),
                names => format!("its global indexes: {}", names.join(", ")),
            };
            self.errors.push(BudgetError {
                field: CapacityField::IndexName(place),
                title: format!("table `{}` has no index `{name}`", table.name),
                label: "no index of this name".into(),
                help: vec![help],
            });
        }
    }
}

//! Calculates the budget of each scope, together with the reason for the budget. The inputs are the plan's `[capacity]`
//! and the table's description. This module is pure.

mod resource_capacity;
mod tracker;

#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Value as Json, json};

use super::{Budget, Budgets};
use crate::dynamodb::{IndexDescription, TableDescription};
use crate::item::Units;
use crate::plan::{Access, BudgetError, Capacity, CapacityField, CapacityRate, ScopeCapacity};
pub use resource_capacity::rate_text;
use resource_capacity::{BudgetResult, ResourceCapacity};
pub use tracker::{BudgetTracker, RAISE_STEPS, STALE_DESCRIPTION_FACTOR};

/// The default budget of a job on an on-demand table. This budget is a quarter of the writes that a new on-demand table
/// sustains, and a sixth of the reads (developer guide, "Pre-warming on-demand capacity": 4,000 writes and 12,000 reads
/// per second).
const ON_DEMAND_DEFAULT: Budget = Budget { write: 1_000.0, read: 2_000.0 };

/// The default budget of one key range or one partition key. This budget is a quarter of the capacity of one partition
/// (developer guide, "Partition key design": 1,000 writes and 3,000 reads per second).
const NARROW_DEFAULT: Budget = Budget { write: 250.0, read: 750.0 };

/// The maximum that DynamoDB serves for one partition key (developer guide, "Partition key design"). So this is also
/// the largest default budget of a key range or partition key.
const PARTITION: Budget = Budget { write: 1_000.0, read: 3_000.0 };

/// A job's budgets, with the reason for each budget.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedBudgets {
    /// The budgets in the form that the token buckets need.
    pub budgets: Budgets,
    /// All budgets in the form that reports need. The widest scope is first, and writes are before reads.
    pub scopes: Vec<ScopeBudget>,
    /// A message for each budget that was lowered or ignored ([`resolve_within`]).
    pub reductions: Vec<String>,
}

/// One budget of one scope.
#[derive(Debug, Clone, PartialEq)]
pub struct ScopeBudget {
    /// The scope to which the budget applies.
    pub scope: Scope,
    /// Whether the budget limits writes or reads.
    pub access: Access,
    /// Capacity units per second.
    pub units: Units,
    /// The reason for the budget, in words.
    pub basis: String,
    /// The table, if it is not the plan's table but the one that gets derived items.
    pub table: Option<String>,
}

/// The scope of a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The whole table.
    Table,
    /// One key range, which is one segment of the run.
    KeyRange,
    /// The items of one partition key.
    PartitionKey,
    /// The global index with this name.
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
        write!(f, "{} ({})", rate_text(self.units, self.access), self.basis)
    }
}

impl ScopeBudget {
    /// Returns the same budget, of the table with this name.
    pub fn of_table(&self, name: &str) -> ScopeBudget {
        ScopeBudget { table: Some(name.to_owned()), ..self.clone() }
    }

    /// Converts the budget to JSON.
    pub fn to_json(&self) -> Json {
        let (scope, index) = match &self.scope {
            Scope::Table => ("table", None),
            Scope::KeyRange => ("key_range", None),
            Scope::PartitionKey => ("partition_key", None),
            Scope::Index(name) => ("index", Some(name)),
        };
        let access = if self.access == Access::Write { "write" } else { "read" };
        let mut json = json!({ "scope": scope, "index": index, "access": access, "units_per_second": self.units, "basis": self.basis });
        if let (Some(table), Some(map)) = (&self.table, json.as_object_mut()) {
            map.insert("table".to_owned(), table.as_str().into());
        }
        json
    }

    /// Reads the JSON that [`ScopeBudget::to_json`] returns. `None` if the JSON has a different form.
    pub fn from_json(json: &Json) -> Option<ScopeBudget> {
        let scope = match json["scope"].as_str()? {
            "table" => Scope::Table,
            "key_range" => Scope::KeyRange,
            "partition_key" => Scope::PartitionKey,
            "index" => Scope::Index(json["index"].as_str()?.to_owned()),
            _ => return None,
        };
        let access = match json["access"].as_str()? {
            "write" => Access::Write,
            "read" => Access::Read,
            _ => return None,
        };
        let units = json["units_per_second"].as_f64()?;
        let basis = json["basis"].as_str()?.to_owned();
        let table = json["table"].as_str().map(str::to_owned);
        Some(ScopeBudget { scope, access, units, basis, table })
    }
}

impl ResolvedBudgets {
    /// Returns each scope's label, and its budgets as text.
    pub fn lines(&self) -> impl Iterator<Item = (String, String)> {
        lines(&self.scopes)
    }
}

/// Returns each scope's label, and its budgets as text.
pub fn lines(scopes: &[ScopeBudget]) -> impl Iterator<Item = (String, String)> {
    scopes.chunk_by(|a, b| a.scope == b.scope && a.table == b.table).map(|scope| {
        let budgets: Vec<String> = scope.iter().map(ToString::to_string).collect();
        let label = match &scope[0].table {
            Some(table) if scope[0].scope == Scope::Table => format!("table {table}"),
            Some(table) => format!("table {table}, {}", scope[0].scope),
            None => scope[0].scope.to_string(),
        };
        (label, budgets.join(", "))
    })
}

/// Calculates the budgets of a job on this table. If the plan's budgets contain errors, returns all of these errors.
pub fn resolve(capacity: &Capacity, table: &TableDescription) -> Result<ResolvedBudgets, Vec<BudgetError>> {
    let mut builder = BudgetBuilder::default();
    let budgets = builder.add_budgets(capacity, table);
    builder.add_unknown_index_errors(capacity, table);
    if builder.errors.is_empty() { Ok(builder.resolved(budgets)) } else { Err(builder.errors) }
}

/// Calculates the budgets for commands that must always be able to run, in particular `rollback`. If a budget in the
/// plan exceeds the table's capacity, it is lowered to that capacity. A budget for a missing index is ignored.
pub fn resolve_within(capacity: &Capacity, table: &TableDescription) -> ResolvedBudgets {
    let mut builder = BudgetBuilder { before: Some(&[]), ..BudgetBuilder::default() };
    let budgets = builder.add_budgets(capacity, table);
    builder.add_unknown_index_errors(capacity, table);
    builder.resolved(budgets)
}

/// Returns the budget for reads of single items from the sink, in capacity units per second. Returns `None` if the
/// source and the sink are the same table. The budget is always the tool's default budget, because the plan's read
/// budget applies only to the source.
pub fn sink_reads(table: &TableDescription) -> Option<Units> {
    let sink = table.sink.as_deref()?;
    Some(ResourceCapacity::from_table(sink, Access::Read).default(ON_DEMAND_DEFAULT.read).0)
}

/// Returns the budget for the scan of an index, in capacity units per second. Returns `None` if the index is unknown,
/// or if it is local and therefore uses the table's capacity. The budget is always the tool's default budget. The scan
/// also counts against the table's read budget.
pub fn index_reads(table: &TableDescription, index: &str) -> Option<Units> {
    let index = table.indexes.iter().find(|found| found.schema.name == index && !found.schema.local)?;
    Some(ResourceCapacity::from_index(index, Access::Read).default(ON_DEMAND_DEFAULT.read).0)
}

/// Calculates the budgets of a running job from its table's current description. A budget that exceeds the table's
/// capacity is not an error, but is lowered to that capacity. `before` contains the job's previous budgets.
fn resolve_running(capacity: &Capacity, table: &TableDescription, before: &[ScopeBudget]) -> Vec<ScopeBudget> {
    let mut builder = BudgetBuilder { before: Some(before), ..BudgetBuilder::default() };
    builder.add_budgets(capacity, table);
    builder.scopes
}

/// Collects the budgets and errors, scope by scope.
#[derive(Default)]
struct BudgetBuilder<'a> {
    scopes: Vec<ScopeBudget>,
    errors: Vec<BudgetError>,
    /// The job's previous budgets. If this is set, a budget that exceeds the capacity is lowered. If this is `None`,
    /// such a budget is an error.
    before: Option<&'a [ScopeBudget]>,
    /// Budgets that were lowered to the capacity.
    reductions: Vec<(Scope, Access)>,
}

impl BudgetBuilder<'_> {
    fn resolved(self, budgets: Budgets) -> ResolvedBudgets {
        let is_cut = |budget: &&ScopeBudget| self.reductions.contains(&(budget.scope.clone(), budget.access));
        let reductions = self.scopes.iter().filter(is_cut);
        let reductions =
            reductions.map(|budget| format!("budget   lowered to the available capacity: {}: {budget}", budget.scope));
        let left_out = self.errors.iter().map(|error| format!("budget   left out: {}", error.title));
        ResolvedBudgets { budgets, reductions: reductions.chain(left_out).collect(), scopes: self.scopes }
    }

    /// Calculates and adds every budget, widest scope first.
    fn add_budgets(&mut self, capacity: &Capacity, table: &TableDescription) -> Budgets {
        let mut whole = |access, stated: Option<CapacityRate>, on_demand| {
            let resource = ResourceCapacity::from_table(table, access);
            let found = match stated {
                Some(rate) => {
                    self.stated(&resource, rate, CapacityField::Table(access), (&Scope::Table, access), on_demand)
                }
                None => Ok(resource.default(on_demand)),
            };
            self.add_budget(Scope::Table, access, found)
        };
        let write = whole(Access::Write, capacity.write, ON_DEMAND_DEFAULT.write);
        let read = whole(Access::Read, capacity.read, ON_DEMAND_DEFAULT.read);
        // If the table's own budget is wrong, no budget is used. The budgets of the narrower scopes are still checked,
        // so that all errors are reported.
        let table_budget = Budget { write, read };
        let per_key_range =
            self.add_narrow_budgets(Scope::KeyRange, (capacity.per_key_range, capacity), table_budget, table);
        let per_partition_key =
            self.add_narrow_budgets(Scope::PartitionKey, (capacity.per_partition_key, capacity), table_budget, table);
        let indexes = table.indexes.iter().map(|index| self.index(index, capacity)).collect();
        Budgets { table: table_budget, per_key_range, per_partition_key, indexes }
    }

    /// Checks a budget in the plan. If a budget exceeds the table's capacity, it is lowered if `before` is set.
    /// Otherwise it is an error.
    fn stated(
        &mut self,
        resource: &ResourceCapacity,
        rate: CapacityRate,
        field: CapacityField,
        (scope, access): (&Scope, Access),
        on_demand: Units,
    ) -> BudgetResult {
        let stated = resource.stated(rate, field);
        let Some(before) = self.before else { return stated };
        if stated.is_err() {
            self.reductions.push((scope.clone(), access));
        }
        let before = before.iter().find(|budget| budget.scope == *scope && budget.access == access);
        Ok(resource.capped(rate, before.map_or(Units::INFINITY, |budget| budget.units), on_demand))
    }

    /// Adds one budget or its error, and returns the budget. After an error, returns infinity, so that the wrong budget
    /// does not limit the budgets of narrower scopes.
    fn add_budget(&mut self, scope: Scope, access: Access, found: BudgetResult) -> Units {
        match found {
            Ok((units, basis)) => {
                self.scopes.push(ScopeBudget { scope, access, units, basis, table: None });
                units
            }
            Err(error) => {
                self.errors.push(error);
                Units::INFINITY
            }
        }
    }

    /// Adds the budgets of key ranges or of partition keys. They never exceed the budgets of the table. If the plan
    /// contains the table's budget but not the narrower budget, the default of the narrower budget rises with the
    /// table's budget, up to [`PARTITION`]. So one number in the plan determines the speed of the job.
    fn add_narrow_budgets(
        &mut self,
        scope: Scope,
        (stated, capacity): (ScopeCapacity, &Capacity),
        whole: Budget,
        table: &TableDescription,
    ) -> Budget {
        let field = if scope == Scope::KeyRange { CapacityField::KeyRange } else { CapacityField::PartitionKey };
        let mut one = |access, stated: Option<Units>, default: Units, whole: Units| {
            let (table_rate, share, most) = match access {
                Access::Write => (capacity.write, default / ON_DEMAND_DEFAULT.write, PARTITION.write),
                Access::Read => (capacity.read, default / ON_DEMAND_DEFAULT.read, PARTITION.read),
            };
            // If the table's budget is wrong, it is infinite here. The error is reported, and no budget is used.
            let scaled = (whole * share).min(most);
            let found = match stated {
                Some(units) => {
                    let resource = ResourceCapacity::from_table(table, access);
                    let rate = CapacityRate::Units(units);
                    self.stated(&resource, rate, field(access), (&scope, access), Units::INFINITY)
                }
                None if table_rate.is_some() && scaled >= most => {
                    Ok((most, "default: the full rate of a partition, because the table's budget is large".to_owned()))
                }
                None if table_rate.is_some() && scaled > default => {
                    Ok((scaled, "default: in proportion to the table's budget".to_owned()))
                }
                None => Ok((default, "default: a quarter of a partition".to_owned())),
            };
            let within = found.map(|(units, basis)| {
                if units > whole {
                    (whole, format!("{basis}, but no more than the table's budget"))
                } else {
                    (units, basis)
                }
            });
            self.add_budget(scope.clone(), access, within)
        };
        Budget {
            write: one(Access::Write, stated.write, NARROW_DEFAULT.write, whole.write),
            read: one(Access::Read, stated.read, NARROW_DEFAULT.read, whole.read),
        }
    }

    /// Adds the budget of a global index. A local index has no budget, because writes to it consume the table's
    /// capacity.
    fn index(&mut self, index: &IndexDescription, capacity: &Capacity) -> Option<Units> {
        let name = &index.schema.name;
        let position = capacity.indexes.iter().position(|(stated, _)| stated == name);
        if index.schema.local {
            self.errors.extend(position.map(|position| BudgetError {
                field: CapacityField::IndexName(position),
                title: format!("the local index `{name}` has no capacity of its own"),
                label: "a local secondary index".into(),
                help: vec![
                    "remove this line, because writes to a local index consume the table's budget, `write`".into(),
                ],
            }));
            return None;
        }
        let scope = Scope::Index(name.clone());
        let resource = ResourceCapacity::from_index(index, Access::Write);
        let found = match position {
            Some(position) => {
                let rate = capacity.indexes[position].1;
                let field = CapacityField::Index(position);
                self.stated(&resource, rate, field, (&scope, Access::Write), ON_DEMAND_DEFAULT.write)
            }
            None => Ok(resource.default(ON_DEMAND_DEFAULT.write)),
        };
        Some(self.add_budget(scope, Access::Write, found))
    }

    /// Adds an error for each name in `[capacity.index]` that is not the name of an index.
    fn add_unknown_index_errors(&mut self, capacity: &Capacity, table: &TableDescription) {
        let global: Vec<String> =
            table.indexes.iter().filter(|i| !i.schema.local).map(|i| format!("{:?}", i.schema.name)).collect();
        for (position, (name, _)) in capacity.indexes.iter().enumerate() {
            if table.indexes.iter().any(|index| index.schema.name == *name) {
                continue;
            }
            let help = match global.as_slice() {
                [] => "the table has no global index, so remove [capacity.index]".to_owned(),
                names => format!("its global indexes: {}", names.join(", ")),
            };
            self.errors.push(BudgetError {
                field: CapacityField::IndexName(position),
                title: format!("table `{}` has no index `{name}`", table.name),
                label: "no index of this name".into(),
                help: vec![help],
            });
        }
    }
}

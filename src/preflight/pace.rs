//! Determines the duration of a run from all budgets and limits that apply to its requests. This module is pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::estimate_input::{EstimateInput, OtherTableInput};
use super::range::Range;
use crate::figure::units;
use crate::item::Units;
use crate::plan::Access;
use crate::ratelimit::{Budget, Scope};

/// The maximum throughput of one partition key (developer guide, "Partition key design"). No budget can raise it.
pub(super) const PARTITION: Budget = Budget { write: 1_000.0, read: 3_000.0 };

/// The number of capacity units that a run needs from one scope, and the rate at which the run can consume them.
#[derive(Debug, Clone, PartialEq)]
pub struct CapacityNeed {
    /// The scope. For [`Scope::KeyRange`], the need is the sum over all key ranges. The rate is the sum over the key
    /// ranges that the run works on at the same time.
    pub scope: Scope,
    /// Whether the units are for writes or for reads.
    pub access: Access,
    /// Number of capacity units that the run needs.
    pub units: Range,
    /// Maximum number of units per second.
    pub rate: Units,
    /// The name of the table, if it is not the plan's table but the one that gets derived items.
    pub table: Option<String>,
}

/// The need of the most demanding partition key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyLoad {
    /// Number of write units of the table.
    pub write: Range,
    /// Number of bytes that are read.
    pub bytes: Range,
}

/// The capacity units that the whole run needs.
pub(super) struct CapacityTotals<'a> {
    pub(super) table_write: Range,
    pub(super) index_write: &'a BTreeMap<String, Range>,
    pub(super) read: Range,
    pub(super) key: KeyLoad,
    /// The units that the table with the derived items needs, if it is not the plan's table.
    pub(super) elsewhere_write: Range,
    pub(super) elsewhere_read: Range,
    pub(super) key_elsewhere: KeyLoad,
}

/// The duration of a run, and the needs that determine the duration.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPace {
    /// The capacity that the run needs, for each scope and for reads and writes.
    pub needs: Vec<CapacityNeed>,
    /// The shortest and the longest duration. The shortest duration assumes the lower bounds of the needs and the full
    /// budgets. The longest duration assumes the upper bounds and half of the budgets. `None` if a budget is 0, or if a
    /// need is unknown.
    pub duration: Option<(Duration, Duration)>,
}

impl RunPace {
    /// Determines the pace of a run with these totals.
    pub(super) fn new(totals: &CapacityTotals<'_>, input: &EstimateInput<'_>) -> RunPace {
        let needs = needs(totals, input);
        let longest = |select: fn(Range) -> f64| {
            needs
                .iter()
                .filter(|need| select(need.units) > 0.0)
                .map(|need| select(need.units) / need.rate)
                .fold(0.0, f64::max)
        };
        let low = Duration::try_from_secs_f64(longest(|range| range.low)).ok();
        let high = Duration::try_from_secs_f64(longest(|range| range.high) * 2.0).ok();
        RunPace { duration: low.zip(high), needs }
    }

    /// Returns the need that determines the shortest duration, and the need that determines the longest duration. Both
    /// are `None` if the run needs nothing.
    pub fn deciding_needs(&self) -> (Option<&CapacityNeed>, Option<&CapacityNeed>) {
        let slowest = |select: fn(Range) -> f64| {
            let takes = self.needs.iter().filter(|need| select(need.units) > 0.0);
            takes.max_by(|a, b| (select(a.units) / a.rate).total_cmp(&(select(b.units) / b.rate)))
        };
        (slowest(|range| range.low), slowest(|range| range.high))
    }
}

impl CapacityNeed {
    /// Returns the need in words, such as `the table's writes`.
    pub fn description(&self) -> String {
        let kind = match self.access {
            Access::Write => "writes",
            Access::Read => "reads",
        };
        let of_table = |what: String| match &self.table {
            Some(table) => format!("{what} of table {table}"),
            None => what,
        };
        match &self.scope {
            Scope::Table if self.table.is_some() => of_table(format!("the {kind}")),
            Scope::Table => format!("the table's {kind}"),
            Scope::Index(name) => format!("index {name}"),
            Scope::KeyRange => of_table(format!("the {kind} of all segments that are worked on at a time")),
            Scope::PartitionKey => of_table(format!("the {kind} of one partition key")),
        }
    }

    /// Returns the need with its figures, such as `the table's writes: 12,000 WCU at 250 WCU/s`.
    pub(super) fn text(&self, select: fn(Range) -> f64) -> String {
        let unit = match self.access {
            Access::Write => "WCU",
            Access::Read => "RCU",
        };
        format!("{}: {} {unit} at {} {unit}/s", self.description(), units(select(self.units)), units(self.rate))
    }
}

fn needs(totals: &CapacityTotals<'_>, input: &EstimateInput<'_>) -> Vec<CapacityNeed> {
    let budgets = input.budgets;
    let need = |scope, access, units, rate| CapacityNeed { scope, access, units, rate, table: None };
    let mut needs = vec![
        need(Scope::Table, Access::Write, totals.table_write, budgets.table.write),
        need(Scope::Table, Access::Read, totals.read, budgets.table.read),
    ];
    let lanes = f64::from(input.lanes.min(input.segments).max(1));
    let range = budgets.per_key_range;
    let key = budgets.per_partition_key;
    needs.push(need(Scope::KeyRange, Access::Write, totals.table_write, range.write * lanes));
    needs.push(need(Scope::KeyRange, Access::Read, totals.read, range.read * lanes));
    // Each partition key is in one segment. Three values limit its rate: its own budget, the budget of the segment, and
    // the throughput of a partition.
    let one = |select: fn(&Budget) -> Units| select(&key).min(select(&range)).min(select(&PARTITION));
    let key_reads = totals.key.bytes.times(input.read_units_per_byte());
    needs.push(need(Scope::PartitionKey, Access::Write, totals.key.write, one(|budget| budget.write)));
    needs.push(need(Scope::PartitionKey, Access::Read, key_reads, one(|budget| budget.read)));
    for (name, range) in totals.index_write {
        let place = input.table.indexes.iter().position(|index| index.schema.name == *name);
        if let Some(budget) = place.and_then(|place| budgets.indexes.get(place).copied().flatten()) {
            needs.push(need(Scope::Index(name.clone()), Access::Write, *range, budget));
        }
    }
    needs.extend(needs_elsewhere(totals, input, lanes));
    needs
}

/// Returns the needs of the table that gets derived items, if it is not the plan's table.
fn needs_elsewhere(totals: &CapacityTotals<'_>, input: &EstimateInput<'_>, lanes: f64) -> Vec<CapacityNeed> {
    let Some(OtherTableInput { name, table, budgets, .. }) = input.other else { return Vec::new() };
    let need = |scope, access, units, rate| CapacityNeed { scope, access, units, rate, table: Some(name.to_owned()) };
    let (write, read) = (totals.elsewhere_write, totals.elsewhere_read);
    let of_key = budgets.per_partition_key.write.min(PARTITION.write);
    let mut needs = vec![
        need(Scope::Table, Access::Write, write, budgets.table.write),
        need(Scope::Table, Access::Read, read, budgets.table.read),
        need(Scope::KeyRange, Access::Write, write, budgets.per_key_range.write * lanes),
        need(Scope::KeyRange, Access::Read, read, budgets.per_key_range.read * lanes),
        need(Scope::PartitionKey, Access::Write, totals.key_elsewhere.write, of_key),
    ];
    for (index, budget) in table.indexes.iter().zip(&budgets.indexes) {
        let units = totals.index_write.get(&format!("{name}/{}", index.schema.name));
        if let (Some(units), Some(budget)) = (units, budget) {
            needs.push(need(Scope::Index(format!("{name}/{}", index.schema.name)), Access::Write, *units, *budget));
        }
    }
    needs
}

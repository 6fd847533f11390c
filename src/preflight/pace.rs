//! What decides how long a run takes: every budget and limit that its requests go through, with what they need of it. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::range::Range;
use super::setting::Setting;
use crate::figure::units;
use crate::item::Units;
use crate::plan::Access;
use crate::ratelimit::{Budget, Scope};

/// What one partition key is served at most (developer guide, "Partition key design"), whatever the budgets are.
pub(super) const PARTITION: Budget = Budget { write: 1_000.0, read: 3_000.0 };

/// What a run needs of one scope, and how fast it gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    /// Of this scope: of one partition key, and of all key ranges together.
    pub scope: Scope,
    /// Writes or reads.
    pub access: Access,
    /// Capacity units.
    pub units: Range,
    /// Units per second, at most.
    pub rate: Units,
}

/// What is needed by the partition key that needs the most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyLoad {
    /// Write units of the table.
    pub write: Range,
    /// Bytes that are read.
    pub bytes: Range,
}

/// What the run needs in all.
pub(super) struct Totals<'a> {
    pub(super) table_write: Range,
    pub(super) index_write: &'a BTreeMap<String, Range>,
    pub(super) read: Range,
    pub(super) key: KeyLoad,
}

/// How long a run takes, and what decides it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// Everything that it needs.
    pub needs: Vec<Need>,
    /// From the whole of every budget to half of it; none where a budget is 0, or nothing is known.
    pub duration: Option<(Duration, Duration)>,
}

impl Pace {
    /// Of a run that needs these.
    pub(super) fn of(totals: &Totals<'_>, setting: &Setting<'_>) -> Pace {
        let needs = needs(totals, setting);
        let longest = |of: fn(Range) -> f64| {
            needs.iter().filter(|need| of(need.units) > 0.0).map(|need| of(need.units) / need.rate).fold(0.0, f64::max)
        };
        let low = Duration::try_from_secs_f64(longest(|range| range.low)).ok();
        let high = Duration::try_from_secs_f64(longest(|range| range.high) * 2.0).ok();
        Pace { duration: low.zip(high), needs }
    }

    /// What the shortest time comes from, and what the longest does; none where nothing takes any.
    pub fn decides(&self) -> (Option<&Need>, Option<&Need>) {
        let by = |of: fn(Range) -> f64| {
            let takes = self.needs.iter().filter(|need| of(need.units) > 0.0);
            takes.max_by(|a, b| (of(a.units) / a.rate).total_cmp(&(of(b.units) / b.rate)))
        };
        (by(|range| range.low), by(|range| range.high))
    }
}

impl Need {
    /// What it is, in words: `the table's writes`.
    pub fn what(&self) -> String {
        let kind = match self.access {
            Access::Write => "writes",
            Access::Read => "reads",
        };
        match &self.scope {
            Scope::Table => format!("the table's {kind}"),
            Scope::Index(name) => format!("index {name}"),
            Scope::KeyRange => format!("the {kind} of all segments that are worked on at a time"),
            Scope::PartitionKey => format!("the {kind} of one partition key"),
        }
    }

    /// `the table's writes: 12,000 WCU at 250 WCU/s`
    pub(super) fn text(&self, of: fn(Range) -> f64) -> String {
        let unit = match self.access {
            Access::Write => "WCU",
            Access::Read => "RCU",
        };
        format!("{}: {} {unit} at {} {unit}/s", self.what(), units(of(self.units)), units(self.rate))
    }
}

fn needs(totals: &Totals<'_>, setting: &Setting<'_>) -> Vec<Need> {
    let budgets = setting.budgets;
    let need = |scope, access, units, rate| Need { scope, access, units, rate };
    let mut needs = vec![
        need(Scope::Table, Access::Write, totals.table_write, budgets.table.write),
        need(Scope::Table, Access::Read, totals.read, budgets.table.read),
    ];
    let lanes = f64::from(setting.lanes.min(setting.segments).max(1));
    let (range, key) = (budgets.per_key_range, budgets.per_partition_key);
    needs.push(need(Scope::KeyRange, Access::Write, totals.table_write, range.write * lanes));
    needs.push(need(Scope::KeyRange, Access::Read, totals.read, range.read * lanes));
    // A partition key is in one segment, and takes no more than its segment may, nor than a partition serves.
    let one = |of: fn(&Budget) -> Units| of(&key).min(of(&range)).min(of(&PARTITION));
    let key_reads = totals.key.bytes.times(setting.read_units_per_byte());
    needs.push(need(Scope::PartitionKey, Access::Write, totals.key.write, one(|budget| budget.write)));
    needs.push(need(Scope::PartitionKey, Access::Read, key_reads, one(|budget| budget.read)));
    for (name, range) in totals.index_write {
        let place = setting.table.indexes.iter().position(|index| index.schema.name == *name);
        if let Some(budget) = place.and_then(|place| budgets.indexes.get(place).copied().flatten()) {
            needs.push(need(Scope::Index(name.clone()), Access::Write, *range, budget));
        }
    }
    needs
}

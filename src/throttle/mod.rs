//! Waiting on our own side, so that DynamoDB does not have to throttle: token buckets in capacity units for every scope that
//! a request touches, rates that answer to throttles, and backoff.

pub mod backoff;
mod bucket;
mod clock;
mod feedback;
mod keyed;
mod scopes;

pub use bucket::Bucket;
pub use feedback::Feedback;
pub use scopes::{KeyRange, ScopeStatus, Scopes, Use};

use crate::item::Units;
use crate::table::TableDescription;

/// Capacity units per second that a job may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Write capacity units per second.
    pub write: Units,
    /// Read capacity units per second.
    pub read: Units,
}

/// What a job may take of every scope, in capacity units per second.
#[derive(Debug, Clone, PartialEq)]
pub struct Budgets {
    /// Of the whole table.
    pub table: Budget,
    /// Of one key range: one segment of the run.
    pub per_key_range: Budget,
    /// Of the items of one partition key.
    pub per_partition_key: Budget,
    /// Of each index, in the order of the table's description; writes. A local index has none of its own.
    pub indexes: Vec<Option<Units>>,
}

/// Where a budget comes from: printed before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The plan's `[capacity]`.
    Plan,
    /// A quarter of the table's provisioned capacity.
    Provisioned,
    /// The harmless default on demand.
    OnDemand,
    /// A quarter of the table's own maximum on demand, or of the write capacity of its thinnest index.
    Ceiling,
}

impl Basis {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Basis::Plan => "from the plan",
            Basis::Provisioned => "default: a quarter of the provisioned capacity",
            Basis::OnDemand => "default on demand",
            Basis::Ceiling => "default: a quarter of the table's maximum, or of what its thinnest index has",
        }
    }
}

/// Without a stated budget a job on an on-demand table takes this: a quarter of what a new on-demand table sustains in
/// writes, less in reads (developer guide, "Pre-warming on-demand capacity": 4,000 writes and 12,000 reads per second).
const ON_DEMAND: Budget = Budget { write: 1_000.0, read: 2_000.0 };

/// A default is at least this: one eventually consistent read a second.
const LEAST: Units = 0.5;

/// The budget of a job, and the basis of its write and of its read part.
pub fn budget(write: Option<Units>, read: Option<Units>, table: &TableDescription) -> (Budget, Basis, Basis) {
    let (default, basis) = match table.provisioned {
        Some((read, write)) => (Budget { write: write / 4.0, read: read / 4.0 }, Basis::Provisioned),
        None => (ON_DEMAND, Basis::OnDemand),
    };
    let pick = |stated: Option<Units>, default: Units, ceilings: [Option<Units>; 2]| {
        let ceiling = ceilings.into_iter().flatten().map(|units| units / 4.0).min_by(f64::total_cmp);
        match (stated, ceiling) {
            (Some(units), _) => (units, Basis::Plan),
            (None, Some(ceiling)) if ceiling < default => (ceiling.max(LEAST), Basis::Ceiling),
            (None, _) => (default.max(LEAST), basis),
        }
    };
    let (write, write_basis) = pick(write, default.write, [table.on_demand_max.1, None]);
    let (read, read_basis) = pick(read, default.read, [table.on_demand_max.0, None]);
    (Budget { write, read }, write_basis, read_basis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{KeyAttribute, KeySchema};

    fn table() -> TableDescription {
        TableDescription {
            name: "t".into(),
            arn: String::new(),
            id: None,
            status: "ACTIVE".into(),
            key: KeySchema { partition: KeyAttribute { name: "pk".into(), kind: "S".into() }, sort: None },
            item_count: 0,
            size_bytes: 0,
            provisioned: None,
            on_demand_max: (None, None),
            warm: None,
            indexes: Vec::new(),
        }
    }

    fn default_of(table: &TableDescription) -> (f64, f64) {
        let (budget, ..) = budget(None, None, table);
        (budget.write, budget.read)
    }

    #[test]
    fn the_default_is_harmless_whatever_is_short() {
        assert_eq!(default_of(&table()), (1_000.0, 2_000.0));
        assert_eq!(default_of(&TableDescription { provisioned: Some((400.0, 200.0)), ..table() }), (50.0, 100.0));
        let capped = TableDescription { on_demand_max: (Some(40.0), Some(200.0)), ..table() };
        assert_eq!(default_of(&capped), (50.0, 10.0));
        assert_eq!(default_of(&TableDescription { provisioned: Some((1.0, 1.0)), ..table() }), (0.5, 0.5));
    }

    #[test]
    fn a_stated_budget_stands() {
        let (budget, write, read) = budget(Some(7.0), None, &table());
        assert_eq!((budget.write, write, read), (7.0, Basis::Plan, Basis::OnDemand));
    }
}

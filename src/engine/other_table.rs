//! The other table of a job: the table that gets derived items, if it is not the table of their sources. It has its own
//! token buckets, and its budgets follow its own description.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::limits::table_watch::{TableWatch, WatchedTable};
use crate::change::Indexes;
use crate::dynamodb::{DerivedTable, TableDescription, Tables};
use crate::plan::{Capacity, Plan};
use crate::ratelimit::{Feedback, ResolvedBudgets, Scopes, resolve_within};

/// A table that gets derived items, and the token buckets for its capacity.
pub struct OtherTableJob {
    /// The name of the table.
    pub name: Arc<str>,
    /// The table.
    pub(super) table: DerivedTable,
    /// The description of the table.
    pub description: TableDescription,
    /// The budgets. They are the harmless defaults for this table: `[capacity]` is about the plan's table.
    pub resolved: ResolvedBudgets,
    /// The token buckets of every scope.
    pub scopes: Arc<Scopes>,
}

/// Returns the budgets for a table that gets derived items from another table.
pub fn other_budgets(description: &TableDescription) -> ResolvedBudgets {
    resolve_within(&Capacity::default(), description)
}

impl OtherTableJob {
    /// Returns the other table of this plan. `None` if its derived items go into the plan's table, or if it has none.
    pub(super) fn new(plan: &Plan, tables: &Tables, description: &TableDescription) -> Option<OtherTableJob> {
        let name = plan.other_table()?;
        let (table, description) = (tables.derived.clone()?, description.derived.as_deref()?.clone());
        let resolved = other_budgets(&description);
        let indexes: Vec<String> = description.indexes.iter().map(|index| index.schema.name.clone()).collect();
        let scopes = Scopes::new(&resolved.budgets, &indexes, Feedback::default());
        Some(OtherTableJob { name: name.into(), table, description, resolved, scopes })
    }

    /// Makes the budgets follow the description of the table. `indexes` are those whose entries count in the cost of a put.
    /// `like` watches the plan's table in the same way.
    pub(super) fn watch(
        &self,
        indexes: &Indexes,
        like: &WatchedTable,
        described: Instant,
        interval: Duration,
    ) -> Arc<TableWatch> {
        let table = WatchedTable {
            table: Arc::clone(&self.table.metadata),
            description: self.description.clone(),
            scopes: Arc::clone(&self.scopes),
            sink_reads: None,
            indexes: indexes.clone(),
            capacity: Capacity::default(),
            has_fixed_capacity: true,
            scan: like.scan.clone(),
            urgent: like.urgent,
            machine: like.machine.clone(),
            other: None,
        };
        TableWatch::new(table, &self.resolved, described, interval)
    }

    /// Returns the number of requests that DynamoDB throttled, by scope. Each scope has the name of the table.
    pub(super) fn throttles(&self) -> impl Iterator<Item = (String, u64)> {
        let named = |(scope, throttles)| (format!("table {}: {scope}", self.name), throttles);
        self.scopes.throttles().into_iter().map(named)
    }
}

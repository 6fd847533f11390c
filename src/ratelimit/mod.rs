//! The tool's own rate limits. They keep the request rate so low that DynamoDB does not have to throttle. Every scope
//! of a request has a token bucket in capacity units. The rate of a bucket responds to throttles.

mod bucket;
mod budget;
mod clock;
mod feedback;
mod key_buckets;
mod key_range;
mod scopes;
mod waiters;
mod window;

pub use bucket::Bucket;
pub use budget::{
    BudgetTracker, RAISE_STEPS, ResolvedBudgets, STALE_DESCRIPTION_FACTOR, Scope, ScopeBudget, index_reads, lines,
    rate_text, resolve, resolve_within, sink_reads,
};
pub use feedback::Feedback;
pub use key_range::KeyRange;
pub use scopes::{HotKeyStatus, KeyRangeStatus, NarrowStatus, ScopeStatus, Scopes};
pub(crate) use waiters::Waiters;

use crate::item::Units;

/// The rates that a job may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Write capacity units per second.
    pub write: Units,
    /// Read capacity units per second.
    pub read: Units,
}

/// The budgets of a job for every scope, in capacity units per second.
#[derive(Debug, Clone, PartialEq)]
pub struct Budgets {
    /// The budget for the whole table.
    pub table: Budget,
    /// The budget for each key range, which is one segment of the run.
    pub per_key_range: Budget,
    /// The budget for the items of each partition key.
    pub per_partition_key: Budget,
    /// The write budget of each index, in the order of the table's description. `None` for a local index, which has no
    /// budget of its own.
    pub indexes: Vec<Option<Units>>,
}

//! Our own rate limits, so that DynamoDB does not have to throttle: token buckets in capacity units for every scope
//! that a request touches, and rates that respond to throttles.

mod bucket;
mod budget;
mod clock;
mod feedback;
mod key_range;
mod keyed;
mod scopes;
mod waiters;
mod window;

pub use bucket::Bucket;
pub use budget::{
    Following, RAISE_STEPS, Resolved, Scope, ScopeBudget, WITHOUT_DESCRIPTION, lines, resolve, resolve_within,
    sink_reads,
};
pub use feedback::Feedback;
pub use key_range::KeyRange;
pub use scopes::{NarrowStatus, ScopeStatus, Scopes};
pub(crate) use waiters::Waiters;

use crate::item::Units;

/// Capacity units per second that a job may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Write capacity units per second.
    pub write: Units,
    /// Read capacity units per second.
    pub read: Units,
}

/// What a job may use of every scope, in capacity units per second.
#[derive(Debug, Clone, PartialEq)]
pub struct Budgets {
    /// For the whole table.
    pub table: Budget,
    /// For one key range: one segment of the run.
    pub per_key_range: Budget,
    /// For the items of one partition key.
    pub per_partition_key: Budget,
    /// For the writes of each index, in the order of the table's description. A local index has no budget of its own.
    pub indexes: Vec<Option<Units>>,
}

//! Waiting on our own side, so that DynamoDB does not have to throttle: token buckets in capacity units for every scope that
//! a request touches, and rates that respond to throttles.

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
pub use budget::{Following, RAISE_STEPS, Resolved, Scope, ScopeBudget, lines, resolve, resolve_within};
pub use feedback::Feedback;
pub use key_range::KeyRange;
pub use scopes::{NarrowStatus, ScopeStatus, Scopes};
pub(crate) use waiters::Waiters;

use crate::item::Units;

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

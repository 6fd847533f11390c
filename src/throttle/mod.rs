//! Waiting on our own side, so that DynamoDB does not have to throttle: token buckets in capacity units, and backoff.

pub mod backoff;
mod bucket;
mod clock;

pub use bucket::{Bucket, Permit};

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

/// Where a budget comes from: printed before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The plan's `[capacity]`.
    Plan,
    /// A quarter of the table's provisioned capacity.
    Provisioned,
    /// The harmless default on demand.
    OnDemand,
}

impl Basis {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Basis::Plan => "from the plan",
            Basis::Provisioned => "default: a quarter of the provisioned capacity",
            Basis::OnDemand => "default on demand",
        }
    }
}

/// Without a stated budget a job on an on-demand table takes this: a quarter of what a new on-demand table sustains in
/// writes, less in reads (developer guide, "Pre-warming on-demand capacity": 4,000 writes and 12,000 reads per second).
const ON_DEMAND: Budget = Budget { write: 1_000.0, read: 2_000.0 };

/// The budget of a job, and the basis of its write and of its read part.
pub fn budget(write: Option<Units>, read: Option<Units>, table: &TableDescription) -> (Budget, Basis, Basis) {
    let (default, basis) = match table.provisioned {
        Some((read, write)) => {
            (Budget { write: (write / 4.0).max(0.5), read: (read / 4.0).max(0.5) }, Basis::Provisioned)
        }
        None => (ON_DEMAND, Basis::OnDemand),
    };
    let pick = |stated: Option<Units>, default| stated.map_or((default, basis), |units| (units, Basis::Plan));
    let (write, write_basis) = pick(write, default.write);
    let (read, read_basis) = pick(read, default.read);
    (Budget { write, read }, write_basis, read_basis)
}

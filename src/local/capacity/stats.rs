//! Counts the requests and units that the model served, and the requests that it throttled.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::reason::{ReadWrite, Reason};
use crate::figure::count;
use crate::item::Units;

/// The counts since the start of the model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelStats {
    /// Number of admitted requests.
    pub admitted: ReadWrite<u64>,
    /// Number of throttled requests. A request with several reasons is counted once.
    pub throttled: ReadWrite<u64>,
    /// Number of throttles for each reason. A request with several reasons is counted once for each reason.
    pub reasons: BTreeMap<Reason, u64>,
    /// Number of requests that were throttled by a storm in the spec.
    pub storms: u64,
    /// Capacity units that the table served.
    pub table: ReadWrite<Units>,
    /// Capacity units that each index served. The indexes have the same order as in the spec.
    pub indexes: Vec<ReadWrite<Units>>,
}

/// Formats the counts as one line of text for an operator.
impl fmt::Display for ModelStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReadWrite { read, write } = self.table;
        write!(f, "served {write:.1} WCU and {read:.1} RCU, throttled ")?;
        let writes = count(self.throttled.write, "write", "writes");
        write!(f, "{writes} and {}", count(self.throttled.read, "read", "reads"))?;
        self.reasons.iter().try_for_each(|(reason, count)| write!(f, " ({reason} {count})"))
    }
}

/// The key-hash range, the lifetime and the counts of one partition.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionStats {
    /// The start of the partition's key-hash range, from 0 to 1.
    pub from: f64,
    /// The end of this range, where the next partition's range starts.
    pub to: f64,
    /// The time at which the partition was created, counted from the start of the model.
    pub since: Duration,
    /// The time at which the partition was split; `None` if the partition still exists.
    pub until: Option<Duration>,
    /// Capacity units that the partition served.
    pub served: ReadWrite<Units>,
    /// Number of requests that the partition throttled.
    pub throttled: ReadWrite<u64>,
}

impl PartitionStats {
    pub(super) fn new(from: f64, to: f64, since: Duration) -> PartitionStats {
        PartitionStats { from, to, since, until: None, served: ReadWrite::default(), throttled: ReadWrite::default() }
    }
}

//! What the model served and throttled.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::reason::{PerKind, Reason};
use crate::item::Units;

/// Counts since the model's start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Requests that were let through.
    pub admitted: PerKind<u64>,
    /// Requests that were throttled, each once.
    pub throttled: PerKind<u64>,
    /// Throttles by reason; a request counts at each reason that it was given.
    pub reasons: BTreeMap<Reason, u64>,
    /// Of those, throttles that a storm made up.
    pub storms: u64,
    /// Capacity units that the table served.
    pub table: PerKind<Units>,
    /// Capacity units that each index served, in the order of the spec.
    pub indexes: Vec<PerKind<Units>>,
}

/// For an operator, on one line.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PerKind { read, write } = self.table;
        write!(f, "served {write:.1} WCU and {read:.1} RCU, throttled ")?;
        write!(f, "{} writes and {} reads", self.throttled.write, self.throttled.read)?;
        self.reasons.iter().try_for_each(|(reason, count)| write!(f, " ({reason} {count})"))
    }
}

/// One partition: what it is and what it did.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionFigures {
    /// Where its range of the key hash begins, of 0..1.
    pub from: f64,
    /// Where the range ends; the next partition begins here.
    pub to: f64,
    /// When it came to be.
    pub since: Duration,
    /// When it was split; none if it is still there.
    pub until: Option<Duration>,
    /// Capacity units that it served.
    pub served: PerKind<Units>,
    /// Requests that it throttled.
    pub throttled: PerKind<u64>,
}

impl PartitionFigures {
    pub(super) fn new(from: f64, to: f64, since: Duration) -> PartitionFigures {
        PartitionFigures { from, to, since, until: None, served: PerKind::default(), throttled: PerKind::default() }
    }
}

//! The balance of one scope, in capacity units. The balance refills over time.

use std::time::Duration;

use crate::item::Units;

/// A balance that refills at a constant rate up to a maximum. The balance can fall below zero, because DynamoDB knows
/// the cost of a request only after executing it. If the clock goes backwards, the balance does not change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Balance {
    rate: Units,
    capacity: Units,
    level: Units,
    at: Duration,
}

impl Balance {
    /// Creates a balance that is `level` now, refills by `rate` units per second, and is never above `capacity`.
    pub(super) fn new(rate: Units, capacity: Units, level: Units) -> Balance {
        Balance { rate, capacity, level, at: Duration::ZERO }
    }

    /// Returns the refill rate in units per second.
    pub(super) fn rate(&self) -> Units {
        self.rate
    }

    /// Returns the balance at this time.
    pub(super) fn level(&mut self, now: Duration) -> Units {
        if let Some(passed) = now.checked_sub(self.at) {
            self.level = (self.level + self.rate * passed.as_secs_f64()).min(self.capacity);
            self.at = now;
        }
        self.level
    }

    /// Subtracts the units that a request consumed, even if the balance falls below zero.
    pub(super) fn take(&mut self, now: Duration, units: Units) {
        self.level(now);
        self.level -= units;
    }

    /// Returns a balance with half of the current units. Each half of a split partition gets such a balance.
    pub(super) fn half(&mut self, now: Duration) -> Balance {
        let level = self.level(now) / 2.0;
        Balance { level, ..*self }
    }
}

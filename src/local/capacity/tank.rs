//! What one scope has left: a balance in capacity units that refills with time.

use std::time::Duration;

use crate::item::Units;

/// A balance that refills at a rate, up to a bound. It may go below zero: DynamoDB learns what a request costs by doing
/// it. Time that runs backwards refills nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tank {
    rate: Units,
    capacity: Units,
    level: Units,
    at: Duration,
}

impl Tank {
    /// With so many units per second, holding at most `capacity`, and now holding `level`.
    pub(super) fn new(rate: Units, capacity: Units, level: Units) -> Tank {
        Tank { rate, capacity, level, at: Duration::ZERO }
    }

    /// Units per second.
    pub(super) fn rate(&self) -> Units {
        self.rate
    }

    /// What is left now.
    pub(super) fn level(&mut self, now: Duration) -> Units {
        if let Some(passed) = now.checked_sub(self.at) {
            self.level = (self.level + self.rate * passed.as_secs_f64()).min(self.capacity);
            self.at = now;
        }
        self.level
    }

    /// Takes what a request consumed, be it there or not.
    pub(super) fn take(&mut self, now: Duration, units: Units) {
        self.level(now);
        self.level -= units;
    }

    /// The same tank with half of what is left now, for each half of a partition that is split.
    pub(super) fn half(&mut self, now: Duration) -> Tank {
        let level = self.level(now) / 2.0;
        Tank { level, ..*self }
    }
}

//! Parts of a view that only some displays need.

use jiff::Timestamp;
use tokio::time::Instant;

use super::PassView;
use crate::ratelimit::{HotKeyStatus, KeyRangeStatus, NarrowStatus, ScopeStatus};

/// The state of every scope at one moment.
#[derive(Debug, Clone, Default)]
pub struct CapacityView {
    /// The table and the indexes.
    pub scopes: Vec<ScopeStatus>,
    /// All partition keys together, and all key ranges together.
    pub narrow: Vec<NarrowStatus>,
    /// Each key range in progress.
    pub key_ranges: Vec<KeyRangeStatus>,
    /// The partition keys that have their own rate.
    pub hot_keys: Vec<HotKeyStatus>,
    /// The names of the indexes, in the order of [`ConsumedUnits::indexes`](crate::engine::ConsumedUnits::indexes).
    pub index_names: Vec<String>,
}

/// The times at which the pass last made progress, rounded to seconds. Before the first progress, both times are the
/// start of the session.
#[derive(Debug, Clone, Copy)]
pub struct LastTimes {
    /// The last time at which a request was answered.
    pub answer: Timestamp,
    /// The last time at which pages or retried items were committed.
    pub commit: Timestamp,
    /// The time of the reading itself, by the monotonic clock.
    pub looked: Instant,
}

impl PassView {
    /// Returns the requests that wait for something that is not a scope: a stable name, and the number of requests.
    pub fn waits_elsewhere(&self) -> [(&'static str, u64); 6] {
        let allowance = self.allowance.as_ref();
        [
            ("in_flight_limit", self.figures.without_slot),
            ("lease_and_flag", self.figures.confirming),
            ("backoff_after_throttle", self.figures.throttle_backoffs),
            ("backoff_after_error", self.figures.backing_off),
            ("spend_limit", allowance.map_or(0, |allowance| allowance.spend_waiting as u64)),
            ("item_limit", allowance.map_or(0, |allowance| allowance.items_waiting as u64)),
        ]
    }
}

//! Parts of a view that only some displays need.

use jiff::Timestamp;
use tokio::time::Instant;

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

/// When the pass last made progress, to the second. Before the first progress, both are the start of the session.
#[derive(Debug, Clone, Copy)]
pub struct LastTimes {
    /// The last time at which a request was answered.
    pub answer: Timestamp,
    /// The last time at which pages or retried items were committed.
    pub commit: Timestamp,
    /// The time of the reading itself, by the monotonic clock.
    pub looked: Instant,
}

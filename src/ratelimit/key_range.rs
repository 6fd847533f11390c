//! The token buckets of key ranges. A client cannot see partitions, so the tool treats each range of the key hash (a
//! segment) like a partition.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Budget;
use super::bucket::Bucket;
use super::feedback::Feedback;
use crate::item::PartitionHash;
use crate::item::Units;
use crate::plan::Access;

/// The buckets of one key range, that is, of one segment in progress.
#[derive(Debug)]
pub struct KeyRange {
    id: u64,
    /// The segment that reads this key range. `None` for requests that belong to no segment.
    segment: Option<u32>,
    tracker: Arc<RangeTracker>,
    reads: Bucket,
    writes: Bucket,
    turns: Mutex<HashMap<PartitionHash, Arc<tokio::sync::Mutex<()>>>>,
}

/// The key ranges in progress, and the key ranges that were throttled recently.
#[derive(Debug, Default)]
pub(super) struct RangeTracker {
    active: AtomicUsize,
    next_id: AtomicU64,
    read_throttles: AtomicU64,
    write_throttles: AtomicU64,
    /// The time of the last throttle of each key range. Entries older than [`SAME_TIME_WINDOW`] are removed, so that
    /// the map stays small.
    throttled: Mutex<HashMap<u64, Instant>>,
}

/// Key ranges count as throttled together if the last throttles of all of them lie within a period of this length.
const SAME_TIME_WINDOW: Duration = Duration::from_secs(2);

/// If at least this fraction of the active key ranges is throttled together, the cause is not a single hot range.
/// Instead, the run as a whole is too fast for the table's partitions. It would not help to slow down only these
/// ranges, because each new segment would begin at the full rate again.
const WIDESPREAD_FRACTION: f64 = 0.25;

/// The smallest number of throttled key ranges from which the tool concludes that the run as a whole is too fast.
const MIN_WIDESPREAD_RANGES: usize = 4;

impl RangeTracker {
    /// Creates the buckets of a segment that is about to begin.
    pub(super) fn begin(self: &Arc<Self>, segment: Option<u32>, budget: Budget, feedback: Feedback) -> KeyRange {
        self.active.fetch_add(1, Ordering::Relaxed);
        KeyRange {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            segment,
            tracker: Arc::clone(self),
            reads: Bucket::new(budget.read, feedback),
            writes: Bucket::new(budget.write, feedback),
            turns: Mutex::default(),
        }
    }

    /// Returns the number of requests that were throttled because of a key range.
    pub(super) fn throttles(&self, access: Access) -> u64 {
        self.throttle_counter(access).load(Ordering::Relaxed)
    }

    fn throttle_counter(&self, access: Access) -> &AtomicU64 {
        match access {
            Access::Read => &self.read_throttles,
            Access::Write => &self.write_throttles,
        }
    }
}

impl KeyRange {
    /// Returns the segment that reads this key range. `None` for requests that belong to no segment.
    pub fn segment(&self) -> Option<u32> {
        self.segment
    }

    /// Returns the rate that this key range may currently use, in capacity units per second.
    pub fn rate(&self, access: Access) -> Units {
        self.bucket(access).rate()
    }

    /// Returns the lock that decides which task may process the set-aside items of this partition key. Waiters get the
    /// lock in the order of their arrival.
    pub(crate) fn turn(&self, key: PartitionHash) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // If only the map still refers to a lock, all set-aside items of its key have been processed.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(key).or_default())
    }

    /// Returns whether items of this key are set aside. If so, other items of the key must queue behind them.
    pub(crate) fn is_set_aside(&self, key: PartitionHash) -> bool {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.get(&key).is_some_and(|turn| Arc::strong_count(turn) > 1)
    }

    /// Records a throttle of this range. Returns whether many ranges were throttled recently.
    pub(super) fn record_throttle(&self, access: Access) -> bool {
        self.tracker.throttle_counter(access).fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut throttled = self.tracker.throttled.lock().unwrap_or_else(PoisonError::into_inner);
        throttled.insert(self.id, now);
        throttled.retain(|_, at| now.saturating_duration_since(*at) <= SAME_TIME_WINDOW);
        let active = self.tracker.active.load(Ordering::Relaxed);
        throttled.len() >= MIN_WIDESPREAD_RANGES && throttled.len() as f64 >= WIDESPREAD_FRACTION * active as f64
    }

    pub(super) fn bucket(&self, access: Access) -> &Bucket {
        match access {
            Access::Read => &self.reads,
            Access::Write => &self.writes,
        }
    }
}

impl Drop for KeyRange {
    fn drop(&mut self) {
        self.tracker.active.fetch_sub(1, Ordering::Relaxed);
    }
}

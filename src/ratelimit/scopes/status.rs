//! The state of the scopes, for display.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{AccessBuckets, Scopes};
use crate::item::{PartitionHash, Units};
use crate::plan::Access;
use crate::ratelimit::{Bucket, KeyRange, Waiters};

/// The state of a scope.
#[derive(Debug, Clone, PartialEq)]
pub struct ScopeStatus {
    /// The index's name. Empty if the scope is the table.
    pub name: String,
    /// Whether the scope is an index.
    pub is_index: bool,
    /// Whether the bucket is for reads or for writes.
    pub access: Access,
    /// The highest rate that the scope may use, in capacity units per second.
    pub budget: Units,
    /// The rate that the scope may currently use. If DynamoDB has throttled the scope, the rate is lower than the
    /// budget until it has recovered.
    pub rate: Units,
    /// Number of requests that wait for this scope.
    pub waiting: usize,
    /// The total time that requests waited for this scope. Waits that have not ended are not included.
    pub waited: Duration,
    /// Number of requests that DynamoDB throttled because of this scope.
    pub throttles: u64,
}

/// The combined state of all partition keys or of all key ranges, for display.
#[derive(Debug, Clone, PartialEq)]
pub struct NarrowStatus {
    /// `partition key` or `key range`.
    pub kind: &'static str,
    /// Whether the buckets are for reads or for writes.
    pub access: Access,
    /// The highest rate that each scope of this kind may use, in capacity units per second.
    pub budget: Units,
    /// Number of requests that wait for any scope of this kind.
    pub waiting: usize,
    /// The total time that requests waited for scopes of this kind. Waits that have not ended are not included.
    pub waited: Duration,
    /// Number of requests that DynamoDB throttled because of a scope of this kind.
    pub throttles: u64,
}

/// The rates of a key range in progress, for display.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRangeStatus {
    /// The segment that reads the key range.
    pub segment: u32,
    /// The write capacity units per second that the key range may currently use.
    pub write_rate: Units,
    /// The read capacity units per second that the key range may currently use.
    pub read_rate: Units,
}

/// A partition key that has its own rate, because DynamoDB throttled it repeatedly.
#[derive(Debug, Clone, PartialEq)]
pub struct HotKeyStatus {
    /// The hash of the key. The key itself is private data, and is not stored.
    pub key: PartitionHash,
    /// Whether the rate is for reads or for writes.
    pub access: Access,
    /// The capacity units per second that the key may currently use.
    pub rate: Units,
    /// Number of requests that wait for the key.
    pub waiting: usize,
    /// Number of requests that DynamoDB has throttled since the key got its own rate.
    pub throttles: u64,
}

/// The largest number of hot keys that are listed for each kind of access.
const LISTED_KEYS: usize = 16;

impl Scopes {
    /// Returns at most 16 hot keys for writes, and at most 16 for reads. The keys with the lowest rates are first.
    pub fn hot_keys(&self) -> Vec<HotKeyStatus> {
        let of = |access| {
            let status = move |(key, bucket): (PartitionHash, Arc<Bucket>)| HotKeyStatus {
                key,
                access,
                rate: bucket.rate(),
                waiting: bucket.waiting(),
                throttles: bucket.throttles(),
            };
            let mut keys: Vec<_> = self.access_buckets(access).keys.hot_keys().into_iter().map(status).collect();
            keys.sort_by(|a, b| a.rate.total_cmp(&b.rate).then(a.key.cmp(&b.key)));
            keys.truncate(LISTED_KEYS);
            keys
        };
        [Access::Write, Access::Read].into_iter().flat_map(of).collect()
    }

    /// Returns the state of the table's reads, of the table's writes, and of each global index.
    pub fn status(&self) -> Vec<ScopeStatus> {
        let status = |name: &str, access, bucket: &Bucket| ScopeStatus {
            name: name.to_owned(),
            is_index: !name.is_empty(),
            access,
            budget: bucket.budget(),
            rate: bucket.rate(),
            waiting: bucket.waiting(),
            waited: bucket.waited(),
            throttles: bucket.throttles(),
        };
        let tables = [Access::Read, Access::Write].map(|access| status("", access, self.table(access)));
        let indexes = self.indexes();
        let global = indexes.iter().filter_map(|index| Some((&index.name, index.writes.as_ref()?)));
        tables.into_iter().chain(global.map(|(name, writes)| status(name, Access::Write, writes))).collect()
    }

    /// Returns the state of partition keys, then of key ranges. Leaves out a kind of scope if no request waits for it.
    pub fn narrow_status(&self) -> Vec<NarrowStatus> {
        self.all_narrow_status().into_iter().filter(|narrow| narrow.waiting > 0).collect()
    }

    /// Returns the state of partition keys, then of key ranges.
    pub fn all_narrow_status(&self) -> [NarrowStatus; 4] {
        let status = |kind, access, budget, waiters: &Waiters, throttles| NarrowStatus {
            kind,
            access,
            budget,
            waiting: waiters.count(),
            waited: waiters.waited(),
            throttles,
        };
        let key = |access| {
            let AccessBuckets { keys, key_waiters, .. } = self.access_buckets(access);
            status("partition key", access, keys.budget(), key_waiters, keys.throttles())
        };
        let range = |access, budget| {
            let throttles = self.ranges.throttles(access);
            status("key range", access, budget, &self.access_buckets(access).range_waiters, throttles)
        };
        let budget = self.key_ranges().budget;
        [key(Access::Write), key(Access::Read), range(Access::Write, budget.write), range(Access::Read, budget.read)]
    }

    /// Returns the rates of the key ranges in progress that belong to a segment.
    pub fn key_range_status(&self) -> Vec<KeyRangeStatus> {
        let active: Vec<Arc<KeyRange>> = self.key_ranges().active.iter().filter_map(Weak::upgrade).collect();
        let status = |range: &Arc<KeyRange>| {
            let segment = range.segment()?;
            let [write_rate, read_rate] = [Access::Write, Access::Read].map(|access| range.rate(access));
            Some(KeyRangeStatus { segment, write_rate, read_rate })
        };
        active.iter().filter_map(status).collect()
    }

    /// Returns the number of requests that DynamoDB throttled, by the scope that slowed down because of the throttle.
    /// Leaves out scopes without throttles. One throttled request can count for several scopes.
    pub fn throttles(&self) -> Vec<(String, u64)> {
        let named = self.status().into_iter().map(|scope| match (scope.is_index, scope.access) {
            (true, _) => (format!("index {}", scope.name), scope.throttles),
            (false, Access::Write) => ("the table's writes".to_owned(), scope.throttles),
            (false, Access::Read) => ("the table's reads".to_owned(), scope.throttles),
        });
        let keys = self.reads.keys.throttles() + self.writes.keys.throttles();
        let ranges = self.ranges.throttles(Access::Read) + self.ranges.throttles(Access::Write);
        let narrow = [("key ranges".to_owned(), ranges), ("single partition keys".to_owned(), keys)];
        named.chain(narrow).filter(|(_, throttles)| *throttles > 0).collect()
    }
}

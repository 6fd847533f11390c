//! The scopes of a request, each with a token bucket: partition key, key range, index, table.
//!
//! Permits are acquired in this order, one scope after the other. A request that waits for one scope holds no permits
//! of later scopes. So a request that waits for a hot key does not hold tokens of the table that other requests could
//! use. Clients cannot see partitions, so the tool uses *key ranges* instead. A key range is the range of the key hash
//! that one segment of the run reads.

mod status;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use super::bucket::Bucket;
use super::budget::Scope;
use super::feedback::Feedback;
use super::key_buckets::KeyBuckets;
use super::key_range::{KeyRange, RangeTracker};
use super::waiters::Waiters;
use super::{Budget, Budgets};
use crate::change::WriteCost;
use crate::dynamodb::ThrottlingReason;
use crate::item::{PartitionHash, Units};
use crate::plan::Access;

pub use status::{HotKeyStatus, KeyRangeStatus, NarrowStatus, ScopeStatus};

/// The token buckets of one job.
#[derive(Debug)]
pub struct Scopes {
    reads: AccessBuckets,
    writes: AccessBuckets,
    /// The indexes that the table had when the job began, in the order of the table's description. Newer indexes
    /// follow.
    indexes: RwLock<Arc<[IndexScope]>>,
    key_ranges: Mutex<KeyRanges>,
    feedback: Feedback,
    ranges: Arc<RangeTracker>,
}

/// The budget of each key range, and the key ranges in progress. There are only slightly more of these key ranges than
/// lanes.
#[derive(Debug)]
struct KeyRanges {
    budget: Budget,
    active: Vec<Weak<KeyRange>>,
}

#[derive(Debug)]
struct AccessBuckets {
    table: Bucket,
    keys: KeyBuckets,
    /// Counts requests that wait for units of a partition key.
    key_waiters: Waiters,
    /// Counts requests that wait for units of a key range.
    range_waiters: Waiters,
}

#[derive(Debug, Clone)]
struct IndexScope {
    name: String,
    /// The bucket for writes to the index. `None` for a local index, because writes to it consume the table's capacity.
    writes: Option<Arc<Bucket>>,
}

impl Scopes {
    /// Creates the buckets of a job with these budgets. `index_names` contains the names of the table's indexes, in the
    /// order of its description.
    pub fn new(budgets: &Budgets, index_names: &[String], feedback: Feedback) -> Arc<Scopes> {
        let access_buckets = |table: Units, key: Units| AccessBuckets {
            table: Bucket::new(table, feedback),
            keys: KeyBuckets::new(key, feedback),
            key_waiters: Waiters::default(),
            range_waiters: Waiters::default(),
        };
        let index = |(position, name): (usize, &String)| {
            let budget = budgets.indexes.get(position).copied().flatten();
            IndexScope { name: name.clone(), writes: budget.map(|units| Arc::new(Bucket::new(units, feedback))) }
        };
        Arc::new(Scopes {
            reads: access_buckets(budgets.table.read, budgets.per_partition_key.read),
            writes: access_buckets(budgets.table.write, budgets.per_partition_key.write),
            indexes: RwLock::new(index_names.iter().enumerate().map(index).collect()),
            key_ranges: Mutex::new(KeyRanges { budget: budgets.per_key_range, active: Vec::new() }),
            feedback,
            ranges: Arc::default(),
        })
    }

    /// Creates the buckets of requests that belong to no segment.
    pub fn key_range(&self) -> Arc<KeyRange> {
        self.begin_key_range(None)
    }

    /// Creates the buckets of a segment that is about to begin.
    pub fn segment_key_range(&self, segment: u32) -> Arc<KeyRange> {
        self.begin_key_range(Some(segment))
    }

    fn begin_key_range(&self, segment: Option<u32>) -> Arc<KeyRange> {
        let mut ranges = self.key_ranges();
        let range = Arc::new(self.ranges.begin(segment, ranges.budget, self.feedback));
        ranges.active.retain(|range| range.strong_count() > 0);
        ranges.active.push(Arc::downgrade(&range));
        range
    }

    /// Changes the budget of a scope immediately, even for requests that already wait. A slowdown after throttles
    /// continues. An index without a bucket gets a new bucket at the end of the list.
    pub fn set_budget(&self, scope: &Scope, access: Access, units: Units) {
        match scope {
            Scope::Table => self.table(access).set_budget(units),
            Scope::PartitionKey => self.access_buckets(access).keys.set_budget(units),
            Scope::KeyRange => {
                let mut ranges = self.key_ranges();
                match access {
                    Access::Read => ranges.budget.read = units,
                    Access::Write => ranges.budget.write = units,
                }
                let active = ranges.active.iter().filter_map(Weak::upgrade);
                active.for_each(|range| range.bucket(access).set_budget(units));
            }
            Scope::Index(name) => self.set_index_budget(name, units),
        }
    }

    fn set_index_budget(&self, name: &str, units: Units) {
        let mut indexes = self.indexes.write().unwrap_or_else(PoisonError::into_inner);
        match indexes.iter().find(|index| index.name == name) {
            Some(index) => index.writes.iter().for_each(|writes| writes.set_budget(units)),
            None => {
                let new =
                    IndexScope { name: name.to_owned(), writes: Some(Arc::new(Bucket::new(units, self.feedback))) };
                *indexes = indexes.iter().cloned().chain([new]).collect();
            }
        }
    }

    /// Returns the position of the index with this name in the list of indexes. The list begins with the indexes that
    /// the table had when the job began, in the order of its description. Newer indexes follow.
    pub fn index_position(&self, name: &str) -> Option<usize> {
        self.indexes().iter().position(|index| index.name == name)
    }

    /// Returns the names of the indexes, in the order of [`Scopes::index_position`].
    pub fn index_names(&self) -> Vec<String> {
        self.indexes().iter().map(|index| index.name.clone()).collect()
    }

    /// Returns the table's bucket.
    pub fn table(&self, access: Access) -> &Bucket {
        &self.access_buckets(access).table
    }

    /// Returns the budget of one key range, in capacity units per second.
    pub fn per_key_range(&self, access: Access) -> Units {
        let budget = self.key_ranges().budget;
        match access {
            Access::Read => budget.read,
            Access::Write => budget.write,
        }
    }

    /// Takes units of a partition key if they are currently available. Otherwise takes no units and returns false.
    pub fn try_acquire_key(&self, access: Access, key: PartitionHash, units: Units) -> bool {
        self.access_buckets(access).keys.try_acquire(key, units)
    }

    /// Takes units of all these partition keys if they are currently available. Otherwise takes no units and returns
    /// false.
    pub fn try_acquire_keys(&self, access: Access, wanted: &[(PartitionHash, Units)]) -> bool {
        let keys = &self.access_buckets(access).keys;
        for (done, (key, units)) in wanted.iter().enumerate() {
            if !keys.try_acquire(*key, *units) {
                wanted[..done].iter().for_each(|(key, units)| keys.reconcile(*key, *units, 0.0));
                return false;
            }
        }
        true
    }

    /// Gives units of partition keys back that were taken for a request that is not sent.
    pub fn give_back_keys(&self, access: Access, taken: &[(PartitionHash, Units)]) {
        let keys = &self.access_buckets(access).keys;
        taken.iter().for_each(|(key, units)| keys.reconcile(*key, *units, 0.0));
    }

    /// Waits for units of partition keys, one after the other, and takes them. The future can be dropped at any point.
    /// The units that it has already taken then become available again.
    pub async fn acquire_keys(&self, access: Access, wanted: &[(PartitionHash, Units)]) {
        let access_buckets = self.access_buckets(access);
        let mut taken = RefundGuard { from: &access_buckets.keys, keys: &[] };
        for (done, (key, units)) in wanted.iter().enumerate() {
            access_buckets.key(*key, *units).await;
            taken.keys = &wanted[..=done];
        }
        taken.keys = &[];
    }

    /// Waits until the units of a write are available in its key range and in each index that it changes, and takes
    /// them. Takes no units of the table.
    pub async fn acquire_narrow_write(&self, range: &KeyRange, cost: &WriteCost) {
        self.writes.range(range.bucket(Access::Write), cost.table).await;
        if cost.indexes.is_empty() {
            return;
        }
        let indexes = self.indexes();
        for (index, units) in &cost.indexes {
            if let Some(writes) = indexes.get(*index).and_then(|index| index.writes.as_ref()) {
                writes.acquire(*units).await;
            }
        }
    }

    /// Returns whether full buckets of the key range, of each index and of the table contain the units of all these
    /// writes. If not, a request with these writes would send more in one burst than the budget allows.
    pub fn fit_burst<'c>(&self, range: &KeyRange, costs: impl Iterator<Item = &'c WriteCost>) -> bool {
        let indexes = self.indexes();
        let mut table = 0.0;
        let mut of_indexes = vec![0.0; indexes.len()];
        for cost in costs {
            table += cost.table;
            for (index, units) in &cost.indexes {
                if let Some(sum) = of_indexes.get_mut(*index) {
                    *sum += units;
                }
            }
        }
        let fits = |units: Units, bucket: &Bucket| units <= bucket.burst();
        fits(table, self.table(Access::Write))
            && fits(table, range.bucket(Access::Write))
            && indexes
                .iter()
                .zip(of_indexes)
                .all(|(index, units)| index.writes.as_ref().is_none_or(|writes| fits(units, writes)))
    }

    /// In every scope, reconciles the units that were taken for a write with the units that it really consumed. `keys`
    /// has each partition key of the write with its taken and its consumed units.
    pub fn reconcile_write(
        &self,
        range: &KeyRange,
        keys: &[(PartitionHash, Units, Units)],
        taken: &WriteCost,
        consumed: &WriteCost,
    ) {
        for (key, taken, consumed) in keys {
            self.writes.keys.reconcile(*key, *taken, *consumed);
        }
        range.bucket(Access::Write).reconcile(taken.table, consumed.table);
        self.writes.table.reconcile(taken.table, consumed.table);
        if taken.indexes.is_empty() && consumed.indexes.is_empty() {
            return;
        }
        for (index, scope) in self.indexes().iter().enumerate() {
            let units =
                |cost: &WriteCost| cost.indexes.iter().find(|(i, _)| *i == index).map_or(0.0, |(_, units)| *units);
            match (&scope.writes, units(taken), units(consumed)) {
                (Some(writes), taken, consumed) if taken > 0.0 || consumed > 0.0 => {
                    writes.reconcile(taken, consumed);
                }
                _ => {}
            }
        }
    }

    /// Waits until the units of a read are available in its partition key (if known), in its key range and in the
    /// table, and takes them.
    pub async fn read(&self, range: &KeyRange, key: Option<PartitionHash>, units: Units) {
        if let Some(key) = key {
            self.reads.key(key, units).await;
        }
        self.reads.range(range.bucket(Access::Read), units).await;
        self.reads.table.acquire(units).await;
    }

    /// Reconciles the units that were taken for a read with the units that it actually consumed. `consumed` is the
    /// total consumption. `key_consumed` is the consumption for items of the partition key `key`.
    pub fn reconcile_read(
        &self,
        range: &KeyRange,
        key: Option<PartitionHash>,
        taken: Units,
        consumed: Units,
        key_consumed: Units,
    ) {
        if let Some(key) = key {
            self.reads.keys.reconcile(key, taken, key_consumed);
        }
        range.bucket(Access::Read).reconcile(taken, consumed);
        self.reads.table.reconcile(taken, consumed);
    }

    /// Records that DynamoDB throttled a request. Slows down the scopes that the reasons name, or the table if there
    /// are no reasons.
    ///
    /// A reason's name (developer guide, "Diagnosing throttling") contains `Table` or `Index`, then `Read` or `Write`,
    /// then a limit. A reason about a key range does not name the range. So the item's own range slows down. If this
    /// happens repeatedly, the item's partition key also slows down. If many ranges are throttled together, the table
    /// also slows down.
    pub fn throttled(
        &self,
        access: Access,
        range: &KeyRange,
        key: Option<PartitionHash>,
        reasons: &[ThrottlingReason],
    ) {
        if reasons.is_empty() {
            self.table(access).throttled();
        }
        for ThrottlingReason { reason, resource } in reasons {
            // An index has its own partitions, which the tool does not know. So the index itself is the narrowest scope
            // that can slow down.
            if reason.starts_with("Index") {
                self.index_or_table_throttled(access, resource);
            } else if reason.contains("KeyRange") {
                range.bucket(access).throttled();
                if range.record_throttle(access) {
                    self.table(access).throttled();
                }
                if let Some(key) = key {
                    self.access_buckets(access).keys.throttled(key, range.rate(access));
                }
            } else {
                self.table(access).throttled();
            }
        }
    }

    fn access_buckets(&self, access: Access) -> &AccessBuckets {
        match access {
            Access::Read => &self.reads,
            Access::Write => &self.writes,
        }
    }

    fn index_or_table_throttled(&self, access: Access, resource: &str) {
        let name = resource.rsplit_once("/index/").map_or("", |(_, name)| name);
        let indexes = self.indexes();
        let index = indexes.iter().find(|index| index.name == name && access == Access::Write);
        match index.and_then(|index| index.writes.as_ref()) {
            Some(writes) => writes.throttled(),
            None => self.table(access).throttled(),
        }
    }

    fn indexes(&self) -> Arc<[IndexScope]> {
        Arc::clone(&self.indexes.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn key_ranges(&self) -> MutexGuard<'_, KeyRanges> {
        self.key_ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Units that a call has already taken while it waits for more units. If this value is dropped, they become available
/// again.
struct RefundGuard<'a> {
    from: &'a KeyBuckets,
    keys: &'a [(PartitionHash, Units)],
}

impl Drop for RefundGuard<'_> {
    fn drop(&mut self) {
        self.keys.iter().for_each(|(key, units)| self.from.reconcile(*key, *units, 0.0));
    }
}

impl AccessBuckets {
    /// Takes units of a partition key. Counts the request as waiting if it has to wait.
    async fn key(&self, key: PartitionHash, units: Units) {
        if !self.keys.try_acquire(key, units) {
            let _waits = self.key_waiters.add_waiter();
            self.keys.acquire(key, units).await;
        }
    }

    /// Takes capacity units from the budget of a key range. Counts the request as waiting if it has to wait.
    async fn range(&self, bucket: &Bucket, units: Units) {
        if !bucket.try_acquire(units) {
            let _waits = self.range_waiters.add_waiter();
            bucket.acquire(units).await;
        }
    }
}

#[cfg(test)]
mod tests;

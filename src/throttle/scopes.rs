//! The scopes that a request touches, each with a token bucket: partition key, key range, index, table.
//!
//! Permits are acquired from narrow to wide, one scope after the other: who waits for a narrow scope holds nothing of a
//! wider one, so that a hot key never sits on tokens that others could use. Clients cannot see partitions: a *key range* is
//! a segment of the run, which is a range of the key hash.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use super::feedback::Feedback;
use super::keyed::Keyed;
use super::{Budget, Budgets};
use crate::change::WriteCost;
use crate::item::{PartitionHash, Units};
use crate::plan::Access;
use crate::table::ThrottlingReason;

/// The token buckets of one job.
#[derive(Debug)]
pub struct Scopes {
    reads: Side,
    writes: Side,
    /// By place in the table's description; a local index has none.
    indexes: Vec<Option<IndexScope>>,
    per_key_range: Budget,
    feedback: Feedback,
    ranges: Arc<Ranges>,
}

/// The key ranges that are worked on, and which of them were throttled just now.
#[derive(Debug, Default)]
struct Ranges {
    active: AtomicUsize,
    made: AtomicU64,
    throttles: AtomicU64,
    /// By key range, when it was throttled last: at most one entry for each that is worked on, or was within
    /// [`TOGETHER`].
    throttled: Mutex<HashMap<u64, Instant>>,
}

/// Key ranges that are throttled within this time of one another are throttled together.
const TOGETHER: Duration = Duration::from_secs(2);

/// If so many of the key ranges that are worked on are throttled together, not one of them is hot but the table as a whole
/// asks its partitions for too much; new segments would each have to learn it anew.
const MANY: f64 = 0.25;

/// Of fewer key ranges than this nothing is concluded.
const FEW: usize = 4;

#[derive(Debug)]
struct Side {
    table: Bucket,
    keys: Keyed,
}

#[derive(Debug)]
struct IndexScope {
    name: String,
    writes: Bucket,
}

/// The buckets of one key range, that is, of one segment while it is worked on.
#[derive(Debug)]
pub struct KeyRange {
    name: u64,
    all: Arc<Ranges>,
    reads: Bucket,
    writes: Bucket,
    turns: Mutex<HashMap<PartitionHash, Arc<tokio::sync::Mutex<()>>>>,
}

/// Where a scope stands, for those who show it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScopeStatus {
    /// The index's name; empty for the table.
    pub name: String,
    /// Whether it is an index.
    pub is_index: bool,
    /// Reads or writes.
    pub access: Access,
    /// Capacity units per second that it may use.
    pub budget: Units,
    /// And that it uses at most now, because DynamoDB throttled it.
    pub rate: Units,
    /// Requests that wait for it.
    pub waiting: usize,
    /// Requests that DynamoDB has throttled for its sake.
    pub throttles: u64,
}

impl Scopes {
    /// The buckets of a job with these budgets; `index_names` are those of the table's description, in its order.
    pub fn new(budgets: &Budgets, index_names: &[String], feedback: Feedback) -> Arc<Scopes> {
        let side =
            |table: Units, key: Units| Side { table: Bucket::new(table, feedback), keys: Keyed::new(key, feedback) };
        let index = |(name, budget): (&String, &Option<Units>)| {
            budget.map(|units| IndexScope { name: name.clone(), writes: Bucket::new(units, feedback) })
        };
        Arc::new(Scopes {
            reads: side(budgets.table.read, budgets.per_partition_key.read),
            writes: side(budgets.table.write, budgets.per_partition_key.write),
            indexes: index_names.iter().zip(&budgets.indexes).map(index).collect(),
            per_key_range: budgets.per_key_range,
            feedback,
            ranges: Arc::default(),
        })
    }

    /// The buckets of a segment that is about to be worked on.
    pub fn key_range(&self) -> Arc<KeyRange> {
        self.ranges.active.fetch_add(1, Ordering::Relaxed);
        Arc::new(KeyRange {
            name: self.ranges.made.fetch_add(1, Ordering::Relaxed),
            all: Arc::clone(&self.ranges),
            reads: Bucket::new(self.per_key_range.read, self.feedback),
            writes: Bucket::new(self.per_key_range.write, self.feedback),
            turns: Mutex::default(),
        })
    }

    /// The table's bucket.
    pub fn table(&self, access: Access) -> &Bucket {
        &self.side(access).table
    }

    /// Capacity units per second that one key range may use.
    pub fn per_key_range(&self, access: Access) -> Units {
        match access {
            Access::Read => self.per_key_range.read,
            Access::Write => self.per_key_range.write,
        }
    }

    /// Takes units of a partition key if they are there now. False, and nothing is taken, where they would have to be
    /// waited for.
    pub fn try_key(&self, access: Access, key: PartitionHash, units: Units) -> bool {
        self.side(access).keys.try_acquire(key, units)
    }

    /// Waits for units of a partition key, and takes them.
    pub async fn key(&self, access: Access, key: PartitionHash, units: Units) {
        self.side(access).keys.acquire(key, units).await;
    }

    /// Waits for the units of a write in its key range, and then in each index that it touches; not in the table.
    pub async fn narrow_write(&self, range: &KeyRange, cost: &WriteCost) {
        range.writes.acquire(cost.table).await;
        for (index, units) in &cost.indexes {
            if let Some(Some(scope)) = self.indexes.get(*index) {
                scope.writes.acquire(*units).await;
            }
        }
    }

    /// Settles a write that was taken from every scope: `taken` against what was consumed.
    pub fn settle_write(&self, range: &KeyRange, key: PartitionHash, taken: &WriteCost, consumed: &WriteCost) {
        self.writes.keys.settle(key, taken.table, consumed.table);
        range.writes.settle(taken.table, consumed.table);
        self.writes.table.settle(taken.table, consumed.table);
        for (index, scope) in self.indexes.iter().enumerate() {
            let units =
                |cost: &WriteCost| cost.indexes.iter().find(|(i, _)| *i == index).map_or(0.0, |(_, units)| *units);
            match (scope, units(taken), units(consumed)) {
                (Some(scope), taken, consumed) if taken > 0.0 || consumed > 0.0 => {
                    scope.writes.settle(taken, consumed);
                }
                _ => {}
            }
        }
    }

    /// Waits for a read's units in its partition key, where one is known, in its key range, and in the table.
    pub async fn read(&self, range: &KeyRange, key: Option<PartitionHash>, units: Units) {
        if let Some(key) = key {
            self.reads.keys.acquire(key, units).await;
        }
        range.reads.acquire(units).await;
        self.reads.table.acquire(units).await;
    }

    /// Settles a read: `consumed` in all, of which `of_key` by items of the key that it was acquired for.
    pub fn settle_read(
        &self,
        range: &KeyRange,
        key: Option<PartitionHash>,
        taken: Units,
        consumed: Units,
        of_key: Units,
    ) {
        if let Some(key) = key {
            self.reads.keys.settle(key, taken, of_key);
        }
        range.reads.settle(taken, consumed);
        self.reads.table.settle(taken, consumed);
    }

    /// DynamoDB throttled a request: the scopes that its reasons name go slower. Without reasons that is the table.
    ///
    /// Reasons (developer guide, "Diagnosing throttling") are `Table…` or `Index…`, `Read…` or `Write…`, and name a limit. A
    /// key-range reason names no range: it is taken to be the item's own, and on repetition its partition key; where many
    /// ranges are throttled together, the table.
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
            // Hot partitions of an index are other ones than the table's: the index is the narrowest scope that is known.
            if reason.starts_with("Index") {
                self.index_or_table(access, resource).throttled();
            } else if reason.contains("KeyRange") {
                range.bucket(access).throttled();
                if range.throttled_with_many() {
                    self.table(access).throttled();
                }
                if let Some(key) = key {
                    self.side(access).keys.throttled(key, range.rate(access));
                }
            } else {
                self.table(access).throttled();
            }
        }
    }

    /// Where every scope stands that has a name: the table's reads and writes, and each index.
    pub fn status(&self) -> Vec<ScopeStatus> {
        let status = |name: &str, access, bucket: &Bucket| ScopeStatus {
            name: name.to_owned(),
            is_index: !name.is_empty(),
            access,
            budget: bucket.budget(),
            rate: bucket.rate(),
            waiting: bucket.waiting(),
            throttles: bucket.throttles(),
        };
        let tables = [Access::Read, Access::Write].map(|access| status("", access, self.table(access)));
        let indexes = self.indexes.iter().flatten().map(|index| status(&index.name, Access::Write, &index.writes));
        tables.into_iter().chain(indexes).collect()
    }

    /// Requests throttled for the sake of a key range, of which so many were taken to be about one partition key; and
    /// how many partition keys go at a rate of their own.
    pub fn key_throttles(&self) -> (u64, u64, usize) {
        let ((read_keys, reads), (write_keys, writes)) = (self.reads.keys.slowed(), self.writes.keys.slowed());
        let ranges = self.ranges.throttles.load(Ordering::Relaxed);
        (ranges, reads + writes, read_keys + write_keys)
    }

    fn side(&self, access: Access) -> &Side {
        match access {
            Access::Read => &self.reads,
            Access::Write => &self.writes,
        }
    }

    fn index_or_table(&self, access: Access, resource: &str) -> &Bucket {
        let name = resource.rsplit_once("/index/").map_or("", |(_, name)| name);
        let index = self.indexes.iter().flatten().find(|index| index.name == name && access == Access::Write);
        index.map_or_else(|| self.table(access), |index| &index.writes)
    }
}

impl KeyRange {
    /// Capacity units per second that it may use now.
    pub fn rate(&self, access: Access) -> Units {
        self.bucket(access).rate()
    }

    /// The turn of a partition key whose items are set aside: who holds it goes first. Turns are first come, first served.
    pub(crate) fn turn(&self, key: PartitionHash) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody but the map knows those whose items are done.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(key).or_default())
    }

    /// Whether items of this key are set aside: others of it must queue behind them.
    pub(crate) fn is_set_aside(&self, key: PartitionHash) -> bool {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.get(&key).is_some_and(|turn| Arc::strong_count(turn) > 1)
    }

    /// Notes a throttle of this range; whether many others were throttled just now, too.
    fn throttled_with_many(&self) -> bool {
        self.all.throttles.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut throttled = self.all.throttled.lock().unwrap_or_else(PoisonError::into_inner);
        throttled.insert(self.name, now);
        throttled.retain(|_, at| now.saturating_duration_since(*at) <= TOGETHER);
        let active = self.all.active.load(Ordering::Relaxed);
        throttled.len() >= FEW && throttled.len() as f64 >= MANY * active as f64
    }

    fn bucket(&self, access: Access) -> &Bucket {
        match access {
            Access::Read => &self.reads,
            Access::Write => &self.writes,
        }
    }
}

impl Drop for KeyRange {
    fn drop(&mut self) {
        self.all.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::item::Value;

    fn key(n: u64) -> PartitionHash {
        PartitionHash::of(&Value::S(n.to_string()))
    }

    fn budgets(table: Units, narrow: Units, indexes: &[Option<Units>]) -> Budgets {
        let both = |units| Budget { write: units, read: units };
        Budgets {
            table: both(table),
            per_key_range: both(narrow),
            per_partition_key: both(narrow),
            indexes: indexes.to_vec(),
        }
    }

    fn scopes(budgets: &Budgets) -> Arc<Scopes> {
        Scopes::new(budgets, &["local".into(), "by-email".into()], Feedback::default())
    }

    async fn write(scopes: &Scopes, range: &KeyRange, key: PartitionHash, cost: &WriteCost) {
        scopes.key(Access::Write, key, cost.table).await;
        scopes.narrow_write(range, cost).await;
        scopes.table(Access::Write).acquire(cost.table).await;
        scopes.settle_write(range, key, cost, cost);
    }

    /// Writes without a pause, so many at the same time; returns the counter of those that got through.
    fn writers(
        scopes: &Arc<Scopes>,
        at_once: u64,
        cost: &WriteCost,
        one_key: bool,
    ) -> Arc<std::sync::atomic::AtomicU64> {
        let (range, done) = (scopes.key_range(), Arc::default());
        for n in 0..at_once {
            let (scopes, range, cost, done) = (Arc::clone(scopes), Arc::clone(&range), cost.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                for round in 0.. {
                    write(&scopes, &range, key(if one_key { 0 } else { n + round * at_once }), &cost).await;
                    std::sync::atomic::AtomicU64::fetch_add(&done, 1, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
        done
    }

    fn counted(done: &std::sync::atomic::AtomicU64) -> f64 {
        done.load(std::sync::atomic::Ordering::Relaxed) as f64
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_hot_key_or_a_short_index_holds_nothing_of_the_table() {
        let mut hot = budgets(1_000.0, 1_000.0, &[None, Some(50.0)]);
        hot.per_partition_key.write = 10.0;
        let scopes = scopes(&hot);
        let (one, indexed) =
            (WriteCost { table: 1.0, indexes: vec![] }, WriteCost { table: 1.0, indexes: vec![(1, 1.0)] });
        let hot = writers(&scopes, 200, &one, true);
        let short = writers(&scopes, 200, &indexed, false);
        let others = writers(&scopes, 50, &one, false);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!((95.0..115.0).contains(&counted(&hot)), "the hot key: {}", counted(&hot));
        assert!((490.0..520.0).contains(&counted(&short)), "the index: {}", counted(&short));
        let all = counted(&hot) + counted(&short) + counted(&others);
        assert!((9_900.0..10_300.0).contains(&all), "the table: {all}");
        assert_eq!(scopes.status().iter().map(|s| s.waiting > 0).collect::<Vec<_>>(), [false, true, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_consumed_is_given_back_to_every_scope() {
        let scopes = scopes(&budgets(10.0, 10.0, &[None, Some(10.0)]));
        let range = scopes.key_range();
        let (large, none) = (WriteCost { table: 100.0, indexes: vec![(1, 100.0)] }, WriteCost::default());
        let start = Instant::now();
        for _ in 0..5 {
            scopes.key(Access::Write, key(1), 100.0).await;
            scopes.narrow_write(&range, &large).await;
            scopes.table(Access::Write).acquire(100.0).await;
            scopes.settle_write(&range, key(1), &large, &none);
        }
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        // An index that the estimate did not know of is charged all the same.
        scopes.settle_write(&range, key(1), &none, &WriteCost { table: 0.0, indexes: vec![(1, 20.0)] });
        let start = Instant::now();
        scopes.narrow_write(&range, &WriteCost { table: 1.0, indexes: vec![(1, 1.0)] }).await;
        assert!(start.elapsed() > Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_slows_the_scope_that_its_reason_names() {
        let arn = "arn:aws:dynamodb:us-east-1:1:table/t";
        let index = format!("{arn}/index/by-email");
        // Which of the table's reads, its writes, the index and the key range go slower.
        for (access, reason, resource, slower) in [
            (Access::Write, "TableWriteProvisionedThroughputExceeded", arn, [false, true, false, false]),
            (Access::Write, "TableWriteMaxOnDemandThroughputExceeded", arn, [false, true, false, false]),
            (Access::Write, "TableWriteAccountLimitExceeded", arn, [false, true, false, false]),
            (Access::Read, "TableReadProvisionedThroughputExceeded", arn, [true, false, false, false]),
            (Access::Write, "IndexWriteProvisionedThroughputExceeded", &index, [false, false, true, false]),
            (Access::Write, "IndexWriteKeyRangeThroughputExceeded", &index, [false, false, true, false]),
            (Access::Write, "TableWriteKeyRangeThroughputExceeded", arn, [false, false, false, true]),
            (
                Access::Write,
                "IndexWriteProvisionedThroughputExceeded",
                "an index nobody knows",
                [false, true, false, false],
            ),
            (Access::Write, "", "", [false, true, false, false]),
        ] {
            let scopes = scopes(&budgets(1_000.0, 500.0, &[None, Some(100.0)]));
            let range = scopes.key_range();
            let named = ThrottlingReason { reason: reason.into(), resource: resource.into() };
            let reasons = if reason.is_empty() { vec![] } else { vec![named] };
            scopes.throttled(access, &range, Some(key(1)), &reasons);
            let mut found: Vec<bool> = scopes.status().iter().map(|s| s.rate < s.budget).collect();
            found.push(range.rate(access) < 500.0);
            assert_eq!(found, slower, "{reason} {resource}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn items_of_a_key_that_are_set_aside_have_their_turn() {
        let scopes = scopes(&budgets(10.0, 10.0, &[None, None]));
        let range = scopes.key_range();
        assert!(!range.is_set_aside(key(1)));
        let turn = range.turn(key(1));
        assert!(range.is_set_aside(key(1)) && !range.is_set_aside(key(2)));
        let second = range.turn(key(1));
        assert!(Arc::ptr_eq(&turn, &second));
        drop((turn, second));
        assert!(!range.is_set_aside(key(1)));
    }
}

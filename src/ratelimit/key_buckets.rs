//! The token buckets of partition keys. A table can have a billion keys, but only busy keys need memory.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use tokio::time::Instant;

use super::bucket::{Bucket, RECHECK_INTERVAL, TOKEN_TIME, burst_tokens, nanos, quota, speed_for, to_tokens};
use super::clock::SpeedClock;
use super::feedback::Feedback;
use crate::item::{PartitionHash, Units};

/// The states are divided into this number of shards. Each shard has its own lock, so that threads rarely wait for each
/// other.
const SHARDS: usize = 16;

/// If a shard has more states than this limit, it drops the states of full buckets before it grows. These states are
/// not needed, because a key without a state has a full bucket. After a single use, the bucket of a key is full again
/// within a few milliseconds. For a table with any number of keys, all shards together store about 100,000 keys in
/// about two megabytes.
const STATES_PER_SHARD: usize = 4_096;

/// The largest number of keys that have their own bucket because DynamoDB throttles them. If one more key is throttled,
/// the key whose last throttle is the longest ago loses its bucket and uses the common rate again.
const MAX_SLOWED: usize = 256;

/// A key counts as hot after this number of throttles, if each throttle is within [`HOT_KEY_WINDOW`] of the previous
/// one. If there are fewer throttles, the cause could be another key of the same range.
const HOT_KEY_THROTTLES: u32 = 3;
const HOT_KEY_WINDOW: Duration = Duration::from_secs(10);

/// The token buckets of all partition keys, for one kind of access (reads or writes). Every key has the same budget.
#[derive(Debug)]
pub(super) struct KeyBuckets {
    limiter: RwLock<KeyLimiter>,
    states: States,
    clock: SpeedClock,
    feedback: Feedback,
    slowed: Mutex<HashMap<PartitionHash, SlowedKey>>,
    /// Number of keys in `slowed` that have their own bucket. This number is checked first, so that the lock is rarely
    /// needed.
    buckets: AtomicUsize,
    throttles: AtomicU64,
}

/// The governor limiter for the common budget. governor cannot change a quota, so a different budget needs a new
/// limiter with the same states.
#[derive(Debug)]
struct KeyLimiter {
    governor: RateLimiter<PartitionHash, States, SpeedClock, NoOpMiddleware<Duration>>,
    burst: NonZeroU32,
    budget: Units,
}

#[derive(Debug)]
struct SlowedKey {
    throttled: Instant,
    throttle_count: u32,
    bucket: Option<Arc<Bucket>>,
}

impl KeyBuckets {
    pub(super) fn new(budget: Units, feedback: Feedback) -> KeyBuckets {
        let clock = SpeedClock::new(speed_for(budget));
        let states = States::new(clock.clone());
        KeyBuckets {
            limiter: RwLock::new(KeyLimiter::new(budget, &states)),
            states,
            clock,
            feedback,
            slowed: Mutex::default(),
            buckets: AtomicUsize::new(0),
            throttles: AtomicU64::new(0),
        }
    }

    /// Changes every key's budget immediately, even for requests that already wait. Debt stays the same. A larger burst
    /// is available immediately. This is harmless, because a burst is only the budget for a tenth of a second.
    pub(super) fn set_budget(&self, budget: Units) {
        let mut limiter = self.limiter.write().unwrap_or_else(PoisonError::into_inner);
        self.clock.set_speed(speed_for(budget));
        *limiter = KeyLimiter::new(budget, &self.states);
        drop(limiter);
        self.lock().values().filter_map(|slowed| slowed.bucket.as_ref()).for_each(|bucket| bucket.set_budget(budget));
    }

    /// Returns the budget of each key, in capacity units per second.
    pub(super) fn budget(&self) -> Units {
        self.limiter.read().unwrap_or_else(PoisonError::into_inner).budget
    }

    /// Takes units of a key if they are currently available. Otherwise takes no units and returns false.
    pub(super) fn try_acquire(&self, key: PartitionHash, units: Units) -> bool {
        match self.own_bucket(key) {
            Some(bucket) => bucket.try_acquire(units),
            None => self.check(key, units).is_ok(),
        }
    }

    /// Waits until units of a key may be used, and takes them. This method does not order the waiters of one key, so
    /// the caller must order them. The future can be dropped at any point, because it takes no units before it returns.
    ///
    /// A waiter checks at least every [`RECHECK_INTERVAL`] whether units were refunded, and whether the key has gained
    /// or lost its own bucket. A waiter is not notified, because notifications would need memory for each of a very
    /// large number of keys.
    pub(super) async fn acquire(&self, key: PartitionHash, units: Units) {
        loop {
            if let Some(bucket) = self.own_bucket(key) {
                tokio::select! {
                    biased;
                    () = bucket.acquire(units) => return,
                    () = self.wait_until_bucket_is_lost(key, &bucket) => continue,
                }
            }
            let Err(wait) = self.check(key, units) else { return };
            let speed = self.clock.speed().max(1e-9);
            let wait = Duration::try_from_secs_f64(wait.as_secs_f64() / speed)
                .unwrap_or(RECHECK_INTERVAL)
                .min(RECHECK_INTERVAL);
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
    }

    /// Waits until the key no longer uses this bucket.
    async fn wait_until_bucket_is_lost(&self, key: PartitionHash, bucket: &Arc<Bucket>) {
        while self.own_bucket(key).is_some_and(|own| Arc::ptr_eq(&own, bucket)) {
            tokio::time::sleep(RECHECK_INTERVAL).await;
        }
    }

    /// Reconciles the units that were taken for a key with the units that were actually consumed.
    pub(super) fn reconcile(&self, key: PartitionHash, taken: Units, consumed: Units) {
        if let Some(bucket) = self.own_bucket(key) {
            return bucket.reconcile(taken, consumed);
        }
        let taken = to_tokens(taken);
        let used = to_tokens(consumed);
        // Most estimates are right. No lookup is then needed.
        if used > taken {
            self.states.add_debt(key, used - taken, nanos(self.clock.now()));
        } else if taken > used {
            self.states.refund(key, taken - used);
        }
    }

    /// Records that DynamoDB throttled a request for this key because of its key range. If this happens repeatedly, the
    /// key gets its own bucket, which starts at `range_rate`, the rate of the range.
    pub(super) fn throttled(&self, key: PartitionHash, range_rate: Units) {
        let now = Instant::now();
        let budget = self.budget();
        let mut slowed = self.lock();
        if slowed.len() >= MAX_SLOWED && !slowed.contains_key(&key) {
            self.evict_oldest(&mut slowed);
        }
        let entry = slowed.entry(key).or_insert(SlowedKey { throttled: now, throttle_count: 0, bucket: None });
        let repeated = entry.throttle_count > 0 && now.saturating_duration_since(entry.throttled) <= HOT_KEY_WINDOW;
        entry.throttle_count = if repeated { entry.throttle_count + 1 } else { 1 };
        entry.throttled = now;
        if entry.throttle_count < HOT_KEY_THROTTLES && entry.bucket.is_none() {
            return;
        }
        self.throttles.fetch_add(1, Ordering::Relaxed);
        match &entry.bucket {
            Some(bucket) => bucket.throttled(),
            None => {
                let bucket = Bucket::new(budget, self.feedback);
                bucket.slow_to(range_rate);
                entry.bucket = Some(Arc::new(bucket));
                self.buckets.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns the number of throttles that were attributed to individual keys.
    pub(super) fn throttles(&self) -> u64 {
        self.throttles.load(Ordering::Relaxed)
    }

    /// Returns the keys that have their own bucket, with these buckets. There are at most [`MAX_SLOWED`].
    pub(super) fn hot_keys(&self) -> Vec<(PartitionHash, Arc<Bucket>)> {
        self.lock().iter().filter_map(|(key, slowed)| Some((*key, Arc::clone(slowed.bucket.as_ref()?)))).collect()
    }

    /// Returns the number of keys that currently have their own bucket.
    #[cfg(test)]
    fn slowed(&self) -> usize {
        self.buckets.load(Ordering::Relaxed)
    }

    /// Returns the number of keys whose state is currently stored.
    #[cfg(test)]
    fn state_count(&self) -> usize {
        self.states.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn own_bucket(&self, key: PartitionHash) -> Option<Arc<Bucket>> {
        if self.buckets.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.lock().get(&key)?.bucket.clone()
    }

    fn evict_oldest(&self, slowed: &mut HashMap<PartitionHash, SlowedKey>) {
        let oldest = slowed.iter().min_by_key(|(_, entry)| entry.throttled).map(|(key, _)| *key);
        if let Some(SlowedKey { bucket: Some(_), .. }) = oldest.and_then(|key| slowed.remove(&key)) {
            self.buckets.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn check(&self, key: PartitionHash, units: Units) -> Result<(), Duration> {
        let tokens = to_tokens(units);
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        let first = tokens.min(u64::from(limiter.burst.get()));
        let n = NonZeroU32::new(first as u32).unwrap_or(NonZeroU32::MIN);
        if let Ok(Err(not_until)) = limiter.governor.check_key_n(&key, n) {
            return Err(not_until.wait_time_from(self.clock.now()));
        }
        if tokens > first {
            self.states.add_debt(key, tokens - first, nanos(self.clock.now()));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PartitionHash, SlowedKey>> {
        self.slowed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyLimiter {
    fn new(budget: Units, states: &States) -> KeyLimiter {
        let burst = burst_tokens(budget);
        let governor = RateLimiter::new(quota(burst), states.starting_now(), states.clock.clone());
        KeyLimiter { governor, burst, budget }
    }
}

/// Theoretical arrival times by key.
type Shard = HashMap<PartitionHash, u64, BuildHasherDefault<IdentityHasher>>;

/// A hasher that returns the key unchanged, because the key is already a hash.
#[derive(Debug, Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // A `PartitionHash` is one `u64`, so this function is never called for it. The result would still be correct.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The governor state of each busy key: the theoretical arrival time of the key's next token. All keys share one clock.
#[derive(Debug, Clone)]
struct States {
    shards: Arc<[Mutex<Shard>; SHARDS]>,
    clock: SpeedClock,
    /// The time at which the limiter of these states was created. The limiter counts time from this moment. An earlier
    /// arrival time means a full bucket.
    start: u64,
}

impl States {
    fn new(clock: SpeedClock) -> States {
        States { shards: Arc::default(), clock, start: 0 }
    }

    /// Returns the same states, but for a limiter that is created now.
    fn starting_now(&self) -> States {
        States { start: nanos(self.clock.now()), ..self.clone() }
    }

    fn add_debt(&self, key: PartitionHash, tokens: u64, now: u64) {
        let mut shard = self.shard(key);
        let tat = shard.entry(key).or_default();
        *tat = (*tat).max(now).saturating_add(tokens.saturating_mul(nanos(TOKEN_TIME)));
    }

    fn refund(&self, key: PartitionHash, tokens: u64) {
        if let Some(tat) = self.shard(key).get_mut(&key) {
            *tat = tat.saturating_sub(tokens.saturating_mul(nanos(TOKEN_TIME)));
        }
    }

    fn shard(&self, key: PartitionHash) -> MutexGuard<'_, Shard> {
        lock(&self.shards[key.shard(SHARDS)])
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StateStore for States {
    type Key = PartitionHash;

    fn measure_and_replace<T, F, E>(&self, key: &PartitionHash, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = self.shard(*key);
        let since_start = |after: Nanos| after.as_u64().saturating_add(self.start);
        if let Some(tat) = shard.get_mut(key) {
            let (outcome, after) = f(Some(Nanos::from(tat.saturating_sub(self.start))))?;
            *tat = since_start(after);
            return Ok(outcome);
        }
        let (outcome, after) = f(None)?;
        if shard.len() >= STATES_PER_SHARD && shard.len() == shard.capacity() {
            let now = nanos(self.clock.now());
            shard.retain(|_, tat| *tat > now);
        }
        shard.insert(*key, since_start(after));
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests;

//! Token buckets of partition keys: a billion keys, and memory for those that are busy now.

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

use super::bucket::{Bucket, LOOK_AGAIN, TOKEN_TIME, burst_tokens, nanos, quota, speed_for, to_tokens};
use super::clock::SpeedClock;
use super::feedback::Feedback;
use crate::item::{PartitionHash, Units};

/// The states lie in so many parts, each behind a lock of its own, so that threads seldom meet.
const SHARDS: usize = 16;

/// A shard with more states than this forgets, before it grows, those whose bucket is full again: they would be granted
/// everything anyway. A key that is asked for once is forgettable after a few milliseconds, so all shards together keep
/// some hundred thousand keys, about two megabytes, however many keys a table has.
const STATES_PER_SHARD: usize = 4_096;

/// Keys that DynamoDB throttles get a bucket with a rate of its own, so many at most; of more, the one that was throttled
/// longest ago loses it and has the common rate again.
const MAX_SLOWED: usize = 256;

/// So many throttles of one key, each within [`REPEATED_WITHIN`] of the one before, are about that key and not about
/// its neighbours in the key range.
const REPEATED: u32 = 3;
const REPEATED_WITHIN: Duration = Duration::from_secs(10);

/// The token buckets of all partition keys, for reads or for writes. All have one budget.
#[derive(Debug)]
pub(super) struct Keyed {
    limiter: RwLock<Limiter>,
    states: States,
    clock: SpeedClock,
    feedback: Feedback,
    slowed: Mutex<HashMap<PartitionHash, Slowed>>,
    /// How many of `slowed` have a bucket: looked at before the lock is taken.
    buckets: AtomicUsize,
    throttles: AtomicU64,
}

/// governor's limiter of the common budget. governor cannot change a quota: another budget gets another limiter, over the
/// same states.
#[derive(Debug)]
struct Limiter {
    governor: RateLimiter<PartitionHash, States, SpeedClock, NoOpMiddleware<Duration>>,
    burst: NonZeroU32,
    budget: Units,
}

#[derive(Debug)]
struct Slowed {
    throttled: Instant,
    times: u32,
    bucket: Option<Arc<Bucket>>,
}

impl Keyed {
    pub(super) fn new(budget: Units, feedback: Feedback) -> Keyed {
        let clock = SpeedClock::new(speed_for(budget));
        let states = States::new(clock.clone());
        Keyed {
            limiter: RwLock::new(Limiter::new(budget, &states)),
            states,
            clock,
            feedback,
            slowed: Mutex::default(),
            buckets: AtomicUsize::new(0),
            throttles: AtomicU64::new(0),
        }
    }

    /// Another budget for each key from now on, also for those who wait. Debt stays. A larger
    /// burst is there at once, which is a tenth of a second's budget.
    pub(super) fn set_budget(&self, budget: Units) {
        let mut limiter = self.limiter.write().unwrap_or_else(PoisonError::into_inner);
        self.clock.set_speed(speed_for(budget));
        *limiter = Limiter::new(budget, &self.states);
        drop(limiter);
        self.lock().values().filter_map(|slowed| slowed.bucket.as_ref()).for_each(|bucket| bucket.set_budget(budget));
    }

    /// Capacity units per second that each key may use.
    pub(super) fn budget(&self) -> Units {
        self.limiter.read().unwrap_or_else(PoisonError::into_inner).budget
    }

    /// Takes units of a key if they are there now. False, and nothing is taken, where they would have to be waited for.
    pub(super) fn try_acquire(&self, key: PartitionHash, units: Units) -> bool {
        match self.own_bucket(key) {
            Some(bucket) => bucket.try_acquire(units),
            None => self.check(key, units).is_ok(),
        }
    }

    /// Waits until units of a key may be used, and takes them. The order among those who wait for one key is the
    /// caller's to keep. Safe to drop at any point: nothing is taken until it returns.
    ///
    /// A refund, and whether the key goes at a rate of its own, is noticed within [`LOOK_AGAIN`]: so many keys have no memory
    /// to spare for being told.
    pub(super) async fn acquire(&self, key: PartitionHash, units: Units) {
        loop {
            if let Some(bucket) = self.own_bucket(key) {
                tokio::select! {
                    biased;
                    () = bucket.acquire(units) => return,
                    () = self.loses(key, &bucket) => continue,
                }
            }
            let Err(wait) = self.check(key, units) else { return };
            let speed = self.clock.speed().max(1e-9);
            let wait = Duration::try_from_secs_f64(wait.as_secs_f64() / speed).unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN);
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
    }

    /// Returns when the key goes by this bucket no more.
    async fn loses(&self, key: PartitionHash, bucket: &Arc<Bucket>) {
        while self.own_bucket(key).is_some_and(|own| Arc::ptr_eq(&own, bucket)) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Settles what was taken of a key against what was consumed.
    pub(super) fn settle(&self, key: PartitionHash, taken: Units, consumed: Units) {
        if let Some(bucket) = self.own_bucket(key) {
            return bucket.settle(taken, consumed);
        }
        let (taken, used) = (to_tokens(taken), to_tokens(consumed));
        // Most estimates are right, and then there is nothing to look up.
        if used > taken {
            self.states.debt(key, used - taken, nanos(self.clock.now()));
        } else if taken > used {
            self.states.refund(key, taken - used);
        }
    }

    /// DynamoDB throttled a request for this key's range, which goes at `range_rate` by now. On repetition the key itself is
    /// slowed, and begins there.
    pub(super) fn throttled(&self, key: PartitionHash, range_rate: Units) {
        let (now, budget) = (Instant::now(), self.budget());
        let mut slowed = self.lock();
        if slowed.len() >= MAX_SLOWED && !slowed.contains_key(&key) {
            self.forget_oldest(&mut slowed);
        }
        let entry = slowed.entry(key).or_insert(Slowed { throttled: now, times: 0, bucket: None });
        let repeated = entry.times > 0 && now.saturating_duration_since(entry.throttled) <= REPEATED_WITHIN;
        entry.times = if repeated { entry.times + 1 } else { 1 };
        entry.throttled = now;
        if entry.times < REPEATED && entry.bucket.is_none() {
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

    /// Throttles that were taken to be about one key.
    pub(super) fn throttles(&self) -> u64 {
        self.throttles.load(Ordering::Relaxed)
    }

    /// Keys that go at a rate of their own now.
    #[cfg(test)]
    fn slowed(&self) -> usize {
        self.buckets.load(Ordering::Relaxed)
    }

    /// Keys whose state is remembered now.
    #[cfg(test)]
    fn remembered(&self) -> usize {
        self.states.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn own_bucket(&self, key: PartitionHash) -> Option<Arc<Bucket>> {
        if self.buckets.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.lock().get(&key)?.bucket.clone()
    }

    fn forget_oldest(&self, slowed: &mut HashMap<PartitionHash, Slowed>) {
        let oldest = slowed.iter().min_by_key(|(_, entry)| entry.throttled).map(|(key, _)| *key);
        if let Some(Slowed { bucket: Some(_), .. }) = oldest.and_then(|key| slowed.remove(&key)) {
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
            self.states.debt(key, tokens - first, nanos(self.clock.now()));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PartitionHash, Slowed>> {
        self.slowed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limiter {
    fn new(budget: Units, states: &States) -> Limiter {
        let burst = burst_tokens(budget);
        let governor = RateLimiter::new(quota(burst), states.seen_from_now(), states.clock.clone());
        Limiter { governor, burst, budget }
    }
}

/// Theoretical arrival times by key.
type Shard = HashMap<PartitionHash, u64, BuildHasherDefault<AsIs>>;

/// The hash of a key is its hash.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not called for a `PartitionHash`, which is one u64; right all the same.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// governor's state of each busy key: the theoretical arrival time of its next token, by the clock of the keys.
#[derive(Debug, Clone)]
struct States {
    shards: Arc<[Mutex<Shard>; SHARDS]>,
    clock: SpeedClock,
    /// The limiter that sees these states was made at this time, and counts from there. What is before it is a full bucket
    /// either way.
    start: u64,
}

impl States {
    fn new(clock: SpeedClock) -> States {
        States { shards: Arc::default(), clock, start: 0 }
    }

    /// The same states, for a limiter that is made now.
    fn seen_from_now(&self) -> States {
        States { start: nanos(self.clock.now()), ..self.clone() }
    }

    fn debt(&self, key: PartitionHash, tokens: u64, now: u64) {
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

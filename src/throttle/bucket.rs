//! A token bucket in capacity units, on governor: first come, first served, settled afterwards, its rate changeable.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::direct::NotKeyed;
use governor::{Quota, RateLimiter};
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::clock::SpeedClock;
use super::feedback::{Feedback, Rate};
use crate::item::Units;

/// One token is half a capacity unit: the least that DynamoDB charges (an eventually consistent read of 4 KB).
pub(super) const TOKENS_PER_UNIT: f64 = 2.0;

/// At speed 1 the quota is one token per millisecond; the clock's speed makes the rate out of it.
pub(super) const TOKEN_TIME: Duration = Duration::from_millis(1);
const TOKENS_PER_SECOND_AT_SPEED_1: f64 = 1_000.0;

/// A burst of this much of a second's budget may be taken at once after a pause: small, so that a start is no stampede.
const BURST_SECONDS: f64 = 0.1;

/// A rate that recovers is looked at so often while somebody waits for it.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A token bucket for one scope: first come, first served, settled afterwards, and slower while DynamoDB throttles it.
#[derive(Debug)]
pub struct Bucket {
    limiter: RateLimiter<NotKeyed, Tat, SpeedClock, NoOpMiddleware<Duration>>,
    tat: Tat,
    clock: SpeedClock,
    burst: u32,
    /// governor has no order among those who wait; this makes it first come, first served.
    turn: Mutex<()>,
    rate: std::sync::Mutex<Rate>,
    began: Instant,
    rate_changed: Notify,
    waiting: AtomicUsize,
    throttles: AtomicU64,
    /// Tokens that were consumed and are not yet noted in `rate`: each note costs a look at the clock.
    served: AtomicU64,
    note_at: u64,
}

/// What is consumed is noted after this much of a second's budget, which is exact enough for a rate per second.
const NOTE_SECONDS: f64 = 0.02;

impl Bucket {
    /// A bucket that fills at so many capacity units per second; zero pauses it.
    pub fn new(units_per_second: Units, feedback: Feedback) -> Bucket {
        let burst = burst_tokens(units_per_second);
        let clock = SpeedClock::new(speed_for(units_per_second));
        let tat = Tat::default();
        Bucket {
            limiter: RateLimiter::new(quota(burst), tat.clone(), clock.clone()),
            tat,
            clock,
            burst: burst.get(),
            turn: Mutex::new(()),
            rate: std::sync::Mutex::new(Rate::new(units_per_second, feedback)),
            began: Instant::now(),
            rate_changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            throttles: AtomicU64::new(0),
            served: AtomicU64::new(0),
            note_at: to_tokens(units_per_second * NOTE_SECONDS),
        }
    }

    /// Capacity units per second that the bucket fills at now.
    pub fn rate(&self) -> Units {
        self.with_rate(Rate::at)
    }

    /// Capacity units per second that it may fill at.
    pub fn budget(&self) -> Units {
        self.with_rate(|rate, _| rate.budget())
    }

    /// Changes the budget at once, also for those who wait; zero pauses.
    pub fn set_budget(&self, units_per_second: Units) {
        self.with_rate(|rate, _| rate.set_budget(units_per_second));
        self.rate_changed.notify_waiters();
    }

    /// DynamoDB throttled a request for the sake of this scope: it goes slower for a while.
    pub fn throttled(&self) {
        self.throttles.fetch_add(1, Ordering::Relaxed);
        self.note_served();
        if self.with_rate(Rate::throttled) {
            self.rate_changed.notify_waiters();
        }
    }

    /// Goes at this rate, as if it had been throttled there.
    pub(super) fn slow_to(&self, units_per_second: Units) {
        self.with_rate(|rate, now| rate.slow_to(now, units_per_second));
    }

    /// How many requests wait for permits now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Requests that DynamoDB has throttled for the sake of this scope.
    pub fn throttles(&self) -> u64 {
        self.throttles.load(Ordering::Relaxed)
    }

    /// Waits until so many units may be used, and takes them. First come, first served. More than the burst is granted
    /// when a full burst is there, and the rest becomes debt. Safe to drop at any point: nothing is taken until it
    /// returns.
    pub async fn acquire(&self, units: Units) {
        if self.try_acquire(units) {
            return;
        }
        let tokens = to_tokens(units);
        let first = tokens.min(u64::from(self.burst)) as u32;
        let _counted = Waiting::new(&self.waiting);
        let _turn = self.turn.lock().await;
        loop {
            // Registered before the check, so that no change of rate is missed between check and sleep.
            let rate_changed = self.rate_changed.notified();
            let recovers = self.with_rate(|rate, _| rate.is_slowed());
            let Err(wait) = self.check(first) else { break };
            let speed = self.clock.speed();
            if speed > 0.0 {
                // An hour is as good as for ever here: the loop looks again.
                let wait = Duration::try_from_secs_f64(wait.as_secs_f64() / speed).unwrap_or(Duration::from_secs(3600));
                let wait = if recovers { wait.min(LOOK_AGAIN) } else { wait };
                tokio::select! {
                    () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {}
                    () = rate_changed => {}
                }
            } else {
                rate_changed.await;
            }
        }
        self.owe(tokens - u64::from(first));
    }

    /// Takes so many units if they are there now and nobody waits. False, and nothing is taken, otherwise.
    pub fn try_acquire(&self, units: Units) -> bool {
        let tokens = to_tokens(units);
        let first = tokens.min(u64::from(self.burst)) as u32;
        // Fails while anybody waits, so that nobody is overtaken.
        let Ok(_turn) = self.turn.try_lock() else { return false };
        if self.check(first).is_err() {
            return false;
        }
        self.owe(tokens - u64::from(first));
        true
    }

    fn owe(&self, tokens: u64) {
        if tokens > 0 {
            self.tat.debt(tokens, self.clock.now());
        }
    }

    /// Settles what was taken: what was consumed beyond it becomes debt, what was not is refunded. Without a figure from
    /// the server the caller passes its estimate.
    pub fn settle(&self, taken: Units, consumed: Units) {
        let (taken, used) = (to_tokens(taken), to_tokens(consumed));
        match used.cmp(&taken) {
            std::cmp::Ordering::Greater => self.owe(used - taken),
            std::cmp::Ordering::Less => self.tat.refund(taken - used),
            std::cmp::Ordering::Equal => {}
        }
        if self.served.fetch_add(used, Ordering::Relaxed) + used >= self.note_at {
            self.note_served();
        }
    }

    fn note_served(&self) {
        let tokens = self.served.swap(0, Ordering::Relaxed);
        self.with_rate(|rate, now| rate.served(now, tokens as f64 / TOKENS_PER_UNIT));
    }

    /// Takes so many tokens, or says how long they take to come at speed 1.
    fn check(&self, tokens: u32) -> Result<(), Duration> {
        match self.limiter.check_n(NonZeroU32::new(tokens).unwrap_or(NonZeroU32::MIN)) {
            Ok(Err(not_until)) => Err(not_until.wait_time_from(self.clock.now())),
            _ => Ok(()),
        }
    }

    /// Does something with the rate, and lets the clock follow it.
    fn with_rate<T>(&self, f: impl FnOnce(&mut Rate, Duration) -> T) -> T {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.began.elapsed();
        let result = f(&mut rate, now);
        let speed = speed_for(rate.at(now));
        if (self.clock.speed() - speed).abs() > f64::EPSILON {
            self.clock.set_speed(speed);
        }
        result
    }
}

/// A burst of a tenth of a second, in tokens.
pub(super) fn burst_tokens(units_per_second: Units) -> NonZeroU32 {
    let tokens = (units_per_second * TOKENS_PER_UNIT * BURST_SECONDS).clamp(2.0, 1e6);
    NonZeroU32::new(tokens as u32).unwrap_or(NonZeroU32::MIN)
}

/// One token per millisecond of the bucket's own time.
pub(super) fn quota(burst: NonZeroU32) -> Quota {
    Quota::with_period(TOKEN_TIME).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst)
}

pub(super) fn speed_for(units_per_second: Units) -> f64 {
    (units_per_second * TOKENS_PER_UNIT / TOKENS_PER_SECOND_AT_SPEED_1).max(0.0)
}

pub(super) fn to_tokens(units: Units) -> u64 {
    (units * TOKENS_PER_UNIT).ceil() as u64
}

/// Counts a waiter for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Waiting<'a> {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// governor's state, ours so that it can be settled: the theoretical arrival time of the next token, in nanoseconds of
/// the bucket's clock. governor decides; debt and refund move the time.
#[derive(Debug, Clone, Default)]
struct Tat(Arc<AtomicU64>);

impl Tat {
    fn debt(&self, tokens: u64, now: Duration) {
        let now = nanos(now);
        self.update(|tat| tat.max(now).saturating_add(tokens.saturating_mul(nanos(TOKEN_TIME))));
    }

    fn refund(&self, tokens: u64) {
        self.update(|tat| tat.saturating_sub(tokens.saturating_mul(nanos(TOKEN_TIME))));
    }

    fn update(&self, f: impl Fn(u64) -> u64) {
        // Never fails: the closure always returns a value.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |tat| Some(f(tat)));
    }
}

impl StateStore for Tat {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut before = self.0.load(Ordering::Acquire);
        loop {
            let (outcome, after) = f(Some(Nanos::from(before)))?;
            match self.0.compare_exchange_weak(before, after.as_u64(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(outcome),
                Err(now) => before = now,
            }
        }
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(units_per_second: Units) -> Arc<Bucket> {
        Arc::new(Bucket::new(units_per_second, Feedback::default()))
    }

    async fn take(bucket: &Bucket, units: Units) {
        bucket.acquire(units).await;
        bucket.settle(units, units);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_held_and_can_be_changed_while_somebody_waits() {
        let bucket = bucket(100.0);
        take(&bucket, 10.0).await;
        let start = Instant::now();
        for _ in 0..100 {
            take(&bucket, 1.0).await;
        }
        let seconds = start.elapsed().as_secs_f64();
        assert!((0.95..1.15).contains(&seconds), "{seconds}");

        bucket.set_budget(0.0);
        let waiter = tokio::spawn({
            let bucket = Arc::clone(&bucket);
            async move { take(&bucket, 50.0).await }
        });
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(!waiter.is_finished(), "rate 0 is a pause");
        let start = Instant::now();
        bucket.set_budget(1000.0);
        waiter.await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(1));
        assert!((bucket.rate() - 1000.0).abs() < 1e-6);
    }

    #[tokio::test(start_paused = true)]
    async fn debt_delays_and_a_refund_restores() {
        let bucket = bucket(100.0);
        bucket.acquire(1.0).await;
        bucket.settle(1.0, 201.0);
        let start = Instant::now();
        take(&bucket, 1.0).await;
        assert!((1.8..2.2).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());

        bucket.acquire(500.0).await;
        bucket.settle(500.0, 0.5);
        let start = Instant::now();
        take(&bucket, 1.0).await;
        assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn large_requests_are_not_starved_by_small_ones() {
        let bucket = bucket(100.0);
        for _ in 0..8 {
            let bucket = Arc::clone(&bucket);
            tokio::spawn(async move {
                loop {
                    take(&bucket, 1.0).await;
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = Instant::now();
        take(&bucket, 400.0).await;
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_waiter_takes_nothing() {
        let bucket = bucket(10.0);
        take(&bucket, 100.0).await;
        let gave_up = tokio::time::timeout(Duration::from_secs(1), bucket.acquire(1000.0)).await;
        assert!(gave_up.is_err());
        assert_eq!(bucket.waiting(), 0);
        let start = Instant::now();
        take(&bucket, 1.0).await;
        assert!(start.elapsed() < Duration::from_secs(11), "{:?}", start.elapsed());
    }
}

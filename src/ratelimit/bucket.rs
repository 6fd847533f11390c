//! A token bucket in capacity units, based on the crate `governor`. The bucket serves requests in the order of their
//! arrival. The rate of a bucket can change. When the actual consumption of a request is known, the caller reports it
//! with [`Bucket::reconcile`].

mod limiter;

use std::num::NonZeroU32;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use governor::clock::Clock as _;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::clock::SpeedClock;
use super::feedback::{AdaptiveRate, Feedback};
use super::waiters::{Waiter, Waiters};
use crate::item::Units;

use limiter::{ArrivalTime, Limiter, TOKENS_PER_UNIT};
pub(super) use limiter::{TOKEN_TIME, burst_tokens, nanos, quota, speed_for, to_tokens};

/// Waiters are not notified when a rate recovers, or when a key gains or loses its own bucket. So they check for these
/// changes at this interval.
pub(super) const RECHECK_INTERVAL: Duration = Duration::from_millis(200);

/// A token bucket for one scope. The bucket serves requests in the order of their arrival. While DynamoDB throttles the
/// scope, the bucket fills more slowly. When the actual consumption of a request is known, the caller reports it with
/// [`Bucket::reconcile`].
#[derive(Debug)]
pub struct Bucket {
    /// governor does not order waiters. This lock serves waiters in the order of their arrival.
    queue: Mutex<Limiter>,
    tat: ArrivalTime,
    clock: SpeedClock,
    /// The largest number of tokens in one burst. Zero during a pause. The holder of the `queue` lock passes this
    /// number to the limiter.
    burst: AtomicU32,
    rate: std::sync::Mutex<AdaptiveRate>,
    began: Instant,
    /// Notifies waiters when the rate changes or tokens are refunded, so that they check again.
    changed: Notify,
    waiters: Waiters,
    throttles: AtomicU64,
    /// Consumed tokens that have not yet been reported to `rate`. Many tokens are reported together, because each
    /// report has to read the clock.
    served: AtomicU64,
    report_threshold: AtomicU64,
}

/// When the unreported consumption reaches the budget for this fraction of a second, it is reported to `rate`. These
/// reports are frequent enough to measure a rate per second.
const REPORT_SECONDS: f64 = 0.02;

impl Bucket {
    /// Creates a bucket that fills at this number of capacity units per second. Zero pauses the bucket.
    pub fn new(units_per_second: Units, feedback: Feedback) -> Bucket {
        let clock = SpeedClock::new(speed_for(units_per_second));
        let tat = ArrivalTime::default();
        Bucket {
            queue: Mutex::new(Limiter::new(burst_tokens(units_per_second), tat.clone(), clock.clone())),
            tat,
            clock,
            burst: AtomicU32::new(burst_for(units_per_second)),
            rate: std::sync::Mutex::new(AdaptiveRate::new(units_per_second, feedback)),
            began: Instant::now(),
            changed: Notify::new(),
            waiters: Waiters::default(),
            throttles: AtomicU64::new(0),
            served: AtomicU64::new(0),
            report_threshold: AtomicU64::new(to_tokens(units_per_second * REPORT_SECONDS)),
        }
    }

    /// Returns the rate at which the bucket currently fills, in capacity units per second.
    pub fn rate(&self) -> Units {
        self.with_rate(AdaptiveRate::at)
    }

    /// Returns the units that a full bucket contains at the current rate. A request for more units leaves debt.
    pub fn burst(&self) -> Units {
        f64::from(burst_tokens(self.rate()).get()) / TOKENS_PER_UNIT
    }

    /// Returns the highest rate at which the bucket may fill, in capacity units per second.
    pub fn budget(&self) -> Units {
        self.with_rate(|rate, _| rate.budget())
    }

    /// Changes the budget immediately, even for requests that already wait. Zero pauses the bucket. Debt stays the
    /// same, and a slowdown after throttles continues.
    pub fn set_budget(&self, units_per_second: Units) {
        self.with_rate(|rate, now| {
            rate.set_budget(now, units_per_second);
            // Store both values while the rate is locked, so that two concurrent changes do not mix their values.
            self.burst.store(burst_for(units_per_second), Ordering::Relaxed);
            self.report_threshold.store(to_tokens(units_per_second * REPORT_SECONDS), Ordering::Relaxed);
        });
        self.changed.notify_waiters();
    }

    /// Records that DynamoDB throttled a request because of this scope. The bucket slows down and then recovers.
    pub fn throttled(&self) {
        self.throttles.fetch_add(1, Ordering::Relaxed);
        self.report_served();
        if self.with_rate(AdaptiveRate::throttled) {
            self.changed.notify_waiters();
        }
    }

    /// Slows the bucket down to this rate, as if DynamoDB had throttled it. The rate then recovers from this value.
    pub(super) fn slow_to(&self, units_per_second: Units) {
        self.with_rate(|rate, now| rate.slow_to(now, units_per_second));
    }

    /// Returns the number of requests that currently wait for permits.
    pub fn waiting(&self) -> usize {
        self.waiters.count()
    }

    /// Returns the total time that requests waited for permits. Waits that have not ended are not included.
    pub fn waited(&self) -> Duration {
        self.waiters.waited()
    }

    /// Returns the number of requests that DynamoDB throttled because of this scope.
    pub fn throttles(&self) -> u64 {
        self.throttles.load(Ordering::Relaxed)
    }

    /// Waits until these units may be used, and takes them. Requests are served in the order of their arrival. If a
    /// request needs more units than one burst, it waits for a full burst, and the units beyond the burst become debt.
    /// The future can be dropped at any point, because it takes no units before it returns.
    pub async fn acquire(&self, units: Units) {
        if self.try_acquire(units) {
            return;
        }
        let tokens = to_tokens(units);
        let _counted = self.count_waiter();
        let mut limiter = self.queue.lock().await;
        loop {
            // Register for notifications before the check. Otherwise a change between the check and the sleep would be
            // missed.
            let changed = self.changed.notified();
            let recovers = self.with_rate(AdaptiveRate::is_slowed);
            let Err(wait) = self.take(&mut limiter, tokens) else { return };
            let speed = self.clock.speed();
            if speed > 0.0 {
                // If the wait is too long for a `Duration`, wait for an hour. The loop then checks again.
                let wait = Duration::try_from_secs_f64(wait.as_secs_f64() / speed).unwrap_or(Duration::from_secs(3600));
                let wait = if recovers { wait.min(RECHECK_INTERVAL) } else { wait };
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {}
                    () = changed => {}
                }
            } else {
                changed.await;
            }
        }
    }

    /// Takes these units if they are currently available and no other request waits. Otherwise takes no units and
    /// returns false.
    pub fn try_acquire(&self, units: Units) -> bool {
        // A waiting request holds this lock, so no other request can overtake it.
        let Ok(mut limiter) = self.queue.try_lock() else { return false };
        self.take(&mut limiter, to_tokens(units)).is_ok()
    }

    /// Takes these tokens. If they are not available, returns the time until they are available at speed 1. During a
    /// pause, this time is `Duration::MAX`.
    fn take(&self, limiter: &mut Limiter, tokens: u64) -> Result<(), Duration> {
        let burst = NonZeroU32::new(self.burst.load(Ordering::Relaxed)).ok_or(Duration::MAX)?;
        limiter.set_burst(burst);
        limiter.take(tokens)
    }

    /// Reconciles the units that a request took with the units that it actually consumed. Consumption beyond the taken
    /// units becomes debt. Unused units are refunded, so that a waiter can continue. If the server reported no
    /// consumption, the caller passes its estimate.
    pub fn reconcile(&self, taken: Units, consumed: Units) {
        let taken = to_tokens(taken);
        let used = to_tokens(consumed);
        match used.cmp(&taken) {
            std::cmp::Ordering::Greater => self.tat.add_debt(used - taken, self.clock.now()),
            std::cmp::Ordering::Less => self.refund(taken - used),
            std::cmp::Ordering::Equal => {}
        }
        let report_threshold = self.report_threshold.load(Ordering::Relaxed);
        if self.served.fetch_add(used, Ordering::Relaxed) + used >= report_threshold {
            self.report_served();
        }
    }

    fn refund(&self, tokens: u64) {
        self.tat.refund(tokens);
        // This fence pairs with the fence in `count_waiter`. So either this thread sees the waiter, or the waiter sees
        // the refund.
        fence(Ordering::SeqCst);
        if self.waiting() > 0 {
            self.changed.notify_waiters();
        }
    }

    /// Counts one waiting request until the returned value is dropped.
    fn count_waiter(&self) -> Waiter<'_> {
        let counted = self.waiters.add_waiter();
        fence(Ordering::SeqCst);
        counted
    }

    fn report_served(&self) {
        let tokens = self.served.swap(0, Ordering::Relaxed);
        self.with_rate(|rate, now| rate.served(now, tokens as f64 / TOKENS_PER_UNIT));
    }

    /// Applies `f` to the rate, then sets the clock's speed according to the new rate.
    fn with_rate<T>(&self, f: impl FnOnce(&mut AdaptiveRate, Duration) -> T) -> T {
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

/// Returns the burst for a budget, in tokens. For a paused bucket, the burst is zero.
fn burst_for(units_per_second: Units) -> u32 {
    if units_per_second > 0.0 { burst_tokens(units_per_second).get() } else { 0 }
}

#[cfg(test)]
mod tests;

//! A token bucket in capacity units, based on the crate `governor`. The bucket serves requests in the order of their
//! arrival. It is settled when the real consumption is known, and its rate can change.

mod limiter;

use std::num::NonZeroU32;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Duration;

use governor::clock::Clock as _;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::clock::SpeedClock;
use super::feedback::{Feedback, Rate};
use crate::item::Units;

use limiter::{Limiter, TOKENS_PER_UNIT, Tat};
pub(super) use limiter::{TOKEN_TIME, burst_tokens, nanos, quota, speed_for, to_tokens};

/// The interval at which waiters check for changes about which they are not notified: a rate that recovers, or a key
/// that got another bucket.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A token bucket for one scope. The bucket serves requests in the order of their arrival and is settled when the real
/// consumption is known. While DynamoDB throttles the scope, the bucket fills more slowly.
#[derive(Debug)]
pub struct Bucket {
    /// governor does not order waiters. This lock makes sure that they are served in the order of their arrival.
    turn: Mutex<Limiter>,
    tat: Tat,
    clock: SpeedClock,
    /// The largest number of tokens in one burst, zero in a pause. The holder of `turn` applies it to the limiter.
    burst: AtomicU32,
    rate: std::sync::Mutex<Rate>,
    began: Instant,
    /// Notified when the rate has changed or tokens were refunded. Waiters then check again.
    changed: Notify,
    waiting: AtomicUsize,
    throttles: AtomicU64,
    /// Consumed tokens that are not noted in `rate` yet. Many tokens are noted together, because each note costs a
    /// clock read.
    served: AtomicU64,
    note_at: AtomicU64,
}

/// Consumption is noted each time it reaches the budget of this part of a second. This interval is exact enough for a
/// rate per second.
const NOTE_SECONDS: f64 = 0.02;

impl Bucket {
    /// Creates a bucket that fills at this number of capacity units per second. Zero pauses the bucket.
    pub fn new(units_per_second: Units, feedback: Feedback) -> Bucket {
        let clock = SpeedClock::new(speed_for(units_per_second));
        let tat = Tat::default();
        Bucket {
            turn: Mutex::new(Limiter::new(burst_tokens(units_per_second), tat.clone(), clock.clone())),
            tat,
            clock,
            burst: AtomicU32::new(burst_for(units_per_second)),
            rate: std::sync::Mutex::new(Rate::new(units_per_second, feedback)),
            began: Instant::now(),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            throttles: AtomicU64::new(0),
            served: AtomicU64::new(0),
            note_at: AtomicU64::new(to_tokens(units_per_second * NOTE_SECONDS)),
        }
    }

    /// The rate at which the bucket fills now, in capacity units per second.
    pub fn rate(&self) -> Units {
        self.with_rate(Rate::at)
    }

    /// The highest rate at which the bucket may fill, in capacity units per second.
    pub fn budget(&self) -> Units {
        self.with_rate(|rate, _| rate.budget())
    }

    /// Changes the budget immediately, even for waiters. Zero pauses the bucket. Debt stays, and a slowdown after
    /// throttles stays too.
    pub fn set_budget(&self, units_per_second: Units) {
        self.with_rate(|rate, now| {
            rate.set_budget(now, units_per_second);
            // Store both under the lock of the rate. If two changes happen at the same time, one of them then applies
            // as a whole.
            self.burst.store(burst_for(units_per_second), Ordering::Relaxed);
            self.note_at.store(to_tokens(units_per_second * NOTE_SECONDS), Ordering::Relaxed);
        });
        self.changed.notify_waiters();
    }

    /// Notes that DynamoDB throttled a request because of this scope. The bucket slows down for a while.
    pub fn throttled(&self) {
        self.throttles.fetch_add(1, Ordering::Relaxed);
        self.note_served();
        if self.with_rate(Rate::throttled) {
            self.changed.notify_waiters();
        }
    }

    /// Slows the bucket down to this rate, as if DynamoDB had throttled it. The rate recovers from there.
    pub(super) fn slow_to(&self, units_per_second: Units) {
        self.with_rate(|rate, now| rate.slow_to(now, units_per_second));
    }

    /// Number of requests that wait for permits now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Number of requests that DynamoDB throttled because of this scope.
    pub fn throttles(&self) -> u64 {
        self.throttles.load(Ordering::Relaxed)
    }

    /// Waits until these units may be used, and takes them. Requests are served in the order of their arrival. A
    /// request that is larger than the burst is granted when a full burst is available, and the other units become
    /// debt. Safe to drop at any point, because nothing is taken before it returns.
    pub async fn acquire(&self, units: Units) {
        if self.try_acquire(units) {
            return;
        }
        let tokens = to_tokens(units);
        let _counted = Waiting::new(&self.waiting);
        let mut limiter = self.turn.lock().await;
        loop {
            // Register before the check. Otherwise a change between the check and the sleep would be missed.
            let changed = self.changed.notified();
            let recovers = self.with_rate(Rate::is_slowed);
            let Err(wait) = self.take(&mut limiter, tokens) else { return };
            let speed = self.clock.speed();
            if speed > 0.0 {
                // If the wait is too long for a `Duration`, wait for an hour. The loop then checks again.
                let wait = Duration::try_from_secs_f64(wait.as_secs_f64() / speed).unwrap_or(Duration::from_secs(3600));
                let wait = if recovers { wait.min(LOOK_AGAIN) } else { wait };
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

    /// Takes these units if they are available now and nobody waits. Otherwise returns false and takes nothing.
    pub fn try_acquire(&self, units: Units) -> bool {
        // Taking the lock fails while another request waits, so that no request overtakes another.
        let Ok(mut limiter) = self.turn.try_lock() else { return false };
        self.take(&mut limiter, to_tokens(units)).is_ok()
    }

    /// Takes these tokens. If they are not available, returns how long they take to arrive at speed 1. In a pause they
    /// never arrive.
    fn take(&self, limiter: &mut Limiter, tokens: u64) -> Result<(), Duration> {
        let burst = NonZeroU32::new(self.burst.load(Ordering::Relaxed)).ok_or(Duration::MAX)?;
        limiter.set_burst(burst);
        limiter.take(tokens)
    }

    /// Settles the units that a request took against the units that it consumed. Additional consumption becomes debt.
    /// Unused units are refunded, so that a waiter may continue. If the server reported no consumption, the caller
    /// passes its estimate.
    pub fn settle(&self, taken: Units, consumed: Units) {
        let taken = to_tokens(taken);
        let used = to_tokens(consumed);
        match used.cmp(&taken) {
            std::cmp::Ordering::Greater => self.tat.debt(used - taken, self.clock.now()),
            std::cmp::Ordering::Less => self.refund(taken - used),
            std::cmp::Ordering::Equal => {}
        }
        let note_at = self.note_at.load(Ordering::Relaxed);
        if self.served.fetch_add(used, Ordering::Relaxed) + used >= note_at {
            self.note_served();
        }
    }

    fn refund(&self, tokens: u64) {
        self.tat.refund(tokens);
        // This fence pairs with the fence in `Waiting::new`: either this thread sees the waiter, or the waiter sees the
        // refund.
        fence(Ordering::SeqCst);
        if self.waiting() > 0 {
            self.changed.notify_waiters();
        }
    }

    fn note_served(&self) {
        let tokens = self.served.swap(0, Ordering::Relaxed);
        self.with_rate(|rate, now| rate.served(now, tokens as f64 / TOKENS_PER_UNIT));
    }

    /// Applies `f` to the rate, then sets the clock's speed according to the new rate.
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

/// The burst for a budget, in tokens. Zero in a pause.
fn burst_for(units_per_second: Units) -> u32 {
    if units_per_second > 0.0 { burst_tokens(units_per_second).get() } else { 0 }
}

/// Counts one waiting request for as long as this value lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Waiting<'a> {
        count.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;

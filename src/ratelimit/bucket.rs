//! A token bucket in capacity units, on governor: first come, first served, settled afterwards, with a rate that can
//! change.

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

/// Waiters check this often for changes that nobody tells them of: a rate that recovers, or a key that got another
/// bucket.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A token bucket for one scope: first come, first served, settled afterwards, and slower while DynamoDB throttles it.
#[derive(Debug)]
pub struct Bucket {
    /// governor does not order waiters; this lock makes them first come, first served.
    turn: Mutex<Limiter>,
    tat: Tat,
    clock: SpeedClock,
    /// Tokens that the budget allows at a time, zero in a pause. The holder of the turn applies it to the limiter.
    burst: AtomicU32,
    rate: std::sync::Mutex<Rate>,
    began: Instant,
    /// The rate has changed, or tokens came back: waiters check again.
    changed: Notify,
    waiting: AtomicUsize,
    throttles: AtomicU64,
    /// Tokens that were consumed and are not yet noted in `rate`, because each note costs a clock read.
    served: AtomicU64,
    note_at: AtomicU64,
}

/// Consumption is noted after this part of a second's budget. That is exact enough for a rate per second.
const NOTE_SECONDS: f64 = 0.02;

impl Bucket {
    /// A bucket that fills at this number of capacity units per second. Zero pauses it.
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

    /// The highest rate at which it may fill, in capacity units per second.
    pub fn budget(&self) -> Units {
        self.with_rate(|rate, _| rate.budget())
    }

    /// Changes the budget immediately, even for waiters. Zero pauses the bucket. Debt stays, and so does what was
    /// learnt from throttles.
    pub fn set_budget(&self, units_per_second: Units) {
        self.with_rate(|rate, now| {
            rate.set_budget(now, units_per_second);
            // Stored under the same lock, so that of two concurrent changes one applies as a whole.
            self.burst.store(burst_for(units_per_second), Ordering::Relaxed);
            self.note_at.store(to_tokens(units_per_second * NOTE_SECONDS), Ordering::Relaxed);
        });
        self.changed.notify_waiters();
    }

    /// DynamoDB throttled a request because of this scope. The bucket slows down for a while.
    pub fn throttled(&self) {
        self.throttles.fetch_add(1, Ordering::Relaxed);
        self.note_served();
        if self.with_rate(Rate::throttled) {
            self.changed.notify_waiters();
        }
    }

    /// Fills at this rate, as if DynamoDB had throttled it there.
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

    /// Waits until these units may be used, and takes them. First come, first served. A request larger than the burst
    /// is granted when a full burst is available, and the rest becomes debt. Safe to drop at any point: nothing is
    /// taken until it returns.
    pub async fn acquire(&self, units: Units) {
        if self.try_acquire(units) {
            return;
        }
        let tokens = to_tokens(units);
        let _counted = Waiting::new(&self.waiting);
        let mut limiter = self.turn.lock().await;
        loop {
            // Register before the check, so that no change between the check and the sleep is missed.
            let changed = self.changed.notified();
            let recovers = self.with_rate(Rate::is_slowed);
            let Err(wait) = self.take(&mut limiter, tokens) else { return };
            let speed = self.clock.speed();
            if speed > 0.0 {
                // An hour is as good as forever here, because the loop checks again.
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
        // This fails while anybody waits, so that nobody is overtaken.
        let Ok(mut limiter) = self.turn.try_lock() else { return false };
        self.take(&mut limiter, to_tokens(units)).is_ok()
    }

    /// Takes these tokens, or says how long they take to arrive at speed 1. In a pause they never arrive.
    fn take(&self, limiter: &mut Limiter, tokens: u64) -> Result<(), Duration> {
        let burst = NonZeroU32::new(self.burst.load(Ordering::Relaxed)).ok_or(Duration::MAX)?;
        limiter.set_burst(burst);
        limiter.take(tokens)
    }

    /// Settles what was taken. Consumption beyond it becomes debt; an unused part is refunded, which may let a waiter
    /// continue. If the server reported nothing, the caller passes its estimate.
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
        // The fence pairs with the one in `Waiting::new`: either we see the waiter, or it sees the refund.
        fence(Ordering::SeqCst);
        if self.waiting() > 0 {
            self.changed.notify_waiters();
        }
    }

    fn note_served(&self) {
        let tokens = self.served.swap(0, Ordering::Relaxed);
        self.with_rate(|rate, now| rate.served(now, tokens as f64 / TOKENS_PER_UNIT));
    }

    /// Applies `f` to the rate, and sets the clock's speed to the resulting rate.
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

/// The burst of a budget, in tokens. Zero in a pause.
fn burst_for(units_per_second: Units) -> u32 {
    if units_per_second > 0.0 { burst_tokens(units_per_second).get() } else { 0 }
}

/// Counts a waiter for as long as it lives.
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

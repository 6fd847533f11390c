//! A token bucket in capacity units, on governor: first come, first served, settled afterwards, its rate changeable.

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

/// What may have changed is looked at so often by those who wait and are not told: a rate that recovers, or where their key
/// belongs.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A token bucket for one scope: first come, first served, settled afterwards, and slower while DynamoDB throttles it.
#[derive(Debug)]
pub struct Bucket {
    /// governor has no order among those who wait; this makes it first come, first served.
    turn: Mutex<Limiter>,
    tat: Tat,
    clock: SpeedClock,
    /// Tokens that the budget allows at once, zero in a pause; who has the turn lets the limiter follow it.
    burst: AtomicU32,
    rate: std::sync::Mutex<Rate>,
    began: Instant,
    /// The rate has changed, or tokens came back: who waits looks again.
    changed: Notify,
    waiting: AtomicUsize,
    throttles: AtomicU64,
    /// Tokens that were consumed and are not yet noted in `rate`: each note costs a look at the clock.
    served: AtomicU64,
    note_at: AtomicU64,
}

/// What is consumed is noted after this much of a second's budget, which is exact enough for a rate per second.
const NOTE_SECONDS: f64 = 0.02;

impl Bucket {
    /// A bucket that fills at so many capacity units per second; zero pauses it.
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

    /// Capacity units per second that the bucket fills at now.
    pub fn rate(&self) -> Units {
        self.with_rate(Rate::at)
    }

    /// Capacity units per second that it may fill at.
    pub fn budget(&self) -> Units {
        self.with_rate(|rate, _| rate.budget())
    }

    /// Changes the budget at once, also for those who wait; zero pauses. Debt stays, and so does what was learnt from
    /// throttles.
    pub fn set_budget(&self, units_per_second: Units) {
        self.with_rate(|rate, now| {
            rate.set_budget(now, units_per_second);
            // Under the same lock: of two changes at the same time, one is in force as a whole.
            self.burst.store(burst_for(units_per_second), Ordering::Relaxed);
            self.note_at.store(to_tokens(units_per_second * NOTE_SECONDS), Ordering::Relaxed);
        });
        self.changed.notify_waiters();
    }

    /// DynamoDB throttled a request for the sake of this scope: it goes slower for a while.
    pub fn throttled(&self) {
        self.throttles.fetch_add(1, Ordering::Relaxed);
        self.note_served();
        if self.with_rate(Rate::throttled) {
            self.changed.notify_waiters();
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
        let _counted = Waiting::new(&self.waiting);
        let mut limiter = self.turn.lock().await;
        loop {
            // Registered before the check, so that no change is missed between check and sleep.
            let changed = self.changed.notified();
            let recovers = self.with_rate(Rate::is_slowed);
            let Err(wait) = self.take(&mut limiter, tokens) else { return };
            let speed = self.clock.speed();
            if speed > 0.0 {
                // An hour is as good as for ever here: the loop looks again.
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

    /// Takes so many units if they are there now and nobody waits. False, and nothing is taken, otherwise.
    pub fn try_acquire(&self, units: Units) -> bool {
        // Fails while anybody waits, so that nobody is overtaken.
        let Ok(mut limiter) = self.turn.try_lock() else { return false };
        self.take(&mut limiter, to_tokens(units)).is_ok()
    }

    /// Takes so many tokens, or says how long they take to come at speed 1: never in a pause.
    fn take(&self, limiter: &mut Limiter, tokens: u64) -> Result<(), Duration> {
        let burst = NonZeroU32::new(self.burst.load(Ordering::Relaxed)).ok_or(Duration::MAX)?;
        limiter.set_burst(burst);
        limiter.take(tokens)
    }

    /// Settles what was taken: what was consumed beyond it becomes debt, what was not is refunded, and who waits goes on.
    /// Without a figure from the server the caller passes its estimate.
    pub fn settle(&self, taken: Units, consumed: Units) {
        let (taken, used) = (to_tokens(taken), to_tokens(consumed));
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
        // With the fence in `Waiting::new`: either we see who waits, or it sees the refund.
        fence(Ordering::SeqCst);
        if self.waiting() > 0 {
            self.changed.notify_waiters();
        }
    }

    fn note_served(&self) {
        let tokens = self.served.swap(0, Ordering::Relaxed);
        self.with_rate(|rate, now| rate.served(now, tokens as f64 / TOKENS_PER_UNIT));
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

/// The burst of a budget, in tokens; none in a pause.
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

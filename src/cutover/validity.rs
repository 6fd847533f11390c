//! Two conditions under which requests may be sent: this process still holds the lease, and the flag is unchanged.
//!
//! Each condition must be confirmed repeatedly. A confirmation is valid for a fixed time, which begins just before the
//! confirming request is sent. Two clocks measure this time, and the longer measured time counts ([`Moment::since`]).
//! If the machine sleeps, the process is paused, or the flag cannot be read in time, no new requests are sent until the
//! condition is confirmed again. Requests that are already in flight can still complete.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::clock::{Moment, MomentClock};

/// A condition that must be confirmed repeatedly. Each confirmation is valid for a fixed time.
#[derive(Clone)]
pub struct Validity(Arc<Inner>);

struct Inner {
    valid_for: Duration,
    moments: MomentClock,
    confirmed: watch::Sender<Confirmation>,
    confirmation_needed: Notify,
}

#[derive(Clone, Copy)]
struct Confirmation {
    at: Moment,
    /// The number of confirmations that expired before the next one arrived.
    expirations: u64,
}

impl Validity {
    /// Creates a condition that was confirmed at the moment `at`. Each confirmation is valid for `valid_for`.
    pub fn new(valid_for: Duration, at: Moment, moments: MomentClock) -> Validity {
        let confirmed = watch::Sender::new(Confirmation { at, expirations: 0 });
        Validity(Arc::new(Inner { valid_for, moments, confirmed, confirmation_needed: Notify::new() }))
    }

    /// Returns the current moment, read from this condition's clocks.
    pub fn now(&self) -> Moment {
        (self.0.moments)()
    }

    /// Confirms the condition. `at` is the moment just before the confirming request was sent.
    pub fn confirm(&self, at: Moment) {
        let fresh = self.is_fresh();
        self.0.confirmed.send_modify(|confirmed| {
            confirmed.expirations += u64::from(!fresh);
            confirmed.at = at;
        });
    }

    /// Returns the time since the last confirmation.
    pub fn age(&self) -> Duration {
        self.now().since(self.0.confirmed.borrow().at)
    }

    /// Returns whether the last confirmation is still valid.
    pub fn is_fresh(&self) -> bool {
        self.age() < self.0.valid_for
    }

    /// Waits until the condition is confirmed. If [`Validity::expirations`] has changed during the wait, the permits
    /// that the caller already holds are invalid, and it must acquire new ones. The future can be dropped at any point.
    pub async fn wait_until_fresh(&self) {
        let mut confirmed = self.0.confirmed.subscribe();
        loop {
            confirmed.mark_unchanged();
            if self.is_fresh() {
                return;
            }
            self.0.confirmation_needed.notify_one();
            if confirmed.changed().await.is_err() {
                // The task that confirms the condition has ended, and all waiting tasks will soon be stopped. So this
                // function does not return.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until another task needs a confirmation. Called only by the task that confirms the condition.
    pub async fn confirmation_needed(&self) {
        self.0.confirmation_needed.notified().await;
    }

    /// Returns the number of confirmations that expired before the next one arrived.
    pub fn expirations(&self) -> u64 {
        self.0.confirmed.borrow().expirations
    }
}

impl fmt::Debug for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validity").field("good_for", &self.0.valid_for).field("age", &self.age()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use jiff::{SignedDuration, Timestamp};
    use tokio::time::{Instant, advance, timeout};

    use super::*;

    const GOOD_FOR: Duration = Duration::from_secs(40);

    /// Creates a pair of clocks. The wall clock is ahead by the number of seconds in the returned variable.
    fn clocks() -> (MomentClock, Arc<AtomicI64>) {
        let began = Instant::now();
        let jump = Arc::new(AtomicI64::new(0));
        let jumped = Arc::clone(&jump);
        let moments: MomentClock = Arc::new(move || {
            let monotonic = Instant::now();
            let gone = SignedDuration::try_from(monotonic - began).unwrap();
            let wall = Timestamp::UNIX_EPOCH + gone + SignedDuration::from_secs(jumped.load(Ordering::Relaxed));
            Moment { monotonic, wall }
        });
        (moments, jump)
    }

    /// The confirmation expires as soon as one of the two clocks shows that `GOOD_FOR` has passed.
    #[tokio::test(start_paused = true)]
    async fn the_clock_that_shows_more_time_counts() {
        for (monotonic, jump, fresh) in [
            (0, 0, true),
            (39, 0, true),
            (40, 0, false),
            // The machine slept, and the monotonic clock did not advance during the sleep.
            (1, 38, true),
            (1, 39, false),
            (0, 100_000, false),
            // The wall clock was set back.
            (39, -100_000, true),
            (40, -100_000, false),
        ] {
            let (moments, jumped) = clocks();
            let validity = Validity::new(GOOD_FOR, moments(), moments);
            advance(Duration::from_secs(monotonic)).await;
            jumped.store(jump, Ordering::Relaxed);
            assert_eq!(validity.is_fresh(), fresh, "{monotonic} {jump}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_sleep_no_task_passes_before_a_confirmation() {
        let (moments, jumped) = clocks();
        let validity = Validity::new(GOOD_FOR, moments(), moments);
        validity.wait_until_fresh().await;
        assert_eq!(validity.expirations(), 0);
        jumped.store(60, Ordering::Relaxed);
        let waiting = tokio::spawn({
            let validity = validity.clone();
            async move { validity.wait_until_fresh().await }
        });
        validity.confirmation_needed().await;
        assert!(!waiting.is_finished());
        // The reply to a request that was sent before the sleep confirms nothing.
        let before = Moment { wall: Timestamp::UNIX_EPOCH, ..validity.now() };
        validity.confirm(before);
        timeout(Duration::from_secs(5), validity.confirmation_needed())
            .await
            .expect("a confirmation is requested again");
        assert!(!waiting.is_finished());
        validity.confirm(validity.now());
        waiting.await.unwrap();
        assert!(validity.expirations() > 0, "earlier permits must no longer be valid");
        assert!(validity.is_fresh());
    }
}

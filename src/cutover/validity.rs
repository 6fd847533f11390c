//! What must hold while requests are sent: that the lease is ours, and that the flag says what it said.
//!
//! Each is confirmed again and again, and counts for so long from the moment before it was asked for, by whichever clock
//! shows more time ([`Moment::since`]). A machine that slept, a process that was stopped, and a flag that cannot be read in
//! time are all the same here: nothing is sent until it is confirmed again, and requests in flight end meanwhile.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::clock::{Moment, Moments};

/// Something that is confirmed again and again, and counts for so long.
#[derive(Clone)]
pub struct Validity(Arc<Inner>);

struct Inner {
    good_for: Duration,
    moments: Moments,
    confirmed: watch::Sender<Confirmed>,
    wanted: Notify,
}

#[derive(Clone, Copy)]
struct Confirmed {
    at: Moment,
    /// How often it had been out of date before it was confirmed.
    holds: u64,
}

impl Validity {
    /// Something that was confirmed at this moment, and counts for so long each time.
    pub fn new(good_for: Duration, at: Moment, moments: Moments) -> Validity {
        let confirmed = watch::Sender::new(Confirmed { at, holds: 0 });
        Validity(Arc::new(Inner { good_for, moments, confirmed, wanted: Notify::new() }))
    }

    /// The moment now, by the same clocks.
    pub fn now(&self) -> Moment {
        (self.0.moments)()
    }

    /// It held at this moment: the one before the request was sent that has shown it.
    pub fn confirm(&self, at: Moment) {
        let fresh = self.is_fresh();
        self.0.confirmed.send_modify(|confirmed| {
            confirmed.holds += u64::from(!fresh);
            confirmed.at = at;
        });
    }

    /// The time since it was confirmed last.
    pub fn age(&self) -> Duration {
        self.now().since(self.0.confirmed.borrow().at)
    }

    /// Whether it counts now.
    pub fn is_fresh(&self) -> bool {
        self.age() < self.0.good_for
    }

    /// Returns when it counts. Who got leave to send something before ([`Validity::holds`]) gets it anew then. Safe to drop at
    /// any point.
    pub async fn fresh(&self) {
        let mut confirmed = self.0.confirmed.subscribe();
        loop {
            confirmed.mark_unchanged();
            if self.is_fresh() {
                return;
            }
            self.0.wanted.notify_one();
            if confirmed.changed().await.is_err() {
                // Nobody confirms it any more: who waits is being stopped.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns when somebody waits for the flag to be confirmed. For the task that confirms it.
    pub async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// How often it was out of date before it was confirmed.
    pub fn holds(&self) -> u64 {
        self.0.confirmed.borrow().holds
    }
}

impl fmt::Debug for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validity").field("good_for", &self.0.good_for).field("age", &self.age()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use jiff::{SignedDuration, Timestamp};
    use tokio::time::{Instant, advance, timeout};

    use super::*;

    const GOOD_FOR: Duration = Duration::from_secs(40);

    /// Clocks whose wall clock jumps by this number of seconds.
    fn clocks() -> (Moments, Arc<AtomicI64>) {
        let (began, jump) = (Instant::now(), Arc::new(AtomicI64::new(0)));
        let jumped = Arc::clone(&jump);
        let moments: Moments = Arc::new(move || {
            let monotonic = Instant::now();
            let gone = SignedDuration::try_from(monotonic - began).unwrap();
            let wall = Timestamp::UNIX_EPOCH + gone + SignedDuration::from_secs(jumped.load(Ordering::Relaxed));
            Moment { monotonic, wall }
        });
        (moments, jump)
    }

    /// Each pair of what the clocks show: the one that shows more counts.
    #[tokio::test(start_paused = true)]
    async fn it_counts_by_the_clock_that_shows_more() {
        for (monotonic, jump, fresh) in [
            (0, 0, true),
            (39, 0, true),
            (40, 0, false),
            // The machine slept: the monotonic clock stood still.
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
    async fn after_a_sleep_nobody_passes_before_it_is_confirmed() {
        let (moments, jumped) = clocks();
        let validity = Validity::new(GOOD_FOR, moments(), moments);
        validity.fresh().await;
        assert_eq!(validity.holds(), 0);
        jumped.store(60, Ordering::Relaxed);
        let waiting = tokio::spawn({
            let validity = validity.clone();
            async move { validity.fresh().await }
        });
        validity.wanted().await;
        assert!(!waiting.is_finished());
        // What was asked before the sleep confirms nothing.
        let before = Moment { wall: Timestamp::UNIX_EPOCH, ..validity.now() };
        validity.confirm(before);
        timeout(Duration::from_secs(5), validity.wanted()).await.expect("it is asked for again");
        assert!(!waiting.is_finished());
        validity.confirm(validity.now());
        waiting.await.unwrap();
        assert!(validity.holds() > 0, "who got leave before gets it anew");
        assert!(validity.is_fresh());
    }
}

//! Exponential backoff with full jitter. This code is pure: the caller supplies the random number and does the waiting.

use std::time::Duration;

/// Determines the wait before the next attempt. The wait is a random time, evenly distributed between zero and an upper
/// limit. The upper limit doubles with each attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// Upper limit of the wait before the second attempt.
    pub(crate) base: Duration,
    /// The upper limit never grows beyond this time.
    pub(crate) cap: Duration,
}

impl Backoff {
    /// Returns the wait after this number of failed attempts. The number must be at least one. `random` is a number
    /// from 0 to 1.
    pub(crate) fn wait(&self, failed_attempts: u32, random: f64) -> Duration {
        self.ceiling(failed_attempts).mul_f64(random.clamp(0.0, 1.0))
    }

    fn ceiling(&self, failed_attempts: u32) -> Duration {
        let doubled = 2_u32.checked_pow(failed_attempts.saturating_sub(1)).and_then(|n| self.base.checked_mul(n));
        doubled.map_or(self.cap, |ceiling| ceiling.min(self.cap))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_stay_under_a_growing_ceiling(attempts in 1_u32..200, random in 0.0..1.0_f64) {
            let backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(20) };
            let wait = backoff.wait(attempts, random);
            prop_assert!(wait <= backoff.cap);
            prop_assert!(wait <= backoff.ceiling(attempts));
            prop_assert!(backoff.ceiling(attempts) <= backoff.ceiling(attempts + 1));
        }
    }

    #[test]
    fn the_jitter_is_full() {
        let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };
        assert_eq!(backoff.wait(3, 0.0), Duration::ZERO);
        assert_eq!(backoff.wait(3, 0.5), Duration::from_millis(200));
        assert_eq!(backoff.wait(9, 1.0), Duration::from_secs(1));
    }
}

//! Measures how long applications may still obey an earlier state of the flag. This module is pure. The caller passes
//! the time of a monotonic clock.
//!
//! The clocks of hosts differ, so nothing here uses the times in the flag. When a strongly consistent read shows a
//! state of the flag, that state is in effect. Once `max_cache_seconds` have passed since that read, no application
//! obeys an earlier state. This time is measured with the clock of the host that read the flag.

use std::time::Duration;

use jiff::Timestamp;

use super::Flag;

/// The recorded time of a change is this far in the future when the first request of the change is sent. This margin is
/// longer than the total time of all attempts to write a control item (30 s, plus two requests of 5 s). So the change
/// is in effect by its recorded time, even if this process dies before then.
pub const CHANGE_TIME_MARGIN: Duration = Duration::from_secs(45);

/// Tracks when this host first saw the flag's current state, and from when every application will obey that state.
#[derive(Debug, Clone, Default)]
pub struct CacheExpiry {
    observation: Option<Box<Observation>>,
}

#[derive(Debug, Clone)]
struct Observation {
    flag: Flag,
    since: Duration,
    settles_after: Duration,
}

impl CacheExpiry {
    /// Call this after each read of the flag. Returns how long applications may still obey an earlier state. A change
    /// can become visible up to `propagation_delay` before it is in effect everywhere.
    pub fn observe(&mut self, flag: &Flag, propagation_delay: Duration, now: Duration) -> Duration {
        if self.observation.as_ref().is_none_or(|observation| !observation.flag.has_same_settings(flag)) {
            self.begin(flag, propagation_delay + cache(flag), now);
        }
        self.left(now)
    }

    /// Call this when this process has changed the flag to this state and the change is in effect.
    pub fn record_change(&mut self, flag: &Flag, now: Duration) {
        self.begin(flag, cache(flag), now);
    }

    /// Continues a wait that an earlier process on this host began when it saw this flag. `left` is the time for which
    /// applications may still obey an earlier state.
    pub fn restore(&mut self, flag: &Flag, left: Duration, now: Duration) {
        self.begin(flag, left, now);
    }

    /// Call this when a read has shown that the flag does not exist.
    pub fn forget(&mut self) {
        self.observation = None;
    }

    /// Returns how long, counted from `now`, applications may still obey an earlier state of the flag.
    pub fn left(&self, now: Duration) -> Duration {
        let left =
            |observation: &Observation| observation.settles_after.saturating_sub(now.saturating_sub(observation.since));
        self.observation.as_deref().map_or(Duration::ZERO, left)
    }

    fn begin(&mut self, flag: &Flag, settles_after: Duration, now: Duration) {
        self.observation = Some(Box::new(Observation { flag: flag.clone(), since: now, settles_after }));
    }
}

/// Returns how far the recorded time of the flag's last change is ahead of `now`; `None` if it is not ahead. While a
/// change is being made, its recorded time is up to [`CHANGE_TIME_MARGIN`] in the future.
pub fn time_ahead(flag: &Flag, now: Timestamp) -> Option<Duration> {
    Duration::try_from(flag.changed_at.duration_since(now)).ok().filter(|ahead| !ahead.is_zero())
}

fn cache(flag: &Flag) -> Duration {
    Duration::from_secs(u64::from(flag.max_cache_seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cutover::FlagChange;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// The wait always equals the flag's cache time. It does not depend on the clock of the host that made the change.
    #[test]
    fn a_wait_is_the_cache_time_regardless_of_the_clock_that_dates_the_change() {
        for skew in [-172_800, -90, 0, 44, 90, 172_800] {
            let flag = Flag::new(2, at(skew));
            let mut cache_expiry = CacheExpiry::default();
            assert_eq!(cache_expiry.observe(&flag, Duration::ZERO, seconds(7)), seconds(2));
            assert_eq!(cache_expiry.observe(&flag, Duration::ZERO, seconds(8)), seconds(1));
            assert_eq!(cache_expiry.observe(&flag, Duration::ZERO, seconds(9)), Duration::ZERO);
            // In this case, only the recorded time of the change is corrected. Applications obey the same settings as
            // before, so no new wait begins.
            assert_eq!(
                cache_expiry.observe(&flag.clone().with_changed_at(at(5)), Duration::ZERO, seconds(9)),
                Duration::ZERO
            );
            let next = flag.next(FlagChange::DualWrite, at(skew), Duration::ZERO).unwrap();
            assert_eq!(
                cache_expiry.observe(&next, Duration::ZERO, seconds(20)),
                seconds(2),
                "the next change must have its own wait"
            );
        }
    }

    #[test]
    fn a_restored_wait_is_not_repeated() {
        let flag = Flag::new(60, at(0));
        let mut cache_expiry = CacheExpiry::default();
        cache_expiry.restore(&flag, seconds(10), seconds(100));
        assert_eq!(cache_expiry.observe(&flag, seconds(45), seconds(104)), seconds(6));
        cache_expiry.forget();
        assert_eq!(
            cache_expiry.observe(&flag, seconds(45), seconds(104)),
            seconds(105),
            "a flag that was removed and recreated must have a new wait"
        );
        cache_expiry.record_change(&flag, seconds(110));
        assert_eq!(cache_expiry.left(seconds(130)), seconds(40));
    }

    #[test]
    fn a_change_time_in_the_future_is_noticed() {
        assert_eq!(time_ahead(&Flag::new(2, at(90)), at(0)), Some(seconds(90)));
        assert_eq!(time_ahead(&Flag::new(2, at(-90)), at(0)), None);
    }
}

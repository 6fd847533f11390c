//! Calculates how a throttle lowers the rate of a scope, and how the rate recovers. This module is pure. The time is an
//! argument.

use std::time::Duration;

use crate::item::Units;

/// The constants that determine how a scope's rate responds to throttles.
///
/// A throttle lowers the rate to a fraction of the recently served rate. The rate is lowered at most once a second.
/// After a throttle, the rate follows a cubic curve. It rises quickly to just below the rate at which the throttle
/// happened, and passes that rate slowly. As long as no request is throttled, it then rises faster and faster, up to
/// the budget. So the rate rarely hits a permanent limit, and it recovers soon after a temporary limit.
///
/// The constants were chosen by simulation: `cargo bench --bench capacity -- --sweep` runs the real engine against the
/// capacity model in virtual time. A request takes 3 to 9 ms, and the budget is twice the limit. The column "table" is
/// for a limit of the table, and the column "partitions" is for a limit of each partition. In both columns, the first
/// number is the fraction of the limit that was used, and the second number is the fraction of requests that were
/// throttled. For the last column, every request was throttled for a minute. The number in this column is the time
/// until the rate had recovered to nine tenths of its earlier value:
///
/// | decrease | recovery | table | partitions | after a storm |
/// | --- | --- | --- | --- | --- |
/// | 0.5 | 20 s | 99.8 %, 0.10 % | 96.5 %, 0.99 % | 17 s |
/// | 0.7 | 20 s | 100.0 %, 0.14 % | 99.3 %, 1.19 % | 18 s |
/// | **0.8** | **20 s** | **100.0 %, 0.18 %** | **99.6 %, 1.49 %** | **17 s** |
/// | 0.9 | 20 s | 100.0 %, 0.25 % | 99.2 %, 1.72 % | 18 s |
/// | 0.95 | 20 s | 100.0 %, 0.41 % | 99.9 %, 2.12 % | 18 s |
/// | 0.8 | 10 s | 100.0 %, 0.27 % | 99.3 %, 2.44 % | 8 s |
/// | 0.8 | 30 s | 99.9 %, 0.12 % | 99.6 %, 0.64 % | 26 s |
/// | 0.8 | 40 s | 100.0 %, 0.10 % | 99.6 %, 1.00 % | 37 s |
///
/// A floor of 5 % instead of 1 % made no difference. The simulated limits are a tenth of a real table's limits, so a
/// few throttled requests are a large fraction. With a real table's limits, the fraction of throttled requests is
/// smaller.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Feedback {
    /// A throttle reduces the rate to this fraction of the served rate.
    pub decrease: f64,
    /// The time in which the rate recovers from almost zero to the whole budget, in seconds. It determines how fast the
    /// rate grows.
    pub recovery: f64,
    /// The lowest rate, as a fraction of the budget. At this rate, the job still sends enough requests to notice when a
    /// limit is lifted.
    pub floor: f64,
}

impl Default for Feedback {
    fn default() -> Feedback {
        Feedback { decrease: 0.8, recovery: 20.0, floor: 0.01 }
    }
}

/// The served rate counts as at least this fraction of the current rate. So after one throttle, the rate is at least 40
/// % of the current rate. At the beginning and after a pause, the served rate is low, but this does not mean that the
/// scope's limit is low.
const MIN_SERVED_SHARE: f64 = 0.5;

/// The shortest time between two decreases. Throttles within this time after a decrease belong to requests that were
/// sent before the decrease.
const MIN_DECREASE_INTERVAL: Duration = Duration::from_secs(1);

/// The rate of one scope.
#[derive(Debug)]
pub(super) struct AdaptiveRate {
    feedback: Feedback,
    budget: Units,
    slowdown: Option<Slowdown>,
    served: ServedUnits,
}

/// The state of a rate since its last decrease.
#[derive(Debug, Clone, Copy)]
struct Slowdown {
    since: Duration,
    from: Units,
    /// The rate that was too high. The recovery passes this rate slowly.
    ceiling: Units,
    /// The largest budget since the decrease. The rate counts as recovered only when it reaches this budget. So if the
    /// budget is lowered, the slowdown does not end.
    budget: Units,
}

impl AdaptiveRate {
    pub(super) fn new(budget: Units, feedback: Feedback) -> AdaptiveRate {
        AdaptiveRate { feedback, budget, slowdown: None, served: ServedUnits::default() }
    }

    pub(super) fn budget(&self) -> Units {
        self.budget
    }

    /// Returns whether the rate is below its budget and will recover by itself.
    pub(super) fn is_slowed(&mut self, now: Duration) -> bool {
        self.at(now) < self.budget
    }

    /// Returns the current rate, in capacity units per second. When the rate reaches its budget again, it no longer
    /// counts as slowed.
    pub(super) fn at(&mut self, now: Duration) -> Units {
        let Some(slowdown) = self.slowdown else { return self.budget };
        if self.budget <= 0.0 {
            return 0.0;
        }
        let rate = self.curve(slowdown, now.saturating_sub(slowdown.since));
        if rate >= slowdown.budget && self.budget >= slowdown.budget {
            self.slowdown = None;
        }
        rate.min(self.budget)
    }

    /// Changes the budget from now on. Zero means a pause. A slowed rate keeps its last value and continues to recover
    /// from this value, because a pause or a lower budget provides no information about the limit.
    pub(super) fn set_budget(&mut self, now: Duration, budget: Units) {
        let budget = budget.max(0.0);
        let current = self.at(now);
        if let Some(slowdown) = &mut self.slowdown {
            if self.budget > 0.0 {
                slowdown.from = current;
                slowdown.ceiling = slowdown.ceiling.max(current);
            }
            slowdown.since = now;
            slowdown.budget = slowdown.budget.max(budget);
        }
        self.budget = budget;
    }

    /// Records the consumption of a request that was not throttled.
    pub(super) fn served(&mut self, now: Duration, units: Units) {
        self.served.add(now, units);
    }

    /// Records that a request of this scope was throttled. Returns whether the throttle lowered the rate.
    pub(super) fn throttled(&mut self, now: Duration) -> bool {
        let too_soon = self.slowdown.is_some_and(|s| now.saturating_sub(s.since) < MIN_DECREASE_INTERVAL);
        let rate = self.at(now);
        if too_soon || rate <= 0.0 {
            return false;
        }
        let ceiling = self.served.rate(now).clamp(rate * MIN_SERVED_SHARE, rate);
        let from = (ceiling * self.feedback.decrease).max(self.floor());
        let budget = self.slowdown.map_or(self.budget, |slowdown| slowdown.budget);
        self.slowdown = Some(Slowdown { since: now, from, ceiling: ceiling.max(from), budget });
        true
    }

    /// Lowers the rate to `rate`, as if a throttle had done so. The rate then recovers from this value.
    pub(super) fn slow_to(&mut self, now: Duration, rate: Units) {
        let from = rate.clamp(self.floor(), self.budget);
        let ceiling = (from / self.feedback.decrease).min(self.budget);
        self.slowdown = Some(Slowdown { since: now, from, ceiling, budget: self.budget });
    }

    fn floor(&self) -> Units {
        (self.budget * self.feedback.floor).max(MIN_RATE).min(self.budget)
    }

    fn curve(&self, slowdown: Slowdown, elapsed: Duration) -> Units {
        let budget = self.budget.max(MIN_RATE);
        let plateau = self.feedback.recovery * ((slowdown.ceiling - slowdown.from) / budget).cbrt();
        let past = (elapsed.as_secs_f64() - plateau) / self.feedback.recovery;
        (slowdown.ceiling + budget * past.powi(3)).max(self.floor())
    }
}

/// The lowest rate in capacity units per second, unless the budget is lower. This rate allows one write unit every two
/// seconds.
const MIN_RATE: Units = 0.5;

/// If a measurement is shorter than this number of seconds, it is treated as if it had lasted this long.
const MIN_MEASURED_SECONDS: f64 = 0.25;

/// Capacity units served in about the last second, measured with a sliding window of two halves.
#[derive(Debug, Default)]
struct ServedUnits {
    began: Option<Duration>,
    window: Duration,
    units: Units,
    before: Units,
}

impl ServedUnits {
    fn add(&mut self, now: Duration, units: Units) {
        if self.began.is_none() {
            self.began = Some(now);
            self.window = now;
        }
        self.roll(now);
        self.units += units;
    }

    fn rate(&mut self, now: Duration) -> Units {
        self.roll(now);
        let into = now.saturating_sub(self.window).as_secs_f64().min(1.0);
        match self.began {
            // In the first second, the window is not yet full. Also, a scope that was idle can at first serve the
            // capacity of up to one additional second.
            Some(began) if began == self.window => self.units / into.max(MIN_MEASURED_SECONDS) / 2.0,
            _ => self.before * (1.0 - into) + self.units,
        }
    }

    fn roll(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.window).as_secs();
        if seconds > 0 {
            self.before = if seconds == 1 { self.units } else { 0.0 };
            self.units = 0.0;
            self.window += Duration::from_secs(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// Simulates a scope that can serve `limit`, and sends it as many requests as the rate allows. Returns the number
    /// of decreases and the number of served units.
    fn run(rate: &mut AdaptiveRate, limit: impl Fn(f64) -> f64, seconds: u32) -> (u32, f64) {
        let mut throttled = 0;
        let mut served = 0.0;
        for step in 0..seconds * 20 {
            let now = f64::from(step) / 20.0;
            let offered = rate.at(at(now)) / 20.0;
            let granted = offered.min(limit(now) / 20.0);
            rate.served(at(now), granted);
            served += granted;
            if offered > granted {
                throttled += u32::from(rate.throttled(at(now)));
            }
        }
        (throttled, served)
    }

    #[test]
    fn the_rate_settles_just_under_an_unknown_limit() {
        for times in [1.2, 2.0, 10.0] {
            let mut rate = AdaptiveRate::new(1000.0 * times, Feedback::default());
            let (decreases, served) = run(&mut rate, |_| 1000.0, 300);
            assert!(served > 0.9 * 300_000.0, "{times}: {served}");
            assert!(decreases < 80, "{times}: {decreases} decreases in 300 s");
        }
    }

    #[test]
    fn the_rate_recovers_within_thirty_seconds_after_a_storm() {
        let mut rate = AdaptiveRate::new(1000.0, Feedback::default());
        run(&mut rate, |now| if now < 60.0 { 0.0 } else { 1000.0 }, 60);
        assert!(rate.at(at(60.0)) < 100.0, "{}", rate.at(at(60.0)));
        assert!(rate.at(at(90.0)) >= 900.0, "{}", rate.at(at(90.0)));
        assert!((rate.at(at(200.0)) - 1000.0).abs() < 1e-9 && !rate.is_slowed(at(200.0)));
    }

    #[test]
    fn a_budget_changes_immediately_in_both_directions() {
        let mut rate = AdaptiveRate::new(1000.0, Feedback::default());
        rate.set_budget(at(1.0), 0.0);
        assert!(rate.at(at(1.0)).abs() < 1e-9);
        assert!(!rate.throttled(at(1.0)), "a paused rate cannot be slowed");
        rate.set_budget(at(1.0), 50.0);
        assert!((rate.at(at(1.0)) - 50.0).abs() < 1e-9);
        rate.throttled(at(2.0));
        rate.set_budget(at(2.0), 10.0);
        assert!(rate.at(at(2.0)) <= 10.0);
    }

    /// A lower budget or a pause provides no information about the limit that caused the throttle.
    #[test]
    fn a_temporarily_lowered_budget_does_not_forget_a_throttle() {
        for (lower, seconds) in [(0.0, 3600.0), (5.0, 1.0), (5.0, 30.0), (5.0, 3600.0)] {
            let mut rate = AdaptiveRate::new(1000.0, Feedback::default());
            rate.slow_to(at(10.0), 10.0);
            rate.set_budget(at(10.0), lower);
            assert!((rate.at(at(10.0 + seconds / 2.0)) - lower).abs() < 1e-9);
            rate.set_budget(at(10.0 + seconds), 1000.0);
            let after = rate.at(at(10.0 + seconds));
            assert!((10.0..20.0).contains(&after), "{after} after {lower}");
            assert!(rate.at(at(10.0 + seconds + 10.0)) < 500.0);
            let later = at(10.0 + seconds + 40.0);
            assert!((rate.at(later) - 1000.0).abs() < 1e-9 && !rate.is_slowed(later));
        }
        let mut rate = AdaptiveRate::new(1000.0, Feedback::default());
        rate.slow_to(at(10.0), 10.0);
        rate.set_budget(at(10.0), 5.0);
        assert!(rate.throttled(at(20.0)), "a lowered budget can be throttled too");
        rate.at(at(30.0));
        rate.set_budget(at(30.0), 1000.0);
        assert!(rate.is_slowed(at(30.0)) && rate.at(at(30.0)) < 500.0, "{}", rate.at(at(30.0)));

        // Directly after a raise of the budget, the rate is at most the floor of the new budget.
        let mut rate = AdaptiveRate::new(100.0, Feedback::default());
        rate.slow_to(at(10.0), 10.0);
        rate.set_budget(at(15.0), 100_000.0);
        assert!(rate.at(at(15.0)) <= 1_000.0, "{}", rate.at(at(15.0)));
    }

    proptest! {
        /// The rate stays between the floor and the budget, for any sequence of throttles. There are never two
        /// decreases within a second.
        #[test]
        fn the_rate_stays_between_floor_and_budget(
            budget in 0.5..100_000.0_f64,
            events in proptest::collection::vec((0.0..3.0_f64, any::<bool>(), 0.0..500.0_f64), 1..100),
        ) {
            let mut rate = AdaptiveRate::new(budget, Feedback::default());
            let mut now = 0.0;
            let mut last = -10.0;
            for (wait, throttled, served) in events {
                now += wait;
                rate.served(at(now), served);
                if throttled && rate.throttled(at(now)) {
                    prop_assert!(now - last > 0.999, "{last} {now}");
                    last = now;
                }
                let rate = rate.at(at(now));
                prop_assert!(rate <= budget + 1e-9 && rate >= (budget * 0.01).min(budget) - 1e-9, "{rate} of {budget}");
            }
        }
    }
}

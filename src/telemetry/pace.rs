//! The rate, progress and ETA of a run. This module reads no clock, because the caller passes the elapsed time.

use std::collections::VecDeque;
use std::time::Duration;

/// The length of the window over which the rate is measured.
const WINDOW: Duration = Duration::from_secs(60);

/// The rate of work, measured over a window of time.
#[derive(Debug, Clone)]
pub struct ProgressMeter {
    points: VecDeque<(Duration, u64, f64)>,
    /// Number of items that were committed before this process began.
    before: u64,
    /// Number of items in the table, according to DynamoDB. The number may be six hours old.
    estimate: u64,
}

impl ProgressMeter {
    /// Creates the meter of a run that has already committed `before` items. The table has about `estimate` items. If
    /// their number is unknown, `estimate` is 0.
    pub fn new(before: u64, estimate: u64) -> ProgressMeter {
        ProgressMeter { points: VecDeque::from([(Duration::ZERO, 0, 0.0)]), before, estimate }
    }

    /// Records a measurement: the numbers of items and write units that this process has completed `elapsed` after its
    /// start.
    pub fn note(&mut self, elapsed: Duration, items: u64, write_units: f64) {
        self.points.push_back((elapsed, items, write_units));
        while self.points.len() > 2 && self.points.get(1).is_some_and(|p| elapsed - p.0 >= WINDOW) {
            self.points.pop_front();
        }
    }

    /// Returns the number of items per second and the number of write units per second, measured over the window.
    /// Returns `None` before the second measurement, and in the first minute until an item is complete.
    pub fn rates(&self) -> Option<(f64, f64)> {
        let first = self.points.front()?;
        let last = self.points.back()?;
        let seconds = (last.0 - first.0).as_secs_f64();
        let is_known = seconds > 0.0 && (last.1 > 0 || last.0 >= WINDOW);
        is_known.then(|| ((last.1 - first.1) as f64 / seconds, (last.2 - first.2) / seconds))
    }

    /// Returns the number of items that the run has committed, over all its sessions.
    pub fn done(&self) -> u64 {
        self.before + self.points.back().map_or(0, |p| p.1)
    }

    /// Returns the number of items in the table, according to DynamoDB; 0 if unknown.
    pub fn estimate(&self) -> u64 {
        self.estimate
    }

    /// Returns the progress in percent; `None` if the number of items in the table is unknown. This number is an
    /// estimate, so the result is at most 99 until the run ends.
    pub fn percent(&self) -> Option<u64> {
        (self.estimate > 0).then(|| (self.done() * 100 / self.estimate).min(99))
    }

    /// Returns the time until the run ends at the current rate; `None` if unknown.
    pub fn eta(&self) -> Option<Duration> {
        let left = self.estimate.checked_sub(self.done()).filter(|left| *left > 0)?;
        let (rate, _) = self.rates().filter(|(rate, _)| *rate > 0.0)?;
        Duration::try_from_secs_f64(left as f64 / rate).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_forgets_a_fast_start() {
        let mut pace = ProgressMeter::new(0, 10_000);
        for second in 1..=200_u64 {
            let items = if second <= 10 { second * 100 } else { 1_000 + (second - 10) * 10 };
            pace.note(Duration::from_secs(second), items, items as f64 * 2.0);
        }
        let (items, units) = pace.rates().unwrap();
        assert!((items - 10.0).abs() < 1.0 && (units - 20.0).abs() < 2.0, "{items} {units}");
        assert_eq!(pace.eta().unwrap().as_secs(), (10_000 - 2_900) / 10);
    }

    #[test]
    fn unknown_figures_stay_unknown() {
        let mut pace = ProgressMeter::new(500, 0);
        assert_eq!((pace.percent(), pace.eta(), pace.rates()), (None, None, None));
        pace.note(Duration::from_secs(1), 10, 0.0);
        assert_eq!(pace.done(), 510);
        assert_eq!(pace.eta(), None);
        let mut stale = ProgressMeter::new(0, 100);
        stale.note(Duration::from_secs(1), 5_000, 0.0);
        assert_eq!(
            (stale.percent(), stale.eta()),
            (Some(99), None),
            "the run has more items than the table's stale count"
        );
    }
}

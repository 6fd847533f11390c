//! The rate, progress and ETA of a run. This module reads no clock, because the caller passes the elapsed time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::figure::whole_duration;
use crate::state::Spend;

/// The length of the window over which the rate is measured.
const WINDOW: Duration = Duration::from_secs(60);

/// The last part of the window. If its rate differs by more than [`CHANGED`] from the rate of the window, the rate has
/// changed. Then only this part counts for the ETA.
const RECENT: Duration = Duration::from_secs(10);

/// If no item is completed for this time, the ETA is unknown. A pass that only reads completes its items page by page,
/// and a page can take longer than [`RECENT`].
const STILL: Duration = Duration::from_secs(30);

/// At the beginning of a session, requests also consume capacity that was saved earlier, so the first rates are too
/// high. Therefore, the first seconds do not count for the ETA if there are enough later seconds.
const BURST: Duration = Duration::from_secs(5);

/// See [`RECENT`].
const CHANGED: f64 = 0.15;

/// Number of parts of the window whose rates are compared, to find out how much the rate varies.
const PARTS: u32 = 6;

/// The smallest and the largest margin of the ETA, as fractions of the likely time. An ETA with a larger margin would
/// not be useful. `tests/world/eta.rs` checks that the true end is in the range.
const MARGIN: (f64, f64) = (0.07, 0.12);

/// The end of a run is slower than its middle, because the last segments do not end at the same time. So the upper end
/// of the range gets this additional margin.
const TAIL: f64 = 0.05;

/// The ETA is unknown until this fraction of the items is complete, because the first rate is not representative.
const SETTLED: f64 = 0.02;

/// The rate of work, measured over a window of time.
#[derive(Debug, Clone)]
pub struct ProgressMeter {
    points: VecDeque<Point>,
    /// Number of items that were committed before this process began.
    before: u64,
    /// Number of items in the table, according to DynamoDB. The number can be six hours old.
    estimate: u64,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    at: Duration,
    items: u64,
    /// Number of items whose outcome is known, committed or not. The ETA uses this number: on a small table, a large
    /// part of the items can be in pages that are not committed yet.
    processed: u64,
    spend: Spend,
}

/// The speed of a run over the last minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Number of committed items per second.
    pub items: f64,
    /// Write capacity units per second.
    pub write_units: f64,
    /// Read capacity units per second.
    pub read_units: f64,
}

/// The time until a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eta {
    /// The run probably takes at least this long.
    pub low: Duration,
    /// The time at the current rate.
    pub likely: Duration,
    /// The run probably takes at most this long.
    pub high: Duration,
}

/// Shows an ETA: `ETA 1 h 50 min to 2 h 15 min`.
pub fn eta_text(eta: Option<Eta>) -> String {
    let Some(Eta { low, likely, high }) = eta else { return "ETA unknown".to_owned() };
    let (from, to) = (whole_duration(low), whole_duration(high));
    if from == to { format!("ETA {}", whole_duration(likely)) } else { format!("ETA {from} to {to}") }
}

impl ProgressMeter {
    /// Creates the meter of a run that has already committed `before` items. The table has about `estimate` items. If
    /// their number is unknown, `estimate` is 0.
    pub fn new(before: u64, estimate: u64) -> ProgressMeter {
        let start = Point { at: Duration::ZERO, items: 0, processed: 0, spend: Spend::default() };
        ProgressMeter { points: VecDeque::from([start]), before, estimate }
    }

    /// Records a measurement at the time `elapsed` since the start of this process. It contains the number of committed
    /// items, the number of items whose outcome is known, and the capacity units that the committed items consumed.
    pub fn note(&mut self, elapsed: Duration, items: u64, processed: u64, spend: Spend) {
        self.points.push_back(Point { at: elapsed, items, processed: processed.max(items), spend });
        while self.points.len() > 2 && self.points.get(1).is_some_and(|p| elapsed - p.at >= WINDOW) {
            self.points.pop_front();
        }
    }

    /// Returns the speed, measured over the window. Returns `None` before the second measurement, and in the first
    /// minute until an item is complete.
    pub fn rates(&self) -> Option<Rates> {
        let first = self.points.front()?;
        let last = self.points.back()?;
        let seconds = (last.at - first.at).as_secs_f64();
        let is_known = seconds > 0.0 && (last.items > 0 || last.at >= WINDOW);
        let units = last.spend - first.spend;
        is_known.then(|| Rates {
            items: (last.items - first.items) as f64 / seconds,
            write_units: units.write / seconds,
            read_units: units.read / seconds,
        })
    }

    /// Returns the number of items that the run has committed, over all its sessions.
    pub fn done(&self) -> u64 {
        self.before + self.points.back().map_or(0, |p| p.items)
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

    /// Returns the time until the run ends, as a range; `None` if unknown. The range assumes a constant rate. It is
    /// calculated from the number of remaining items, according to DynamoDB's count, and from the rate of the last
    /// minute. If the rate has just changed, the rate of the last seconds is used instead.
    pub fn eta(&self) -> Option<Eta> {
        let last = self.points.back()?;
        let done = self.before + last.processed;
        let left = self.estimate.checked_sub(done).filter(|left| *left > 0)? as f64;
        if (done as f64) < self.estimate as f64 * SETTLED {
            return None;
        }
        let settled = last.at >= 4 * BURST;
        let whole = self.rate_since(if settled { BURST } else { Duration::ZERO })?;
        if last.at >= STILL {
            self.rate_since(last.at - STILL)?;
        }
        let recent = self.rate_since(last.at.saturating_sub(RECENT)).filter(|_| last.at >= 2 * RECENT).unwrap_or(whole);
        let changed = (recent - whole).abs() > whole * CHANGED;
        let rate = if changed { recent } else { whole };
        let margin = if changed { MARGIN.1 } else { self.variation().clamp(MARGIN.0, MARGIN.1) };
        let time = |rate: f64| Duration::try_from_secs_f64(left / rate).ok();
        let (low, likely) = (time(rate * (1.0 + margin))?, time(rate)?);
        Some(Eta { low, likely, high: time(rate / (1.0 + margin + TAIL))? })
    }

    /// Returns the number of items per second since this time, or since the beginning of the window if that is later.
    /// Returns `None` if no item is complete since then.
    fn rate_since(&self, since: Duration) -> Option<f64> {
        let first = self.points.iter().find(|point| point.at >= since)?;
        let last = self.points.back()?;
        let rate = last.processed.saturating_sub(first.processed) as f64 / (last.at - first.at).as_secs_f64();
        (rate.is_finite() && rate > 0.0).then_some(rate)
    }

    /// Returns the uncertainty of the window's mean rate. The result is twice the standard error, divided by the rate.
    fn variation(&self) -> f64 {
        let (Some(first), Some(last)) = (self.points.front(), self.points.back()) else { return MARGIN.1 };
        let part = (last.at - first.at) / PARTS;
        let ends: Vec<u64> = (0..=PARTS)
            .filter_map(|n| self.points.iter().rev().find(|point| point.at <= first.at + part * n).map(|p| p.processed))
            .collect();
        let counts: Vec<f64> = ends.windows(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64).collect();
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / (counts.len() as f64 - 1.0);
        let error = 2.0 * (variance / counts.len() as f64).sqrt() / mean;
        if error.is_finite() { error } else { MARGIN.1 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_window_forgets_a_fast_start() {
        let mut pace = ProgressMeter::new(0, 10_000);
        for second in 1..=200_u64 {
            let items = if second <= 10 { second * 100 } else { 1_000 + (second - 10) * 10 };
            let spend = Spend { write: items as f64 * 2.0, read: items as f64 };
            pace.note(Duration::from_secs(second), items, items, spend);
        }
        let Rates { items, write_units, read_units } = pace.rates().unwrap();
        assert!((items - 10.0).abs() < 1.0, "{items}");
        assert!((write_units - 20.0).abs() < 2.0 && (read_units - 10.0).abs() < 1.0, "{write_units} {read_units}");
        assert_eq!(pace.eta().unwrap().likely.as_secs(), (10_000 - 2_900) / 10);
    }

    #[test]
    fn unknown_figures_stay_unknown() {
        let mut pace = ProgressMeter::new(500, 0);
        assert_eq!((pace.percent(), pace.eta(), pace.rates()), (None, None, None));
        pace.note(Duration::from_secs(1), 10, 10, Spend::default());
        assert_eq!(pace.done(), 510);
        assert_eq!(pace.eta(), None);
        let mut stale = ProgressMeter::new(0, 100);
        stale.note(Duration::from_secs(1), 5_000, 5_000, Spend::default());
        assert_eq!(
            (stale.percent(), stale.eta()),
            (Some(99), None),
            "the run has more items than the table's stale count"
        );
    }

    /// A pass that reads one page every 20 seconds has an ETA. A pass that makes no progress has no ETA.
    #[test]
    fn the_eta_is_unknown_when_nothing_is_completed() {
        let mut pace = ProgressMeter::new(0, 100_000);
        for second in 1..=120_u64 {
            let items = second / 20 * 1_000;
            pace.note(Duration::from_secs(second), items, items, Spend::default());
            assert_eq!(pace.eta().is_some(), second >= 40, "second {second}");
        }
        for second in 121..=200 {
            pace.note(Duration::from_secs(second), 6_000, 6_000, Spend::default());
            assert_eq!(pace.eta().is_some(), second < 150, "second {second}");
        }
    }

    #[test]
    fn a_changed_rate_counts_after_some_seconds() {
        let mut pace = ProgressMeter::new(0, 100_000);
        let mut items = 0;
        for second in 1..=120_u64 {
            items += if second <= 100 { 100 } else { 50 };
            pace.note(Duration::from_secs(second), items, items, Spend::default());
        }
        let eta = pace.eta().unwrap();
        let truth = (100_000 - items) / 50;
        assert!(eta.low.as_secs() <= truth && truth <= eta.high.as_secs(), "{eta:?}, true: {truth} s");
    }

    proptest! {
        /// The percentage never exceeds 99 during a run and never decreases. The range of an ETA contains the likely
        /// time, and its width is at most 30 % of the likely time.
        #[test]
        fn percent_and_range_stay_in_bounds(
            estimate in 0_u64..5_000, before in 0_u64..1_000, steps in prop::collection::vec(0_u64..50, 1..200),
        ) {
            let mut pace = ProgressMeter::new(before, estimate);
            let mut items = 0;
            let mut percent = 0;
            for (second, step) in (1..).zip(steps) {
                items += step;
                pace.note(Duration::from_secs(second), items, items, Spend::default());
                if let Some(now) = pace.percent() {
                    prop_assert!(now <= 99 && now >= percent, "{now} after {percent}");
                    percent = now;
                }
                if let Some(Eta { low, likely, high }) = pace.eta() {
                    prop_assert!(low <= likely && likely <= high);
                    prop_assert!((high - low).as_secs_f64() <= 0.3 * likely.as_secs_f64());
                }
            }
        }
    }
}

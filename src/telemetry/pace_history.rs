//! The pace of a run over time, in bounded space. The process that executes a pass adds a sample every few seconds, and
//! the report draws the result. This module is pure.
//!
//! A history has at most [`MAX_SLOTS`] slots. When a sample would need an additional slot, the interval doubles, and
//! slots in the same interval are merged. A merge adds the figures of the slots. So the sums of a run of nine days are
//! as exact as the sums of a run of nine minutes.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::{Activity, ActivityClocks, PACE_RECORD_INTERVAL, PassView};
use crate::state::RunId;

/// The maximum number of slots in a history. A chart is about 720 pixels wide, so each slot has at least three pixels.
pub const MAX_SLOTS: usize = 240;

/// The number of runs whose pace and clocks a state file keeps. Because of this limit, years of nightly verifications
/// do not fill the file. See [`kept_runs`].
pub const KEPT_RUNS: u32 = 100;

/// An interval of 2^50 ms is longer than the whole range of timestamps, so at this interval, at most two slots remain.
const MAX_INTERVAL_MS: i64 = 1 << 50;

/// Returns the runs whose pace and clocks a state file keeps: the newest [`KEPT_RUNS`], and the newest run of each
/// phase. The newest run of a phase can be older than these runs, but an operator can still resume it.
/// `newest_of_phases` contains the newest run of each phase that has any run.
pub fn kept_runs(newest_of_phases: &[RunId]) -> Vec<RunId> {
    let newest = newest_of_phases.iter().map(|run| run.number()).max().unwrap_or_default();
    let recent = (newest - i64::from(KEPT_RUNS) + 1).max(1)..=newest;
    let older = newest_of_phases.iter().copied().filter(|run| !recent.contains(&run.number()));
    let older: Vec<RunId> = older.collect();
    recent.map(RunId::from_number).chain(older).collect()
}

/// The work of a run in one stretch of time.
#[derive(Debug, Clone, PartialEq)]
pub struct PaceSlot {
    /// The start of the stretch.
    pub from: Timestamp,
    /// The end of the stretch.
    pub until: Timestamp,
    /// Number of items that were committed.
    pub items: u64,
    /// Write capacity units of these items, including units that are assumed because a reply reported none.
    pub write_units: f64,
    /// Read capacity units of these items.
    pub read_units: f64,
    /// Number of requests that DynamoDB throttled.
    pub throttled: u64,
    /// The time in each activity. During the rest of the stretch, no process worked on the run.
    pub clocks: ActivityClocks,
}

impl PaceSlot {
    /// Returns the time for which a process observed the run.
    pub fn observed(&self) -> Duration {
        self.clocks.total()
    }

    fn add(&mut self, other: &PaceSlot) {
        self.items += other.items;
        self.write_units += other.write_units;
        self.read_units += other.read_units;
        self.throttled += other.throttled;
        for activity in Activity::ALL {
            self.clocks.add(activity, other.clocks.of(activity));
        }
    }
}

/// The pace of a run over time, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct PaceHistory {
    interval_ms: i64,
    slots: Vec<PaceSlot>,
}

impl Default for PaceHistory {
    fn default() -> PaceHistory {
        let interval_ms = i64::try_from(PACE_RECORD_INTERVAL.as_millis()).unwrap_or(MAX_INTERVAL_MS);
        PaceHistory { interval_ms, slots: Vec::new() }
    }
}

impl PaceHistory {
    /// Returns the slots, oldest first. They do not overlap.
    pub fn slots(&self) -> &[PaceSlot] {
        &self.slots
    }

    /// Returns the length of the interval into which samples are merged.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.unsigned_abs())
    }

    /// Returns the sum of all slots; `None` without a slot.
    pub fn total(&self) -> Option<PaceSlot> {
        let (first, rest) = self.slots.split_first()?;
        let mut total = first.clone();
        for slot in rest {
            total.add(slot);
            total.until = slot.until;
        }
        Some(total)
    }

    /// Adds a sample. If the wall clock was set back, adds the sample's figures to the last slot.
    pub fn add(&mut self, sample: PaceSlot) {
        let interval = self.interval_ms;
        match self.slots.last_mut() {
            Some(last) if sample.until <= last.until => last.add(&sample),
            Some(last) if key(sample.until, interval) == key(last.until, interval) => {
                last.add(&sample);
                last.until = sample.until;
            }
            Some(last) => {
                let from = sample.from.max(last.until);
                self.slots.push(PaceSlot { from, ..sample });
            }
            None => {
                let from = sample.from.min(sample.until);
                self.slots.push(PaceSlot { from, ..sample });
            }
        }
        while self.slots.len() > MAX_SLOTS && self.interval_ms < MAX_INTERVAL_MS {
            self.double_interval();
        }
    }

    fn double_interval(&mut self) {
        self.interval_ms *= 2;
        let interval = self.interval_ms;
        let mut merged: Vec<PaceSlot> = Vec::with_capacity(self.slots.len());
        for slot in self.slots.drain(..) {
            match merged.last_mut() {
                Some(last) if key(last.until, interval) == key(slot.until, interval) => {
                    last.add(&slot);
                    last.until = slot.until;
                }
                Some(_) | None => merged.push(slot),
            }
        }
        self.slots = merged;
    }

    /// Returns the text that the state file stores.
    pub fn to_text(&self) -> String {
        let slots: Vec<Json> = self
            .slots
            .iter()
            .map(|slot| {
                let PaceSlot { from, until, items, write_units, read_units, throttled, clocks } = slot;
                json!([
                    from.as_millisecond(),
                    until.as_millisecond(),
                    items,
                    write_units,
                    read_units,
                    throttled,
                    clocks.to_json()
                ])
            })
            .collect();
        json!({ "interval_ms": self.interval_ms, "slots": slots }).to_string()
    }

    /// Reads the text that [`PaceHistory::to_text`] returns. Returns `None` if another version of the tool wrote a
    /// different form.
    pub fn from_text(text: &str) -> Option<PaceHistory> {
        let json: Json = serde_json::from_str(text).ok()?;
        let interval_ms = json["interval_ms"].as_i64().filter(|ms| (1..=MAX_INTERVAL_MS).contains(ms))?;
        let slots = json["slots"].as_array()?.iter().map(slot_from).collect::<Option<Vec<_>>>()?;
        let in_order = slots.windows(2).all(|pair| pair[0].until <= pair[1].from);
        (slots.len() <= MAX_SLOTS && in_order).then_some(PaceHistory { interval_ms, slots })
    }
}

fn slot_from(json: &Json) -> Option<PaceSlot> {
    let [from, until, items, write, read, throttled, clocks] = json.as_array()?.as_slice() else { return None };
    let units = |json: &Json| json.as_f64().filter(|units| units.is_finite() && *units >= 0.0);
    Some(PaceSlot {
        from: Timestamp::from_millisecond(from.as_i64()?).ok()?,
        until: Timestamp::from_millisecond(until.as_i64()?).ok()?,
        items: items.as_u64()?,
        write_units: units(write)?,
        read_units: units(read)?,
        throttled: throttled.as_u64()?,
        clocks: ActivityClocks::from_json(clocks),
    })
}

/// Returns the number of the interval in which a slot ends. If the interval doubles, each pair of intervals becomes
/// one.
fn key(until: Timestamp, interval_ms: i64) -> i64 {
    until.as_millisecond().div_euclid(interval_ms)
}

/// Turns the views of a pass into samples. The figures of a view are totals of this session, and its clocks are totals
/// of the run. So each sample is the difference between a view and the previous view.
#[derive(Debug)]
pub struct PaceSampler {
    history: PaceHistory,
    at: Timestamp,
    items: u64,
    write_units: f64,
    read_units: f64,
    throttled: u64,
    clocks: ActivityClocks,
}

impl PaceSampler {
    /// Continues a run's history in a session that begins at `at`. `clocks` is the time that earlier sessions spent.
    pub fn new(history: PaceHistory, at: Timestamp, clocks: ActivityClocks) -> PaceSampler {
        PaceSampler { history, at, items: 0, write_units: 0.0, read_units: 0.0, throttled: 0, clocks }
    }

    /// Adds what happened since the last view, and returns the history.
    pub fn note(&mut self, view: &PassView) -> &PaceHistory {
        let counts = &view.figures.counts;
        // Count units when they are consumed, not when their page is committed. Otherwise each commit would look like a
        // peak above the budget.
        let spend = view.figures.consumed();
        let mut clocks = ActivityClocks::default();
        for activity in Activity::ALL {
            clocks.add(activity, view.clocks.of(activity).saturating_sub(self.clocks.of(activity)));
        }
        // The state file stores times in milliseconds, so it cannot store a shorter time.
        let to_ms = |at: Timestamp| Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
        let sample = PaceSlot {
            from: to_ms(self.at),
            until: to_ms(view.at),
            items: counts.scanned.saturating_sub(self.items),
            write_units: (spend.write - self.write_units).max(0.0),
            read_units: (spend.read - self.read_units).max(0.0),
            throttled: view.figures.throttled.saturating_sub(self.throttled),
            clocks,
        };
        self.at = view.at;
        self.items = counts.scanned;
        self.write_units = spend.write;
        self.read_units = spend.read;
        self.throttled = view.figures.throttled;
        self.clocks = view.clocks.clone();
        self.history.add(sample);
        &self.history
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    fn sample(from: i64, length: i64, items: u64) -> PaceSlot {
        let mut clocks = ActivityClocks::default();
        let time = Duration::from_millis(length.unsigned_abs());
        clocks.add(if items.is_multiple_of(3) { Activity::Throttled } else { Activity::Scanning }, time);
        let until = at(from + length);
        PaceSlot {
            from: at(from),
            until,
            items,
            write_units: items as f64 / 2.0,
            read_units: items as f64 * 1.5,
            throttled: items % 7,
            clocks,
        }
    }

    /// The steps between samples: usually 5 s, sometimes a long gap, sometimes a clock that was set back.
    fn samples() -> impl Strategy<Value = Vec<PaceSlot>> {
        let step = prop_oneof![8 => 4_500_i64..5_500, 1 => 0_i64..86_400_000, 1 => -3_600_000_i64..0];
        let length = prop_oneof![8 => 4_500_i64..5_500, 1 => 0_i64..10, 1 => 0_i64..7_200_000];
        let start = -4_000_000_000_000_i64..4_000_000_000_000;
        (start, prop::collection::vec((step, length, 0_u64..1_000_000), 1..1_500)).prop_map(|(start, steps)| {
            let mut now = start;
            let one = |(step, length, items): (i64, i64, u64)| {
                now += step;
                sample(now - length, length, items)
            };
            steps.into_iter().map(one).collect()
        })
    }

    #[test]
    fn nine_days_take_the_same_space_as_nine_hours() {
        let mut history = PaceHistory::default();
        let mut lengths = Vec::new();
        for n in 0..155_520_i64 {
            history.add(sample(n * 5_000, 5_000, 10));
            if [6_480, 155_519].contains(&n) {
                lengths.push((history.interval().as_secs(), history.to_text().len()));
            }
        }
        let [(hours, nine_hours), (days, nine_days)] = lengths[..] else { panic!() };
        assert!(hours == 160 && days == 5_120, "intervals of {hours} s and {days} s");
        assert!(nine_hours < 30_000 && nine_days < 30_000, "{nine_hours} and {nine_days} bytes");
        assert_eq!(history.total().unwrap().items, 1_555_200);
    }

    #[test]
    fn a_long_sample_keeps_its_length() {
        let mut history = PaceHistory::default();
        history.add(sample(0, 5_000, 1));
        history.add(sample(5_000, 7_200_000, 3));
        let last = history.slots().last().unwrap();
        assert_eq!((last.from, last.until), (at(5_000), at(7_205_000)));
        assert_eq!(last.clocks.of(Activity::Throttled), Duration::from_secs(7_200));
    }

    #[test]
    fn another_form_is_not_read() {
        for other in ["", "{}", r#"{"interval_ms":0,"slots":[]}"#, r#"{"interval_ms":5000,"slots":[[1,2]]}"#] {
            assert_eq!(PaceHistory::from_text(other), None, "{other}");
        }
    }

    proptest! {
        /// For any number of runs, the number of kept runs is bounded, and each run that can be resumed is kept.
        #[test]
        fn the_kept_runs_are_bounded_and_contain_the_newest(newest in prop::collection::vec(1_i64..100_000, 0..6)) {
            let newest: Vec<RunId> = newest.into_iter().map(RunId::from_number).collect();
            let kept = kept_runs(&newest);
            prop_assert!(kept.len() <= KEPT_RUNS as usize + newest.len());
            prop_assert!(newest.iter().all(|run| kept.contains(run)));
            let last = newest.iter().map(|run| run.number()).max().unwrap_or_default();
            prop_assert!((1..=last).rev().take(KEPT_RUNS as usize).all(|run| kept.contains(&RunId::from_number(run))));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn sums_are_preserved_within_the_bound(samples in samples()) {
            let mut history = PaceHistory::default();
            let mut expected = samples[0].clone();
            for (n, sample) in samples.iter().enumerate() {
                history.add(sample.clone());
                if n > 0 {
                    expected.add(sample);
                }
                prop_assert!(history.slots().len() <= MAX_SLOTS);
            }
            let total = history.total().unwrap();
            // The units are multiples of a half, so the sums are exact in every order.
            prop_assert_eq!(
                (total.items, total.write_units, total.read_units, total.throttled, &total.clocks),
                (expected.items, expected.write_units, expected.read_units, expected.throttled, &expected.clocks)
            );
            let latest = samples.iter().map(|sample| sample.until).max().unwrap();
            prop_assert_eq!(total.until, latest);
        }

        #[test]
        fn times_increase_and_read_back(samples in samples()) {
            let mut history = PaceHistory::default();
            samples.into_iter().for_each(|sample| history.add(sample));
            for slot in history.slots() {
                prop_assert!(slot.from <= slot.until);
            }
            for pair in history.slots().windows(2) {
                prop_assert!(pair[0].until <= pair[1].from && pair[0].until < pair[1].until);
            }
            prop_assert_eq!(PaceHistory::from_text(&history.to_text()), Some(history));
        }
    }
}

//! The geometry of the charts. This module is pure: it turns figures into coordinates, and the template draws them.
//!
//! All charts use a width of [`WIDTH`] units, and the page stretches them. Their texts are outside the drawings, so they
//! stay readable on a narrow screen.

use jiff::Timestamp;

use super::runs::pending_text;
use crate::clock::to_text;
use crate::figure::{count, number, whole_duration};
use crate::state::{RunRecord, SegmentCell};
use crate::telemetry::{Activity, ActivityClocks, PaceHistory, PaceSlot};

/// The width of a chart.
pub(super) const WIDTH: f64 = 1000.0;

/// The height of one panel of a pace chart.
pub(super) const PANEL_HEIGHT: f64 = 100.0;

/// The number of columns of a heat map with many cells.
const COLUMNS: usize = 40;

/// The size of a cell of a heat map, with the gap to the next cell.
const PITCH: usize = 10;

/// A part of a bar.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityShare {
    /// The activity.
    pub activity: Activity,
    /// The position of the left edge.
    pub x: f64,
    /// The width.
    pub width: f64,
    /// The time and the percentage, for people.
    pub text: String,
}

/// The time of a run by activity, as one stacked bar.
#[derive(Debug, Clone, PartialEq)]
pub struct ClockChart {
    /// The parts in the order of [`Activity::ALL`].
    pub shares: Vec<ActivityShare>,
    /// The total time.
    pub total: String,
}

impl ClockChart {
    /// Returns the chart.
    pub fn new(clocks: &ActivityClocks) -> ClockChart {
        let total = clocks.total();
        let seconds = total.as_secs_f64().max(f64::MIN_POSITIVE);
        let mut x = 0.0;
        let mut shares = Vec::new();
        for activity in Activity::ALL {
            let time = clocks.of(activity);
            if time.is_zero() {
                continue;
            }
            let share = time.as_secs_f64() / seconds;
            let text = format!("{} ({:.1} %)", short_duration(time), share * 100.0);
            shares.push(ActivityShare { activity, x, width: share * WIDTH, text });
            x += share * WIDTH;
        }
        ClockChart { shares, total: short_duration(total) }
    }
}

fn short_duration(time: std::time::Duration) -> String {
    if time.as_secs() == 0 { format!("{} ms", time.as_millis()) } else { whole_duration(time) }
}

/// One cell of a heat map.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatCell {
    /// The position of the left edge.
    pub x: usize,
    /// The position of the upper edge.
    pub y: usize,
    /// `pending`, `scanning` or `done`.
    pub state: &'static str,
    /// The level of the number of pages per segment, relative to the highest number. It is 0 for no page, 4 for at
    /// least half of the highest number, 3 for at least an eighth, 2 for at least a thirty-second, and 1 for less. So
    /// one large segment does not hide the differences between the other segments.
    pub level: u8,
    /// The text of the cell.
    pub title: String,
}

/// The segments of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// The cells.
    pub cells: Vec<HeatCell>,
    /// The width.
    pub width: usize,
    /// The height.
    pub height: usize,
    /// A description of the map in words.
    pub text: String,
    /// The words for segments without a committed page.
    pub pending_text: &'static str,
}

impl HeatMap {
    /// Returns the map of a run's segments.
    pub fn new(run: &RunRecord, cells: &[SegmentCell]) -> HeatMap {
        let per_segment = |cell: &SegmentCell| cell.pages as f64 / f64::from(cell.segments().max(1));
        let most = cells.iter().map(per_segment).fold(0.0, f64::max);
        let columns = cells.len().clamp(1, COLUMNS);
        let heat_cell = |(at, cell): (usize, &SegmentCell)| HeatCell {
            x: at % columns * PITCH,
            y: at / columns * PITCH,
            state: state_of(cell),
            level: level(per_segment(cell), most),
            title: title(cell),
        };
        let pages: u64 = cells.iter().map(|cell| cell.pages).sum();
        let done: u64 = cells.iter().map(|cell| u64::from(cell.done)).sum();
        let scanning: u64 = cells.iter().map(|cell| u64::from(cell.scanning)).sum();
        let pending = u64::from(run.total_segments).saturating_sub(done + scanning);
        let grouped = cells.iter().any(|cell| cell.segments() > 1);
        let pending_text = pending_text(run, pending);
        let each = if grouped { " Each cell stands for a group of neighbouring segments." } else { "" };
        HeatMap {
            cells: cells.iter().enumerate().map(heat_cell).collect(),
            width: columns * PITCH,
            height: cells.len().div_ceil(columns).max(1) * PITCH,
            text: format!(
                "{}: {} done, {} scanning, {} {pending_text}; {}, at most {most:.1} per segment in a cell.{each}",
                count(run.total_segments.into(), "segment", "segments"),
                number(done),
                number(scanning),
                number(pending),
                count(pages, "page", "pages")
            ),
            pending_text,
        }
    }
}

fn level(pages: f64, most: f64) -> u8 {
    let part = if most > 0.0 { pages / most } else { 0.0 };
    let reached = [0.5, 0.125, 0.03125].iter().filter(|edge| part >= **edge).count();
    if pages > 0.0 { 1 + u8::try_from(reached).unwrap_or(0) } else { 0 }
}

fn state_of(cell: &SegmentCell) -> &'static str {
    match (cell.done == cell.segments(), cell.done + cell.scanning) {
        (true, _) => "done",
        (false, 0) => "pending",
        (false, _) => "scanning",
    }
}

fn title(cell: &SegmentCell) -> String {
    let pages = count(cell.pages, "page", "pages");
    let items = count(cell.scanned, "item", "items");
    if cell.segments() == 1 {
        return format!("segment {}: {}, {pages}, {items}", cell.first, state_of(cell));
    }
    let (done, all) = (cell.done, cell.segments());
    format!(
        "segments {} to {}: {done} of {all} done, {} scanning, {pages}, {items}",
        cell.first, cell.last, cell.scanning
    )
}

/// One line of a panel.
#[derive(Debug, Clone, PartialEq)]
pub struct PaceLine {
    /// The name of the line.
    pub name: &'static str,
    /// The class that gives the line its colour.
    pub class: &'static str,
    /// The path of the line, as SVG path commands.
    pub path: String,
    /// The highest value.
    pub peak: f64,
}

/// One panel of a pace chart.
#[derive(Debug, Clone, PartialEq)]
pub struct PacePanel {
    /// The title, with the unit.
    pub title: &'static str,
    /// The value at the upper edge. The lower edge is 0.
    pub top: String,
    /// The lines.
    pub lines: Vec<PaceLine>,
}

/// The pace of a run over time.
#[derive(Debug, Clone, PartialEq)]
pub struct PaceChart {
    /// The panels, from top to bottom.
    pub panels: Vec<PacePanel>,
    /// The activities over time.
    pub band: Vec<ActivityShare>,
    /// The times at the left edge, in the middle and at the right edge.
    pub times: [String; 3],
    /// A description of the chart in words.
    pub text: String,
}

/// The scale of the time axis.
struct TimeScale {
    from_ms: f64,
    span_ms: f64,
}

impl TimeScale {
    fn x(&self, at: Timestamp) -> f64 {
        (at.as_millisecond() as f64 - self.from_ms) / self.span_ms * WIDTH
    }
}

impl PaceChart {
    /// Returns the chart of a history; `None` if the history is empty.
    pub fn new(history: &PaceHistory) -> Option<PaceChart> {
        let total = history.total()?;
        let from_ms = total.from.as_millisecond();
        let span_ms = (total.until.as_millisecond() - from_ms).max(1);
        let scale = TimeScale { from_ms: from_ms as f64, span_ms: span_ms as f64 };
        let slots = history.slots();
        let line = |name, class, figure: fn(&PaceSlot) -> f64| (name, class, figure);
        let panels = vec![
            panel("items per second", slots, &scale, &[line("items", "items", |slot| slot.items as f64)]),
            panel(
                "capacity units per second",
                slots,
                &scale,
                &[line("WCU", "wcu", |slot| slot.write_units), line("RCU", "rcu", |slot| slot.read_units)],
            ),
            panel(
                "throttled requests per second",
                slots,
                &scale,
                &[line("throttled", "throttles", |slot| slot.throttled as f64)],
            ),
        ];
        let middle = Timestamp::from_millisecond(from_ms + span_ms / 2).unwrap_or(total.from);
        let peaks = panels.iter().flat_map(|panel| &panel.lines);
        let peaks: Vec<String> = peaks.map(|line| format!("{} {}/s", rate_text(line.peak), line.name)).collect();
        let text = format!(
            "From {} to {}: {}, {} and {}. Highest rates over {}: {}. Time: {}.",
            to_text(total.from),
            to_text(total.until),
            count(total.items, "item", "items"),
            count(total.throttled, "throttled request", "throttled requests"),
            format_args!(
                "{} WCU, {} RCU",
                crate::figure::units(total.write_units),
                crate::figure::units(total.read_units)
            ),
            whole_duration(history.interval()),
            peaks.join(", "),
            total.clocks
        );
        let times = [total.from, middle, total.until].map(to_text);
        Some(PaceChart { band: band(slots, &scale), panels, times, text })
    }
}

type Figure = fn(&PaceSlot) -> f64;

fn panel(
    title: &'static str,
    slots: &[PaceSlot],
    scale: &TimeScale,
    lines: &[(&'static str, &'static str, Figure)],
) -> PacePanel {
    let peak = |figure: Figure| slots.iter().map(|slot| rate(slot, figure)).fold(0.0, f64::max);
    let top = lines.iter().map(|(_, _, figure)| peak(*figure)).fold(0.0, f64::max);
    let scaled = if top > 0.0 { top } else { 1.0 };
    let lines = lines.iter().map(|(name, class, figure)| PaceLine {
        name,
        class,
        path: path(slots, scale, scaled, *figure),
        peak: peak(*figure),
    });
    PacePanel { title, top: rate_text(top), lines: lines.collect() }
}

/// Returns the rate in a slot. Only the time in which a process observed the run counts.
fn rate(slot: &PaceSlot, figure: Figure) -> f64 {
    let seconds = slot.observed().as_secs_f64();
    if seconds > 0.0 { figure(slot) / seconds } else { 0.0 }
}

fn rate_text(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { number(rate.round() as u64) }
}

/// Draws a step for each slot. The line is interrupted where no process worked.
fn path(slots: &[PaceSlot], scale: &TimeScale, top: f64, figure: Figure) -> String {
    let mut path = String::new();
    let mut end = None;
    for slot in slots {
        let (from, until) = (scale.x(slot.from), scale.x(slot.until));
        let y = PANEL_HEIGHT - rate(slot, figure) / top * (PANEL_HEIGHT - 2.0) - 1.0;
        if end == Some(slot.from) {
            path += &format!("V{y:.1}H{until:.1}");
        } else {
            path += &format!("M{from:.1} {y:.1}H{until:.1}");
        }
        end = Some(slot.until);
    }
    path
}

fn band(slots: &[PaceSlot], scale: &TimeScale) -> Vec<ActivityShare> {
    let mut shares: Vec<ActivityShare> = Vec::new();
    for slot in slots {
        let mut x = scale.x(slot.from);
        let length = (slot.until.as_millisecond() - slot.from.as_millisecond()).max(1) as f64;
        // The activity times come from a monotonic clock, and the edges of the slot from the wall clock. So the
        // activities can be slightly longer than the slot.
        let per_ms = (scale.x(slot.until) - x) / length.max(slot.observed().as_millis() as f64);
        for activity in Activity::ALL {
            let time = slot.clocks.of(activity);
            let width = time.as_millis() as f64 * per_ms;
            if width <= 0.0 {
                continue;
            }
            match shares.last_mut() {
                Some(last) if last.activity == activity && (last.x + last.width - x).abs() < 0.5 => {
                    last.width = x + width - last.x;
                }
                Some(_) | None => shares.push(ActivityShare { activity, x, width, text: String::new() }),
            }
            x += width;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn slot(from: i64, length: i64, items: u64, activity: Activity) -> PaceSlot {
        let mut clocks = ActivityClocks::default();
        clocks.add(activity, Duration::from_millis(length.unsigned_abs()));
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        PaceSlot {
            from: at(from),
            until: at(from + length),
            items,
            write_units: items as f64 / 2.0,
            read_units: 0.0,
            throttled: 0,
            clocks,
        }
    }

    #[test]
    fn a_line_is_interrupted_where_no_process_worked() {
        let mut history = PaceHistory::default();
        history.add(slot(0, 5_000, 100, Activity::Scanning));
        history.add(slot(5_000, 5_000, 50, Activity::Waiting));
        history.add(slot(15_000, 5_000, 50, Activity::Scanning));
        let chart = PaceChart::new(&history).unwrap();
        assert_eq!(chart.panels[0].lines[0].path, "M0.0 1.0H250.0V50.0H500.0M750.0 50.0H1000.0");
        assert_eq!((chart.panels[0].top.as_str(), chart.panels[2].top.as_str()), ("20", "0"));
        let band: Vec<_> = chart.band.iter().map(|share| (share.activity, share.x, share.width)).collect();
        let expected =
            [(Activity::Scanning, 0.0, 250.0), (Activity::Waiting, 250.0, 250.0), (Activity::Scanning, 750.0, 250.0)];
        assert_eq!(band, expected);
        assert!(chart.text.contains("200 items, 0 throttled requests and 100 WCU, 0 RCU"), "{}", chart.text);
    }

    proptest! {
        #[test]
        fn shares_fill_the_bar(times in prop::collection::vec(0_u64..1_000_000, 11)) {
            let mut clocks = ActivityClocks::default();
            for (activity, time) in Activity::ALL.into_iter().zip(&times) {
                clocks.add(activity, Duration::from_millis(*time));
            }
            let chart = ClockChart::new(&clocks);
            prop_assert_eq!(chart.shares.len(), times.iter().filter(|time| **time > 0).count());
            let width: f64 = chart.shares.iter().map(|share| share.width).sum();
            prop_assert!(chart.shares.is_empty() || (width - WIDTH).abs() < 0.001);
        }

        /// For every history, nothing is drawn outside the chart.
        #[test]
        fn a_pace_chart_stays_inside(
            steps in prop::collection::vec((0_i64..100_000, 1_i64..10_000, 0_u64..100_000, 0_usize..11), 1..600)
        ) {
            let mut history = PaceHistory::default();
            let mut now = 1_790_000_000_000;
            for (gap, length, items, activity) in steps {
                history.add(slot(now + gap, length, items, Activity::ALL[activity]));
                now += gap + length;
            }
            let chart = PaceChart::new(&history).unwrap();
            for share in &chart.band {
                prop_assert!(share.x >= -0.001 && share.x + share.width <= WIDTH + 0.6, "{share:?}");
            }
            for line in chart.panels.iter().flat_map(|panel| &panel.lines) {
                let numbers = line.path.split(['M', 'H', 'V', ' ']).filter(|text| !text.is_empty());
                for number in numbers {
                    let number: f64 = number.parse().unwrap();
                    prop_assert!((0.0..=WIDTH).contains(&number), "{}", line.path);
                }
            }
        }
    }
}

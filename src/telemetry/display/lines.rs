//! The texts of the progress line. This module is pure. It turns the live figures into text of a given width.

use textwrap::core::display_width;

use super::Glyphs;
use crate::figure::{count, dollars, number, units};
use crate::outside::escaped;
use crate::telemetry::{AccessKind, Activity, LiveFigures, RangeFigures, ScopeKind, eta_text, heat};

/// The width of the bar, on a terminal of at least [`WIDE`] columns and on a narrower one.
const BAR: usize = 16;
const NARROW_BAR: usize = 8;
const WIDE: usize = 100;

/// The minimum width of a line with a bar.
const WITH_BAR: usize = 72;

/// A part of a line. The part with the highest rank is dropped first if the line is too long. Parts of rank 0 always
/// stay.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    rank: u8,
    text: String,
}

fn part(rank: u8, text: impl Into<String>) -> Part {
    Part { rank, text: text.into() }
}

/// Returns the lines of the progress display. There are at most three, and none is wider than `width`:
///
/// 1. the bar, the items, the rate and the ETA
/// 2. the consumed capacity against the budgets, the cost, the failures
/// 3. what the pass is doing, and why; the segments
pub fn progress_lines(live: &LiveFigures, width: usize, glyphs: &Glyphs) -> [String; 3] {
    let activity = escaped(&live.activity.current().to_string()).to_string();
    let strip = strip(&live.ranges, live.item_estimate, (width / 10).clamp(4, 32), glyphs);
    let segments = (live.total_segments > 0).then(|| part(1, format!("{strip} {}", segment_count(live))));
    let third = [part(0, activity)].into_iter().chain(segments).collect();
    [pace_line(live, width, glyphs), figures_line(live, width, glyphs), fit(third, width, glyphs)]
}

/// Returns the line with the bar, the items, the rate and the ETA.
pub fn pace_line(live: &LiveFigures, width: usize, glyphs: &Glyphs) -> String {
    // On a narrow terminal, the figures are more important than the bar.
    let bar_width = if width < WIDE { NARROW_BAR } else { BAR };
    let bar = live.percent.filter(|_| width >= WITH_BAR).map(|percent| bar(percent, bar_width, glyphs) + " ");
    let bar = bar.unwrap_or_default();
    let eta = (live.activity.state != Activity::Done).then(|| part(2, eta_text(live.eta.map(Into::into))));
    let room = width - display_width(&bar);
    let line = |rate: Option<String>| {
        let parts = [Some(part(0, items(live))), rate.map(|text| part(1, text)), eta.clone()];
        parts.into_iter().flatten().collect::<Vec<_>>()
    };
    let with_average = join(&line(rate_and_average(live)), glyphs);
    let figures = if display_width(&with_average) <= room { with_average } else { fit(line(rate(live)), room, glyphs) };
    bar + &figures
}

/// Returns the line with the consumed capacity against the budgets, the cost and the failures.
pub fn figures_line(live: &LiveFigures, width: usize, glyphs: &Glyphs) -> String {
    let parts = [
        capacity(live, AccessKind::Write).map(|text| part(1, text)),
        capacity(live, AccessKind::Read).map(|text| part(5, text)),
        cost(live).map(|text| part(3, text)),
        Some(part(if live.failures > 0 { 0 } else { 2 }, failures(live))),
    ];
    fit(parts.into_iter().flatten().collect(), width, glyphs)
}

/// Returns the figures as one line for a log, of any width.
pub(super) fn log_line(live: &LiveFigures) -> String {
    let segments = (live.total_segments > 0).then(|| segment_count(live));
    let parts = [
        Some(items(live)),
        rate_and_average(live),
        capacity(live, AccessKind::Write),
        capacity(live, AccessKind::Read),
        segments,
        cost(live),
        Some(failures(live)),
        Some(eta_text(live.eta.map(Into::into))),
        Some(live.activity.current().to_string()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn bar(percent: u64, width: usize, glyphs: &Glyphs) -> String {
    bar_of(percent.min(100) as usize * width / 100, width, glyphs)
}

/// Returns a bar of `width` characters, of which `filled` are filled.
pub fn bar_of(filled: usize, width: usize, glyphs: &Glyphs) -> String {
    let each = (0..width).map(|at| if at < filled { glyphs.filled } else { glyphs.empty });
    each.collect()
}

/// Returns the heat strip of ranges of segments.
pub fn strip(ranges: &[RangeFigures], item_estimate: u64, columns: usize, glyphs: &Glyphs) -> String {
    let cells: Vec<heat::HeatCell> = ranges.iter().map(Into::into).collect();
    heat::levels(&cells, item_estimate, columns).iter().map(|level| glyphs.levels[usize::from(*level)]).collect()
}

/// Returns the number of items and the percentage.
pub fn items(live: &LiveFigures) -> String {
    let percent = live.percent.map_or_else(String::new, |p| format!(" (~{p} %)"));
    format!("{}{percent}", count(live.items, "item", "items"))
}

/// Returns the current rate; `None` while it is unknown.
fn rate(live: &LiveFigures) -> Option<String> {
    Some(format!("{}/s", rounded(live.rates?.items_per_s)))
}

/// Returns the current rate and the average rate.
fn rate_and_average(live: &LiveFigures) -> Option<String> {
    let average = live.average_items_per_s.map(rounded);
    match (rate(live), average) {
        (Some(rate), Some(average)) => Some(format!("{rate} (avg {average}/s)")),
        (None, Some(average)) => Some(format!("avg {average}/s")),
        (rate, None) => rate,
    }
}

fn segment_count(live: &LiveFigures) -> String {
    format!("{}/{} segments", number(live.segments_done), number(live.total_segments))
}

/// Returns the consumption against the table's budget: `480/500 WCU/s`; `None` while a rate is unknown. The consumption
/// includes the capacity that indexes consume. Indexes have their own budgets, so the consumption can exceed the
/// table's budget.
fn capacity(live: &LiveFigures, access: AccessKind) -> Option<String> {
    let rates = live.rates?;
    let used = match access {
        AccessKind::Write => rates.wcu_per_s,
        AccessKind::Read => rates.rcu_per_s,
    };
    let table = live.scopes.iter().find(|scope| scope.scope == ScopeKind::Table && scope.access == access)?;
    Some(format!("{}/{} {}", rounded(used), rounded(table.budget), access.unit()))
}

/// Returns the estimated cost so far, and the estimated total cost of the run.
pub fn cost(live: &LiveFigures) -> Option<String> {
    let spend = live.spend.as_ref()?;
    let forecast = spend.forecast_dollars.map_or_else(String::new, |total| format!(" of ~{}", about(total)));
    Some(format!("~{}{forecast}", about(spend.dollars)))
}

/// Formats an estimated amount of dollars. Amounts below ten cents are shown with two significant digits.
fn about(amount: f64) -> String {
    if amount <= 0.0 || amount >= 0.1 {
        return dollars(amount);
    }
    let scale = 10_f64.powi(1 - amount.log10().floor() as i32);
    dollars((amount * scale).round() / scale)
}

/// Returns the failures, and the conflicts among them.
pub fn failures(live: &LiveFigures) -> String {
    let conflicts = match live.conflicts {
        0 => String::new(),
        conflicts => format!(" ({})", count(conflicts, "conflict", "conflicts")),
    };
    let diverged = match live.diverged {
        0 => String::new(),
        diverged => format!(", {} diverged", number(diverged)),
    };
    format!("{}{conflicts}{diverged}", count(live.failures, "failure", "failures"))
}

/// Formats a rate. A rate above zero is never shown as zero.
pub fn rounded(rate: f64) -> String {
    match rate {
        rate if rate > 0.0 && rate < 0.25 => "<0.5".to_owned(),
        rate if rate < 10.0 => units(rate.max(0.0)),
        rate => number(rate.round() as u64),
    }
}

/// Joins the parts. Drops the parts with the highest rank until the line fits. Cuts the line if even the parts of rank
/// 0 do not fit.
fn fit(mut parts: Vec<Part>, width: usize, glyphs: &Glyphs) -> String {
    loop {
        let line = join(&parts, glyphs);
        let least = parts.iter().map(|part| part.rank).max().unwrap_or(0);
        if display_width(&line) <= width || least == 0 {
            return cut(&line, width, glyphs);
        }
        parts.retain(|part| part.rank < least);
    }
}

fn join(parts: &[Part], glyphs: &Glyphs) -> String {
    parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(glyphs.separator)
}

/// Cuts a text that is wider than `width`.
pub fn cut(text: &str, width: usize, glyphs: &Glyphs) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(display_width(glyphs.ellipsis));
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += display_width(c.encode_utf8(&mut [0; 4]));
        if used > room {
            break;
        }
        kept.push(c);
    }
    if width >= display_width(glyphs.ellipsis) { kept + glyphs.ellipsis } else { kept }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ASCII, UNICODE};
    use super::*;
    use crate::telemetry::{ActivityChange, EtaFigures, RateFigures, ScopeFigures, SpendFigures};

    /// Returns the figures of a pass in the middle of its work.
    pub(crate) fn live() -> LiveFigures {
        let at = jiff::Timestamp::from_second(1_790_000_000).unwrap();
        let scope = |access, budget| ScopeFigures {
            scope: ScopeKind::Table,
            index: None,
            access,
            budget,
            rate: Some(budget),
            waiting: 1,
            waited_s: 2.0,
            throttles: 3,
        };
        let range = |n: u32| RangeFigures {
            first: n,
            last: n,
            done: u64::from(n < 3),
            items: u64::from(12_u32.saturating_sub(n)) * 500,
        };
        LiveFigures {
            at,
            activity: ActivityChange {
                since: at,
                state: Activity::Waiting,
                detail: "the budget of the table's writes, 500 WCU/s".to_owned(),
            },
            seconds: serde_json::json!({ "waiting": 40.0 }),
            hung: Vec::new(),
            items: 33_000,
            item_estimate: 80_000,
            percent: Some(41),
            rates: Some(RateFigures { items_per_s: 498.2, wcu_per_s: 499.6, rcu_per_s: 61.0 }),
            average_items_per_s: Some(471.0),
            eta: Some(EtaFigures { low_s: 85, likely_s: 94, high_s: 105 }),
            segments_done: 3,
            total_segments: 16,
            ranges: (0..16).map(range).collect(),
            failures: 2,
            conflicts: 1,
            diverged: 0,
            throttled: 0,
            failed_requests: 0,
            scopes: vec![scope(AccessKind::Read, 2_000.0), scope(AccessKind::Write, 500.0)],
            waits: Vec::new(),
            hot_keys: Vec::new(),
            key_ranges: Vec::new(),
            spend: Some(SpendFigures {
                wcu: 33_100.0,
                rcu: 4_100.0,
                dollars: 0.0212,
                forecast_dollars: Some(0.0514),
                limits: Vec::new(),
            }),
            recent: Vec::new(),
            slowed_by: None,
            last_answer: at,
            last_commit: at,
        }
    }

    fn text(live: &LiveFigures, width: usize, glyphs: &Glyphs) -> String {
        format!("\n{}\n", progress_lines(live, width, glyphs).join("\n"))
    }

    #[test]
    fn three_lines_show_the_run() {
        insta::assert_snapshot!("progress_120", text(&live(), 120, &UNICODE));
        insta::assert_snapshot!("progress_80", text(&live(), 80, &UNICODE));
        insta::assert_snapshot!("progress_40", text(&live(), 40, &UNICODE));
        insta::assert_snapshot!("progress_80_ascii", text(&live(), 80, &ASCII));
        insta::assert_snapshot!("progress_log", log_line(&live()));
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let live = LiveFigures {
            item_estimate: 0,
            percent: None,
            rates: None,
            average_items_per_s: None,
            eta: None,
            total_segments: 0,
            ranges: Vec::new(),
            failures: 0,
            conflicts: 0,
            scopes: Vec::new(),
            spend: None,
            ..live()
        };
        insta::assert_snapshot!("progress_unknown", text(&live, 80, &UNICODE));
    }

    #[test]
    fn a_small_rate_is_not_shown_as_zero() {
        assert_eq!(
            [0.0, 0.000_123_4, 0.0456, 0.1, 12.345].map(about),
            ["$0.00", "$0.00012", "$0.046", "$0.10", "$12.35"]
        );
        assert_eq!([0.0, 0.1, 0.3, 9.4, 10.4, 12_345.6].map(rounded), ["0", "<0.5", "0.5", "9.5", "10", "12,346"]);
    }

    proptest! {
        /// For all figures and widths, no line is too wide, and failures are shown if they fit.
        #[test]
        fn lines_fit(
            width in 0_usize..200, items in any::<u64>(), failures in 0_u64..1_000_000, rate in 0.0_f64..1e12,
            detail in "\\PC{0,200}|[\\x00-\\x{2100}]{0,100}", unicode in any::<bool>(),
        ) {
            let glyphs = if unicode { UNICODE } else { ASCII };
            let mut live = LiveFigures { items, failures, average_items_per_s: Some(rate), ..live() };
            live.activity.detail = detail;
            let lines = progress_lines(&live, width, &glyphs);
            for line in &lines {
                prop_assert!(display_width(line) <= width, "{width}: {line}");
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            }
            if width >= 60 {
                prop_assert!(lines[1].contains(&super::failures(&live)), "{lines:?}");
            }
            if width >= 30 {
                prop_assert!(lines[2].starts_with("waiting"), "the line says what the pass is doing: {lines:?}");
            }
        }
    }
}

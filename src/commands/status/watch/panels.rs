//! The panels of the view. This module is pure.

use std::time::Duration;

use backfill::internals::figure::{dollars, number, whole_duration};
use backfill::internals::telemetry::display::Glyphs;
use backfill::internals::telemetry::display::lines::{bar_of, cut, rounded};
use backfill::internals::telemetry::{AccessKind, LiveFigures, ScopeFigures, ScopeKind};
use textwrap::core::display_width;

use super::data::{FileFigures, WatchData};
use super::rows::{Content, Frame, Panel, Row, Tone, outside, piece, row, time_of_day, tone_of};

/// Returns the panels, in the order in which they are shown.
pub(super) fn panels(data: &WatchData, frame: Frame<'_>) -> Vec<Panel> {
    let panel = |title: &str, rows: Vec<Row>, rank, is_right| Panel {
        title: title.to_owned(),
        content: Content::Rows(rows),
        rank,
        is_right,
    };
    let mut panels = Vec::new();
    let figures = data.figures();
    if let Some(live) = figures.filter(|live| !live.hung.is_empty()) {
        let rows = live.hung.iter().map(|hung| row(outside(hung), Tone::Bad)).collect();
        panels.push(panel("Requests without an answer", rows, 0, false));
    }
    panels.extend(segments(data));
    if let Some(live) = data.live() {
        let is_paused = data.is_paused();
        let title = if is_paused { "Capacity units per second, paused" } else { "Capacity units per second" };
        panels.push(panel(title, capacity(live, is_paused, frame), 0, true));
        let waits = waits(live);
        panels.push(panel("Waiting requests, longest time first", waits, 3, true));
        panels.push(panel("Hot keys and slow segments", hot(live, frame.panel_width, frame.glyphs), 4, true));
        panels.push(panel("Limits", limits(live), 5, true));
    }
    panels.push(panel("Events", events(data), 2, false));
    panels.retain(|panel| !matches!(&panel.content, Content::Rows(rows) if rows.is_empty()));
    panels
}

fn segments(data: &WatchData) -> Option<Panel> {
    let figures = data.figures().filter(|figures| figures.total_segments > 0)?;
    let scanning = match (data.live(), &data.file) {
        (None, Some(FileFigures { run: Some(run), .. })) => Some(run.scanning),
        (Some(_) | None, _) => None,
    };
    let scanning = scanning.filter(|n| *n > 0).map_or_else(String::new, |n| format!(", {} begun", number(n)));
    let title =
        format!("Segments: {} of {} done{scanning}", number(figures.segments_done), number(figures.total_segments));
    let content = Content::Heat { cells: data.cells(), item_estimate: figures.item_estimate };
    Some(Panel { title, content, rank: 1, is_right: false })
}

/// The columns after the name, on a wide and on a narrow panel, with their widths.
const COLUMNS: [(&str, usize); 4] = [("now", 7), ("budget", 8), ("waiting", 8), ("throttled", 10)];
const NARROW_COLUMNS: [(&str, usize); 4] = [("now", 7), ("budget", 8), ("wait", 6), ("throt.", 7)];

fn table_row(name: &str, cells: [String; 4], tone: Tone, frame: Frame<'_>) -> Row {
    let columns = columns(frame.panel_width);
    let numbers: usize = columns.iter().map(|(_, width)| width).sum();
    let room = frame.panel_width.saturating_sub(numbers).clamp(8, 32);
    let name = cut(name, room, frame.glyphs);
    let mut text = format!("{name}{}", " ".repeat(room.saturating_sub(display_width(&name))));
    for (cell, (_, width)) in cells.iter().zip(columns) {
        text += &format!("{cell:>width$}");
    }
    row(text, tone)
}

fn columns(width: usize) -> [(&'static str, usize); 4] {
    if width >= 48 { COLUMNS } else { NARROW_COLUMNS }
}

/// Returns the rates of the table, of the indexes, and of every other scope for which requests wait. A paused pass
/// sends nothing, so the rates at which it could send are not shown.
fn capacity(live: &LiveFigures, is_paused: bool, frame: Frame<'_>) -> Vec<Row> {
    let header = table_row("", columns(frame.panel_width).map(|(name, _)| name.to_owned()), Tone::Muted, frame);
    let mut shown: Vec<&ScopeFigures> = live
        .scopes
        .iter()
        .filter(|scope| {
            let is_wide = matches!(scope.scope, ScopeKind::Table | ScopeKind::Index);
            is_wide || scope.waiting > 0 || scope.throttles > 0
        })
        .collect();
    // Show writes first, because they are more often the reason for a slow migration.
    shown.sort_by_key(|scope| (scope.access == AccessKind::Read, scope.scope != ScopeKind::Table));
    let each = shown.into_iter().map(|scope| {
        let is_slowed = scope.rate.is_some_and(|rate| rate < scope.budget);
        let tone = match (is_slowed, scope.budget <= 0.0) {
            (_, true) => Tone::Bad,
            (true, false) => Tone::Warn,
            (false, false) => Tone::Plain,
        };
        let cells = [
            match scope.rate {
                Some(_) if is_paused => "-".to_owned(),
                Some(rate) => compact(rate),
                None => "each".to_owned(),
            },
            compact(scope.budget),
            compact(scope.waiting as f64),
            compact(scope.throttles as f64),
        ];
        table_row(&outside(&scope.name()), cells, tone, frame)
    });
    [header].into_iter().chain(each).collect()
}

/// Formats a number in at most six characters.
fn compact(n: f64) -> String {
    [(1e12, "T"), (1e9, "G"), (1e6, "M")]
        .into_iter()
        .find(|(scale, _)| n >= *scale * 0.999_95)
        .map_or_else(|| rounded(n), |(scale, unit)| format!("{:.1}{unit}", (n / scale).min(9_999.9)))
}

/// Returns the scopes whose permits requests wait for, and the other reasons to wait. Sorts them by the number of
/// waiting requests, largest first.
fn waits(live: &LiveFigures) -> Vec<Row> {
    let scopes = live.scopes.iter().filter(|scope| scope.waiting > 0 || scope.waited_s >= 1.0);
    let scopes = scopes.map(|scope| (scope.waiting, scope.waited_s, wait_text(scope)));
    let others = live.waits.iter().filter(|wait| wait.waiting > 0);
    let others = others.map(|wait| {
        let name = match wait.name.as_str() {
            "in_flight_limit" => "a free slot in flight".to_owned(),
            "lease_and_flag" => "the lease and the flag".to_owned(),
            "backoff_after_throttle" => "another attempt after a throttle".to_owned(),
            "backoff_after_error" => "another attempt after an error".to_owned(),
            "spend_limit" => "the spend limit".to_owned(),
            "item_limit" => "max_items".to_owned(),
            other => outside(other),
        };
        (wait.waiting, 0.0, format!("{name}: {} now", number(wait.waiting)))
    });
    let mut all: Vec<(u64, f64, String)> = scopes.chain(others).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
    let tone = |waiting| if waiting > 0 { Tone::Plain } else { Tone::Muted };
    all.into_iter().map(|(waiting, _, text)| row(text, tone(waiting))).collect()
}

fn wait_text(scope: &ScopeFigures) -> String {
    let total = Duration::try_from_secs_f64(scope.waited_s).unwrap_or_default();
    let total = if total.as_secs() > 0 { format!(", {} in sum", whole_duration(total)) } else { String::new() };
    format!("{}: {} now{total}", outside(&scope.name()), number(scope.waiting))
}

/// Returns the hot keys, and the key ranges whose rate is below their budget. A bar shows the rate of each.
fn hot(live: &LiveFigures, width: usize, glyphs: &Glyphs) -> Vec<Row> {
    let budget = |kind, access| {
        let scope = live.scopes.iter().find(|scope| scope.scope == kind && scope.access == access);
        scope.map_or(0.0, |scope| scope.budget)
    };
    let bar = |rate: f64, budget: f64| {
        let columns = if width >= 48 { 10 } else { 0 };
        let part = if budget > 0.0 { (rate / budget).clamp(0.0, 1.0) } else { 0.0 };
        let bar = bar_of((part * columns as f64).round() as usize, columns, glyphs);
        if bar.is_empty() { bar } else { format!(" {bar}") }
    };
    let keys = live.hot_keys.iter().map(|hot| {
        let budget = budget(ScopeKind::PartitionKey, hot.access);
        let text = format!(
            "key {}{}  {} of {} {}, {} waiting, {} throttled",
            outside(&hot.hash),
            bar(hot.rate, budget),
            rounded(hot.rate),
            rounded(budget),
            hot.access.unit(),
            number(hot.waiting),
            number(hot.throttles)
        );
        row(text, Tone::Warn)
    });
    let ranges = live.key_ranges.iter().flat_map(|range| {
        let rates = [(AccessKind::Write, range.write_rate), (AccessKind::Read, range.read_rate)];
        rates.map(|(access, rate)| (range.segment, access, rate, budget(ScopeKind::KeyRange, access)))
    });
    let ranges = ranges.filter(|(_, _, rate, budget)| rate < budget).map(|(segment, access, rate, budget)| {
        let bar = bar(rate, budget);
        let text = format!("segment {segment}{bar}  {} of {} {}", rounded(rate), rounded(budget), access.unit());
        row(text, Tone::Warn)
    });
    keys.chain(ranges).collect()
}

fn limits(live: &LiveFigures) -> Vec<Row> {
    let limits = live.spend.iter().flat_map(|spend| &spend.limits);
    let each = limits.map(|limit| {
        let used = (limit.limit - limit.left).max(0.0);
        let amount = |n: f64| if limit.name == "max_cost_usd" { dollars(n) } else { rounded(n) };
        let tone = if limit.left < limit.limit * 0.1 { Tone::Warn } else { Tone::Plain };
        row(format!("{}: {} of {} used", outside(&limit.name), amount(used), amount(limit.limit)), tone)
    });
    each.collect()
}

/// Returns the changes of the activity and the steps, newest first.
fn events(data: &WatchData) -> Vec<Row> {
    let changes = data.live().into_iter().flat_map(|live| &live.recent);
    let changes = changes.map(|change| (change.since, change.current().to_string(), tone_of(change.state)));
    let steps = data.file.iter().flat_map(|file| &file.steps);
    let steps = steps.map(|(at, text)| (*at, text.clone(), Tone::Plain));
    let mut all: Vec<_> = changes.chain(steps).collect();
    all.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
    all.into_iter()
        .map(|(at, text, tone)| vec![piece(format!("{} ", time_of_day(at)), Tone::Muted), piece(outside(&text), tone)])
        .collect()
}

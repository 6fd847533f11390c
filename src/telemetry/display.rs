//! The progress line: a bar on a terminal, a log line every ten seconds elsewhere.

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Pace, Progress, Snapshot, number};
use crate::engine::Gate;
use crate::plan::Access;
use crate::throttle::{ScopeStatus, Scopes};

/// A log line is written so often where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The bar is drawn anew so often.
const DRAW_EVERY: Duration = Duration::from_millis(250);

/// What the line is about.
pub struct Watched {
    /// Live figures.
    pub progress: Arc<Progress>,
    /// The token buckets of every scope.
    pub scopes: Arc<Scopes>,
    /// When it works.
    pub gate: Arc<Gate>,
    /// Items committed before this process began.
    pub items_before: u64,
    /// Segments done before this process began.
    pub segments_before: u64,
    /// Segments of the run.
    pub total_segments: u64,
    /// Items of the table, by DynamoDB's count.
    pub item_estimate: u64,
}

fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Does something that writes to stderr while the bar is out of the way.
pub fn suspend<T>(f: impl FnOnce() -> T) -> T {
    bars().suspend(f)
}

/// A progress line that is being shown.
pub struct Line(JoinHandle<()>);

impl Line {
    /// Shows progress until it is cleared.
    pub fn show(watched: Watched) -> Line {
        Line(tokio::spawn(show(watched)))
    }

    /// Takes the line off the screen; returns when it is gone, so that what is written next stands alone.
    pub async fn clear(self) {
        self.0.abort();
        // It ends as cancelled, as asked.
        let _ = self.0.await;
    }
}

async fn show(watched: Watched) {
    let terminal = std::io::stderr().is_terminal();
    let bar = terminal.then(|| bars().add(bar(&watched)));
    // The bar leaves the screen when this task is dropped.
    let _cleared = Cleared(bar.clone());
    let start = Instant::now();
    let mut pace = Pace::new(watched.items_before, watched.item_estimate);
    let mut tick = tokio::time::interval(if terminal { DRAW_EVERY } else { LOG_EVERY });
    tick.tick().await;
    let mut throttled_before = 0;
    loop {
        tick.tick().await;
        let now = watched.progress.snapshot();
        pace.note(start.elapsed(), now.counts.scanned, now.counts.spend().write);
        let figures = figures(&watched, &pace, &now);
        let standing = standing(&watched, &pace, &now, now.throttled > throttled_before);
        throttled_before = now.throttled;
        match &bar {
            Some(bar) => {
                bar.set_position(pace.done());
                bar.set_prefix(standing);
                bar.set_message(figures);
            }
            None => tracing::info!("{figures} · {standing}"),
        }
    }
}

fn bar(watched: &Watched) -> ProgressBar {
    let (bar, template) = if watched.item_estimate > 0 {
        (ProgressBar::new(watched.item_estimate), "{bar:16} {msg}\n{prefix}")
    } else {
        (ProgressBar::new_spinner(), "{spinner} {msg}\n{prefix}")
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

struct Cleared(Option<ProgressBar>);

impl Drop for Cleared {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Items, rate, write units, segments.
fn figures(watched: &Watched, pace: &Pace, now: &Snapshot) -> String {
    let percent = pace.percent().map_or_else(String::new, |p| format!(" (~{p} %)"));
    let (items, units) = pace.rates().unwrap_or((0.0, 0.0));
    format!(
        "{} items{percent} · {}/s · {} WCU/s · {}/{} segments",
        number(pace.done()),
        number(items.round() as u64),
        number(units.round() as u64),
        watched.segments_before + now.segments_done,
        watched.total_segments,
    )
}

/// Time left, and why it is not faster.
fn standing(watched: &Watched, pace: &Pace, now: &Snapshot, throttled_just_now: bool) -> String {
    let eta = pace.eta().map_or_else(|| "ETA unknown".to_owned(), |eta| format!("ETA ~{}", duration(eta)));
    format!("{eta} · {}", state(watched, now, throttled_just_now))
}

/// What holds the run back now. We wait, DynamoDB throttles, somebody pauses.
fn state(watched: &Watched, now: &Snapshot, throttled_just_now: bool) -> String {
    let scopes = watched.scopes.status();
    if scopes.iter().any(|scope| scope.budget <= 0.0) {
        return "paused".into();
    }
    if let Some(waiting) = watched.gate.waiting() {
        return waiting;
    }
    let slowed: Vec<String> = scopes.iter().filter(|s| s.rate < s.budget).map(scope_rate).collect();
    let slowed = if slowed.is_empty() { String::new() } else { format!(", slowed: {}", slowed.join(", ")) };
    // The narrowest that somebody waits for: who waits for it holds nothing of the table.
    let waited_for = scopes.iter().rev().find(|scope| scope.waiting > 0);
    if throttled_just_now {
        format!("throttled by DynamoDB ({} requests so far){slowed}", number(now.throttled))
    } else if now.backing_off > 0 {
        let why = now.last_error.as_deref().unwrap_or("throttled");
        format!("backing off, {} requests: {why}{slowed}", now.backing_off)
    } else if let Some(scope) = waited_for {
        format!("waiting for the budget of {}", scope_rate(scope))
    } else {
        format!("running{slowed}")
    }
}

/// A scope, its rate, and its budget where it is slowed: `index by-email 50 of 200 WCU/s`.
fn scope_rate(scope: &ScopeStatus) -> String {
    let (unit, what) = match scope.access {
        Access::Write => ("WCU/s", "writes"),
        Access::Read => ("RCU/s", "reads"),
    };
    let name = if scope.is_index { format!("index {}", scope.name) } else { format!("the table's {what}") };
    let of = if scope.rate < scope.budget { format!(" of {}", scope.budget.round()) } else { String::new() };
    format!("{name}, {}{of} {unit}", scope.rate.round())
}

/// A duration in its two largest units.
pub fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        s if s < 60 => format!("{s} s"),
        s if s < 3_600 => format!("{} min {} s", s / 60, s % 60),
        s if s < 86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        s => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

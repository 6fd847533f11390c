//! Shows the progress line. On a terminal, it is a bar of three lines. If stderr is not a terminal, a log line is
//! written every ten seconds instead.

mod glyphs;
pub mod lines;

pub use glyphs::{ASCII, Glyphs, UNICODE, glyphs};

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::LiveFigures;
use super::monitor::{PassView, RunningMonitor};

/// The time between two log lines if stderr is not a terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);

fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Hides the bar while `f` writes to stderr.
pub fn suspend<T>(f: impl FnOnce() -> T) -> T {
    bars().suspend(f)
}

/// A visible progress line. The line disappears when it is cleared or dropped.
pub struct ProgressLine(AbortOnDropHandle<()>);

impl ProgressLine {
    /// Shows the progress line until [`ProgressLine::clear`] is called or this value is dropped.
    pub fn show(monitor: &RunningMonitor) -> ProgressLine {
        ProgressLine(AbortOnDropHandle::new(tokio::spawn(show(monitor.views()))))
    }

    /// Removes the line from the screen. Waits until the line is gone, so that later output is not mixed with it.
    pub async fn clear(self) {
        self.0.abort();
        // The task was aborted, so it always returns a cancellation error.
        let _ = self.0.await;
    }
}

async fn show(mut views: watch::Receiver<Arc<PassView>>) {
    let terminal = std::io::stderr().is_terminal();
    let bar = terminal.then(|| bars().add(bar()));
    let glyphs = glyphs();
    // Dropping the task drops this value, which removes the bar from the screen.
    let _cleared = ClearOnDrop(bar.clone());
    let mut logged = Instant::now();
    while views.changed().await.is_ok() {
        let view = Arc::clone(&views.borrow_and_update());
        match &bar {
            Some(bar) => {
                let lines = lines::progress_lines(&LiveFigures::new(&view), width(), &glyphs);
                bar.set_message(lines.join("\n"));
            }
            None if logged.elapsed() >= LOG_EVERY => {
                logged = Instant::now();
                log(&LiveFigures::new(&view));
            }
            None => {}
        }
    }
}

/// Writes the progress as a log line. With `--log-format json`, a script reads the fields.
fn log(live: &LiveFigures) {
    let spend = live.spend.as_ref();
    tracing::info!(
        r#type = "progress",
        activity = live.activity.state.name(),
        items = live.items,
        percent = live.percent,
        items_per_s = live.rates.map(|rates| rates.items_per_s),
        average_items_per_s = live.average_items_per_s,
        wcu_per_s = live.rates.map(|rates| rates.wcu_per_s),
        rcu_per_s = live.rates.map(|rates| rates.rcu_per_s),
        segments_done = live.segments_done,
        total_segments = live.total_segments,
        failures = live.failures,
        conflicts = live.conflicts,
        diverged = live.diverged,
        throttled = live.throttled,
        wcu = spend.map(|spend| spend.wcu),
        rcu = spend.map(|spend| spend.rcu),
        dollars = spend.map(|spend| spend.dollars),
        forecast_dollars = spend.and_then(|spend| spend.forecast_dollars),
        eta_s = live.eta.map(|eta| eta.likely_s),
        eta_low_s = live.eta.map(|eta| eta.low_s),
        eta_high_s = live.eta.map(|eta| eta.high_s),
        "{}",
        lines::log_line(live)
    );
}

/// Returns a progress bar of indicatif that shows only its message. The message already contains the bar.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    match ProgressStyle::with_template("{msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Returns the width of the terminal on stderr. indicatif does not wrap lines that are narrower than the terminal.
fn width() -> usize {
    terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| usize::from(width.0))
}

struct ClearOnDrop(Option<ProgressBar>);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

//! Shows the progress line. On a terminal, the line is a bar. If stderr is not a terminal, a log line is written every
//! ten seconds instead.

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::monitor::{PassView, RunningMonitor};
use super::{eta_text, number};
use crate::figure::count;
use crate::outside::escaped;

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
    let bar = terminal.then(|| bars().add(bar(views.borrow().pace.estimate())));
    // When the task is dropped, this value removes the bar from the screen.
    let _cleared = ClearOnDrop(bar.clone());
    let mut logged = Instant::now();
    while views.changed().await.is_ok() {
        let view = Arc::clone(&views.borrow_and_update());
        match &bar {
            Some(bar) => {
                bar.set_position(view.pace.done());
                bar.set_prefix(escaped(&eta_and_activity(&view)).to_string());
                bar.set_message(escaped(&figures(&view)).to_string());
            }
            None if logged.elapsed() >= LOG_EVERY => {
                logged = Instant::now();
                log(&view);
            }
            None => {}
        }
    }
}

/// Writes the progress as a log line. With `--log-format json`, a script reads the fields.
fn log(view: &PassView) {
    let (items_per_s, wcu_per_s) = view.pace.rates().unzip();
    tracing::info!(
        r#type = "progress",
        activity = view.current.activity.name(),
        items = view.pace.done(),
        items_per_s,
        wcu_per_s,
        eta_s = view.pace.eta().map(|eta| eta.likely.as_secs()),
        "{} · {}",
        figures(view),
        eta_and_activity(view)
    );
}

fn bar(estimate: u64) -> ProgressBar {
    let (bar, template) = if estimate > 0 {
        (ProgressBar::new(estimate), "{bar:16} {msg}\n{prefix}")
    } else {
        (ProgressBar::new_spinner(), "{spinner} {msg}\n{prefix}")
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

struct ClearOnDrop(Option<ProgressBar>);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Returns the figures of the progress line: items, rate, write units and segments.
fn figures(view: &PassView) -> String {
    let percent = view.pace.percent().map_or_else(String::new, |p| format!(" (~{p} %)"));
    let (items, units) = view.pace.rates().unwrap_or((0.0, 0.0));
    // A retry of failures scans no segments.
    let segments = match view.total_segments {
        0 => String::new(),
        all => format!(" · {}/{all} segments", view.segments_done),
    };
    format!(
        "{}{percent} · {}/s · {} WCU/s{segments}",
        count(view.pace.done(), "item", "items"),
        number(items.round() as u64),
        number(units.round() as u64),
    )
}

/// Returns the text with the ETA and with the reason that currently limits the speed.
fn eta_and_activity(view: &PassView) -> String {
    format!("{} · {}", eta_text(view.pace.eta()), view.current)
}

//! Where the endpoint finds its figures.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::timeout;

use super::exposition::Exposition;
use super::figures::{RunLabels, ShownPass, StateFigures};
use crate::state::{RunId, State};
use crate::telemetry::{PassView, RunningMonitor};

/// A scrape waits at most this long for the state file. After that, it shows what the last scrape showed.
const STATE_PATIENCE: Duration = Duration::from_secs(2);

/// The sources of the endpoint's figures. The driver announces every pass here.
pub struct MetricsSource {
    migration: String,
    table: String,
    store: State,
    phase: Mutex<&'static str>,
    pass: Mutex<Option<AnnouncedPass>>,
    known: Mutex<StateFigures>,
}

struct AnnouncedPass {
    labels: RunLabels,
    views: watch::Receiver<Arc<PassView>>,
}

impl MetricsSource {
    /// Creates the sources for a migration. Until a pass is announced, they show only the state file.
    pub fn new(migration: &str, table: &str, store: State) -> MetricsSource {
        MetricsSource {
            migration: migration.to_owned(),
            table: table.to_owned(),
            store,
            phase: Mutex::new(""),
            pass: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// Sets the phase of the passes that follow.
    pub fn begin_phase(&self, phase: &'static str) {
        *lock(&self.phase) = phase;
    }

    /// Shows this pass from now on.
    pub fn show(&self, run: RunId, monitor: &RunningMonitor) {
        let MetricsSource { migration, table, phase, .. } = self;
        let labels = RunLabels { migration: migration.clone(), table: table.clone(), phase: *lock(phase), run };
        *lock(&self.pass) = Some(AnnouncedPass { labels, views: monitor.views() });
    }

    /// Returns the pass that runs, or the last one.
    pub fn pass(&self) -> Option<ShownPass> {
        let pass = lock(&self.pass);
        let AnnouncedPass { labels, views } = pass.as_ref()?;
        // The monitor drops its sender when the pass has ended.
        let is_running = views.has_changed().is_ok();
        let view = Arc::clone(&views.borrow());
        Some(ShownPass { labels: labels.clone(), view, is_running })
    }

    /// Returns everything that `/metrics` shows now.
    pub async fn exposition(&self) -> Exposition {
        if let Ok(Ok(state)) = timeout(STATE_PATIENCE, StateFigures::read(&self.store)).await {
            *lock(&self.known) = state;
        }
        let state = lock(&self.known).clone();
        Exposition { pass: self.pass(), state, now: Timestamp::now() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

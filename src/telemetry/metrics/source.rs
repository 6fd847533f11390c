//! The source of the figures for all exporters: the metrics endpoint, EMF and OTLP.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use tokio::time::{Instant, timeout};

use super::exposition::Exposition;
use super::figures::{RunLabels, ShownPass, StateFigures};
use super::health::Stage;
use crate::state::{RunId, State, StoreError};
use crate::telemetry::{PassView, RunningMonitor};

/// The maximum time for which a reader waits for the state file. After that time, the reader shows the figures that
/// were read last.
const STATE_PATIENCE: Duration = Duration::from_secs(2);

/// The minimum time between two reads of the state file's figures, even if scrapes are more frequent. The state file
/// has one thread, which also commits the pages of the pass.
pub const STATE_CACHE: Duration = Duration::from_secs(2);

/// The sources of the figures. The driver announces every pass here.
pub struct MetricsSource {
    migration: String,
    table: String,
    stage: Mutex<Stage>,
    reader: Mutex<Option<StateRead>>,
    phase: Mutex<&'static str>,
    pass: Mutex<Option<AnnouncedPass>>,
    known: AsyncMutex<KnownState>,
    followers: Mutex<Vec<mpsc::UnboundedSender<AnnouncedPass>>>,
    health: Mutex<BTreeMap<String, bool>>,
    /// Number of announcements that no hook received.
    hook_failures: Mutex<Arc<AtomicU64>>,
}

/// Reads the figures of the state file.
type StateRead = Arc<dyn Fn() -> BoxFuture<'static, Result<StateFigures, StoreError>> + Send + Sync>;

/// The figures that were last read from the state file, and the time of the last attempt to read them.
#[derive(Default)]
struct KnownState {
    figures: StateFigures,
    tried: Option<Instant>,
}

/// A pass that the driver has announced. It stays readable after the pass has ended.
#[derive(Clone)]
pub(super) struct AnnouncedPass {
    labels: RunLabels,
    first: Arc<PassView>,
    views: watch::Receiver<Arc<PassView>>,
}

impl AnnouncedPass {
    /// Returns the pass with its newest view.
    pub(super) fn shown(&self) -> ShownPass {
        // The monitor drops its sender when the pass has ended.
        let is_running = self.views.has_changed().is_ok();
        let view = Arc::clone(&self.views.borrow());
        ShownPass { labels: self.labels.clone(), view, is_running }
    }

    /// Waits for the end of the pass.
    pub(super) async fn ended(mut self) {
        while self.views.changed().await.is_ok() {}
    }

    /// Returns the pass with its first view in this process.
    pub(super) fn begun(&self) -> ShownPass {
        ShownPass { labels: self.labels.clone(), view: Arc::clone(&self.first), is_running: true }
    }
}

impl MetricsSource {
    /// Creates the sources for a migration. They show no figures from the state file before [`MetricsSource::open`].
    pub fn new(migration: &str, table: &str) -> MetricsSource {
        MetricsSource {
            migration: migration.to_owned(),
            table: table.to_owned(),
            stage: Mutex::default(),
            reader: Mutex::default(),
            phase: Mutex::new(""),
            pass: Mutex::default(),
            known: AsyncMutex::default(),
            followers: Mutex::default(),
            health: Mutex::default(),
            hook_failures: Mutex::default(),
        }
    }

    /// Returns the migration's name.
    pub fn migration(&self) -> &str {
        &self.migration
    }

    /// Returns the table's name.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Sets the stage of the command while no pass runs.
    pub fn set_stage(&self, stage: Stage) {
        *lock(&self.stage) = stage;
    }

    /// Returns the stage of the command while no pass runs.
    pub fn stage(&self) -> Stage {
        *lock(&self.stage)
    }

    /// Shows the figures of this state file from now on.
    pub fn open(&self, store: State) {
        let migration = self.migration.clone();
        self.read_with(Arc::new(move || {
            let (store, migration) = (store.clone(), migration.clone());
            Box::pin(async move { StateFigures::read(&store, &migration).await })
        }));
        self.set_stage(Stage::Open);
    }

    fn read_with(&self, read: StateRead) {
        *lock(&self.reader) = Some(read);
    }

    /// Reads the state file for the last time, because the command closes it. Its figures stay visible.
    pub async fn end(&self) {
        let reader = lock(&self.reader).take();
        if let Some(read) = reader {
            let mut known = self.known.lock().await;
            known.update(&read).await;
        }
        self.set_stage(Stage::Ended);
    }

    /// Shows this counter from now on. It counts the announcements that no hook received.
    pub fn show_hook_failures(&self, hook_failures: Arc<AtomicU64>) {
        *lock(&self.hook_failures) = hook_failures;
    }

    /// Sets the phase of the passes that follow.
    pub fn begin_phase(&self, phase: &'static str) {
        *lock(&self.phase) = phase;
    }

    /// Shows this pass from now on.
    pub fn show(&self, run: RunId, monitor: &RunningMonitor) {
        let MetricsSource { migration, table, phase, .. } = self;
        let labels = RunLabels { migration: migration.clone(), table: table.clone(), phase: *lock(phase), run };
        let views = monitor.views();
        let first = Arc::clone(&views.borrow());
        let announced = AnnouncedPass { labels, first, views };
        lock(&self.followers).retain(|follower| follower.send(announced.clone()).is_ok());
        *lock(&self.pass) = Some(announced);
    }

    /// Returns a receiver of all passes that are announced from now on. A command makes only a few passes, so the
    /// channel needs no bound.
    pub(super) fn follow(&self) -> mpsc::UnboundedReceiver<AnnouncedPass> {
        let (follower, passes) = mpsc::unbounded_channel();
        lock(&self.followers).push(follower);
        passes
    }

    /// Shows these health checks from now on: their names, and whether they are healthy. A plan has a limited number of
    /// checks.
    pub fn show_health(&self, checks: BTreeMap<String, bool>) {
        *lock(&self.health) = checks;
    }

    /// Returns the running pass, or the last pass if no pass is running.
    pub fn pass(&self) -> Option<ShownPass> {
        lock(&self.pass).as_ref().map(AnnouncedPass::shown)
    }

    /// Returns everything that `/metrics` shows now.
    pub async fn exposition(&self) -> Exposition {
        self.exposition_of(self.pass()).await
    }

    /// Returns everything that an exporter shows of this pass, and of the migration.
    pub(super) async fn exposition_of(&self, pass: Option<ShownPass>) -> Exposition {
        let state = self.state_figures().await;
        let health = lock(&self.health).clone();
        let hook_failures = lock(&self.hook_failures).load(Ordering::Relaxed);
        Exposition { pass, health, state, hook_failures, now: Timestamp::now() }
    }

    /// Returns the figures of the state file. If the state file answers, they are at most [`STATE_CACHE`] old.
    pub(super) async fn state_figures(&self) -> StateFigures {
        // The lock is held while one reader reads. Meanwhile, the other readers wait for this reader's result instead
        // of reading the file.
        let mut known = self.known.lock().await;
        let is_due = known.tried.is_none_or(|tried| tried.elapsed() >= STATE_CACHE);
        let reader = lock(&self.reader).clone();
        if let Some(read) = reader.filter(|_| is_due) {
            known.update(&read).await;
        }
        known.figures.clone()
    }
}

impl KnownState {
    async fn update(&mut self, read: &StateRead) {
        if let Ok(Ok(figures)) = timeout(STATE_PATIENCE, read()).await {
            self.figures = figures;
        }
        // Set the time even after a failure, so that an unresponsive state file is not read again immediately.
        self.tried = Some(Instant::now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! Runs the real engine in virtual time against a simulated table: hours of a run in seconds, the same each time.
//!
//! Everything above the [`backfill::table::Table`] port is what a run of the binary uses. Below it stand synthetic items
//! ([`data`]), the capacity model ([`model`]) and an application ([`application`]), all on Tokio's paused clock, which
//! jumps to the next timer when nobody has anything to do.
#![expect(dead_code, unreachable_pub, reason = "tests and benchmarks each use their own part of this module")]

pub mod application;
pub mod bound;
pub mod data;
pub mod model;
pub mod scenarios;
pub mod service;
pub mod store;
pub mod table;

use std::sync::Arc;
use std::time::Duration;

use backfill::change::{Change, Changes, OnExisting, Strategy};
use backfill::checkpoint::{Counts, RunId};
use backfill::engine::{Expand, LocalScheduler, Reading, Requests, Stopper, Writer, sweep};
use backfill::item::Path;
use backfill::local::capacity::ModelSpec;
use backfill::plan::Retry;
use backfill::table::TableDescription;
use backfill::telemetry::{Progress, Snapshot};
use backfill::throttle::{Budgets, Feedback, Scopes, Use};

use application::Traffic;
use bound::{Bound, bound};
use data::{Data, SOURCE, TARGET, Workload};
use service::{Reasons, Second, Service};
use store::MemoryStore;
use table::SimTable;
use tokio_util::task::AbortOnDropHandle;

/// One simulated run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What the table holds.
    pub workload: Workload,
    /// What the service allows.
    pub model: ModelSpec,
    /// What the job may take; none: only the application runs.
    pub budgets: Option<Budgets>,
    /// Parallel-scan segments.
    pub segments: u32,
    /// Segments worked on at the same time.
    pub active: u32,
    /// What else goes on.
    pub traffic: Option<Traffic>,
    /// The application has been running for so long when the job starts.
    pub job_after: Duration,
    /// The run is observed for at most this long, from its start.
    pub at_most: Duration,
    /// How rates answer to throttles.
    pub feedback: Feedback,
    /// A request takes this long, from the least to the most.
    pub latency: (Duration, Duration),
    /// The same seed gives the same run.
    pub seed: u64,
}

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    /// When the job started.
    pub started: Duration,
    /// When it ended; none if it was cut off.
    pub ended: Option<Duration>,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// For which reasons the job was throttled.
    pub reasons: Reasons,
    /// For which the application was.
    pub application_reasons: Reasons,
    /// What the engine committed.
    pub counts: Counts,
    /// What it told.
    pub progress: Snapshot,
    /// Why it stopped early, if it did.
    pub stopped: Option<String>,
    /// Items that the table holds as written.
    pub done: usize,
    /// The least time that it could take.
    pub bound: Bound,
    /// Wall-clock time that the simulation took.
    pub cpu: Duration,
}

/// Runs it, in virtual time.
pub fn run(setup: &Setup) -> Run {
    let began = std::time::Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    // The engine draws the jitter of its backoff from the thread's own generator.
    fastrand::seed(setup.seed);
    let mut run = runtime.block_on(simulate(setup));
    run.cpu = began.elapsed();
    run
}

async fn simulate(setup: &Setup) -> Run {
    let data = Data::draw(&setup.workload, setup.seed);
    let bound = setup.budgets.as_ref().map_or(Bound { seconds: 0.0, scope: String::new() }, |budgets| {
        bound(&data, budgets, &setup.model, setup.segments)
    });
    let service = Arc::new(Service::new(&setup.model));
    let table = SimTable::new(data, Arc::clone(&service), &setup.model, setup.latency, setup.seed ^ 2);
    let table = Arc::new(table);
    let traffic = setup
        .traffic
        .map(|traffic| tokio::spawn(application::send(traffic, Arc::clone(&service), setup.seed ^ 3)));
    tokio::time::sleep(setup.job_after).await;
    let started = service.now();
    let left = setup.at_most.saturating_sub(started);
    let (stop, progress, store) = (Stopper::default(), Arc::new(Progress::default()), Arc::new(MemoryStore::default()));
    let mut ended = None;
    match &setup.budgets {
        None => tokio::time::sleep(left).await,
        Some(budgets) => {
            let parts = (Arc::clone(&service), Arc::clone(&table));
            let job = job(setup, budgets, parts, &store, &stop, &progress);
            if tokio::time::timeout(left, job).await.is_ok() {
                ended = Some(service.now());
            }
        }
    }
    if let Some(traffic) = traffic {
        traffic.abort();
    }
    let (seconds, reasons, application_reasons) = service.take();
    Run {
        started,
        ended,
        seconds,
        reasons,
        application_reasons,
        counts: store.counts(),
        progress: progress.snapshot(),
        stopped: stop.reason().map(ToString::to_string),
        done: table.done(),
        bound,
        cpu: Duration::ZERO,
    }
}

/// The job, as `engine/session.rs` puts it together.
async fn job(
    setup: &Setup,
    budgets: &Budgets,
    (service, table): (Arc<Service>, Arc<SimTable>),
    store: &Arc<MemoryStore>,
    stop: &Stopper,
    progress: &Arc<Progress>,
) {
    let description = table.description().clone();
    let changes = Arc::new(changes(&description));
    let indexes: Vec<String> = description.indexes.iter().map(|index| index.schema.name.clone()).collect();
    let scopes = Scopes::new(budgets, &indexes, setup.feedback);
    let _rates = AbortOnDropHandle::new(tokio::spawn(note_rates(service, Arc::clone(&scopes))));
    let requests = Requests::new(table, &description, scopes, RETRY, stop.clone(), Arc::clone(progress));
    let writer = Writer::new(changes, store.clone(), RunId(1));
    let handler = Arc::new(Expand::new(writer, store.clone(), RunId(1), requests.clone(), 1_000, 0, false));
    let reading = Reading {
        total_segments: setup.segments,
        active: setup.active,
        page_limit: None,
        consistent: false,
        mean_item_bytes: description.size_bytes.checked_div(description.item_count),
    };
    sweep(reading, &LocalScheduler::new(setup.segments), &requests, handler.clone()).await;
    let _ = handler.finish(!stop.is_stopping()).await;
}

/// Writes down, each second, what every scope with a name may use now.
async fn note_rates(service: Arc<Service>, scopes: Arc<Scopes>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let status = scopes.status().into_iter().filter(|scope| scope.used_for == Use::Write);
        service.note_rates(status.map(|scope| (scope.name, scope.rate)).collect());
    }
}

/// What a plan has that says nothing about it.
const RETRY: Retry =
    Retry { base: Duration::from_millis(50), cap: Duration::from_secs(20), give_up_after: Duration::from_secs(900) };

fn changes(description: &TableDescription) -> Changes {
    let path = |name: &str| Path::attribute(name.to_owned());
    Changes::for_run(
        &[Change::Copy { from: path(SOURCE.0), to: path(TARGET) }],
        Strategy::ExpandContract,
        OnExisting::Keep,
        description.key.clone(),
        description.indexes.iter().map(|index| index.schema.clone()).collect(),
    )
}

//! Runs the real engine in virtual time against a simulated table. A run of several hours takes a few seconds, and runs
//! are reproducible.
//!
//! Everything above the port traits of [`backfill::internals::dynamodb`] is the same as in the binary. The simulator
//! implements the port traits with synthetic items ([`data`]) and the capacity model ([`model`]). An application
//! ([`application`]) sends requests, too. All parts use Tokio's paused clock, which jumps to the next timer when no
//! task can proceed.
#![expect(dead_code, unreachable_pub, reason = "tests and benchmarks each use their own part of this module")]

pub mod application;
pub mod bound;
pub mod data;
pub mod figure;
pub mod follow;
pub mod forecast;
pub mod model;
pub mod scenarios;
pub mod service;
pub mod store;
pub mod table;

use std::sync::Arc;
use std::time::Duration;

use backfill::internals::change::Changes;
use backfill::internals::dynamodb::{TableDescription, Tables};
use backfill::internals::engine::{DESCRIBE_INTERVAL, Job, LocalScheduler, WritePages, Writer, scan_table};
use backfill::internals::local::capacity::ModelSpec;
use backfill::internals::plan::{Access, Capacity, Plan, load};
use backfill::internals::preflight::{self, Estimate, SampleSize};
use backfill::internals::ratelimit::{Budgets, Feedback, Scopes, resolve};
use backfill::internals::state::{Counts, RunId, SessionId};
use backfill::internals::telemetry::Snapshot;

use application::Traffic;
use bound::{Bound, bound};
use data::{Data, SOURCE, TARGET, Workload};
use service::{Reasons, Second, Service};
use store::MemoryStore;
use table::SimTable;
use tokio_util::task::AbortOnDropHandle;

/// The parameters of a simulated run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The content of the table.
    pub workload: Workload,
    /// The limits of the service.
    pub model: ModelSpec,
    /// The job's budgets. `None` means that only the application runs.
    pub budgets: Option<Budgets>,
    /// The plan's `[capacity]`. With a value, the simulation ignores `budgets`, and computes the job's budgets from
    /// this field and the table.
    pub capacity: Option<Capacity>,
    /// The sample sizes. Before the run begins, its duration is forecast from a sample of each size.
    pub forecasts: Vec<SampleSize>,
    /// Changes to the limits. At each time, the new limits begin to apply to the service and to the table's
    /// description.
    pub changes: Vec<(Duration, ModelSpec)>,
    /// Number of segments of the parallel scan. `None` means `"auto"`.
    pub segments: Option<u32>,
    /// The traffic of the application, if any.
    pub traffic: Option<Traffic>,
    /// The time between the application's start and the job's start.
    pub job_after: Duration,
    /// The maximum duration for which the run is observed.
    pub at_most: Duration,
    /// The plan's `[retry] give_up_after`, if set.
    pub give_up_after: Option<Duration>,
    /// The constants that determine how rates respond to throttles.
    pub feedback: Feedback,
    /// The shortest and the longest duration of a request.
    pub latency: (Duration, Duration),
    /// The seed of all random choices. The same seed gives the same run.
    pub seed: u64,
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Run {
    /// When the job started, in virtual time.
    pub started: Duration,
    /// When the job ended. `None` if the observation ended first.
    pub ended: Option<Duration>,
    /// The recorded figures of each second.
    pub seconds: Vec<Second>,
    /// The reasons for the job's throttled requests.
    pub reasons: Reasons,
    /// The reasons for the application's throttled requests.
    pub application_reasons: Reasons,
    /// The total counts that the engine committed.
    pub counts: Counts,
    /// The progress that the engine reported.
    pub progress: Snapshot,
    /// The reason why the job stopped early, if it did.
    pub stopped: Option<String>,
    /// Number of the table's items that the job has written.
    pub done: usize,
    /// The shortest possible duration. `None` without a job.
    pub bound: Option<Bound>,
    /// The forecasts. Each entry contains the forecast's basis, and the shortest and the longest duration in seconds.
    pub forecasts: Vec<(String, f64, f64)>,
    /// Wall-clock time that the simulation took.
    pub cpu: Duration,
}

/// Runs the simulation in virtual time.
pub fn run(setup: &Setup) -> Run {
    let began = std::time::Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    // Seed the thread's random generator, from which the engine draws the jitter of its backoff.
    fastrand::seed(setup.seed);
    let mut run = runtime.block_on(simulate(setup));
    run.cpu = began.elapsed();
    run
}

async fn simulate(setup: &Setup) -> Run {
    let data = Data::draw(&setup.workload, setup.seed);
    let service = Arc::new(Service::new(&setup.model));
    let table = SimTable::new(data.clone(), Arc::clone(&service), &setup.model, setup.latency, setup.seed ^ 2);
    let table = Arc::new(table);
    let traffic = setup.traffic.map(|traffic| {
        let sent = application::send(traffic, Arc::clone(&service), setup.seed ^ 3);
        AbortOnDropHandle::new(tokio::spawn(sent))
    });
    let _changes = AbortOnDropHandle::new(tokio::spawn(change(setup.changes.clone(), Arc::clone(&table))));
    tokio::time::sleep(setup.job_after).await;
    let mut forecasts = Vec::new();
    if let Some(budgets) = setup.budgets.as_ref().filter(|_| !setup.forecasts.is_empty()) {
        forecasts = forecast(setup, budgets, &table).await;
    }
    let started = service.now();
    let left = setup.at_most.saturating_sub(started);
    let mut run = Run { started, forecasts, ..Run::default() };
    match &setup.budgets {
        None => tokio::time::sleep(left).await,
        Some(budgets) => {
            let job = job(setup, budgets, &table);
            let budgets = &job.budgets;
            run.bound = Some(bound(&data, budgets, &setup.model, job.segments().segments));
            let store = Arc::new(MemoryStore::default());
            let worked = tokio::time::timeout(left, work(&job, &store, &service)).await;
            run.ended = worked.ok().map(|()| service.now());
            run.counts = store.counts();
            run.progress = job.progress.snapshot();
            run.stopped = job.stop.reason().map(ToString::to_string);
        }
    }
    drop(traffic);
    run.done = table.done();
    (run.seconds, run.reasons, run.application_reasons) = service.take();
    run
}

/// Creates a job with these budgets. The plan contains only one change.
fn job(setup: &Setup, budgets: &Budgets, table: &Arc<SimTable>) -> Job {
    let mut plan = plan();
    plan.scan.segments = setup.segments;
    plan.retry.give_up_after = setup.give_up_after.unwrap_or(plan.retry.give_up_after);
    let description = table.description();
    let mut budgets = budgets.clone();
    if let Some(capacity) = &setup.capacity {
        budgets = resolve(capacity, &description).unwrap().budgets;
        plan.capacity = capacity.clone();
    }
    let budgets = &budgets;
    let changes = Arc::new(changes(&plan, &description));
    let indexes: Vec<String> = description.indexes.iter().map(|index| index.schema.name.clone()).collect();
    let mut job = Job::new(plan, changes, Tables::one(table.clone()), description, budgets);
    job.scopes = Scopes::new(budgets, &indexes, setup.feedback);
    job.watch_table(tokio::time::Instant::now(), DESCRIBE_INTERVAL);
    job
}

/// Processes the table in the same way as `engine/job.rs`, but with an in-memory store.
async fn work(job: &Job, store: &Arc<MemoryStore>, service: &Arc<Service>) {
    let run = RunId::from_number(1);
    let _rates = AbortOnDropHandle::new(tokio::spawn(note_rates(Arc::clone(service), Arc::clone(&job.scopes))));
    let requests = job.requests();
    let session = SessionId { run, epoch: 1 };
    let writer = Writer::new(job.decisions(), store.clone(), session);
    let limit = job.plan.limits.max_failures;
    let handler = WritePages::new(writer, store.clone(), run, requests.clone(), limit, 0, false);
    let handler = Arc::new(handler);
    let segments = job.segments().segments;
    scan_table(job.read_settings(segments), &LocalScheduler::new(segments), &requests, handler.clone()).await;
    let _ = handler.finish(!job.stop.is_stopping()).await;
}

/// Forecasts the duration of the run from the description and from each sample.
async fn forecast(setup: &Setup, budgets: &Budgets, table: &Arc<SimTable>) -> Vec<(String, f64, f64)> {
    let seconds = |basis: String, estimate: Estimate| {
        let (low, high) = estimate.pace.duration.unwrap();
        (basis, low.as_secs_f64(), high.as_secs_f64())
    };
    let job = job(setup, budgets, table);
    let mut forecasts = vec![seconds("the description".into(), preflight::estimate_from_description(&job))];
    for (number, size) in setup.forecasts.iter().enumerate() {
        let sampled = preflight::sample(&job, *size, setup.seed + number as u64).await.unwrap();
        forecasts.push(seconds(format!("sample {number}"), preflight::estimate_from_sample(&job, &sampled)));
    }
    // Wait until the token buckets have refilled after the samples.
    tokio::time::sleep(Duration::from_secs(30)).await;
    forecasts
}

/// Changes the service's limits and the table's description at the given times.
async fn change(changes: Vec<(Duration, ModelSpec)>, table: Arc<SimTable>) {
    let begin = tokio::time::Instant::now();
    for (after, spec) in changes {
        tokio::time::sleep_until(begin + after).await;
        table.change(&spec);
    }
}

/// Records the current rate of every named scope once per second.
async fn note_rates(service: Arc<Service>, scopes: Arc<Scopes>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let status = scopes.status().into_iter().filter(|scope| scope.access == Access::Write);
        service.note_rates(status.map(|scope| (scope.name, scope.rate)).collect());
    }
}

fn plan() -> Plan {
    let text = format!(
        "[migration]\nname = \"simulated\"\n[table]\nname = \"simulated\"\n\
         [[change]]\ncopy = \"{}\"\nto = \"{TARGET}\"\n",
        SOURCE.0
    );
    load("simulated.toml", &text).unwrap().plan
}

fn changes(plan: &Plan, description: &TableDescription) -> Changes {
    let indexes = description.indexes.iter().map(|index| index.schema.clone()).collect();
    Changes::for_expand(&plan.changes, plan.strategy, description.key.clone(), indexes)
}

//! Compares the ETA of simulated runs with their true end.

use std::sync::Arc;
use std::time::Duration;

use backfill::internals::clock::Moment;
use backfill::internals::dynamodb::Tables;
use backfill::internals::dynamodb::memory::{Author, FaultPlan, MemoryTable};
use backfill::internals::machine::{Machine, Random};
use backfill::internals::migration::{Driver, DriverSetup, OperatorInput};
use backfill::internals::plan::{Access, load};
use backfill::internals::playbook::Phase;
use backfill::internals::ratelimit::{Scope, resolve};
use backfill::internals::state::memory::MemoryState;
use backfill::internals::state::{BeginMode, NewRun, State};
use backfill::internals::telemetry::{Eta, RunningMonitor};
use fastrand::Rng;
use tokio::time::Instant;

use super::plan;
use super::scene::wall;

/// Number of runs. In every second run, the rate changes when 35 % of the items are done.
const RUNS: u64 = 40;

const CHANGE_AT: f64 = 0.35;

/// An ETA, and the time of its output.
#[derive(Debug, Clone, Copy)]
struct Forecast {
    /// The fraction of processed items at this time.
    done: f64,
    at: Duration,
    eta: Option<Eta>,
}

/// One run: its forecasts and its true end.
struct SimulatedRun {
    changed: bool,
    forecasts: Vec<Forecast>,
    end: Duration,
}

impl SimulatedRun {
    fn play(seed: u64) -> SimulatedRun {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(SimulatedRun::work(seed))
    }

    async fn work(seed: u64) -> SimulatedRun {
        let mut rng = Rng::with_seed(seed);
        let began = Instant::now();
        let changed = seed % 2 == 1;
        let items = rng.u32(2_500..4_500);
        let rate = rng.u32(8..20);
        let segments = rng.u32(4..17);
        let text = format!(
            "[migration]\nname = \"world\"\nstrategy = \"in-place\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
             [scan]\nsegments = {segments}\npage_limit = 10\n[capacity]\nwrite = {rate}\nread = 1000\n\
             [[change]]\nmove = \"old\"\nto = \"renamed\"\n"
        );
        let plan = load("plan.toml", &text).unwrap().plan;
        let mut description = plan::description();
        description.indexes.clear();
        // DynamoDB's item count can be six hours old.
        description.item_count = (f64::from(items) * (0.995 + 0.01 * rng.f64())) as u64;
        let latency = (Duration::from_millis(4), Duration::from_millis(12));
        let table = MemoryTable::new(description.clone(), latency, FaultPlan::NONE, rng.u64(..));
        for n in 0..items {
            let mut item = plan::item(n, false, &mut rng);
            item.insert("pk".into(), backfill::internals::item::Value::S(format!("p{}", n / 3)));
            table.change(&plan::key_of(&item), Author::Seed, |_| Some(item.clone()));
        }
        let setup = DriverSetup {
            budgets: resolve(&plan.capacity, &description).unwrap().budgets,
            plan,
            tables: Tables::one(Arc::new(table.connect(1))),
            description,
            described_at: began,
        };
        let state = State::new(MemoryState::new(Arc::new(move || wall(began).to_string())));
        let clock = Arc::new(move || wall(began));
        let mut driver = Driver::open(setup, state, None, clock, OperatorInput::default()).await.unwrap();
        driver.machine = Machine {
            moments: Arc::new(move || Moment { monotonic: Instant::now(), wall: wall(began) }),
            boot: Arc::new(|| None),
            random: Random::with_seed(rng.u64(..)),
        };
        let job = driver.job(Phase::Expand).await.unwrap();
        let new = NewRun {
            phase: "expand".into(),
            total_segments: segments,
            tool_version: "t".into(),
            table_items_estimate: None,
        };
        let session = driver.store.begin(BeginMode::ResumeOrNew, new).await.unwrap();
        let monitor = RunningMonitor::start(job.progress_sources(segments, None));
        let mut views = monitor.views();
        let scopes = Arc::clone(&job.scopes);
        let later = f64::from(rate) * [0.4, 0.6, 1.6, 2.5][rng.usize(..4)];
        let watches = tokio::spawn(async move {
            let mut forecasts = Vec::new();
            let mut changes = changed;
            while views.changed().await.is_ok() {
                let view = Arc::clone(&views.borrow_and_update());
                let done = view.pace.done() as f64 / f64::from(items);
                if changes && done >= CHANGE_AT {
                    changes = false;
                    scopes.set_budget(&Scope::Table, Access::Write, later);
                }
                forecasts.push(Forecast { done, at: began.elapsed(), eta: view.pace.eta() });
            }
            forecasts
        });
        let ended = job.work(&driver.store, &session).await.unwrap();
        let end = began.elapsed();
        assert!(ended.stopped.is_none(), "{:?}", ended.stopped);
        drop(monitor);
        SimulatedRun { changed, forecasts: watches.await.unwrap(), end }
    }

    /// Returns the first forecast that was made after this fraction of the items was processed.
    fn forecast_at(&self, done: f64) -> Forecast {
        *self.forecasts.iter().find(|forecast| forecast.done >= done).unwrap()
    }
}

/// The ETA's range contains the true end, and is narrow enough to be useful.
#[test]
fn the_eta_contains_the_true_end() {
    let runs: Vec<SimulatedRun> = std::thread::scope(|scope| {
        let half = |parity: u64| (0..RUNS).filter(|seed| (seed / 2) % 2 == parity).map(SimulatedRun::play).collect();
        let other = scope.spawn(move || -> Vec<SimulatedRun> { half(1) });
        let mut runs: Vec<SimulatedRun> = half(0);
        runs.extend(other.join().unwrap());
        runs
    });
    let mut asked = [0_u32; 2];
    let mut hits = [0_u32; 2];
    let mut narrow = 0_u32;
    for run in &runs {
        for done in [0.25, 0.5, 0.75] {
            if done < CHANGE_AT && run.changed {
                continue;
            }
            let forecast = run.forecast_at(done);
            let truth = run.end - forecast.at;
            let hit = forecast.eta.is_some_and(|eta| eta.low <= truth && truth <= eta.high);
            asked[usize::from(run.changed)] += 1;
            hits[usize::from(run.changed)] += u32::from(hit);
            let width = forecast.eta.map_or(1.0, |eta| (eta.high - eta.low).as_secs_f64() / truth.as_secs_f64());
            narrow += u32::from(done >= 0.5 && width <= 0.3);
            if !hit || width > 0.3 {
                println!(
                    "changed {}: at {done} {truth:?} remained, ETA {:?}, width {width:.2}",
                    run.changed, forecast.eta
                );
            }
        }
        for forecast in run.forecasts.iter().filter(|forecast| forecast.done >= 0.05 && forecast.done < 0.97) {
            assert!(forecast.eta.is_some(), "unknown at {}", forecast.done);
        }
    }
    println!("hits {hits:?} of {asked:?}; at most 30 % wide: {narrow} of {}", 2 * RUNS);
    let (all, hit) = (asked.iter().sum::<u32>(), hits.iter().sum::<u32>());
    assert!(hit * 10 >= all * 9, "the range contains the true end in {hit} of {all} forecasts");
    assert!(u64::from(narrow) * 10 >= 2 * RUNS * 9, "at most 30 % wide in {narrow} of {} forecasts", 2 * RUNS);
}

//! Plays one seed from the first run to the contract or the rollback. Kills the tool along the way, and checks every
//! step.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backfill::internals::clock::{BootTime, Moment};
use backfill::internals::cutover::FlagStore;
use backfill::internals::dynamodb::memory::{Author, FaultPlan, MemoryTable, SimulatedFault};
use backfill::internals::dynamodb::{TableDescription, Tables};
use backfill::internals::item::{Item, ItemKey};
use backfill::internals::machine::{Machine, Random};
use backfill::internals::migration::{Advance, Driver, DriverError, DriverSetup, OperatorInput};
use backfill::internals::plan::Plan;
use backfill::internals::playbook::{CutoverTarget, Goal, VerifyScope};
use backfill::internals::ratelimit::{Budgets, resolve};
use backfill::internals::state::State;
use backfill::internals::state::memory::MemoryState;
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::application::Application;
use super::delete;
use super::flag::MemoryFlag;
use super::plan::{self, Rates};
use super::wire::{PlantedBug, Wire, WireLog};

const LATENCY: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(12));

/// The maximum age of a stale read.
const STALE: Duration = Duration::from_secs(5);

/// The maximum number of kills of one command. After this many kills, the command can complete.
const KILLS: u32 = 4;

/// The time for which applications obey a cached flag. This is the plan's `max_cache_seconds`.
const CACHE_TIME: Duration = Duration::from_secs(1);

/// The maximum number of attempts to run one command, including killed and stopped attempts.
const ATTEMPTS: u32 = 30;

/// The result of playing one seed.
pub(crate) struct SeedResult {
    /// All events, as text. Empty unless the caller requests a trace.
    pub(crate) trace: String,
    /// Descriptions of events that must never happen.
    pub(crate) violations: Vec<String>,
    /// Number of faults that took effect, by kind.
    pub(crate) fired: BTreeMap<SimulatedFault, u64>,
    pub(crate) kills: u64,
    /// Number of write requests that the tool sent.
    pub(crate) writes: u64,
}

/// Plays a seed. This takes milliseconds.
pub(crate) fn play(seed: u64, planted: Option<PlantedBug>) -> SeedResult {
    play_with(seed, planted, None)
}

/// Plays a seed with a trace of everything that happens.
pub(crate) fn play_traced(seed: u64) -> SeedResult {
    play_with(seed, None, Some(String::new()))
}

fn play_with(seed: u64, planted: Option<PlantedBug>, trace: Option<String>) -> SeedResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, planted, trace);
        world.play_migration().await;
        world.into_result().await
    })
}

/// How an attempt to run a command ended.
enum AttemptEnd {
    Done,
    Stopped(String),
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) description: TableDescription,
    pub(crate) budgets: Budgets,
    pub(crate) rates: Rates,
    pub(crate) table: MemoryTable,
    pub(crate) seed_items: BTreeMap<String, Item>,
    keys: Vec<ItemKey>,
    /// How many changes and how many requests have already been checked.
    pub(crate) checked: Cell<(u64, usize)>,
    pub(crate) flag: Arc<MemoryFlag>,
    pub(crate) state: MemoryState,
    pub(crate) wire_log: Arc<Mutex<WireLog>>,
    began: Instant,
    random: Random,
    planted: Option<PlantedBug>,
    process: u32,
    /// For each pass, the process that runs it and the time at which the pass began.
    pub(crate) passes: Vec<(u32, Duration)>,
    /// The running instances of the application.
    applications: Vec<AbortOnDropHandle<()>>,
    kills: u64,
    /// A kind of fault that rarely changes the outcome. Each request that gets a fault gets this kind, unless this kind
    /// cannot be injected into the request. So the kind is tested often enough.
    preferred: Option<SimulatedFault>,
}

impl World {
    fn new(seed: u64, planted: Option<PlantedBug>, trace: Option<String>) -> World {
        let mut rng = Rng::with_seed(seed);
        let began = Instant::now();
        let description = plan::description();
        let (plan, rates) = plan::plan(&mut rng);
        let share = [0.0, 0.05, 0.15, 0.3][rng.usize(..4)];
        let faults = faults(share, preferred_fault(seed));
        let table = MemoryTable::new(description.clone(), LATENCY, faults, rng.u64(..));
        let replaces = plan::replaces(&plan);
        let items: Vec<Item> = (0..rng.u32(5..60)).map(|n| plan::item(n, replaces, &mut rng)).collect();
        let keys: Vec<ItemKey> = items.iter().map(plan::key_of).collect();
        for (key, item) in keys.iter().zip(&items) {
            table.change(key, Author::Seed, |_| Some(item.clone()));
        }
        let call_durations = Mutex::new(Rng::with_seed(rng.u64(..)));
        let state = MemoryState::new(Arc::new(move || wall(began).to_string()));
        let state =
            state.with_latency(Arc::new(move || Duration::from_micros(call_durations.lock().unwrap().u64(50..1_500))));
        World {
            budgets: resolve(&plan.capacity, &description).unwrap_or_else(|errors| panic!("{errors:?}")).budgets,
            random: Random::with_seed(rng.u64(..)),
            flag: MemoryFlag::new(),
            wire_log: Arc::new(Mutex::new(WireLog { trace, ..WireLog::default() })),
            rates,
            process: 0,
            passes: Vec::new(),
            applications: Vec::new(),
            kills: 0,
            preferred: preferred_fault(seed),
            rng,
            plan,
            description,
            table,
            seed_items: keys.iter().map(ItemKey::to_text).zip(items).collect(),
            keys,
            checked: Cell::default(),
            state,
            began,
            planted,
        }
    }

    /// Plays the migration from its start to its end.
    async fn play_migration(&mut self) {
        let run = |again| Goal::Run { again };
        let verify = Goal::Verify { scope: VerifyScope::Full, repair: false };
        if !plan::in_place(&self.plan) {
            let changes = [0, 40, 200][self.rng.usize(..3)];
            self.command(Goal::CutoverTo(CutoverTarget::DualWrite), changes).await;
        }
        let changes = [0, 20, 60][self.rng.usize(..3)];
        let changes = if delete::stops_writers(&self.plan) { 0 } else { changes };
        let complete = self.command(run(false), changes).await;
        self.check_versions("run").await;
        if !complete {
            return self.violation("`run` does not complete");
        }
        self.check_no_item_is_missed().await;
        self.check_counts().await;
        self.check_budgets("run");
        self.table.set_faults(FaultPlan::NONE);
        // The next pass changes the items that were written behind the scan position. After that pass, no work is left.
        self.command(run(true), 0).await;
        let writes = self.writes();
        self.command(run(true), 0).await;
        if self.writes() > writes {
            self.violation("a run wrote to a table that needed no write");
        }
        self.check_versions("run").await;
        self.command(verify, 0).await;
        let matching = self.check_verdict().await;
        self.table.set_faults(faults(0.1, self.preferred));
        let changes = [0, 20][self.rng.usize(..2)];
        if matching && !plan::in_place(&self.plan) && self.rng.bool() {
            return self.contract(changes).await;
        }
        if self.plan.deletion() == Some(false) {
            // There is no way back.
            return;
        }
        let complete = self.command(Goal::Rollback, changes).await;
        self.check_versions("rollback").await;
        self.check_counts().await;
        self.check_budgets("rollback");
        if self.plan.deletes_items() {
            self.check_undeleted().await;
        } else if complete {
            self.check_restored().await;
        }
    }

    /// Moves readers and writers to the new attribute, and then removes the old attribute.
    async fn contract(&mut self, changes: u32) {
        for goal in [Goal::CutoverTo(CutoverTarget::ReadNew(100)), Goal::CutoverTo(CutoverTarget::WriteNew)] {
            let changes = [0, 40][self.rng.usize(..2)];
            if !self.command(goal, changes).await {
                return self.violation(format!("{goal:?} does not complete"));
            }
        }
        if plan::replaces(&self.plan) && self.rng.bool() {
            return self.come_back(changes).await;
        }
        let complete = self.command(Goal::Contract, changes).await;
        self.check_versions("contract").await;
        self.check_counts().await;
        self.check_budgets("contract");
        if complete {
            self.check_contracted();
        }
    }

    /// Rolls back after applications wrote only new values. An inverse computes the old values.
    async fn come_back(&mut self, changes: u32) {
        let complete = self.command(Goal::Rollback, changes).await;
        self.check_versions("the way back").await;
        self.check_counts().await;
        self.check_budgets("the way back");
        match complete {
            true => self.check_old_values(),
            false => self.violation("the rollback after new-only writes does not complete"),
        }
    }

    /// Repeats a command until it completes. Sometimes kills the command. Meanwhile, the application makes `changes`
    /// changes. Returns false if the command never completes.
    async fn command(&mut self, goal: Goal, changes: u32) -> bool {
        for share in [changes / 2, changes - changes / 2] {
            self.start_application(share);
        }
        let may_kill = self.rng.u32(..=KILLS);
        let mut killed = 0;
        let mut complete = false;
        for _ in 0..ATTEMPTS {
            let lifetime_ms = if killed < may_kill { self.rng.u64(1..2_000) } else { u64::MAX / 1_000_000 };
            self.process += 1;
            match timeout(Duration::from_millis(lifetime_ms), self.attempt(goal)).await {
                Ok(Ok(AttemptEnd::Done)) => {
                    complete = true;
                    break;
                }
                Ok(Ok(AttemptEnd::Stopped(why))) => self.note(&format!("stopped: {why}")),
                Ok(Err(error)) => {
                    self.violation(format!("{goal:?} was refused: {error}"));
                    self.state = self.state.crash();
                    break;
                }
                Err(_) => {
                    killed += 1;
                    self.note("killed");
                }
            }
            self.state = self.state.crash();
        }
        self.kills += u64::from(killed);
        // After a change of the flag, applications continue to run. They still obey their cached flag while the next
        // pass begins.
        if !matches!(goal, Goal::CutoverTo(_)) {
            self.wait_until_quiet().await;
        }
        self.note(&format!("{goal:?}: complete: {complete}"));
        complete
    }

    /// Waits until all applications have ended and no request is in flight. The checks are valid only in this state.
    async fn wait_until_quiet(&mut self) {
        for application in self.applications.drain(..) {
            drop(application.await);
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
    }

    fn start_application(&mut self, changes: u32) {
        let application = Application {
            table: self.table.clone(),
            keys: self.keys.clone(),
            flag: Arc::clone(&self.flag),
            cache_time: if self.planted == Some(PlantedBug::OldCaches) { CACHE_TIME * 30 } else { CACHE_TIME },
            cached: None,
            in_place: plan::in_place(&self.plan),
            raises_version: delete::raises_version(&self.plan),
            replaces: plan::replaces(&self.plan),
            rng: Rng::with_seed(self.rng.u64(..)),
        };
        self.applications.push(AbortOnDropHandle::new(tokio::spawn(application.work(changes))));
    }

    /// Runs one command in one process.
    async fn attempt(&mut self, goal: Goal) -> Result<AttemptEnd, DriverError> {
        let began = self.began;
        let random = self.random.clone();
        let wire = Wire {
            connection: self.table.connect(self.process),
            process: self.process,
            state: self.state.clone().without_latency(),
            planted: self.planted,
            began,
            wire_log: Arc::clone(&self.wire_log),
        };
        let setup = DriverSetup {
            plan: self.plan.clone(),
            tables: Tables::one(Arc::new(wire)),
            description: self.description.clone(),
            described_at: Instant::now(),
            budgets: self.budgets.clone(),
        };
        let flags = (!plan::in_place(&self.plan)).then(|| Arc::clone(&self.flag) as Arc<dyn FlagStore>);
        let input = OperatorInput { actor: "the world".into(), ..OperatorInput::default() };
        let clock = Arc::new(move || wall(began));
        let mut driver = Driver::open(setup, State::new(self.state.clone()), flags, clock, input).await?;
        driver.machine = Machine {
            moments: Arc::new(move || Moment { monotonic: Instant::now(), wall: wall(began) }),
            boot: Arc::new(move || Some(BootTime { boot: "the world".into(), since: began.elapsed() })),
            random,
        };
        driver.confirm();
        loop {
            match driver.advance(goal).await? {
                Advance::Done => return Ok(AttemptEnd::Done),
                Advance::Preflight => driver.accept(Vec::new()).await?,
                Advance::Confirm => driver.confirm(),
                Advance::Recorded | Advance::Changed(_) => {}
                Advance::Backup(phase) => drop(driver.back_up(phase, goal).await?),
                Advance::Wait(wait) => drop(driver.wait(wait.left).await),
                Advance::RunPass(phase) => {
                    self.passes.push((self.process, self.began.elapsed()));
                    let swept = driver.run_pass(phase, false).await?;
                    if let Some(why) = &swept.stopped {
                        return Ok(AttemptEnd::Stopped(why.to_string()));
                    }
                    if swept.unfinished {
                        return Ok(AttemptEnd::Stopped("items failed".into()));
                    }
                }
            }
        }
    }

    fn writes(&self) -> u64 {
        self.wire_log.lock().unwrap().writes
    }

    fn note(&self, what: &str) {
        if let Some(trace) = &mut self.wire_log.lock().unwrap().trace {
            *trace += &format!("{:?} {what}\n", self.began.elapsed());
        }
    }

    pub(crate) fn violation(&self, what: impl Into<String>) {
        self.wire_log.lock().unwrap().violations.push(what.into());
    }

    async fn into_result(self) -> SeedResult {
        let WireLog { trace, violations, writes, .. } = std::mem::take(&mut *self.wire_log.lock().unwrap());
        let ending = || self.table.history(|history| format!("{history:#?}\n")) + &self.state.dump();
        let trace = trace.map_or_else(String::new, |trace| trace + &ending());
        SeedResult { trace, violations, fired: self.table.fired(), kills: self.kills, writes }
    }
}

/// Returns the kind of fault that a seed favours. Every third seed favours one of the two kinds that rarely change the
/// outcome. So even a few seeds contain many of these faults.
fn preferred_fault(seed: u64) -> Option<SimulatedFault> {
    match seed % 6 {
        0 => Some(SimulatedFault::NoImage),
        3 => Some(SimulatedFault::StaleRead),
        _ => None,
    }
}

/// Returns a fault plan. The fraction of requests with a fault is `share`, or 0.3 if the seed favours a kind of fault.
fn faults(share: f64, preferred: Option<SimulatedFault>) -> FaultPlan {
    let share = if preferred.is_some() { 0.3 } else { share };
    FaultPlan { share, late: Duration::from_secs(3), stale: STALE, preferred }
}

/// Returns the wall clock of the world.
pub(crate) fn wall(began: Instant) -> Timestamp {
    let since = SignedDuration::try_from(began.elapsed()).unwrap_or_default();
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 56) + since
}

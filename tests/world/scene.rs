//! Plays one seed from the first run to the contract or the rollback. Kills the tool several times, and checks every
//! step.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backfill::internals::dynamodb::TableDescription;
use backfill::internals::dynamodb::memory::{Author, FaultPlan, MemoryTable, SimulatedFault};
use backfill::internals::item::{Item, ItemKey, Num, Value};
use backfill::internals::machine::Random;
use backfill::internals::plan::{LoadedPlan, Plan};
use backfill::internals::playbook::{CutoverTarget, Goal, VerifyScope};
use backfill::internals::ratelimit::{Budgets, resolve};
use backfill::internals::state::CrashPoint;
use backfill::internals::state::memory::MemoryState;
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::flag::MemoryFlag;
use super::kills::Killer;
use super::kinds::Kind;
use super::plan::{self, Rates};
use super::select::{self, KEYS_FILE};
use super::wire::{PlantedBug, WireLog};
use super::{delete, elements, put, values};

const LATENCY: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(12));

/// The maximum age of a stale read.
pub(super) const STALE: Duration = Duration::from_secs(5);

/// The result of playing one seed.
pub(crate) struct SeedResult {
    /// All events, as text. Empty unless the caller requests a trace.
    pub(crate) trace: String,
    /// Descriptions of events that must never happen.
    pub(crate) violations: Vec<String>,
    /// Number of faults that took effect, by kind.
    pub(crate) fired: BTreeMap<SimulatedFault, u64>,
    pub(crate) kills: u64,
    /// Number of kills at each crash point. All other kills were at random moments.
    pub(crate) kills_at: BTreeMap<CrashPoint, u64>,
    /// The kinds of change and of selection in the plan.
    pub(crate) kinds: Vec<Kind>,
    /// Number of write requests that the tool sent.
    pub(crate) writes: u64,
}

/// A kind of change or selection, and the crash point at which every command is killed.
pub(crate) type Forced = (Kind, CrashPoint);

/// Plays a seed. This takes milliseconds.
pub(crate) fn play(seed: u64, planted: Option<PlantedBug>) -> SeedResult {
    play_with(seed, (None, None), planted, None)
}

/// Plays a seed whose plan has only this kind of change or selection.
pub(crate) fn play_kind(seed: u64, kind: Kind, planted: Option<PlantedBug>) -> SeedResult {
    play_with(seed, (Some(kind), None), planted, None)
}

/// Plays a seed whose plan has only this kind of change or selection. Kills the commands only at this crash point.
pub(crate) fn play_cell(seed: u64, cell: Forced) -> SeedResult {
    play_with(seed, (Some(cell.0), Some(cell)), None, None)
}

/// Plays a seed in which writes go in batches.
pub(crate) fn play_in_batches(seed: u64) -> SeedResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, (None, None), None, None);
        world.in_batches = true;
        world.play_migration().await;
        world.into_result().await
    })
}

/// Plays a seed with a trace of everything that happens.
pub(crate) fn play_traced(seed: u64, cell: Option<Forced>) -> SeedResult {
    play_with(seed, (cell.map(|(kind, _)| kind), cell), None, Some(String::new()))
}

fn play_with(
    seed: u64,
    (wish, cell): (Option<Kind>, Option<Forced>),
    planted: Option<PlantedBug>,
    trace: Option<String>,
) -> SeedResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, (wish, cell), planted, trace);
        world.play_migration().await;
        world.into_result().await
    })
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) loaded: LoadedPlan,
    /// The folder of the plan's file of keys.
    _folder: Option<TempDir>,
    pub(crate) cell: Option<Forced>,
    pub(crate) killer: Arc<Killer>,
    /// Whether the next run starts from the beginning.
    pub(crate) restarts: bool,
    /// Whether every answer of the plan's program is valid.
    pub(crate) is_program_reliable: Arc<AtomicBool>,
    pub(crate) description: TableDescription,
    pub(crate) budgets: Budgets,
    pub(crate) rates: Rates,
    pub(crate) table: MemoryTable,
    pub(crate) seed_items: BTreeMap<String, Item>,
    pub(crate) keys: Vec<ItemKey>,
    /// The number of changes and the number of requests that have already been checked.
    pub(crate) checked: Cell<(u64, usize)>,
    pub(crate) flag: Arc<MemoryFlag>,
    pub(crate) state: MemoryState,
    pub(crate) wire_log: Arc<Mutex<WireLog>>,
    pub(crate) began: Instant,
    pub(crate) random: Random,
    pub(crate) planted: Option<PlantedBug>,
    /// Whether writes go in batches of statements.
    pub(crate) in_batches: bool,
    pub(crate) process: u32,
    /// The process and the start time of each pass.
    pub(crate) passes: Vec<(u32, Duration)>,
    /// The running instances of the application.
    pub(crate) applications: Vec<AbortOnDropHandle<()>>,
    pub(crate) kills: u64,
    /// A kind of fault that rarely changes the outcome. All faults have this kind, except those in requests for which
    /// the kind is impossible. So the kind is tested often enough.
    pub(crate) preferred: Option<SimulatedFault>,
}

impl World {
    fn new(
        seed: u64,
        (wish, cell): (Option<Kind>, Option<Forced>),
        planted: Option<PlantedBug>,
        trace: Option<String>,
    ) -> World {
        let mut rng = Rng::with_seed(seed);
        let began = Instant::now();
        let description = plan::description();
        let (loaded, rates) = plan::plan(wish, &mut rng);
        let share = [0.0, 0.05, 0.15, 0.3][rng.usize(..4)];
        let faults = faults(share, preferred_fault(seed));
        let table = MemoryTable::new(description.clone(), LATENCY, faults, rng.u64(..));
        let replaces = plan::replaces(&loaded.plan);
        let mut items: Vec<Item> = (0..rng.u32(5..60)).map(|n| plan::item(n, replaces, &mut rng)).collect();
        if plan::keeps_version(&loaded.plan) {
            let first = || Value::N(Num::parse("1").unwrap());
            items.iter_mut().for_each(|item| drop(item.insert("version".to_owned(), first())));
        }
        if values::changes_elements(&loaded.plan) {
            items.iter_mut().for_each(|item| elements::change(item, &mut rng));
        }
        let keys: Vec<ItemKey> = items.iter().map(plan::key_of).collect();
        let folder = loaded.plan.keys.as_ref().map(|_| tempfile::tempdir().unwrap());
        let loaded = match &folder {
            Some(folder) => {
                std::fs::write(folder.path().join(KEYS_FILE), select::keys_file(&keys)).unwrap();
                loaded.open_keys(folder.path()).unwrap()
            }
            None => loaded,
        };
        let plan = loaded.plan.clone().with_index_key(&description.index_schemas());
        for (key, item) in keys.iter().zip(&items) {
            table.change(key, Author::Seed, |_| Some(item.clone()));
        }
        if plan.puts_items() {
            for item in put::existing(&items, &mut rng) {
                table.change(&plan::key_of(&item), Author::Seed, |_| Some(item.clone()));
            }
        }
        let call_durations = Mutex::new(Rng::with_seed(rng.u64(..)));
        let killer = Arc::new(Killer::default());
        let state = MemoryState::new(Arc::new(move || wall(began).to_string()));
        let state = state.with_crash_points(Killer::hook(&killer));
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
            loaded,
            _folder: folder,
            cell,
            killer,
            restarts: false,
            is_program_reliable: Arc::default(),
            description,
            table,
            seed_items: keys.iter().map(ItemKey::to_text).zip(items).collect(),
            keys,
            checked: Cell::default(),
            state,
            began,
            planted,
            in_batches: false,
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
        if self.abandons() && !self.abandon(run(false), changes).await {
            if self.plan.deletion() != Some(false) && self.rng.bool() {
                return self.roll_back(changes).await;
            }
            self.restarts = true;
        }
        let complete = self.command(run(false), changes).await;
        self.check_versions("run").await;
        if !complete {
            return self.violation("`run` does not complete");
        }
        self.check_no_item_is_missed().await;
        self.check_counts().await;
        self.check_budgets("run");
        self.table.set_faults(FaultPlan::NONE);
        self.is_program_reliable.store(true, Ordering::Relaxed);
        // The next pass changes the items that were written behind the scan position. After this pass, no work is left.
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
            // A rollback is not possible.
            return;
        }
        self.roll_back(changes).await;
    }

    /// Rolls back before applications wrote only new values.
    async fn roll_back(&mut self, changes: u32) {
        let complete = self.command(Goal::Rollback, changes).await;
        self.check_versions("rollback").await;
        self.check_counts().await;
        self.check_budgets("rollback");
        if self.plan.deletes_items() {
            self.check_undeleted().await;
        } else if self.plan.puts_items() {
            self.check_no_derived_item_is_left().await;
        } else if complete {
            self.check_restored().await;
            self.check_no_element_is_left().await;
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
        if plan::replaces(&self.plan) && !plan::is_one_way(&self.plan) && self.rng.bool() {
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

    fn writes(&self) -> u64 {
        self.wire_log.lock().unwrap().writes
    }

    pub(super) fn note(&self, what: &str) {
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
        let (kills_at, kinds) = (self.killer.kills(), Kind::of_plan(&self.plan));
        SeedResult { trace, violations, fired: self.table.fired(), kills: self.kills, kills_at, kinds, writes }
    }
}

/// Returns the kind of fault that a seed prefers, if any. Every third seed prefers one of the two kinds that rarely
/// change the outcome. So even a small number of seeds contains many of these faults.
fn preferred_fault(seed: u64) -> Option<SimulatedFault> {
    match seed % 6 {
        0 => Some(SimulatedFault::NoImage),
        3 => Some(SimulatedFault::StaleRead),
        _ => None,
    }
}

/// Returns a fault plan. `share` is the fraction of requests with a fault. If the seed prefers a kind of fault, this
/// fraction is 0.3 instead.
fn faults(share: f64, preferred: Option<SimulatedFault>) -> FaultPlan {
    let share = if preferred.is_some() { 0.3 } else { share };
    FaultPlan { share, late: Duration::from_secs(3), stale: STALE, preferred }
}

/// Returns the wall clock of the world.
pub(crate) fn wall(began: Instant) -> Timestamp {
    let since = SignedDuration::try_from(began.elapsed()).unwrap_or_default();
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 56) + since
}

//! Runs each command in its own simulated process, and kills such processes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backfill::internals::clock::{BootTime, Moment};
use backfill::internals::cutover::FlagStore;
use backfill::internals::dynamodb::batch::BatchTable;
use backfill::internals::dynamodb::memory::with_index;
use backfill::internals::dynamodb::{Sink, Tables};
use backfill::internals::machine::Machine;
use backfill::internals::migration::{Advance, Driver, DriverError, DriverSetup, OperatorInput};
use backfill::internals::playbook::{CutoverTarget, Fact, Goal, Phase};
use backfill::internals::state::{CrashPoint, State};
use fastrand::Rng;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::application::Application;
use super::plan;
use super::program::StandIn;
use super::scene::{STALE, World, wall};
use super::select::GROUPS;
use super::wire::{ListedKeys, PlantedBug, Wire};

/// The maximum number of kills of one command. After this number of kills, the command is no longer killed, so it can
/// complete.
const KILLS: u32 = 4;

/// The time for which applications obey a cached flag. This is the plan's `max_cache_seconds`.
const CACHE_TIME: Duration = Duration::from_secs(1);

/// The maximum number of attempts to run one command, including killed and stopped attempts.
const ATTEMPTS: u32 = 30;

/// The end of an attempt to run a command.
enum AttemptEnd {
    Done,
    Stopped(String),
    Killed,
}

/// When a process dies.
#[derive(Debug, Clone, Copy)]
enum Death {
    Never,
    /// When the process reaches this crash point. Before that, it passes the point this number of times.
    At(CrashPoint, u32),
    After(Duration),
}

impl World {
    /// Repeats a command until it completes. Sometimes kills the command. In the meantime, the application makes
    /// `changes` changes. Returns false if the command never completes.
    pub(crate) async fn command(&mut self, goal: Goal, changes: u32) -> bool {
        for share in [changes / 2, changes - changes / 2] {
            self.start_application(goal, share);
        }
        let may_kill = if self.cell.is_some() { KILLS } else { self.rng.u32(..=KILLS) };
        let mut killed = 0;
        let mut complete = false;
        for _ in 0..ATTEMPTS {
            let death = self.death(killed < may_kill);
            match self.attempt_until(goal, death).await {
                Ok(AttemptEnd::Done) => {
                    complete = true;
                    break;
                }
                Ok(AttemptEnd::Stopped(why)) => self.note(&format!("stopped: {why}")),
                Ok(AttemptEnd::Killed) => killed += 1,
                Err(error) => {
                    self.violation(format!("{goal:?} was refused: {error}"));
                    self.state = self.state.crash();
                    break;
                }
            }
            self.state = self.state.crash();
        }
        // After a flag change, applications continue to run. They still obey their cached flag while the next pass
        // begins.
        if !matches!(goal, Goal::CutoverTo(_)) {
            self.wait_until_quiet().await;
        }
        self.note(&format!("{goal:?}: complete: {complete}"));
        complete
    }

    /// Draws the moment at which the next process dies.
    fn death(&mut self, may_die: bool) -> Death {
        let rng = &mut self.rng;
        match self.cell {
            _ if !may_die => Death::Never,
            Some((_, point)) => Death::At(point, rng.u32(..4)),
            None if rng.bool() => Death::At(CrashPoint::ALL[rng.usize(..CrashPoint::ALL.len())], rng.u32(..6)),
            None => Death::After(Duration::from_millis(rng.u64(1..2_000))),
        }
    }

    /// Runs one command in one process, until the process completes or dies.
    async fn attempt_until(&mut self, goal: Goal, death: Death) -> Result<AttemptEnd, DriverError> {
        self.process += 1;
        let (target, lifetime) = match death {
            Death::Never => (None, Duration::from_secs(1_000_000)),
            Death::At(point, times) => (Some((point, times)), Duration::from_secs(1_000_000)),
            Death::After(lifetime) => (None, lifetime),
        };
        let killer = Arc::clone(&self.killer);
        killer.aim(target);
        let ended = tokio::select! {
            biased;
            () = killer.died() => None,
            ended = timeout(lifetime, self.attempt(goal)) => ended.ok(),
        };
        killer.aim(None);
        ended.unwrap_or_else(|| {
            self.kills += 1;
            self.note(&format!("killed: {death:?}"));
            Ok(AttemptEnd::Killed)
        })
    }

    /// Returns whether the operator abandons the first run after it was killed.
    pub(crate) fn abandons(&mut self) -> bool {
        match self.cell {
            Some((_, point)) => point == CrashPoint::BaselineCompletion,
            None => self.rng.u8(..6) == 0,
        }
    }

    /// Runs a command once, and kills it early. Returns whether it completed before the kill.
    pub(crate) async fn abandon(&mut self, goal: Goal, changes: u32) -> bool {
        self.start_application(goal, changes);
        let death = Death::After(Duration::from_millis(self.rng.u64(1..400)));
        let ended = self.attempt_until(goal, death).await;
        self.state = self.state.crash();
        self.wait_until_quiet().await;
        self.check_versions("run").await;
        match ended {
            Ok(AttemptEnd::Done) => true,
            Ok(AttemptEnd::Killed | AttemptEnd::Stopped(_)) => false,
            Err(error) => {
                self.violation(format!("{goal:?} was refused: {error}"));
                true
            }
        }
    }

    /// Waits until all applications have ended and no request is in flight. The checks are valid only in this state.
    async fn wait_until_quiet(&mut self) {
        for application in self.applications.drain(..) {
            drop(application.await);
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
    }

    /// Starts an application. During a rollback that removes derived items, the application does not write them. There
    /// is one exception: the planted bug of unguarded deletes is revealed only by such writes.
    fn start_application(&mut self, goal: Goal, changes: u32) {
        let application = Application {
            table: self.table.clone(),
            keys: self.keys.clone(),
            flag: Arc::clone(&self.flag),
            cache_time: if self.planted == Some(PlantedBug::OldCaches) { CACHE_TIME * 30 } else { CACHE_TIME },
            cached: None,
            plan: Arc::new(self.plan.clone()),
            writes_derived: self.plan.puts_items()
                && (goal != Goal::Rollback || self.planted == Some(PlantedBug::UnguardedDelete)),
            rng: Rng::with_seed(self.rng.u64(..)),
        };
        self.applications.push(AbortOnDropHandle::new(tokio::spawn(application.work(changes))));
    }

    /// Runs one command in one process.
    async fn attempt(&mut self, goal: Goal) -> Result<AttemptEnd, DriverError> {
        let began = self.began;
        let random = self.random.clone();
        let connection = self.table.connect(self.process);
        let sink: Arc<dyn Sink> = match self.in_batches {
            true => Arc::new(BatchTable::new(Arc::new(connection.clone()), false)),
            false => Arc::new(connection.clone()),
        };
        let wire = Wire {
            connection,
            sink,
            process: self.process,
            state: self.state.clone().without_latency(),
            planted: self.planted,
            began,
            wire_log: Arc::clone(&self.wire_log),
            killer: Arc::clone(&self.killer),
        };
        let mut tables = Tables::one(Arc::new(wire));
        if self.plan.index.is_some() {
            tables = with_index(tables, self.table.connect(self.process).index(GROUPS, STALE).unwrap());
        }
        if let Some(keys) = self.loaded.prepare_keys(&self.description.key).unwrap() {
            tables.source = Arc::new(ListedKeys(keys));
        }
        let setup = DriverSetup {
            plan: self.plan.clone(),
            tables,
            description: self.description.clone(),
            described_at: Instant::now(),
            budgets: self.budgets.clone(),
        };
        let flags = (!plan::in_place(&self.plan)).then(|| Arc::clone(&self.flag) as Arc<dyn FlagStore>);
        let ends_way_back = goal == Goal::CutoverTo(CutoverTarget::WriteNew) && plan::is_one_way(&self.plan);
        let force = ends_way_back.then(|| "nobody goes back".to_owned());
        let stops_writers = self.plan.puts_items() && goal == Goal::Rollback;
        let facts = if stops_writers { vec![Fact::WritersStopped] } else { Vec::new() };
        let input = OperatorInput { actor: "the world".into(), facts, force, ..OperatorInput::default() };
        let clock = Arc::new(move || wall(began));
        let mut driver = Driver::open(setup, State::new(self.state.clone()), flags, clock, input).await?;
        driver.machine = Machine {
            moments: Arc::new(move || Moment { monotonic: Instant::now(), wall: wall(began) }),
            boot: Arc::new(move || Some(BootTime { boot: "the world".into(), since: began.elapsed() })),
            random,
        };
        driver.programs = Some(Arc::new(StandIn {
            rng: Mutex::new(Rng::with_seed(self.rng.u64(..))),
            is_reliable: Arc::clone(&self.is_program_reliable),
            killer: Arc::clone(&self.killer),
        }));
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
                    let restarts = phase == Phase::Expand && std::mem::take(&mut self.restarts);
                    let swept = driver.run_pass(phase, restarts).await?;
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
}

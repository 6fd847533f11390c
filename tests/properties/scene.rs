//! Runs the real passes of one plan on one table, and compares them with the naive implementation.

mod checks;
mod puts;
mod replaced;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use backfill::internals::change::{CustomChange, Outcome, ProgramAnswer, ProgramQuestion};
use backfill::internals::clock::{BootTime, Moment};
use backfill::internals::cutover::FlagStore;
use backfill::internals::engine::{LocalScheduler, ReadSettings, scan_table};
use backfill::internals::exec::{ExecError, OnAnswered, Programs};
use backfill::internals::item::Item;
use backfill::internals::machine::{Machine, Random};
use backfill::internals::migration::{Advance, Driver, DriverError, DriverSetup, OperatorInput};
use backfill::internals::passes::{DryRun, PredictedOutcome, Prediction};
use backfill::internals::plan::{LoadedPlan, Plan, load};
use backfill::internals::playbook::{CutoverTarget, Fact, Goal, Phase};
use backfill::internals::ratelimit::resolve;
use backfill::internals::state::State;
use backfill::internals::state::memory::MemoryState;
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::flag::MemoryFlag;
use super::harness::{bytes_of, key_schema};
use super::naive::{Expected, expected, function, is_mismatch, program};
use super::server::{Server, WriteLog};
use super::spec::{ChangeSpec, Kind, Spec};
use super::{derived, items};

/// A defect that a test plants in the checks or in the tool's work. The checks must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// After the run, an item loses an attribute that no plan uses.
    LostAttribute,
    /// After the run, a number loses its last digit.
    LostDigit,
    /// One item lacks the writes of the run.
    LostWrite,
    /// After the rollback, one item contains the values of the run.
    IncompleteRollback,
    /// Verification does not report its first finding.
    OverlookedMismatch,
}

/// The figures of a case without a violation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Number of refused plans.
    pub(crate) refused: u64,
    pub(crate) plans: u64,
    pub(crate) items: u64,
    pub(crate) writes: u64,
    /// Number of writes whose estimated cost was compared with the server's count.
    pub(crate) estimates: u64,
    pub(crate) planted: u64,
    pub(crate) rolled_back: u64,
    /// Number of items in which an application wrote a target before the rollback.
    pub(crate) replaced: u64,
    pub(crate) contracted: u64,
    /// Number of items by outcome of the run.
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
    /// Number of accepted plans with each operation.
    pub(crate) operations: BTreeMap<&'static str, u64>,
}

impl Figures {
    pub(crate) fn merge(&mut self, other: Figures) {
        self.refused += other.refused;
        self.plans += other.plans;
        self.items += other.items;
        self.writes += other.writes;
        self.estimates += other.estimates;
        self.planted += other.planted;
        self.rolled_back += other.rolled_back;
        self.replaced += other.replaced;
        self.contracted += other.contracted;
        other.outcomes.into_iter().for_each(|(name, count)| *self.outcomes.entry(name).or_default() += count);
        other.operations.into_iter().for_each(|(name, count)| *self.operations.entry(name).or_default() += count);
    }
}

/// Replaces the programs of `exec`.
#[derive(Debug)]
struct StandIn;

#[async_trait]
impl Programs for StandIn {
    async fn ask(
        &self,
        questions: &[ProgramQuestion],
        progress: OnAnswered<'_>,
    ) -> Result<Vec<ProgramAnswer>, ExecError> {
        progress();
        Ok(questions.iter().map(|question| program(&question.inputs)).collect())
    }
}

/// Replaces the functions of `custom`.
struct Function {
    name: &'static str,
    outputs: usize,
}

impl CustomChange for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> &str {
        "1"
    }

    fn compute(&self, inputs: &Item) -> Result<Option<Item>, &'static str> {
        function(self.outputs, inputs)
    }
}

/// Reads a plan.
fn read(spec: &Spec, table: &str) -> Result<LoadedPlan, String> {
    let functions: [Arc<dyn CustomChange>; 2] =
        [Arc::new(Function { name: "one", outputs: 1 }), Arc::new(Function { name: "two", outputs: 2 })];
    let loaded = load("plan.toml", &spec.toml(table, None)).map_err(|errors| errors.to_string())?;
    loaded.supply(&functions).map_err(|errors| errors.to_string())
}

/// One migration.
struct Scene<'s> {
    spec: &'s Spec,
    plan: Plan,
    server: &'s Server<'s>,
    state: MemoryState,
    flag: Arc<MemoryFlag>,
    log: Arc<Mutex<WriteLog>>,
    began: Instant,
    process: u32,
}

/// A violation that the test found in a step of a case.
type Wrong = String;

fn outcome_of(expected: &Expected) -> Outcome {
    match expected {
        Expected::Applied(_) | Expected::Puts(_) => Outcome::Applied,
        Expected::AlreadyApplied => Outcome::AlreadyApplied,
        Expected::NothingToDo => Outcome::NothingToDo,
        Expected::Skipped => Outcome::Skipped,
        Expected::Diverged => Outcome::Diverged,
        Expected::Rejected => Outcome::Rejected,
        Expected::NotComputable => Outcome::NotComputable,
    }
}

fn wall(began: Instant) -> Timestamp {
    let since = SignedDuration::try_from(began.elapsed()).unwrap_or_default();
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 56) + since
}

/// Returns the errors of a plan. Returns `None` if the tool accepts the plan.
pub(crate) fn refusal(spec: &Spec) -> Option<String> {
    let waits = |change: &ChangeSpec| matches!(change.kind, Kind::Remove { .. } | Kind::Bump);
    let only_removes = !spec.in_place && spec.changes.iter().all(waits);
    match read(spec, "shop") {
        Err(errors) => Some(errors),
        // The first pass has nothing to do, so the test skips this plan.
        Ok(_) if only_removes => Some("the plan leaves everything to `contract`".to_owned()),
        Ok(loaded) => loaded.check_removals(&key_schema()).err().map(|errors| errors.to_string()),
    }
}

/// Checks that the tool refuses the plan if the plan's own removals leave a `where` without a result. Also checks that
/// the tool accepts the plan if each `where` keeps its result.
fn check_removals(spec: &Spec) -> Result<(), Wrong> {
    let Ok(loaded) = read(spec, "shop") else { return Ok(()) };
    let mut rng = Rng::with_seed(1);
    let samples: Vec<Item> = (0..300).map(|n| items::item(n, &mut rng)).collect();
    // The plan changes only items for which the `where` is true. The tool does not determine whether such an item can
    // have the removed attribute. So it is allowed to refuse a plan whose `where` is false for all items with this
    // attribute.
    let [must_refuse, may_refuse] = [&[true][..], &[true, false]].map(|from| spec.loses_a_result(from, &samples));
    match loaded.check_removals(&key_schema()) {
        Ok(()) if must_refuse => {
            Err("the plan is accepted, although a `where` has no result after its removals".to_owned())
        }
        Err(errors) if !may_refuse => {
            Err(format!("the plan is refused, although each `where` keeps its result: {errors}"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Checks a plan on a table with these items.
///
/// # Errors
///
/// Returns the first violation.
pub(crate) async fn check(
    spec: &Spec,
    items: &[Item],
    server: &Server<'_>,
    sabotage: Option<Sabotage>,
) -> Result<Figures, Wrong> {
    check_removals(spec)?;
    if refusal(spec).is_some() {
        return Ok(Figures { refused: 1, ..Figures::default() });
    }
    let began = Instant::now();
    for item in items {
        server.put(item).await;
    }
    let mut scene = Scene {
        spec,
        plan: read(spec, server.name())?.plan,
        server,
        state: MemoryState::new(Arc::new(move || wall(began).to_string())),
        flag: MemoryFlag::new(),
        log: Arc::default(),
        began,
        process: 0,
    };
    scene.check(sabotage).await
}

impl Scene<'_> {
    async fn check(&mut self, sabotage: Option<Sabotage>) -> Result<Figures, Wrong> {
        let before = self.server.dump().await;
        let expected: BTreeMap<String, Expected> =
            before.iter().map(|(key, item)| (key.clone(), expected(self.spec, item))).collect();
        let expected = derived::predicted(expected, &before);
        let predicted = self.dry_run().await?;
        self.check_counts("the dry run", &expected, 0, |outcome| {
            let classes = PredictedOutcome::ALL.into_iter().filter(|class| class.outcome() == outcome);
            classes.map(|class| predicted.of(class)).sum()
        })?;
        if self.writes() > 0 || self.server.dump().await != before {
            return Err("the dry run wrote to the table".to_owned());
        }

        if self.spec.contracts {
            self.command(Goal::CutoverTo(CutoverTarget::DualWrite)).await?;
        }
        self.command(Goal::Run { again: false }).await?;
        self.sabotage_run(sabotage, &before).await;
        let after = self.server.dump().await;
        let expected = derived::settled(&expected, &after)?;
        self.check_items(&before, &after, &expected)?;
        self.check_run_counts(&expected).await?;
        self.check_estimate(&predicted)?;
        self.check_raises(&before, &after)?;

        let writes = self.writes();
        self.command(Goal::Run { again: true }).await?;
        if self.writes() != writes || texts(&self.server.dump().await) != texts(&after) {
            return Err("a second run wrote to the table".to_owned());
        }
        let mismatches = before.iter().filter(|(key, item)| match self.spec.put() {
            Some(_) => expected[*key].is_mismatch(),
            None => is_mismatch(self.spec, item),
        });
        let due: BTreeSet<String> = mismatches.map(|(key, _)| key.clone()).collect();
        self.check_verification("after the run", &due, sabotage).await?;
        let planted = match self.spec.put() {
            Some(_) => self.check_planted_puts(&before, &after, &expected, &due).await?,
            None => self.check_planted_defects(&before, &after, &expected, &due).await?,
        };

        let mut figures = Figures { plans: 1, items: before.len() as u64, planted, ..Figures::default() };
        if self.spec.contracts {
            // Mismatches or failures keep the gate closed.
            let is_open = due.is_empty() && !expected.values().any(Expected::is_mismatch);
            if is_open && self.can_contract(&after) {
                // The last verification found the planted defects, so a new one must open the gate.
                self.check_verification("after the defects were corrected", &due, None).await?;
                self.check_contract(&after).await?;
                figures.contracted = 1;
            }
        } else if self.keeps_images() {
            figures.replaced = self.check_rollback(&before, &after, &expected, sabotage).await?;
            figures.rolled_back = 1;
        }
        let log = self.log.lock().unwrap();
        if let Some(wrong) = log.wrong_estimates.first() {
            return Err(format!("the estimate of a write is wrong: {wrong}"));
        }
        (figures.writes, figures.estimates) = (log.writes, log.estimates);
        for expected in expected.values() {
            *figures.outcomes.entry(outcome_of(expected).name()).or_default() += 1;
        }
        for change in &self.spec.changes {
            *figures.operations.entry(change.word()).or_default() += 1;
        }
        if self.spec.is_wide() {
            *figures.operations.entry("split").or_default() += 1;
        }
        Ok(figures)
    }

    /// Returns whether a rollback can restore all items.
    fn keeps_images(&self) -> bool {
        !self.spec.changes.iter().any(|change| matches!(change.kind, Kind::Delete { keeps_image: false, .. }))
    }

    fn writes(&self) -> u64 {
        self.log.lock().unwrap().writes
    }

    async fn open(&mut self, goal: Option<Goal>) -> Result<Driver, DriverError> {
        self.process += 1;
        let description = self.server.description();
        let setup = DriverSetup {
            plan: self.plan.clone(),
            tables: self.server.connect(self.process, &self.log),
            budgets: resolve(&self.plan.capacity, &description).unwrap_or_else(|errors| panic!("{errors:?}")).budgets,
            description,
            described_at: Instant::now(),
        };
        let flag = self.spec.contracts.then(|| Arc::clone(&self.flag) as Arc<dyn FlagStore>);
        // Without a flag, a rollback requires the confirmation of these facts.
        let needs_facts = goal == Some(Goal::Rollback) && self.spec.needs_cutover();
        let mut facts = if needs_facts { vec![Fact::ReadersBack, Fact::NewWritesStopped] } else { Vec::new() };
        if goal == Some(Goal::Rollback) && self.spec.put().is_some() {
            facts.push(Fact::WritersStopped);
        }
        let input = OperatorInput { actor: "the properties".into(), facts, ..OperatorInput::default() };
        let began = self.began;
        let clock = Arc::new(move || wall(began));
        let mut driver = Driver::open(setup, State::new(self.state.clone()), flag, clock, input).await?;
        driver.has_telemetry = false;
        driver.programs = Some(Arc::new(StandIn));
        driver.machine = Machine {
            moments: Arc::new(move || Moment { monotonic: Instant::now(), wall: wall(began) }),
            boot: Arc::new(move || Some(BootTime { boot: "the properties".into(), since: began.elapsed() })),
            random: Random::with_seed(u64::from(self.process)),
        };
        driver.confirm();
        Ok(driver)
    }

    /// Runs a command until it has reached its goal.
    async fn command(&mut self, goal: Goal) -> Result<(), Wrong> {
        let failed = |error: DriverError| format!("{goal:?} was refused: {error}");
        let mut driver = self.open(Some(goal)).await.map_err(failed)?;
        loop {
            match driver.advance(goal).await.map_err(failed)? {
                Advance::Done => return Ok(()),
                Advance::Preflight => driver.accept(Vec::new()).await.map_err(failed)?,
                Advance::Confirm => driver.confirm(),
                Advance::Recorded | Advance::Changed(_) => {}
                Advance::Backup(phase) => drop(driver.back_up(phase, goal).await.map_err(failed)?),
                Advance::Wait(wait) => drop(driver.wait(wait.left).await),
                Advance::RunPass(phase) => {
                    let ended = driver.run_pass(phase, false).await.map_err(failed)?;
                    if let Some(why) = &ended.stopped {
                        return Err(format!("{goal:?} stopped: {why}"));
                    }
                    if ended.unfinished {
                        return Err(format!("{goal:?}: items failed"));
                    }
                }
            }
        }
    }

    async fn dry_run(&mut self) -> Result<Prediction, Wrong> {
        let driver = self.open(None).await.map_err(|error| error.to_string())?;
        let job = driver.job(Phase::Expand).await.map_err(|error| format!("the dry run was refused: {error}"))?;
        let segments = job.segments().segments;
        let settings = ReadSettings { survey: None, ..job.dry_run_read_settings(segments) };
        let handler = Arc::new(DryRun::new(&job, None));
        scan_table(settings, &LocalScheduler::new(segments), &job.expand_requests(), Arc::clone(&handler)).await;
        match job.stop.reason() {
            Some(why) => Err(format!("the dry run stopped: {why}")),
            None => Ok(handler.prediction()),
        }
    }
}

fn texts(items: &BTreeMap<String, Item>) -> BTreeMap<&String, String> {
    items.iter().map(|(key, item)| (key, bytes_of(item))).collect()
}

//! A migration, for programs that embed the tool: every command of the playbook, without a terminal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::back::StepBack;
use super::outcome::recorded_run;
use super::preflight::{is_complete, recorded};
use super::target::{Target, read_plan, read_text, state_path};
use super::{
    CutoverDryRunOutcome, CutoverOutcome, CutoverStep, MigrationError, Observer, OperatorInput, Options, Order,
    PassEnd, PassOutcome, PassResult, Read, RetryOutcome, RunOptions, RunOutcome, Seen, Session, StatusOptions,
    StatusOutcome, StepOptions, VerifyOptions, VerifyOutcome, WorkedPass, hold_preflight, known, not_as_before,
    preview, read, read_now,
};
use crate::change::BaselinePair;
use crate::clock::wall;
use crate::engine::{StopReason, Stopper};
use crate::plan::{Loaded, Plan};
use crate::playbook::{Goal, Next, Scope, back_needs_state};
use crate::preflight::{Accept, Fits, check_begun_plan, check_plan, check_way_back};
use crate::state;
use crate::state::phase::EXPAND;
use crate::telemetry::{KeptBudgets, KeptPace};

/// Items that a report names; all are counted.
const NAMED: u32 = 1_000;

/// The flag is read for at most this long for a status.
const FLAG_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);

/// Clusters that a sample draws at most.
const MAX_CLUSTERS: u32 = 1_000_000;

/// A plan and the location of its state. The methods are the commands of the playbook.
///
/// A command opens the table and the state, works, and closes them again. What it reports is durable. A command that was
/// killed, stopped or refused can be called again: it continues from what is durable, or refuses and names the command
/// that is next. [`Migration::stopper`] drains the running command.
///
/// # Example
///
/// ```no_run
/// # async fn embed() -> Result<(), backfill::MigrationError> {
/// use backfill::{DryRunOptions, Migration, Options};
///
/// let mut options = Options::default();
/// options.region = Some("eu-central-1".into());
/// let migration = Migration::open("plan.toml", options)?;
/// let outcome = migration.dry_run(&DryRunOptions::default()).await?;
/// println!("{}", outcome.report().to_json());
/// # Ok(())
/// # }
/// ```
pub struct Migration {
    pub(super) path: PathBuf,
    pub(super) state: PathBuf,
    pub(super) loaded: Loaded,
    pub(super) actor: String,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) stop: Stopper,
}

impl Migration {
    /// Reads a plan's file. Neither the table nor the state file is touched.
    ///
    /// # Errors
    ///
    /// [`MigrationError::PlanFile`] if the file cannot be read, [`MigrationError::Plan`] with every problem of the plan.
    ///
    /// # Example
    ///
    /// ```
    /// use backfill::{Migration, MigrationError, Options};
    ///
    /// let missing = Migration::open("no-such-plan.toml", Options::default());
    /// assert!(matches!(missing, Err(MigrationError::PlanFile { .. })));
    /// ```
    pub fn open(plan: impl AsRef<Path>, options: Options) -> Result<Migration, MigrationError> {
        let path = plan.as_ref().to_owned();
        let loaded = read_plan(&path, &options)?;
        Ok(Migration::of(path, loaded, options))
    }

    /// Reads a plan from text. Errors and reports call it `name`.
    ///
    /// # Errors
    ///
    /// [`MigrationError::Plan`] with every problem of the plan.
    ///
    /// # Example
    ///
    /// ```
    /// use backfill::{Migration, Options};
    ///
    /// let plan = r#"
    ///     [migration]
    ///     name = "rename-email"
    ///     strategy = "expand-contract"
    ///
    ///     [table]
    ///     name = "users"
    ///
    ///     [[change]]
    ///     move = "email"
    ///     to = "contact_email"
    /// "#;
    /// let migration = Migration::from_text("rename-email", plan, Options::default())?;
    /// assert_eq!(migration.plan().table.name, "users");
    /// # Ok::<(), backfill::MigrationError>(())
    /// ```
    pub fn from_text(name: &str, plan: &str, options: Options) -> Result<Migration, MigrationError> {
        let loaded = read_text(name, plan, &options)?;
        Ok(Migration::of(PathBuf::from(name), loaded, options))
    }

    fn of(path: PathBuf, loaded: Loaded, options: Options) -> Migration {
        let state = state_path(&options, &loaded.plan);
        let Options { actor, observer, .. } = options;
        Migration { path, state, loaded, actor, observer, stop: Stopper::default() }
    }

    /// The plan, with the options over its own `[table]`.
    pub fn plan(&self) -> &Plan {
        &self.loaded.plan
    }

    /// The state file.
    pub fn state_path(&self) -> &Path {
        &self.state
    }

    /// Drains the running command: it takes no new items, waits at most 10 s for requests in flight, and commits
    /// completed pages. A stopped `Migration` makes no pass and changes no flag, except that a
    /// step back from dual writes is still taken; open another one to resume.
    pub fn stopper(&self) -> Stopper {
        self.stop.clone()
    }

    /// Runs the plan's expand phase, or resumes it from its checkpoints.
    ///
    /// # Errors
    ///
    /// The table or the state file cannot be opened; the preflight or the playbook refuses; the observer does not confirm;
    /// or progress cannot be stored. A run that stops at a limit is not an error: [`RunOutcome::stopped`] says why.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.run(&backfill::RunOptions::default()).await?;
    /// if let Some(reason) = outcome.stopped() {
    ///     println!("stopped, run it again to resume: {reason}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run(&self, options: &RunOptions) -> Result<RunOutcome, MigrationError> {
        let target = Box::pin(self.target(check_plan)).await?;
        // Before the state file is made: a run that is refused leaves no trace.
        let accepted = self.hold(options, &target).await?;
        if options.again && !recorded(&target, EXPAND).await.is_some_and(|(run, _)| is_complete(&run) || run.pass > 1) {
            return Err(MigrationError::NoCompletePass);
        }
        let goal = Goal::Run { again: options.again || options.restart };
        let question = format!("Write to {} now?", target.description.arn);
        let order = Order { restart: options.restart, ..Order::of(goal, &options.accept, question) };
        let order = Order { held: Some(accepted.clone()), ..order };
        let input = OperatorInput { accepted, ..OperatorInput::of(&self.actor, &options.accept) };
        let (session, passes, stopped) = Box::pin(self.carry_out(target, input, order)).await?;
        let ended = passes.into_iter().rev().find_map(|end| match end.result {
            Some(PassResult::Worked(ended)) => Some(*ended),
            Some(PassResult::Verified(_) | PassResult::Retried(_)) | None => None,
        });
        let worked = ended.is_some();
        let ended = match ended {
            Some(ended) => Some(ended),
            None => recorded_run(&session.driver.store).await?,
        };
        let target = session.close().await?;
        Ok(RunOutcome { target, ended, worked, stopped })
    }

    /// Runs the preflight of a new or resumed run, and returns the findings that were accepted. Skips it if the run is
    /// complete and nothing will be written.
    async fn hold(&self, options: &RunOptions, target: &Target) -> Result<Vec<String>, MigrationError> {
        let job = target.job()?;
        let recorded = recorded(target, EXPAND).await.filter(|_| !options.restart);
        if recorded.as_ref().is_some_and(|(run, _)| is_complete(run)) && !options.again {
            return Ok(Vec::new());
        }
        let mut accepted = options.accept.clone();
        accepted
            .extend(recorded.filter(|(run, _)| run.can_be_resumed()).into_iter().flat_map(|(_, accepted)| accepted));
        let found = hold_preflight(target, &job, Read::Nothing, accepted).await;
        found.hold()?;
        found.tell(self.observer.as_ref());
        Ok(found.to_record())
    }

    /// Retries the items that failed in `run`.
    ///
    /// # Errors
    ///
    /// As [`Migration::run`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.retry_failures(&[]).await?;
    /// println!("{} failures are left", outcome.open().failures);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn retry_failures(&self, accept: &[Accept]) -> Result<RetryOutcome, MigrationError> {
        let target = Box::pin(self.target(check_begun_plan)).await?;
        let order = Order::of(Goal::FailuresRetry, accept, "");
        let input = OperatorInput::of(&self.actor, accept);
        let (session, passes, stopped) = Box::pin(self.carry_out(target, input, order)).await?;
        let retried = passes.into_iter().find_map(|end| match end.result {
            Some(PassResult::Retried(retried)) => Some(retried),
            Some(PassResult::Worked(_) | PassResult::Verified(_)) | None => None,
        });
        let open = session.driver.store.open_work(None).await?;
        session.close().await?;
        Ok(RetryOutcome { retried: retried.unwrap_or_default(), open, stopped })
    }

    /// Compares the table with the plan by shadow reads, or resumes a comparison that was stopped. With
    /// [`VerifyOptions::repair`] it fixes mismatches.
    ///
    /// # Errors
    ///
    /// As [`Migration::run`]. Mismatches are not an error: the report counts them.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.verify(&backfill::VerifyOptions::default()).await?;
    /// if let Some((report, hash)) = outcome.report() {
    ///     println!("{} mismatches, report {hash}", report.mismatches);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn verify(&self, options: &VerifyOptions) -> Result<VerifyOutcome, MigrationError> {
        let VerifyOptions { sample, repair, repair_remove, accept } = options;
        let scope = if sample.is_some() { Scope::Sampled } else { Scope::Full };
        let target = Box::pin(self.target(check_begun_plan)).await?;
        let of = OperatorInput::of(&self.actor, accept);
        let sample = sample.map(|clusters| clusters.clamp(1, MAX_CLUSTERS));
        let input = OperatorInput { sample, repair_remove: *repair_remove, ..of };
        let question = format!("Repair items of {} now?", target.description.arn);
        let order = Order::of(Goal::Verify { scope, repair: *repair }, accept, question);
        let (session, passes, stopped) = Box::pin(self.carry_out(target, input, order)).await?;
        session.close().await?;
        // The result counts, not whether a stop was asked for after it was recorded.
        Ok(match passes.into_iter().next_back() {
            Some(PassEnd { result: Some(PassResult::Verified(verified)), stopped, .. }) => {
                VerifyOutcome { verified: Some(*verified), stopped }
            }
            Some(_) | None => VerifyOutcome { verified: None, stopped },
        })
    }

    /// Moves the cutover flag one step forward or back. When it returns, every application obeys the flag that it reports.
    ///
    /// # Errors
    ///
    /// As [`Migration::run`]. A closed gate refuses a step forward. A step back while both attributes are written is never
    /// refused by a gate, a lock or a question.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// use backfill::{CutoverStep, StepOptions};
    ///
    /// let outcome = migration.cutover(CutoverStep::ReadNew(10), &StepOptions::default()).await?;
    /// println!("{:?}", outcome.flag().map(ToString::to_string));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cutover(&self, step: CutoverStep, options: &StepOptions) -> Result<CutoverOutcome, MigrationError> {
        let (back, now) = match step {
            CutoverStep::Back { now } => (true, now),
            CutoverStep::DualWrite | CutoverStep::ReadNew(_) | CutoverStep::WriteNew => (false, false),
        };
        // Whatever phase the plan is in: applications obey a flag that exists.
        if back && let Some(moved) = self.step_back().await? {
            return Ok(CutoverOutcome { flag: Some(moved), stopped: None });
        }
        let reason = now.then(|| "stale reads were accepted by --now".to_owned());
        let input = OperatorInput { reason, ..OperatorInput::of_step(&self.actor, options) };
        let question = format!("Change the cutover flag of {} now?", self.plan().name);
        let order = Order::of(step.goal(), &options.accept, question);
        let fits: Fits = if back { check_way_back } else { check_plan };
        let target = Box::pin(self.target(fits)).await?;
        let (session, _, stopped) = Box::pin(self.carry_out(target, input, order)).await?;
        let flag = session.driver.flag().await?;
        session.close().await?;
        Ok(CutoverOutcome { flag, stopped })
    }

    /// Takes the step back if it needs neither a confirmation nor the state; otherwise returns `None`.
    async fn step_back(&self) -> Result<Option<crate::cutover::Flag>, MigrationError> {
        let plan = self.plan();
        let Some(opened) = crate::cutover::open(plan, wall(), None).await? else { return Ok(None) };
        let Some((flag, _)) = read(opened.flag.as_ref(), plan).await? else { return Ok(None) };
        if back_needs_state(&flag) {
            return Ok(None);
        }
        let back = StepBack { plan, state: &self.state, actor: &self.actor, observer: self.observer.as_ref() };
        let moved = back.take(opened.flag.as_ref(), flag).await;
        Ok(Some(moved.map_err(|error| MigrationError::of_driver(error, &self.path))?))
    }

    /// Checks every precondition of a step forward, and counts the items that had only the new attribute. Changes nothing.
    ///
    /// # Errors
    ///
    /// The step would be refused, or the table or the state file cannot be read.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// use backfill::{CutoverStep, StepOptions};
    ///
    /// let outcome = migration.cutover_dry_run(CutoverStep::WriteNew, &StepOptions::default()).await?;
    /// println!("it would be taken by: {}", outcome.next());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cutover_dry_run(
        &self,
        step: CutoverStep,
        options: &StepOptions,
    ) -> Result<CutoverDryRunOutcome, MigrationError> {
        let target = Box::pin(self.target(check_plan)).await?;
        let Target { plan, description, state, .. } = &target;
        let opened = target.open_flag().await?;
        let flags = opened.as_ref().map(|opened| opened.flag.as_ref());
        let (input, goal) = (OperatorInput::of_step(&self.actor, options), step.goal());
        let previewed = Box::pin(preview(state, plan, description, flags, &input, goal, wall()())).await;
        if previewed.map_err(|error| MigrationError::of_driver(error, &self.path))?.is_none() {
            return Err(unreadable(state));
        }
        let new_alone = if state.exists() {
            state::read(state)?.baseline_pairs(BaselinePair::NewAlone, NAMED).await?
        } else {
            None
        };
        Ok(CutoverDryRunOutcome { new_alone, next: Next::from(goal).for_plan(&self.path.display().to_string()) })
    }

    /// Removes the old attribute, or resumes the removal. This cannot be undone.
    ///
    /// # Errors
    ///
    /// As [`Migration::run`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.contract(&backfill::StepOptions::default()).await?;
    /// assert!(!outcome.unfinished());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn contract(&self, options: &StepOptions) -> Result<PassOutcome, MigrationError> {
        let target = Box::pin(self.target(check_begun_plan)).await?;
        let question = format!("Remove the old attribute from {} now? There is no way back.", target.description.arn);
        Box::pin(self.passes(target, Goal::Contract, question, options)).await
    }

    /// Undoes the migration from any point before contract, or resumes the rollback.
    ///
    /// # Errors
    ///
    /// As [`Migration::run`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.rollback(&backfill::StepOptions::default()).await?;
    /// assert!(!outcome.unfinished());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rollback(&self, options: &StepOptions) -> Result<PassOutcome, MigrationError> {
        let target = Box::pin(self.target(check_way_back)).await?;
        not_as_before::tell(&target, self.observer.as_ref()).await;
        let question = format!("Undo the migration on {} now?", target.description.arn);
        Box::pin(self.passes(target, Goal::Rollback, question, options)).await
    }

    async fn passes(
        &self,
        target: Target,
        goal: Goal,
        question: String,
        options: &StepOptions,
    ) -> Result<PassOutcome, MigrationError> {
        let order = Order::of(goal, &options.accept, question);
        let input = OperatorInput::of_step(&self.actor, options);
        let (session, ends, stopped) = Box::pin(self.carry_out(target, input, order)).await?;
        let unfinished = ends.iter().any(|end| end.unfinished);
        let mut passes = Vec::new();
        for end in ends {
            if let Some(PassResult::Worked(ended)) = end.result {
                let store = &session.driver.store;
                let not_as_before = not_as_before::left_by(store, &ended.run).await?;
                passes.push(WorkedPass {
                    journaled: store.journaled(ended.run.id).await?,
                    ended: *ended,
                    not_as_before,
                });
            }
        }
        let target = session.close().await?;
        Ok(PassOutcome { target, passes, unfinished, stopped })
    }

    /// Where the migration is and which command is next, from the state file and the flag. Can be called while another
    /// command is running, and after its process died. Changes nothing.
    ///
    /// # Errors
    ///
    /// There is no state file yet, or it cannot be read.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn embed(migration: backfill::Migration) -> Result<(), backfill::MigrationError> {
    /// let outcome = migration.status(&backfill::StatusOptions::default()).await?;
    /// println!("phase {}", outcome.known().standing.stage.name());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn status(&self, options: &StatusOptions) -> Result<StatusOutcome, MigrationError> {
        let (plan, file) = (self.plan(), state::read(&self.state)?);
        let summary = file.summary().await?;
        let read = match Seen::of(file.as_ref()).await.is_some() && !options.offline {
            true => Some(Box::pin(read_now(plan, wall(), FLAG_LIMIT)).await),
            false => None,
        };
        let known = known(file.as_ref(), &summary, plan, wall()(), read).await?;
        let here = crate::host::name();
        let suspended = summary
            .holder
            .as_ref()
            .is_some_and(|holder| holder.host == Some(here.into()) && holder.pid.is_some_and(crate::host::is_stopped));
        let pace = KeptPace::in_file(file.as_ref(), summary.holder.as_ref()).await;
        let budgets = KeptBudgets::of(file.as_ref(), summary.current.as_ref().map(|current| &current.run)).await?;
        Ok(StatusOutcome { summary, fingerprint: plan.fingerprint(), known, budgets, pace, suspended, now: wall()() })
    }

    /// Reaches the table and checks the plan against it.
    pub(super) async fn target(&self, fits: Fits) -> Result<Target, MigrationError> {
        Target::open(self.loaded.clone(), self.path.clone(), self.state.clone(), fits, self.observer.as_ref()).await
    }

    /// Opens a session, and takes the playbook's steps until the goal is reached or the session is stopped.
    async fn carry_out(
        &self,
        target: Target,
        input: OperatorInput,
        mut order: Order,
    ) -> Result<(Session, Vec<PassEnd>, Option<StopReason>), MigrationError> {
        let (observer, stop) = (Arc::clone(&self.observer), self.stop.clone());
        let mut session = Box::pin(Session::prepared(target, input, &mut order, observer, stop)).await?;
        match Box::pin(session.pursue(order)).await {
            Ok((passes, stopped)) => Ok((session, passes, stopped)),
            Err(error) => {
                // The reason counts. A lease that cannot be given back expires.
                let _ = session.close().await;
                Err(error)
            }
        }
    }
}

/// Why the state file could not be read.
fn unreadable(state: &Path) -> MigrationError {
    match state::read(state) {
        Err(error) => error.into(),
        Ok(_) => MigrationError::StateChanged(state.display().to_string()),
    }
}

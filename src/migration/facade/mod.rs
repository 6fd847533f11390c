//! The interface for programs that embed the tool. It offers every command of the playbook, and needs no terminal.

mod check;
mod cutover;
#[cfg(feature = "internals")]
mod explain;
#[cfg(feature = "internals")]
mod journal;
mod passes;
mod run;
mod stats;
mod status;
mod steer;
mod verify;

#[cfg(feature = "internals")]
pub use explain::{Explainer, ItemReader};
#[cfg(feature = "internals")]
pub use journal::PurgeOutcome;
pub use steer::{SteerError, SteerOutcome};

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::options::command_line;
use super::preflight::has_begun;
use super::target::{MigrationTarget, ReadPlan, read_plan, read_text, state_path};
use super::{CommandRequest, MigrationError, Notice, Observer, OperatorInput, Options, PassEnd, Session, plan_files};
use crate::command_line::CommandLine;
use crate::dynamodb::Tables;
use crate::engine::{StopReason, Stopper};
use crate::plan::{LoadedPlan, Plan, PlanErrors};
use crate::preflight::{PlanCheck, check_new_plan, check_plan, check_rollback_plan};
use crate::telemetry::metrics::{Exports, MetricsSource, RunningExport, RunningExports, Stage};

/// A plan and the location of its state. Each command of the playbook is a method.
///
/// A command opens the table and the state file, does its work, and closes both. When a command returns a result, that
/// result is durable. You can repeat a command after it was killed, stopped or refused. It then continues from the
/// durable state, or it refuses and names the next command. [`Migration::stopper`] drains the running command.
///
/// If the plan has `[hooks]`, a command runs the hooks' programs on this host, and waits for them before it returns.
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
    pub(super) commands: CommandLine,
    pub(super) state: PathBuf,
    pub(super) loaded: LoadedPlan,
    /// The reason why the plan's file of keys cannot be used. If set, `loaded` uses the keys in the copy of that file.
    keys_problem: Option<PlanErrors>,
    pub(super) actor: String,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) stop: Stopper,
    tables: Option<Tables>,
    has_telemetry: bool,
    /// The configured exports of metrics. They start with the next command.
    exports: Mutex<Exports>,
    /// The running exports of the current command's metrics. The metrics endpoint stays available until the command has
    /// printed its result.
    exporting: Mutex<Option<RunningExports>>,
}

impl Migration {
    /// Reads a plan file. Does not access the table or the state file.
    ///
    /// # Errors
    ///
    /// Fails with [`MigrationError::PlanFile`] if the file cannot be read, and with [`MigrationError::Plan`] if the
    /// plan is not valid.
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
        Ok(Migration::from_loaded(path, loaded, options))
    }

    /// Reads a plan from text. Errors and reports refer to it as `name`.
    ///
    /// # Errors
    ///
    /// Fails with [`MigrationError::Plan`], which contains every problem of the plan.
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
        Ok(Migration::from_loaded(PathBuf::from(name), loaded, options))
    }

    fn from_loaded(path: PathBuf, (loaded, keys_problem): ReadPlan, options: Options) -> Migration {
        let state = state_path(&options, &loaded.plan);
        let commands = command_line(&path, &options).with_state_file(&state);
        let Options { actor, observer, .. } = options;
        Migration {
            path,
            commands,
            state,
            loaded,
            keys_problem,
            actor,
            observer,
            stop: Stopper::default(),
            tables: None,
            has_telemetry: true,
            exports: Mutex::default(),
            exporting: Mutex::default(),
        }
    }

    /// Uses these tables instead of connecting to the table in the plan's `[table]`. Use this method to provide your
    /// own transport or source, or an in-memory table for tests. The descriptions of these tables must still match the
    /// plan's `name` and `key`.
    ///
    /// The plan's `[table]` names the source, from which items are read. The source's description determines the read
    /// budgets. If items are written to a different table, that table is the sink ([`Tables::two`]). In that case, the
    /// preflight checks the sink. The sink's description also determines the budgets for writes and for the sink's
    /// indexes. Single items are also read from the sink, within the sink's default read budget. The state file belongs
    /// to this pair of tables, so it is refused with a different sink.
    ///
    /// This method replaces only the access to items. The tool still accesses the `[cutover]` flag with the
    /// credentials, the region and the endpoint of `[table]`. The tool compares `account` in `[table]` with the source,
    /// not with the flag, so the flag can be in a different account than the tables. A flag in a different account has
    /// one limitation: if its credentials expire, the tool does not renew them, because renewed credentials must reach
    /// the described table. In that case, the phase sends no requests after `max_cache_seconds`, and stops 30 s later.
    /// The same command resumes the phase with new credentials.
    ///
    /// # Example
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use backfill::Migration;
    /// use backfill::ports::dynamodb::{Describe, Sink, Source, Tables};
    ///
    /// fn on(migration: Migration, table: impl Describe + Source + Sink + 'static) -> Migration {
    ///     migration.with_tables(Tables::one(Arc::new(table)))
    /// }
    /// ```
    #[must_use]
    pub fn with_tables(self, tables: Tables) -> Migration {
        Migration { tables: Some(tables), ..self }
    }

    /// Exports metrics during the whole next command. The commands check, dry run and status export no metrics.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn with_exports(self, exports: Exports) -> Migration {
        Migration { exports: Mutex::new(exports), ..self }
    }

    /// Runs passes without measurements and displays, so that a benchmark can measure the cost of telemetry.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn without_telemetry(self) -> Migration {
        Migration { has_telemetry: false, ..self }
    }

    /// If `ignore` is set, runs the commands without the plan's health checks. Logs a warning if the plan has health
    /// checks.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn ignoring_health_checks(mut self, ignore: bool) -> Migration {
        if ignore && !self.loaded.plan.health_checks.is_empty() {
            self.loaded.plan.health_checks.clear();
            tracing::warn!("the plan's health checks do not run, because of --ignore-health-checks");
        }
        self
    }

    /// Returns the plan. The values from the options have already replaced the values in `[table]`.
    pub fn plan(&self) -> &Plan {
        &self.loaded.plan
    }

    /// Returns the path of the state file.
    pub fn state_path(&self) -> &Path {
        &self.state
    }

    /// Returns a stopper that drains the running command. A draining command takes no new items, waits at most 10 s for
    /// requests in flight, and commits completed pages. After a stop, this `Migration` runs no further pass and does
    /// not change the flag, except for a step back while both attributes are written. To resume, open another
    /// `Migration`.
    pub fn stopper(&self) -> Stopper {
        self.stop.clone()
    }

    /// Returns the plan check for `run`, its dry run and `check`. If the migration has begun, its plan can no longer
    /// change. In that case, this check reports fewer problems.
    async fn check_of_run(&self) -> PlanCheck {
        if has_begun(&self.state).await { check_plan } else { check_new_plan }
    }

    /// Connects to the table and checks the plan against it.
    async fn target(&self, plan_check: PlanCheck) -> Result<MigrationTarget, MigrationError> {
        self.target_of(self.forward_plan()?, plan_check, self.observer.as_ref()).await
    }

    /// Returns the plan for a command other than `rollback` and `cutover --back`.
    fn forward_plan(&self) -> Result<LoadedPlan, MigrationError> {
        match &self.keys_problem {
            Some(problem) => Err(problem.clone().into()),
            None => Ok(self.loaded.clone()),
        }
    }

    /// Like [`Migration::target`], but for `rollback` and `cutover --back`. A missing or changed file of the plan does
    /// not block these commands.
    async fn way_back_target(&self) -> Result<MigrationTarget, MigrationError> {
        let observer = self.observer.as_ref();
        self.target_of(self.way_back_plan(observer).await, check_rollback_plan, observer).await
    }

    /// Returns the plan for `rollback` or `cutover --back`. Sends this observer a notice if a file of the plan has
    /// changed.
    async fn way_back_plan(&self, observer: &dyn Observer) -> LoadedPlan {
        let (plan, notice) = self.kept_plan().await;
        notice.iter().for_each(|notice| observer.notice(notice));
        plan
    }

    /// Returns the plan for `rollback` or `cutover --back`, and the notice to send if a file of the plan has changed.
    async fn kept_plan(&self) -> (LoadedPlan, Option<Notice<'static>>) {
        plan_files::for_way_back(&self.loaded, &self.state, self.keys_problem.is_some()).await
    }

    async fn target_of(
        &self,
        loaded: LoadedPlan,
        plan_check: PlanCheck,
        observer: &dyn Observer,
    ) -> Result<MigrationTarget, MigrationError> {
        MigrationTarget::open(
            loaded,
            (self.path.clone(), self.commands.clone()),
            self.state.clone(),
            plan_check,
            self.tables.clone(),
            observer,
        )
        .await
    }

    /// Opens a session, and carries out the playbook's steps until the goal is reached or the session is stopped.
    async fn carry_out(
        &self,
        target: MigrationTarget,
        input: OperatorInput,
        mut request: CommandRequest,
    ) -> Result<(Session, Vec<PassEnd>, Option<StopReason>), MigrationError> {
        let observer = Arc::clone(&self.observer);
        let stop = self.stop.clone();
        let metrics = self.metrics();
        let stages = metrics.clone();
        let opened = Box::pin(Session::open_prepared(target, input, &mut request, observer, stop, stages)).await;
        let mut session = opened?;
        session.driver.has_telemetry = self.has_telemetry;
        if let Some(metrics) = &metrics {
            metrics.open(session.driver.store.clone());
            metrics.show_hook_failures(session.driver.hooks.failure_counter());
            session.driver.metrics = Some(Arc::clone(metrics));
        }
        let result = Box::pin(session.run_request(request)).await;
        if let Some(metrics) = &metrics {
            metrics.end().await;
        }
        match result {
            Ok((passes, stopped)) => Ok((session, passes, stopped)),
            Err(error) => {
                Box::pin(session.close_after_error()).await;
                Err(error)
            }
        }
    }

    /// Carries out a command, and exports its metrics. The endpoint starts first, so that `/livez` answers from the
    /// beginning. If the endpoint's address is in use, the command is refused before it does anything. A rollback or a
    /// step back is not refused, and the tool only logs a warning. The last metrics are sent after the command has
    /// closed the state file and released the lease.
    async fn exporting<T>(
        &self,
        is_way_back: bool,
        command: impl Future<Output = Result<T, MigrationError>>,
    ) -> Result<T, MigrationError> {
        let exports = std::mem::take(&mut *lock(&self.exports));
        if exports.is_empty() {
            return command.await;
        }
        // First stop the endpoint of an earlier command, because that endpoint may use the same address.
        drop(lock(&self.exporting).take());
        let Plan { name, table, .. } = &self.loaded.plan;
        let (exporting, failed) = exports.start(name, &table.name).await;
        if let Some((address, error)) = failed {
            let error = MigrationError::MetricsAddress { address, error };
            if !is_way_back {
                return Err(error);
            }
            tracing::warn!("{error}. The command continues without the metrics endpoint");
        }
        if let Some(address) = exporting.address() {
            self.observer.notice(&Notice::MetricsServed(address));
        }
        *lock(&self.exporting) = Some(exporting);
        let result = command.await;
        if let Some(metrics) = self.metrics() {
            metrics.set_stage(Stage::Ended);
        }
        let running = lock(&self.exporting).as_mut().map(RunningExports::take_running).unwrap_or_default();
        futures::future::join_all(running.into_iter().map(RunningExport::finish)).await;
        result
    }

    /// Returns the source of the metrics that the running command exports. Returns `None` if the command exports no
    /// metrics.
    fn metrics(&self) -> Option<Arc<MetricsSource>> {
        lock(&self.exporting).as_ref().map(RunningExports::source)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

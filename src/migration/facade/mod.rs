//! The interface for programs that embed the tool. Offers every command of the playbook, and needs no terminal.

mod check;
mod cutover;
mod passes;
mod run;
mod status;
mod steer;
mod verify;

pub use steer::{SteerError, SteerOutcome};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::options::command_line;
use super::target::{MigrationTarget, read_plan, read_text, state_path};
use super::{CommandRequest, MigrationError, Notice, Observer, OperatorInput, Options, PassEnd, Session};
use crate::command_line::CommandLine;
use crate::dynamodb::Tables;
use crate::engine::{StopReason, Stopper};
use crate::plan::{LoadedPlan, Plan};
use crate::playbook::Goal;
use crate::preflight::PlanCheck;
use crate::telemetry::metrics::{MetricsListener, MetricsServer, MetricsSource};

/// A plan and the location of its state. Each command of the playbook is a method.
///
/// A command opens the table and the state file, does its work, and closes both again. When a command returns a result,
/// that result is durable. You can call a command again after it was killed, stopped or refused. It then continues from
/// the durable state, or refuses and names the next command. [`Migration::stopper`] drains the running command.
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
    pub(super) actor: String,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) stop: Stopper,
    tables: Option<Tables>,
    metrics: Option<SocketAddr>,
    has_telemetry: bool,
    /// The metrics endpoint of the running command. It lives until the command has printed its result.
    metrics_server: Mutex<Option<MetricsServer>>,
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

    fn from_loaded(path: PathBuf, loaded: LoadedPlan, options: Options) -> Migration {
        let state = state_path(&options, &loaded.plan);
        let commands = command_line(&path, &options);
        let Options { actor, observer, .. } = options;
        Migration {
            path,
            commands,
            state,
            loaded,
            actor,
            observer,
            stop: Stopper::default(),
            tables: None,
            metrics: None,
            has_telemetry: true,
            metrics_server: Mutex::default(),
        }
    }

    /// Uses these tables instead of connecting to the table in the plan's `[table]`. Use this method to provide your
    /// own transport or source, or an in-memory table for tests. The description of these tables must still match the
    /// plan's `name` and `key`.
    ///
    /// The plan's `[table]` names the source, from which items are read. The source's description sets the budgets for
    /// reads. If writes go to a different table, that table is the sink ([`Tables::two`]). In this case, the preflight
    /// checks the sink, and the sink's description sets the budgets for writes and for the sink's indexes. Reads of
    /// single items also go to the sink, within the sink's default budget for reads. The state file belongs to this
    /// pair of tables. With a different sink, the state file is refused.
    ///
    /// This method replaces only the access to items. The `[cutover]` flag stays where the plan puts it: in the account
    /// that the credentials of `[table]` reach, and in the region and at the endpoint of `[table]`. The tool compares
    /// `account` in `[table]` with the source, not with the flag, so the flag may be in a different account from the
    /// tables. A flag in a different account has one limitation: if its credentials expire, the tool does not renew
    /// them, because renewed credentials must reach the described table. In that case, the phase sends no requests
    /// after `max_cache_seconds`, and stops 30 s later. The same command resumes the phase with new credentials.
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

    /// Serves metrics at this address while a command has the migration open.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn with_metrics(self, address: Option<SocketAddr>) -> Migration {
        Migration { metrics: address, ..self }
    }

    /// Measures and shows nothing of the passes, so that a benchmark can find out what telemetry costs.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn without_telemetry(self) -> Migration {
        Migration { has_telemetry: false, ..self }
    }

    /// Returns the plan. In this plan, the values from the options have already replaced those in `[table]`.
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

    /// Connects to the table and checks the plan against it.
    async fn target(&self, plan_check: PlanCheck) -> Result<MigrationTarget, MigrationError> {
        MigrationTarget::open(
            self.loaded.clone(),
            (self.path.clone(), self.commands.clone()),
            self.state.clone(),
            plan_check,
            self.tables.clone(),
            self.observer.as_ref(),
        )
        .await
    }

    /// Opens a session and takes the playbook's steps until the goal is reached or the session is stopped.
    async fn carry_out(
        &self,
        target: MigrationTarget,
        input: OperatorInput,
        mut request: CommandRequest,
    ) -> Result<(Session, Vec<PassEnd>, Option<StopReason>), MigrationError> {
        let observer = Arc::clone(&self.observer);
        let stop = self.stop.clone();
        // Bind before anything is created, so that an address in use refuses the command. Nothing of that kind may block
        // the way back, so there it is only a warning.
        let is_way_back = matches!(request.goal, Goal::Back { .. } | Goal::Rollback);
        let listener = match self.bind_metrics().await {
            Err(error) if is_way_back => {
                tracing::warn!("{error}. The way back continues without metrics");
                None
            }
            listener => listener?,
        };
        let mut session = Box::pin(Session::open_prepared(target, input, &mut request, observer, stop)).await?;
        session.driver.has_telemetry = self.has_telemetry;
        if let Some(listener) = listener {
            self.serve_metrics(listener, &mut session);
        }
        match Box::pin(session.run_request(request)).await {
            Ok((passes, stopped)) => Ok((session, passes, stopped)),
            Err(error) => {
                // Report the first error, and not an error from closing the session. A lease that cannot be released
                // expires by itself.
                let _ = session.close().await;
                Err(error)
            }
        }
    }

    async fn bind_metrics(&self) -> Result<Option<MetricsListener>, MigrationError> {
        let Some(address) = self.metrics else { return Ok(None) };
        let listener = MetricsListener::bind(address).await;
        listener.map(Some).map_err(|error| MigrationError::MetricsAddress { address, error })
    }

    fn serve_metrics(&self, listener: MetricsListener, session: &mut Session) {
        let source = MetricsSource::new(
            &session.target.plan.name,
            &session.target.description.name,
            session.driver.store.clone(),
        );
        let server = listener.serve(source);
        session.driver.metrics = Some(server.source());
        self.observer.notice(&Notice::MetricsServed(server.address()));
        *self.metrics_server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
    }
}

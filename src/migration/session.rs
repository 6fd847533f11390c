//! A session gives this process exclusive access to a migration. It holds the state file's lock, and the lease in the
//! flag's table.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::hooks::{announce_next_step, ask_hook, hook_may_refuse, start_hooks};
use super::target::MigrationTarget;
use super::{
    CommandRequest, Driver, DriverSetup, MigrationError, Notice, Observer, OperatorInput, Steerer, plan_files,
};
use crate::clock::wall_clock;
use crate::cutover::{FlagAccess, LEASE_DURATION, Lease, lease_owner};
use crate::engine::{StopReason, Stopper};
use crate::machine::{Machine, Random};
use crate::outside::UntrustedText;
use crate::state::{State, StoredFact};
use crate::steering::Reply;
use crate::steering::socket::{Handler, Server};
use crate::telemetry::metrics::{MetricsSource, Stage};

/// The maximum time for which hooks can delay the end of a failed command, a rollback or a step back.
pub(super) const BRIEFLY: Duration = Duration::from_secs(5);

/// An open migration to which this process has exclusive access.
pub struct Session {
    /// The plan and its table.
    pub target: MigrationTarget,
    /// Carries out the playbook's steps.
    pub driver: Driver,
    pub(super) observer: Arc<dyn Observer>,
    /// Whether the command has reached its goal, so that the next step is due. False if the command did no work.
    pub(super) is_step_due: bool,
    lease: Option<SessionLease>,
    /// Listens to `ctl` until the session ends. `None` if the socket could not be created.
    _control: Option<Server>,
}

impl Session {
    /// Locks the state file. If the plan's flag has a lease, also acquires the lease. Afterwards, `stop` drains the
    /// session.
    ///
    /// # Errors
    ///
    /// Fails if another process holds the state file or the lease, or if one of them belongs to a different migration.
    pub async fn open(
        target: MigrationTarget,
        input: OperatorInput,
        observer: Arc<dyn Observer>,
        stop: Stopper,
    ) -> Result<Session, MigrationError> {
        let opened = target.open_flag().await?;
        Box::pin(Session::start(target, input, opened, observer, stop, None)).await
    }

    /// Opens a session like [`Session::open`]. Before it creates or changes anything, checks whether the command would
    /// be refused, and asks for confirmation. `metrics` shows whether the session waits for the lease.
    ///
    /// # Errors
    ///
    /// Fails with the same errors as [`Session::open`]. Also fails if the playbook or the preflight refuses, or if the
    /// observer does not confirm.
    pub async fn open_prepared(
        target: MigrationTarget,
        input: OperatorInput,
        request: &mut CommandRequest,
        observer: Arc<dyn Observer>,
        stop: Stopper,
        metrics: Option<Arc<MetricsSource>>,
    ) -> Result<Session, MigrationError> {
        let opened = target.open_flag().await?;
        let flags = opened.as_ref().map(|opened| opened.flag.as_ref());
        let has_work = Box::pin(request.prepare(&target, flags, &input, observer.as_ref())).await?;
        if has_work {
            // Nothing is open or locked yet, so the hook's program can take its time.
            Box::pin(ask_hook(&target.plan, request.goal, &input.actor)).await?;
        }
        let is_unasked = !has_work && hook_may_refuse(&target.plan, request.goal);
        let mut session = Box::pin(Session::start(target, input, opened, observer, stop, metrics)).await?;
        if is_unasked {
            // The preview held no lock, so the state may have changed in the meantime. No step must begin without the
            // approval of the hook's program.
            session.driver.expect_done();
        }
        Ok(session)
    }

    async fn start(
        target: MigrationTarget,
        input: OperatorInput,
        opened: Option<FlagAccess>,
        observer: Arc<dyn Observer>,
        stop: Stopper,
        metrics: Option<Arc<MetricsSource>>,
    ) -> Result<Session, MigrationError> {
        let store = target.open_store()?;
        let started = Session::start_with(store.clone(), target, input, opened, observer, stop, metrics);
        let started = Box::pin(started).await;
        if started.is_err() {
            // Report the first error. A connection of `ctl` can still hold the store, so close the store instead of
            // dropping it.
            let _ = store.close().await;
        }
        started
    }

    async fn start_with(
        store: State,
        target: MigrationTarget,
        input: OperatorInput,
        opened: Option<FlagAccess>,
        observer: Arc<dyn Observer>,
        stop: Stopper,
        metrics: Option<Arc<MetricsSource>>,
    ) -> Result<Session, MigrationError> {
        plan_files::keep(&store, &target.plan, &target.state).await?;
        // Listen to `ctl` before the wait for the lease, because this process already holds the state file, and nobody
        // else can store a setting.
        let steerer = Steerer::new(store.clone(), &target.plan, wall_clock());
        let remembered = steerer.restore().await?;
        let control = listen(&target.state, &steerer);
        let (flag, item) = opened.map_or((None, None), |opened| (Some(opened.flag), opened.lease));
        let machine = Machine::system();
        let mut lease = None;
        if let Some(item) = item {
            let (owner, previous_owner) = lease_owners(&store, &target, &machine.random).await?;
            let waits = |owner: &_, within| {
                observer.notice(&Notice::LeaseHeld { owner, within });
                metrics.iter().for_each(|metrics| metrics.set_stage(Stage::AwaitingLease));
                steerer.set_awaited(Some(awaited_lease(owner, within)));
            };
            lease = Some(Lease::acquire(item, &owner, previous_owner.as_deref(), LEASE_DURATION, waits).await?);
            steerer.set_awaited(None);
        }
        let hooks = start_hooks(&target.plan, &input.actor, &machine);
        let setup = DriverSetup {
            plan: target.plan.clone(),
            tables: target.tables.clone(),
            description: target.description.clone(),
            budgets: target.resolved.budgets.clone(),
            described_at: target.described_at,
        };
        let mut driver = Driver::open(setup, store, flag, wall_clock(), input).await?;
        driver.machine = machine;
        driver.steerer = steerer;
        driver.hooks = hooks;
        driver.steerer.steer(stop.clone());
        driver.stop = stop;
        driver.observer = Arc::clone(&observer);
        // Store the settings again, because the opening of the driver may have deleted them together with an abandoned
        // preflight. Remove an outdated rate only now, because an earlier refusal of the command must not silently
        // remove the rate.
        driver.steerer.keep().await?;
        if let Some(text) = remembered.text(&target.commands) {
            observer.notice(&Notice::Steering(&text));
        }
        observer.opened(&driver.stop)?;
        let lease = lease.map(|lease| SessionLease::new(lease, driver.stop.clone()));
        driver.lease = lease.as_ref().map(|session_lease| session_lease.lease.validity());
        Ok(Session { target, driver, observer, is_step_due: false, lease, _control: control })
    }

    /// Releases the lease and closes the state file. Then announces the next step, and waits until the hooks have
    /// ended, at most for their `timeout`. The wait is brief for a rollback or a step back, and after an operator has
    /// stopped the session. Returns the target, which reports need. All results that were reported before this call are
    /// already durable.
    ///
    /// # Errors
    ///
    /// Fails if the state file cannot be closed.
    pub async fn close(self) -> Result<MigrationTarget, MigrationError> {
        let most = if self.driver.is_way_back() { BRIEFLY } else { Duration::MAX };
        Box::pin(self.close_within(most)).await
    }

    /// Closes the session like [`Session::close`] after an error. The hooks delay the error only briefly.
    pub(super) async fn close_after_error(self) {
        // Report the first error instead of an error from closing the session. If the lease cannot be released, it
        // expires by itself.
        let _ = Box::pin(self.close_within(BRIEFLY)).await;
    }

    async fn close_within(self, most: Duration) -> Result<MigrationTarget, MigrationError> {
        // Remove the socket before unlocking the state file, because the next process can create its own socket
        // immediately.
        drop(self._control);
        if let Some(lease) = self.lease {
            lease.release().await;
        }
        let closed = self.driver.store.close().await;
        // Nothing is locked any more, so the next command can begin while the hooks take their time.
        let hooks = self.driver.hooks.clone();
        if closed.is_ok() && self.is_step_due {
            Box::pin(announce_next_step(&self.target, &hooks)).await;
        }
        let stop = self.driver.stop.clone();
        // After a stop for any other reason, for example a limit, the hooks get their usual time, because probably
        // nobody is waiting.
        Box::pin(hooks.drain(most, stop.stopped_by_operator())).await;
        closed?;
        Ok(self.target)
    }
}

/// Returns the text that `ctl` shows during the wait for the lease.
fn awaited_lease(owner: &UntrustedText, within: Duration) -> String {
    format!(
        "this process waits for the lease of the migration, which {owner} holds or held when it died. Within {} s, it \
         takes the lease, or ends because that process is alive",
        within.as_secs_f64().ceil()
    )
}

/// Listens to `ctl`. If the socket cannot be created, logs a warning, and the migration runs without the socket.
fn listen(state: &Path, steerer: &Steerer) -> Option<Server> {
    let steerer = steerer.clone();
    let handler: Handler = Arc::new(move |request| {
        let steerer = steerer.clone();
        Box::pin(async move {
            let carried_out = steerer.carry_out(&request).await;
            carried_out.unwrap_or_else(|error| Reply::refusal(format!("{error}. Nothing was done")))
        })
    });
    match Server::listen(state, handler) {
        Ok(server) => Some(server),
        Err(error) => {
            tracing::warn!(
                "`ctl` cannot steer this process, because its socket could not be created: {error}. You can still stop \
                 the process with a signal"
            );
            None
        }
    }
}

/// The lease of a session. If the lease is lost, the session stops.
struct SessionLease {
    lease: Lease,
    /// The task that detects the loss of the lease. This task must end with the session, because an embedding program
    /// can open many sessions in turn.
    _watch: AbortOnDropHandle<()>,
}

impl SessionLease {
    fn new(lease: Lease, stop: Stopper) -> SessionLease {
        let lost = lease.lost();
        let watch = tokio::spawn(async move { stop.stop(StopReason::LeaseLost(lost.await)) });
        SessionLease { lease, _watch: AbortOnDropHandle::new(watch) }
    }

    /// Releases the lease, so that the next session does not have to wait.
    async fn release(self) {
        self.lease.release().await;
    }
}

/// Returns the name of this process as a lease owner. When this function returns, the name is durable in the state
/// file. Also returns the previous lease owner from this file if that process is certainly dead. This process has
/// locked the file, so the previous owner no longer has the lock. If the previous owner ran on this host and used the
/// file at this path, it is therefore dead. The lock of a copied file would prove nothing.
async fn lease_owners(
    store: &State,
    target: &MigrationTarget,
    random: &Random,
) -> Result<(String, Option<String>), MigrationError> {
    let host = crate::host::name();
    let owner = lease_owner(&host, std::process::id(), random);
    let path = target.state.canonicalize().unwrap_or_else(|_| target.state.clone());
    let suffix = format!(" with {}", path.display());
    let before = store.fact(StoredFact::LeaseOwner).await?;
    let previous_owner = before.as_deref().and_then(|before| before.strip_suffix(&suffix));
    let previous_owner = previous_owner.filter(|owner| owner.starts_with(&format!("{host} pid "))).map(str::to_owned);
    store.set_fact(StoredFact::LeaseOwner, format!("{owner}{suffix}")).await?;
    Ok((owner, previous_owner))
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;
    use crate::dynamodb::control::fake::FakeTable;

    /// Waits until every aborted task has ended. Returns the number of tasks that are still alive.
    async fn tasks() -> usize {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Handle::current().metrics().num_alive_tasks()
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_leaves_no_task_behind() {
        let table = FakeTable::new();
        let before = tasks().await;
        for releases in [true, false] {
            let lease = Lease::acquire(table.item("lease"), "a", None, LEASE_DURATION, |_, _| ()).await.unwrap();
            let stop = Stopper::default();
            let session_lease = SessionLease::new(lease, stop.clone());
            assert!(tasks().await > before);
            if releases {
                session_lease.release().await;
            } else {
                drop(session_lease);
            }
            assert_eq!((tasks().await, stop.is_stopping()), (before, false), "released: {releases}");
        }
    }
}

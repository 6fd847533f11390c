//! Defines the driver, which carries out the playbook's steps and the passes that these steps need.

mod advance;
mod backup;
mod flag_watch;
mod health;
mod hooks;
mod metrics;
mod pass;
mod progress;
mod recorded_flag;
mod retry;
mod verify;
mod work;

pub use advance::Advance;
pub use pass::{PassEnd, PassResult, PassStart};
use recorded_flag::RecordedFlag;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::history::{migration_kind, note_phase_start, other_flag, read, replay};
use super::{DriverError, FlagTracker, Observer, OperatorInput, Silent, Steerer};
use crate::clock::Clock;
use crate::cutover::{Flag, FlagMeta, FlagStore, Validity};
use crate::dynamodb::{TableDescription, Tables};
use crate::engine::Stopper;
use crate::exec::Programs;
use crate::hooks::Hooks;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::playbook::{Event, EventBody, Mark, MigrationState, Phase, PlanKind};
use crate::ratelimit::Budgets;
use crate::state::{self, RunId, StoreError, StoredFact};
use crate::telemetry::metrics::MetricsSource;
/// Carries out a migration. Owns the plan, the tables, the state file and the flag.
pub struct Driver {
    /// The plan.
    pub plan: Plan,
    /// The tables that the migration reads and writes.
    pub tables: Tables,
    /// The table's description.
    pub description: TableDescription,
    /// The time at which the description was read.
    pub described_at: Instant,
    /// The capacity that the phases may use.
    pub budgets: Budgets,
    /// The state file.
    pub store: state::State,
    /// The handle that stops the driver's passes and waits.
    pub stop: Stopper,
    /// The clocks and random numbers for the passes. The driver itself uses the clock that the caller passed to
    /// [`Driver::open`].
    pub machine: Machine,
    /// Shows whether this process still holds the lease. `None` if the migration has no lease.
    pub lease: Option<Validity>,
    /// Obeys `ctl`.
    pub steerer: Steerer,
    /// Replaces the plan's programs for `exec` changes. `None` outside tests.
    pub programs: Option<Arc<dyn Programs>>,
    /// Receives notices and progress.
    pub observer: Arc<dyn Observer>,
    /// Whether passes are measured and shown. Only a benchmark turns this off.
    pub has_telemetry: bool,
    /// The data that the metrics endpoint shows. `None` if there is no endpoint.
    pub metrics: Option<Arc<MetricsSource>>,
    /// Announces what happens.
    pub hooks: Hooks,
    flags: Option<Arc<dyn FlagStore>>,
    clock: Clock,
    pub(super) input: OperatorInput,
    confirmed: bool,
    state: MigrationState,
    /// The passes that this process has completed.
    completed: Vec<Phase>,
    /// The flag's version when this process first read it.
    first: Option<u64>,
    /// For each phase, the newest run that existed when the phase last began. Only a newer run of this phase can be
    /// resumed or count as complete.
    phase_starts: Vec<(Phase, RunId)>,
    /// Whether the current command is `rollback` or `cutover --back`. The plan's limits must not block these commands.
    is_way_back: bool,
    /// Whether the command skipped the hook `before_step` because the command had nothing to do.
    expects_done: bool,
    /// The last flag state that was recorded in the state file.
    recorded_flag: Option<Box<RecordedFlag>>,
    /// Tracks the remaining time for which applications may still obey an earlier state of the flag.
    tracker: FlagTracker,
}

/// The parts of a [`Driver`] that do not depend on the state file or the flag.
pub struct DriverSetup {
    /// The plan.
    pub plan: Plan,
    /// The tables that the migration reads and writes.
    pub tables: Tables,
    /// The table's description.
    pub description: TableDescription,
    /// The time at which the description was read.
    pub described_at: Instant,
    /// The capacity that the phases may use.
    pub budgets: Budgets,
}

impl Driver {
    /// Opens the migration of a state file. Deletes the recorded preflight if the file records nothing else and the
    /// plan now has a different flag or kind. Changes nothing else.
    pub async fn open(
        setup: DriverSetup,
        store: state::State,
        flags: Option<Arc<dyn FlagStore>>,
        clock: Clock,
        input: OperatorInput,
    ) -> Result<Driver, DriverError> {
        let DriverSetup { plan, tables, description, described_at, budgets } = setup;
        let (mut state, mut phase_starts) = replay(&store).await?;
        let other = other_flag(store.fact(StoredFact::FlagLocation).await?, &plan);
        let kind_differs = state.kind().is_some_and(|before| before != migration_kind(&plan, &state));
        if (other.is_some() || kind_differs) && store.clear_unless_begun().await? {
            state = MigrationState::default();
            phase_starts = Vec::new();
        } else if let Some(other) = other {
            return Err(other);
        }
        let flags = flags.filter(|_| migration_kind(&plan, &state) == PlanKind::Flagged);
        let steerer = Steerer::new(store.clone(), &plan, Arc::clone(&clock));
        Ok(Driver {
            steerer,
            plan,
            tables,
            description,
            described_at,
            budgets,
            store,
            stop: Stopper::default(),
            machine: Machine::system(),
            lease: None,
            programs: None,
            observer: Arc::new(Silent),
            has_telemetry: true,
            metrics: None,
            hooks: Hooks::default(),
            flags,
            clock,
            input,
            confirmed: false,
            state,
            completed: Vec::new(),
            first: None,
            phase_starts,
            is_way_back: false,
            expects_done: false,
            recorded_flag: None,
            tracker: FlagTracker::default(),
        })
    }

    /// Returns the recorded state of the migration.
    pub fn state(&self) -> &MigrationState {
        &self.state
    }

    /// Returns whether the current command is `rollback` or `cutover --back`. Nothing must block these commands.
    pub fn is_way_back(&self) -> bool {
        self.is_way_back
    }

    /// Returns whether a repair also removes values that the plan does not imply.
    pub fn repair_removes(&self) -> bool {
        self.input.repair_remove
    }

    fn kind(&self) -> PlanKind {
        migration_kind(&self.plan, &self.state)
    }

    /// Reads and returns the current flag. If the plan has no flag, derives a virtual flag from the facts that the
    /// operator states, and returns it.
    pub async fn flag(&self) -> Result<Option<Flag>, DriverError> {
        match &self.flags {
            Some(flags) => Ok(read(flags.as_ref(), &self.plan).await?.map(|(flag, _)| flag)),
            None => Ok(self.state.stated_flag.clone()),
        }
    }

    /// Records the preflight findings that the operator accepted by name. Creates the flag if it does not exist yet.
    pub async fn accept(&mut self, accepted: Vec<String>) -> Result<(), DriverError> {
        if let Some(flags) = &self.flags {
            if let Some(place) = &self.plan.cutover.flag {
                self.store.set_fact(StoredFact::FlagLocation, place.to_string()).await?;
            }
            if read(flags.as_ref(), &self.plan).await?.is_none() {
                let first = Flag::new(self.plan.cutover.max_cache_seconds, (self.clock)());
                let meta = self.meta();
                let kept = flags.change(None, &first, &meta).await?;
                self.record_flag_change(&kept, &meta).await?;
            }
        }
        self.record(EventBody::PreflightAccepted { kind: self.kind(), accepted }).await
    }

    /// Records in memory that the operator confirmed this command.
    pub fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Waits for this long. Returns false if a stop is requested during the wait.
    pub async fn wait(&self, left: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.stopping() => false,
            () = tokio::time::sleep(left) => true,
        }
    }

    /// Makes the driver refuse every step of the current command. Call this method if the preview found nothing to do,
    /// because the hook `before_step` has then not approved any step.
    pub fn expect_done(&mut self) {
        self.expects_done = true;
    }

    async fn record(&mut self, body: EventBody) -> Result<(), DriverError> {
        // Never record a time earlier than the time of the previous event, even if the clock was set back.
        let at = (self.clock)().max(self.state.latest);
        let event = Event {
            at,
            actor: self.input.actor.clone(),
            flag: self.recorded_flag.as_ref().map(|recorded_flag| Mark::from_flag(&recorded_flag.flag)),
            body,
        };
        // Before appending the event, check that it can follow the current state.
        let next = self.state.next(&event)?;
        let text = serde_json::to_string(&event)
            .map_err(|e| StoreError::Corrupt(format!("an event cannot be serialized: {e}")))?;
        let record = self.store.append_event(text).await?;
        note_phase_start(&mut self.phase_starts, &event, record.newest_run);
        self.state = next;
        Ok(())
    }

    fn meta(&self) -> FlagMeta {
        let report =
            [&self.state.full, &self.state.sampled].into_iter().flatten().max_by_key(|report| report.span.ended);
        FlagMeta {
            plan: self.plan.fingerprint().as_str().into(),
            report: report.map(|report| report.hash.as_str().into()),
            actor: self.input.actor.as_str().into(),
            reason: self.input.force.as_ref().or(self.input.reason.as_ref()).map(|reason| reason.as_str().into()),
        }
    }
}

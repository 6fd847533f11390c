//! The driver: carries out the playbook's next step, and the passes that a step needs.

mod advance;
mod flag_watch;
mod pass;
mod progress;
mod retry;
mod seen;
mod verify;
mod work;

pub use advance::Advance;
pub use pass::{Begins, PassEnd, PassResult};
use seen::SeenFlag;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::begun::{kind_of, note_begun, other_flag, read, replay};
use super::{DriverError, Observer, OperatorInput, Silent, Watched};
use crate::clock::Clock;
use crate::cutover::{Flag, FlagMeta, FlagStore, Validity};
use crate::dynamodb::{TableDescription, Tables};
use crate::engine::Stopper;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::playbook::{Event, Kind, Mark, Phase, State, What};
use crate::ratelimit::Budgets;
use crate::state::{self, KeptFact, RunId, StoreError};
/// Carries out a migration. This value owns the plan, the tables, the state file and the flag.
pub struct Driver {
    /// The plan.
    pub plan: Plan,
    /// The tables that the migration reads and writes.
    pub tables: Tables,
    /// The table's description.
    pub description: TableDescription,
    /// The time at which the description was read.
    pub described: Instant,
    /// The capacity that the phases may use.
    pub budgets: Budgets,
    /// The state file.
    pub store: state::State,
    /// The handle that stops the driver's passes and waits.
    pub stop: Stopper,
    /// The clocks and the random numbers for the passes. The driver takes its own timestamps from the clock that the
    /// caller gave to [`Driver::open`].
    pub machine: Machine,
    /// Whether this process still holds the lease; `None` if the migration has no lease.
    pub lease: Option<Validity>,
    /// Receives the notices of the passes.
    pub observer: Arc<dyn Observer>,
    flags: Option<Arc<dyn FlagStore>>,
    clock: Clock,
    input: OperatorInput,
    confirmed: bool,
    state: State,
    /// The passes that this process has completed.
    swept: Vec<Phase>,
    /// The version of the flag when this process first read it.
    first: Option<u64>,
    /// For each phase, the newest run that existed when the phase last began. Every newer run started after that
    /// beginning.
    begun: Vec<(Phase, RunId)>,
    /// Whether the current command is part of the way back. No limit of the plan blocks the way back.
    goes_back: bool,
    /// The state of the flag that was last recorded in the state file.
    seen: Option<Box<SeenFlag>>,
    /// The time for which applications may still obey an earlier state of the flag.
    watched: Watched,
}

/// The parts of a [`Driver`] that do not depend on the state file or the flag.
pub struct Stage {
    /// The plan.
    pub plan: Plan,
    /// The tables that the migration reads and writes.
    pub tables: Tables,
    /// The table's description.
    pub description: TableDescription,
    /// The time at which the description was read.
    pub described: Instant,
    /// The capacity that the phases may use.
    pub budgets: Budgets,
}

impl Driver {
    /// Opens the migration of a state file. If only a preflight is recorded and the plan now names another flag, or no
    /// flag, the recorded preflight is deleted. Nothing else is changed.
    pub async fn open(
        stage: Stage,
        store: state::State,
        flags: Option<Arc<dyn FlagStore>>,
        clock: Clock,
        input: OperatorInput,
    ) -> Result<Driver, DriverError> {
        let Stage { plan, tables, description, described, budgets } = stage;
        let (mut state, mut begun) = replay(&store).await?;
        let other = other_flag(store.kept(KeptFact::FlagPlace).await?, &plan);
        let another_way = state.kind().is_some_and(|before| before != kind_of(&plan, &state));
        if (other.is_some() || another_way) && store.forget_unbegun().await? {
            state = State::default();
            begun = Vec::new();
        } else if let Some(other) = other {
            return Err(other);
        }
        let flags = flags.filter(|_| kind_of(&plan, &state) == Kind::Flagged);
        Ok(Driver {
            plan,
            tables,
            description,
            described,
            budgets,
            store,
            stop: Stopper::default(),
            machine: Machine::this(),
            lease: None,
            observer: Arc::new(Silent),
            flags,
            clock,
            input,
            confirmed: false,
            state,
            swept: Vec::new(),
            first: None,
            begun,
            goes_back: false,
            seen: None,
            watched: Watched::default(),
        })
    }

    /// The recorded state of the migration.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether a repair removes values that the plan does not imply.
    pub fn repairs_by_removing(&self) -> bool {
        self.input.repair_remove
    }

    fn kind(&self) -> Kind {
        kind_of(&self.plan, &self.state)
    }

    /// The current flag that applications read or, for a plan without a flag, the virtual flag from the stated facts.
    pub async fn flag(&self) -> Result<Option<Flag>, DriverError> {
        match &self.flags {
            Some(flags) => Ok(read(flags.as_ref(), &self.plan).await?.map(|(flag, _)| flag)),
            None => Ok(self.state.stated.clone()),
        }
    }

    /// Records the preflight findings that the operator accepted by name, and creates the flag if it does not exist
    /// yet.
    pub async fn accept(&mut self, accepted: Vec<String>) -> Result<(), DriverError> {
        if let Some(flags) = &self.flags {
            if let Some(place) = &self.plan.cutover.flag {
                self.store.keep(KeptFact::FlagPlace, place.to_string()).await?;
            }
            if read(flags.as_ref(), &self.plan).await?.is_none() {
                let first = Flag::first(self.plan.cutover.max_cache_seconds, (self.clock)());
                let meta = self.meta();
                let kept = flags.change(None, &first, &meta).await?;
                self.made(&kept, &meta).await?;
            }
        }
        self.record(What::PreflightAccepted { kind: self.kind(), accepted }).await
    }

    /// Records in memory that the operator confirmed this command.
    pub fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Waits for this duration. Returns false if a stop is requested during the wait.
    pub async fn wait(&self, left: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.stopping() => false,
            () = tokio::time::sleep(left) => true,
        }
    }

    async fn record(&mut self, what: What) -> Result<(), DriverError> {
        // An event never has an earlier time than the event before it, even if the clock was set back.
        let at = (self.clock)().max(self.state.latest);
        let event = Event {
            at,
            actor: self.input.actor.clone(),
            flag: self.seen.as_ref().map(|seen| Mark::of(&seen.flag)),
            what,
        };
        // Refuse an event that cannot follow the current state, before the event is appended.
        let next = self.state.next(&event)?;
        let text = serde_json::to_string(&event)
            .map_err(|e| StoreError::Corrupt(format!("an event cannot be serialized: {e}")))?;
        let record = self.store.append_event(text).await?;
        note_begun(&mut self.begun, &event, record.behind);
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

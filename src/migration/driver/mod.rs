//! The driver: carries out the playbook's next step, and the passes that a step asks for.

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
/// What a migration is conducted with.
pub struct Driver {
    /// The plan.
    pub plan: Plan,
    /// Where its items come from and where its writes go.
    pub tables: Tables,
    /// The table's description.
    pub description: TableDescription,
    /// When it was described.
    pub described: Instant,
    /// What the phases may take.
    pub budgets: Budgets,
    /// The state file.
    pub store: state::State,
    /// How everything is stopped.
    pub stop: Stopper,
    /// The clocks and the randomness of its passes. Its own timestamps come from the clock that it was opened with.
    pub machine: Machine,
    /// Whether the lease is still this process's; `None` if the migration has no lease.
    pub lease: Option<Validity>,
    /// What hears of its passes.
    pub observer: Arc<dyn Observer>,
    flags: Option<Arc<dyn FlagStore>>,
    clock: Clock,
    input: OperatorInput,
    confirmed: bool,
    state: State,
    /// What this process has gone over the table for, to the end.
    swept: Vec<Phase>,
    /// The flag's version when this process read it first.
    first: Option<u64>,
    /// The newest run when each phase last began.
    begun: Vec<(Phase, RunId)>,
    /// What it does is part of the way back, which no limit holds up.
    goes_back: bool,
    /// The flag that was last recorded as seen.
    seen: Option<Box<SeenFlag>>,
    /// How long an earlier state of it may still be obeyed.
    watched: Watched,
}

/// What a [`Driver`] is made of, beside the state file and the flag.
pub struct Stage {
    /// The plan.
    pub plan: Plan,
    /// Where its items come from and where its writes go.
    pub tables: Tables,
    /// The table's description.
    pub description: TableDescription,
    /// When it was described.
    pub described: Instant,
    /// What the phases may take.
    pub budgets: Budgets,
}

impl Driver {
    /// Continues the migration of a state file. If nothing but a preflight is recorded, and the plan now names another
    /// flag or none, the record is deleted. Changes nothing else yet.
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
            (state, begun) = (State::default(), Vec::new());
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

    /// What is known of the migration.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether a repair removes values that nothing implies.
    pub fn repairs_by_removing(&self) -> bool {
        self.input.repair_remove
    }

    fn kind(&self) -> Kind {
        kind_of(&self.plan, &self.state)
    }

    /// The flag as it is now: the one that applications read, or what was stated in its place.
    pub async fn flag(&self) -> Result<Option<Flag>, DriverError> {
        match &self.flags {
            Some(flags) => Ok(read(flags.as_ref(), &self.plan).await?.map(|(flag, _)| flag)),
            None => Ok(self.state.stated.clone()),
        }
    }

    /// Records what the operator accepted by name in the preflight, and makes the flag if it does not exist yet.
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

    /// What was asked is confirmed, for this command.
    pub fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Waits for so long; false when the command is asked to stop before.
    pub async fn wait(&self, left: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.stopping() => false,
            () = tokio::time::sleep(left) => true,
        }
    }

    async fn record(&mut self, what: What) -> Result<(), DriverError> {
        // The history is in order, also where the clock was set back.
        let at = (self.clock)().max(self.state.latest);
        let event = Event {
            at,
            actor: self.input.actor.clone(),
            flag: self.seen.as_ref().map(|seen| Mark::of(&seen.flag)),
            what,
        };
        // What cannot follow is never appended.
        let next = self.state.next(&event)?;
        let text =
            serde_json::to_string(&event).map_err(|e| StoreError::Corrupt(format!("an event has no text: {e}")))?;
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

//! A migration at work: the playbook's steps, carried out.
//!
//! A command is a loop over [`Driver::advance`], which asks [`crate::playbook::step`] for the one next thing to do and
//! does it. Each step is durable before the next one is requested, so a killed command can be run again and continues
//! where it stopped. The command itself carries out a preflight, a confirmation, and a sweep, which takes long.

mod back;
mod error;
mod facade;
mod look;
mod not_as_before;
mod observer;
mod options;
mod order;
mod outcome;
mod preflight;
mod preview;
mod pursue;
mod reason;
mod repair;
mod session;
mod standing;
mod sweeps;
mod target;
mod watch;
mod watched;

pub use error::MigrationError;
pub use facade::Migration;
pub use observer::{Answer, Figures, Notice, Observer, Question, Silent};
pub use options::{
    CheckOptions, CutoverStep, DryRunOf, DryRunOptions, Options, RunOptions, StatusOptions, StepOptions, VerifyOptions,
};
pub use order::Order;
pub use outcome::{
    CheckOutcome, CutoverDryRunOutcome, CutoverOutcome, DryRunOutcome, PassOutcome, RetryOutcome, RunOutcome,
    StatusOutcome, VerifyOutcome, WorkedPass,
};
pub use preflight::{Preflight, Read, hold_preflight};
pub use preview::{Preview, preview};
pub use reason::reason;
pub use session::Session;
use standing::ItemHistory;
pub use standing::{Known, Seen, known, read_now, record_seen};
pub use sweeps::{Begins, PassEnd, PassResult, job_of};
pub use target::{Target, apply, read_plan, state_path};
pub use watched::{Wait, Watched};

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::cutover::{Flag, FlagError, FlagMeta, FlagStore, FlagStoreError, Validity, check_plan};
use crate::dynamodb::{TableDescription, Tables};
use crate::engine::Stopper;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::playbook::{Event, Fact, Goal, Kind, Limits, Mark, Phase, Refused, State, Step, What, World, one_way, step};
use crate::preflight::PreflightError;
use crate::ratelimit::Budgets;
use crate::state::phase::EXPAND;
use crate::state::{self, EventRecord, KeptFact, OpenWork, RunId, StoreError};

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
    /// The flag that is recorded as the one seen last.
    seen: Option<Box<ItemHistory>>,
    /// How long an earlier state of it may still be obeyed.
    watched: Watched,
}

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct OperatorInput {
    /// Who says it: user and host.
    pub actor: String,
    /// Facts that are stated.
    pub facts: Vec<Fact>,
    /// `--force`, with its reason.
    pub force: Option<String>,
    /// `--now` with its reason, or whatever else stands beside a change of the flag.
    pub reason: Option<String>,
    /// What of the preflight's findings was accepted for this run, by name.
    pub accepted: Vec<String>,
    /// That the table is empty was accepted by name.
    pub accept_empty: bool,
    /// Clusters that a sampled verification draws.
    pub sample: Option<u32>,
    /// `--repair-remove`: a repair removes values that nothing implies.
    pub repair_remove: bool,
}

/// The result of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advance {
    /// Somebody has to look at the table first: [`Driver::accept`].
    Preflight,
    /// Somebody has to confirm: [`Driver::confirm`].
    Confirm,
    /// A line was added to the history.
    Recorded,
    /// The flag was changed to this.
    Changed(Box<Flag>),
    /// Applications may still obey the flag's previous value for this long: [`Driver::wait`].
    Wait(Wait),
    /// This phase goes over the table: [`Driver::sweep`].
    Sweep(Phase),
    /// The command has brought about what it is for.
    Done,
}

/// Why a command does not go on. What was done before stays, and the same command goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// It is out of order, or a gate is closed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The plan names another flag than the migration has begun with.
    #[error(
        "the migration has begun with the flag in {begun}, and the plan names {named}. Nothing was done. Put [cutover] back as \
         it was: applications obey that flag"
    )]
    OtherFlag {
        /// What the state file says.
        begun: String,
        /// What the plan says.
        named: String,
    },
    /// The flag cannot be read or changed.
    #[error(transparent)]
    Flag(#[from] FlagStoreError),
    /// It does not take the change.
    #[error(transparent)]
    Change(#[from] FlagError),
    /// The state file fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The plan does not fit the table.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
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
    /// Goes on with the migration of a state file. What is recorded about a preflight alone is forgotten where the plan has
    /// come to name another flag, or none; nothing else is changed yet.
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

    pub(super) fn kind(&self) -> Kind {
        kind_of(&self.plan, &self.state)
    }

    /// The flag as it is now: the one that applications read, or what was stated in its place.
    pub async fn flag(&self) -> Result<Option<Flag>, DriverError> {
        match &self.flags {
            Some(flags) => Ok(read(flags.as_ref(), &self.plan).await?.map(|(flag, _)| flag)),
            None => Ok(self.state.stated.clone()),
        }
    }

    /// Does the next thing for this goal, or says what it is.
    pub async fn advance(&mut self, goal: Goal) -> Result<Advance, DriverError> {
        self.goes_back = matches!(goal, Goal::Back { .. } | Goal::Rollback);
        let seen = self.look().await?;
        let flag = seen.as_ref().map(|(flag, _)| flag.clone());
        let gone = if flag.is_none() { Some(self.last_seen().await?) } else { None };
        let OpenWork { failures, diverged } = self.store.open_work_of(EXPAND).await?;
        let no_way_back = self.store.no_way_back().await?;
        let one_way = one_way(&self.plan.changes, &self.description.key);
        let fingerprint = self.plan.fingerprint();
        let world = World {
            kind: self.kind(),
            plan: fingerprint.as_str(),
            flag: flag.as_ref(),
            left: self.watched.left(),
            failures,
            unfinished: 0,
            diverged,
            limits: limits(&self.plan),
            no_way_back,
            one_way: one_way.as_deref(),
            facts: &self.input.facts,
            force: self.input.force.as_deref(),
            accept_empty: self.input.accept_empty,
            confirmed: self.confirmed,
            swept: &self.swept,
            first: self.first,
            gone: gone.as_ref(),
        };
        let next = step(&self.state, &world, goal, (self.clock)())?;
        if let Some((flag, meta)) = &seen {
            self.keep_seen(flag, meta).await?;
        }
        match next {
            Step::Preflight => Ok(Advance::Preflight),
            Step::Confirm => Ok(Advance::Confirm),
            Step::Wait(left) => Ok(Advance::Wait(Wait::of(left, flag.as_ref(), (self.clock)()))),
            Step::Sweep(phase) => Ok(Advance::Sweep(phase)),
            Step::Done => Ok(Advance::Done),
            Step::Record(what) => {
                self.record(what).await?;
                Ok(Advance::Recorded)
            }
            Step::Change(change) => {
                let Some((flags, flag)) = self.flags.as_ref().zip(flag) else {
                    return Err(StoreError::Corrupt("a flag that is not there was to be changed".into()).into());
                };
                let next = flag.next(change, (self.clock)(), self.watched.left())?;
                let meta = self.meta();
                let kept = flags.change(Some(&flag), &next, &meta).await?;
                self.made(&kept, &meta).await?;
                Ok(Advance::Changed(Box::new(kept)))
            }
            Step::Renew(flag) => {
                let Some(flags) = &self.flags else {
                    return Err(StoreError::Corrupt("a flag that the plan does not name was to be made".into()).into());
                };
                let meta = self.meta();
                let kept = flags.change(None, &flag, &meta).await?;
                self.made(&kept, &meta).await?;
                Ok(Advance::Changed(Box::new(kept)))
            }
        }
    }

    /// A preflight was held, and this was accepted by name. Makes the flag, where there is none yet.
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

/// The error of a migration that has begun with another flag than the plan names.
fn other_flag(begun: Option<String>, plan: &Plan) -> Option<DriverError> {
    let (begun, named) = (begun?, plan.cutover.flag.as_ref()?.to_string());
    (begun != named).then_some(DriverError::OtherFlag { begun, named })
}

/// The kind of a plan in a migration that has come to this state.
pub(super) fn kind_of(plan: &Plan, state: &State) -> Kind {
    kind(plan).begun_as(state.kind(), plan.cutover.flag.is_some())
}

/// The kind of a plan.
pub fn kind(plan: &Plan) -> Kind {
    Kind::of(plan.strategy, &plan.changes, plan.cutover.flag.is_some())
}

/// Reads the flag, and sees to it that it is this plan's.
pub async fn read(flags: &dyn FlagStore, plan: &Plan) -> Result<Option<(Flag, FlagMeta)>, FlagStoreError> {
    let found = flags.read().await?;
    if let Some((_, meta)) = &found {
        check_plan(&flags.place(), meta, &plan.fingerprint())?;
    }
    Ok(found)
}

fn limits(plan: &Plan) -> Limits {
    let cutover = &plan.cutover;
    Limits {
        max_age: cutover.max_age,
        max_mismatch: cutover.max_mismatch,
        accept_sample: cutover.accept_sample,
        soak: cutover.soak,
    }
}

/// The state that a history comes to, and the newest run when each phase last began.
async fn replay(store: &state::State) -> Result<(State, Vec<(Phase, RunId)>), DriverError> {
    let (mut state, mut begun) = (State::default(), Vec::new());
    for EventRecord { event, behind } in store.events().await? {
        let event = from_text(&event)?;
        state = state.next(&event)?;
        note_begun(&mut begun, &event, behind);
    }
    Ok((state, begun))
}

fn note_begun(begun: &mut Vec<(Phase, RunId)>, event: &Event, behind: RunId) {
    if let What::PhaseBegun { phase } = event.what {
        match begun.iter_mut().find(|(known, _)| *known == phase) {
            Some((_, last)) => *last = behind,
            // Whatever run of it there is belongs to its first beginning.
            None => begun.push((phase, RunId::NONE)),
        }
    }
}

/// Reads a line of the history.
pub fn from_text(event: &str) -> Result<Event, StoreError> {
    serde_json::from_str(event).map_err(|e| {
        StoreError::Corrupt(format!("the state file's history has a line that this version does not know ({e})"))
    })
}

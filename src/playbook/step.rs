//! Decides the next step of a command.

use std::time::Duration;

use jiff::Timestamp;

use super::asked::{Asked, REPAIR, began_in_dual_writes};
use super::cutover::may_expand;
use super::rehearse::rehearse;
use super::{
    BackTo, Expand, Fact, Goal, Kind, Next, Obstacle, Open, Override, Phase, Refused, Rehearsal, Scope, State, Step,
    Target, Way, What, World,
};
use crate::cutover::{Flag, FlagChange, FlagError, ReadFrom, WriteTo};

/// The next step towards this goal, or a refusal with its reason and the command to run instead.
///
/// The result depends only on the arguments. After the returned step was carried out, the next call returns the
/// following step, until [`Step::Done`]. If the process was killed before it carried out the step, the next call
/// returns the same step.
pub fn step(state: &State, world: &World<'_>, goal: Goal, now: Timestamp) -> Result<Step, Refused> {
    let next = Asked { state, world, goal, now }.plain();
    match &next {
        Err(refused) if refused.missing.is_empty() => Rehearsal::default(),
        // If a later step would refuse the command, the command must refuse now, before it records or asks anything.
        Err(_) | Ok(Step::Preflight | Step::Record(_) | Step::Confirm) => rehearse(state, world, goal, now)?,
        Ok(Step::Change(_) | Step::Renew(_) | Step::Wait(_) | Step::Sweep(_) | Step::Done) => Rehearsal::default(),
    };
    next
}

impl Asked<'_> {
    /// The next step. This function does not check whether a later step would refuse the command.
    pub(super) fn plain(&self) -> Result<Step, Refused> {
        self.check_plan()?;
        if let Some(over) = self.over()? {
            return Ok(over);
        }
        if let Some(seen) = self.seen() {
            return Ok(seen);
        }
        match self.goal {
            Goal::Run { again } => self.run(again),
            Goal::FailuresRetry => self.retry(),
            Goal::Verify { scope, repair } => self.verify(scope, repair),
            Goal::CutoverTo(target) => self.cutover(target),
            Goal::Back { to, now } => self.back(to, now),
            Goal::Contract => self.contract(),
            Goal::Rollback => self.rollback(),
        }
    }

    /// Refuses if the plan changed its kind, or if the command line states facts that this kind of plan does not need.
    fn check_plan(&self) -> Result<(), Refused> {
        let kind = self.world.kind;
        // The recorded migration has already done work. A recorded migration without work is discarded when its state
        // file is opened.
        if self.state.kind().is_some_and(|before| before != kind) {
            return Err(Refused::new(
                "the plan is of another kind (with a flag, without one, in place, or only removing) than when the \
                 migration began: restore what it said",
                "status",
            ));
        }
        match (kind, self.world.facts.first()) {
            (Kind::Flagged | Kind::InPlace | Kind::SetOnly, Some(fact)) => Err(Refused::new(
                format!("`{}` is for plans without a flag; this plan does not need it", fact.option()),
                self.goal,
            )),
            (Kind::Stated | Kind::RemoveOnly, _) | (_, None) => Ok(()),
        }
    }

    /// Handles a migration that is over, or that allows only one command. Returns `None` if the command may continue.
    fn over(&self) -> Result<Option<Step>, Refused> {
        match (self.state.contract, self.state.rollback, self.goal) {
            (Way::Complete, _, Goal::Contract) | (_, Way::Complete, Goal::Rollback) => Ok(Some(Step::Done)),
            (Way::Complete, _, Goal::Verify { repair: false, .. }) => Ok(None),
            (Way::Complete, _, Goal::Verify { scope, repair: true }) => Err(Refused::new(
                "the old attribute is gone, and there is nothing left to re-derive a value from",
                Goal::Verify { scope, repair: false },
            )),
            (Way::Begun, _, Goal::Contract) | (_, Way::Begun, Goal::Rollback) => Ok(None),
            // Before contract, readers may always go back, even during a rollback.
            (Way::Ahead, _, Goal::Back { .. }) if self.world.kind == Kind::Flagged => Ok(None),
            (Way::Begun | Way::Complete, ..) => Err(self.state.contracting()),
            (_, Way::Begun | Way::Complete, _) => Err(self.state.rolled_back()),
            (Way::Ahead, Way::Ahead, _) => Ok(None),
        }
    }

    /// If the outcome of an intended change is unknown, returns the step that records the outcome, as the current flag
    /// shows it.
    fn seen(&self) -> Option<Step> {
        let intended = self.state.intended.as_ref()?;
        let flag = self.world.flag.filter(|flag| flag.version != intended.version)?;
        let ours = flag.version == intended.version.saturating_add(1) && shows(flag, intended.change);
        Some(Step::Record(What::FlagSeen { version: flag.version, ours }))
    }

    fn run(&self, again: bool) -> Result<Step, Refused> {
        if self.world.kind == Kind::RemoveOnly {
            return Err(self.only_removes("it has nothing to expand"));
        }
        if self.state.preflight.is_none() {
            return Ok(Step::Preflight);
        }
        let wait = self.settle_for_writes()?;
        let phase = Phase::Expand;
        let begins = match self.state.expand {
            Expand::NotBegun => true,
            Expand::Open { .. } => false,
            Expand::Complete { .. } => again && !self.swept(phase),
        };
        // A new pass invalidates earlier verifications, so it needs a confirmation.
        Ok(match (wait, self.state.expand) {
            _ if begins && !self.world.confirmed => Step::Confirm,
            (Some(wait), _) => wait,
            _ if begins => Step::Record(What::PhaseBegun { phase }),
            (None, Expand::Open { .. }) => Step::Sweep(phase),
            (None, _) => Step::Done,
        })
    }

    fn retry(&self) -> Result<Step, Refused> {
        if self.world.kind == Kind::RemoveOnly {
            return Err(self.only_removes("`contract` retries what it could not remove"));
        }
        if self.state.expand == Expand::NotBegun {
            return Err(Refused::new("nothing has been expanded, and nothing has failed", Goal::Run { again: false }));
        }
        if let Some(wait) = self.settle_for_writes()? {
            return Ok(wait);
        }
        let over = self.world.failures == 0 || self.swept(Phase::Retry);
        Ok(if over { Step::Done } else { self.sweep(Phase::Retry, |_| true) })
    }

    /// Waits before a pass that derives new values from old values. Every reader must read old values, and no
    /// application may still obey an earlier flag that moved readers.
    fn settle_for_writes(&self) -> Result<Option<Step>, Refused> {
        let Some(flag) = self.flag_if_any()? else { return Ok(None) };
        if let Err(refused) = may_expand(flag) {
            return Err(match self.state.expand {
                Expand::Complete { .. } => Refused::new(
                    format!("{} (for another pass, `backfill cutover --back` first)", refused.why),
                    self.ahead(Some(flag)),
                ),
                Expand::NotBegun | Expand::Open { .. } => refused,
            });
        }
        Ok(self.settle())
    }

    fn verify(&self, scope: Scope, repair: bool) -> Result<Step, Refused> {
        let contracted = self.state.contract == Way::Complete;
        if self.world.kind == Kind::RemoveOnly && !contracted {
            return Err(self.only_removes("it has nothing to verify before that"));
        }
        if !contracted {
            self.expanded()?;
        }
        let flag = self.flag_if_any()?;
        if let Some(wait) = flag.and_then(|_| self.settle()) {
            return Ok(wait);
        }
        let phase = Phase::Verify { scope, repair };
        if repair && !self.world.confirmed && !self.swept(phase) {
            return Ok(Step::Confirm);
        }
        // A verification that began before every writer wrote both attributes cannot open the gate. So this step begins
        // a new verification instead of resuming that one.
        let counts = |open: &Open| {
            flag.is_none_or(|flag| {
                began_in_dual_writes(open.began, open.under, flag, self.now) || flag.dual_since.is_none()
            })
        };
        Ok(if self.swept(phase) { Step::Done } else { self.sweep(phase, counts) })
    }

    /// Refuses because of this obstacle, unless the operator gives a `--force` reason. With a reason, returns the step
    /// that records the override; `None` if it is already recorded.
    pub(super) fn go_past(&self, obstacle: Obstacle, why: String) -> Result<Option<Step>, Refused> {
        if self.state.is_overridden(obstacle) {
            return Ok(None);
        }
        match self.world.force {
            Some(_) if !self.world.confirmed => Ok(Some(Step::Confirm)),
            Some(reason) => Ok(Some(Step::Record(What::Overridden(Override { obstacle, reason: reason.to_owned() })))),
            None => Err(Refused::new(why, Next::from(self.goal).with("--force REASON"))),
        }
    }

    /// Whether this command has already completed a pass for this phase.
    pub(super) fn swept(&self, phase: Phase) -> bool {
        self.world.swept.contains(&phase)
    }

    /// Refuses if expand is not complete.
    pub(super) fn expanded(&self) -> Result<(), Refused> {
        match self.state.expand {
            Expand::NotBegun => Err(Refused::new("nothing has been expanded", Goal::Run { again: false })),
            Expand::Open { .. } => Err(Refused::new("expand is not complete", Goal::Run { again: false })),
            Expand::Complete { .. } => Ok(()),
        }
    }

    /// The step that runs a pass of this phase. If the function `counts` accepts the unfinished pass, the step resumes
    /// that pass. Otherwise the step begins a new pass.
    pub(super) fn sweep(&self, phase: Phase, counts: impl FnOnce(&Open) -> bool) -> Step {
        match &self.state.open {
            Some(open) if open.phase == phase && counts(open) => Step::Sweep(phase),
            _ => Step::Record(What::PhaseBegun { phase }),
        }
    }

    /// The flag that applications read or, for a plan without a flag, the virtual flag from the stated facts.
    pub(super) fn flag(&self) -> Result<&Flag, Refused> {
        let flag = match self.world.kind {
            Kind::Flagged => self.world.flag.ok_or_else(|| match self.state.preflight {
                // The first step of a migration creates the flag.
                None => Refused::new("the migration has not begun", Goal::Run { again: false }),
                Some(_) => self.gone(),
            })?,
            Kind::Stated => self.state.stated.as_ref().ok_or_else(|| {
                Refused::new("the migration has not begun, and nothing was stated", Goal::Run { again: false })
            })?,
            Kind::InPlace | Kind::SetOnly => return Err(self.no_cutover()),
            Kind::RemoveOnly => {
                return Err(self.only_removes("readers and writers leave the old attribute by themselves"));
            }
        };
        match flag.impossible() {
            Some(rule) => Err(self.foreign(rule)),
            None => Ok(flag),
        }
    }

    pub(super) fn flag_if_any(&self) -> Result<Option<&Flag>, Refused> {
        match self.world.kind {
            Kind::Flagged | Kind::Stated => self.flag().map(Some),
            Kind::InPlace | Kind::SetOnly | Kind::RemoveOnly => Ok(None),
        }
    }

    /// Waits while applications may still obey an earlier state of the flag.
    pub(super) fn settle(&self) -> Option<Step> {
        let left = self.left();
        (!left.is_zero()).then_some(Step::Wait(left))
    }

    /// The time for which applications may still obey an earlier state of the flag. The result is zero without a flag,
    /// because a stated fact takes effect at its stated time.
    pub(super) fn left(&self) -> Duration {
        if self.world.kind == Kind::Flagged { self.world.left } else { Duration::ZERO }
    }

    /// The next step of a flag change. First the intent is recorded, and then the flag is changed. For a plan without a
    /// flag, the stated fact is recorded.
    pub(super) fn make(&self, change: FlagChange, forced: Option<&str>) -> Result<Step, Refused> {
        let forced = forced.map(str::to_owned);
        if self.world.kind == Kind::Stated {
            return match change {
                FlagChange::OldIsFresh => Ok(Step::Record(What::OldIsFresh)),
                FlagChange::Contract => Ok(Step::Record(What::PhaseBegun { phase: Phase::Contract })),
                FlagChange::DualWrite | FlagChange::DualWriteAgain => {
                    self.ask(Fact::DualWritesSince { since: self.now }, forced)
                }
                FlagChange::ReadNew(_) => self.ask(Fact::ReadersMoved, forced),
                FlagChange::WriteNew => self.ask(Fact::OldWritesStopped, forced),
                FlagChange::ReadOld { .. } => self.ask(Fact::ReadersBack, forced),
                FlagChange::WriteOld => self.ask(Fact::NewWritesStopped, forced),
            };
        }
        let flag = self.flag()?;
        // Somebody changed the flag after this command started, probably with `--back`. This command must not undo that
        // change.
        let others = |known: Option<u64>| known.is_some_and(|known| known != flag.version);
        if others(self.state.seen) && others(self.world.first) {
            return Err(self.foreign("it was changed by another command while this one was running"));
        }
        match flag.next(change, self.now, self.left()) {
            Err(FlagError::TooSoon { left }) => return Ok(Step::Wait(left)),
            Err(error) => return Err(Refused::new(error.to_string(), self.ahead(Some(flag)))),
            Ok(_) => {}
        }
        let intended = self.state.intended.as_ref();
        if intended.is_some_and(|i| i.change == change && i.version == flag.version && i.forced == forced) {
            return Ok(Step::Change(change));
        }
        Ok(Step::Record(What::FlagIntended { change, version: flag.version, forced }))
    }

    /// Records a fact that the command line states. If the fact is missing, refuses and names the missing option.
    pub(super) fn ask(&self, fact: Fact, forced: Option<String>) -> Result<Step, Refused> {
        let same = |stated: &&Fact| std::mem::discriminant(*stated) == std::mem::discriminant(&fact);
        match self.world.facts.iter().find(same) {
            Some(fact) => Ok(Step::Record(What::FactStated { fact: *fact, forced })),
            None => Err(Refused::unstated(self.goal, &[], vec![fact])),
        }
    }

    /// The next command forward in the playbook.
    pub(super) fn ahead(&self, flag: Option<&Flag>) -> Next {
        if self.world.kind == Kind::RemoveOnly {
            return Next::from(Goal::Contract).with("--readers-moved --old-writes-stopped");
        }
        if let Err(refused) = self.expanded() {
            return refused.next;
        }
        let Some(flag) = flag else { return self.ahead_without_cutover() };
        match (flag.write, flag.read) {
            (WriteTo::New, _) => Goal::Contract.into(),
            (WriteTo::Old, _) => Goal::CutoverTo(Target::DualWrite).into(),
            (WriteTo::Both, ReadFrom::Old) if flag.old_stale => Goal::Back { to: BackTo::OldReads, now: false }.into(),
            (WriteTo::Both, _) if flag.read_percent < 100 => {
                self.gate(flag).err().map_or(self.readers(flag).into(), |closed| closed.next)
            }
            (WriteTo::Both, _) => {
                self.last_gate(flag).err().map_or(Goal::CutoverTo(Target::WriteNew).into(), |closed| closed.next)
            }
        }
    }

    /// The next command for plans that end at verify. Each possible repair is suggested once. After that, a person has
    /// to look at the remaining items.
    fn ahead_without_cutover(&self) -> Next {
        if self.world.failures > 0 {
            return self.failed();
        }
        match &self.state.full {
            None => "verify --all".into(),
            Some(report) if report.mismatches > 0 && !report.repair => REPAIR.into(),
            Some(report) if report.mismatches > 0 && self.world.diverged > 0 => "failures list".into(),
            Some(_) => "status".into(),
        }
    }

    /// The next command for failed items is a retry. If they were already retried, list them, because the list says
    /// which problems to fix.
    pub(super) fn failed(&self) -> Next {
        if self.state.retried { "failures list".into() } else { Goal::FailuresRetry.into() }
    }

    pub(super) fn no_cutover(&self) -> Refused {
        let why = if self.world.kind == Kind::SetOnly {
            "the plan only sets constants: no reader and no writer has to move"
        } else {
            "the plan works in place: the same write removed the old attributes"
        };
        Refused::new(format!("{why}, so it ends at verify, and a rollback remains possible"), self.ahead(None))
    }

    pub(super) fn only_removes(&self, why: &str) -> Refused {
        Refused::new(format!("the plan only removes: {why}"), self.ahead(None))
    }

    /// Refuses because somebody else changed the flag.
    pub(super) fn foreign(&self, what: &str) -> Refused {
        Refused::new(format!("the flag was changed by somebody else: {what}"), "status")
    }
}

/// Whether the flag is in the state that this change produces.
fn shows(flag: &Flag, change: FlagChange) -> bool {
    match change {
        FlagChange::DualWrite | FlagChange::DualWriteAgain => flag.write == WriteTo::Both,
        FlagChange::ReadNew(percent) => flag.read_percent == percent,
        FlagChange::WriteNew => flag.write == WriteTo::New,
        FlagChange::Contract => flag.contracting,
        FlagChange::OldIsFresh => !flag.old_stale,
        FlagChange::ReadOld { .. } => flag.read == ReadFrom::Old,
        FlagChange::WriteOld => flag.write == WriteTo::Old,
    }
}

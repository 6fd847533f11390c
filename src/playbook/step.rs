//! What a command has to do next.

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

/// The one next thing to do for this goal, or why nothing is, and the command that is next instead.
///
/// It depends on its arguments alone. Asked again after its step was carried out it names the one behind it, until
/// [`Step::Done`]; asked again after a kill it names the same one.
pub fn step(state: &State, world: &World<'_>, goal: Goal, now: Timestamp) -> Result<Step, Refused> {
    let next = Asked { state, world, goal, now }.plain();
    match &next {
        Err(refused) if refused.missing.is_empty() => Rehearsal::default(),
        // Nothing is recorded, and nobody asked, for a command that would be refused right behind it.
        Err(_) | Ok(Step::Preflight | Step::Record(_) | Step::Confirm) => rehearse(state, world, goal, now)?,
        Ok(Step::Change(_) | Step::Renew(_) | Step::Wait(_) | Step::Sweep(_) | Step::Done) => Rehearsal::default(),
    };
    next
}

impl Asked<'_> {
    /// The next step, whatever comes behind it.
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

    /// Whether this is still the plan of this migration, and whether its command line says what such a plan can.
    fn check_plan(&self) -> Result<(), Refused> {
        let kind = self.world.kind;
        // What a state file knows of a migration that has done nothing is forgotten when it is opened.
        if self.state.kind().is_some_and(|before| before != kind) {
            return Err(Refused::new(
                "the plan goes another way (with a flag, without one, in place, removing only) than when the migration \
                 began: put back what it said",
                "status",
            ));
        }
        match (kind, self.world.facts.first()) {
            (Kind::Flagged | Kind::InPlace | Kind::SetOnly, Some(fact)) => Err(Refused::new(
                format!("`{}` is for plans without a flag; here it is not the operator's to state", fact.option()),
                self.goal,
            )),
            (Kind::Stated | Kind::RemoveOnly, _) | (_, None) => Ok(()),
        }
    }

    /// What is over, or has no way but one.
    fn over(&self) -> Result<Option<Step>, Refused> {
        match (self.state.contract, self.state.rollback, self.goal) {
            (Way::Complete, _, Goal::Contract) | (_, Way::Complete, Goal::Rollback) => Ok(Some(Step::Done)),
            (Way::Complete, _, Goal::Verify { repair: false, .. }) => Ok(None),
            (Way::Complete, _, Goal::Verify { scope, repair: true }) => Err(Refused::new(
                "the old attribute is gone, and there is nothing left to re-derive a value from",
                Goal::Verify { scope, repair: false },
            )),
            (Way::Begun, _, Goal::Contract) | (_, Way::Begun, Goal::Rollback) => Ok(None),
            // Readers are let back whatever else is under way.
            (Way::Ahead, _, Goal::Back { .. }) if self.world.kind == Kind::Flagged => Ok(None),
            (Way::Begun | Way::Complete, ..) => Err(self.state.contracting()),
            (_, Way::Begun | Way::Complete, _) => Err(self.state.rolled_back()),
            (Way::Ahead, Way::Ahead, _) => Ok(None),
        }
    }

    /// An intended change whose end is not known: the flag tells.
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
        let (wait, phase) = (self.settle_for_writes()?, Phase::Expand);
        let begins = match self.state.expand {
            Expand::NotBegun => true,
            Expand::Open { .. } => false,
            Expand::Complete { .. } => again && !self.swept(phase),
        };
        // A pass that has begun takes what was verified before its meaning: it is asked first.
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

    /// What writes new from old needs old to be what everybody reads, and nobody to obey a flag that said otherwise.
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
        // What began while some writers may not have written both can open no gate: it is begun anew.
        let counts = |open: &Open| {
            flag.is_none_or(|flag| {
                began_in_dual_writes(open.began, open.under, flag, self.now) || flag.dual_since.is_none()
            })
        };
        Ok(if self.swept(phase) { Step::Done } else { self.sweep(phase, counts) })
    }

    /// Refuses for this reason, unless the operator has given one to go on, which is put on record first.
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

    /// Whether this command has been over the table for this phase.
    pub(super) fn swept(&self, phase: Phase) -> bool {
        self.world.swept.contains(&phase)
    }

    /// Refuses what needs the table to be expanded.
    pub(super) fn expanded(&self) -> Result<(), Refused> {
        match self.state.expand {
            Expand::NotBegun => Err(Refused::new("nothing has been expanded", Goal::Run { again: false })),
            Expand::Open { .. } => Err(Refused::new("expand is not complete", Goal::Run { again: false })),
            Expand::Complete { .. } => Ok(()),
        }
    }

    /// What goes over the table: resumed where its beginning counts, or begun.
    pub(super) fn sweep(&self, phase: Phase, counts: impl FnOnce(&Open) -> bool) -> Step {
        match &self.state.open {
            Some(open) if open.phase == phase && counts(open) => Step::Sweep(phase),
            _ => Step::Record(What::PhaseBegun { phase }),
        }
    }

    /// The flag: the one that applications read, or what the operator stated in its place.
    pub(super) fn flag(&self) -> Result<&Flag, Refused> {
        let flag = match self.world.kind {
            Kind::Flagged => self.world.flag.ok_or_else(|| match self.state.preflight {
                // It is made with the first step.
                None => Refused::new("the migration has not begun", Goal::Run { again: false }),
                Some(_) => self.gone(),
            })?,
            Kind::Stated => self.state.stated.as_ref().ok_or_else(|| {
                Refused::new("the migration has not begun: nothing was stated", Goal::Run { again: false })
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

    fn flag_if_any(&self) -> Result<Option<&Flag>, Refused> {
        match self.world.kind {
            Kind::Flagged | Kind::Stated => self.flag().map(Some),
            Kind::InPlace | Kind::SetOnly | Kind::RemoveOnly => Ok(None),
        }
    }

    /// Waits while somebody may still obey what the flag said before.
    pub(super) fn settle(&self) -> Option<Step> {
        let left = self.left();
        (!left.is_zero()).then_some(Step::Wait(left))
    }

    /// For how long; what is stated in the place of a flag is in effect when it is said to be.
    pub(super) fn left(&self) -> Duration {
        if self.world.kind == Kind::Flagged { self.world.left } else { Duration::ZERO }
    }

    /// Moves the flag, or what is stated in its place: intended first, then changed.
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
        // Somebody's `--back`, most likely: a command that has not ended does not undo it.
        let others = |known: Option<u64>| known.is_some_and(|known| known != flag.version);
        if others(self.state.seen) && others(self.world.first) {
            return Err(self.foreign("it was changed while this command was at work, and not by it"));
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

    /// Records a fact that the command line states, or asks for it by name.
    pub(super) fn ask(&self, fact: Fact, forced: Option<String>) -> Result<Step, Refused> {
        let same = |stated: &&Fact| std::mem::discriminant(*stated) == std::mem::discriminant(&fact);
        match self.world.facts.iter().find(same) {
            Some(fact) => Ok(Step::Record(What::FactStated { fact: *fact, forced })),
            None => Err(Refused::unstated(self.goal, &[], vec![fact])),
        }
    }

    /// The command that the playbook has next.
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
                self.gate(flag).err().map_or(Goal::CutoverTo(Target::ReadNew(100)).into(), |closed| closed.next)
            }
            (WriteTo::Both, _) => {
                self.last_gate(flag).err().map_or(Goal::CutoverTo(Target::WriteNew).into(), |closed| closed.next)
            }
        }
    }

    /// What is next where verification is the end: what can be done is named once. Where it has left something, somebody
    /// has to look.
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

    /// What to do about failures: retry them; if that was done, their reasons say what to fix.
    pub(super) fn failed(&self) -> Next {
        if self.state.retried { "failures list".into() } else { Goal::FailuresRetry.into() }
    }

    pub(super) fn no_cutover(&self) -> Refused {
        let why = if self.world.kind == Kind::SetOnly {
            "the plan only sets constants: no reader and no writer has to move"
        } else {
            "the plan works in place: old attributes went with the same write"
        };
        Refused::new(format!("{why}, so it ends at verify, and a rollback remains possible"), self.ahead(None))
    }

    pub(super) fn only_removes(&self, why: &str) -> Refused {
        Refused::new(format!("the plan only removes: {why}"), self.ahead(None))
    }

    /// The flag is not as this migration left it.
    pub(super) fn foreign(&self, what: &str) -> Refused {
        Refused::new(format!("the flag was changed by somebody else: {what}"), "status")
    }
}

/// Whether the flag says what this change would have made it say.
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

//! Decides the next step of a command.

use std::time::Duration;

use jiff::Timestamp;

use super::cutover::may_expand;
use super::rehearse::rehearse;
use super::request::{StepRequest, began_in_dual_writes};
use super::{
    EventBody, ExpandStatus, Fact, Goal, MigrationState, NextCommand, Obstacle, OpenPhase, Override, Phase,
    PhaseStatus, PlanKind, Rehearsal, Step, StepContext, StepRefusal, VerifyScope,
};
use crate::cutover::{Flag, FlagChange, FlagError, ReadFrom, WriteTo};

/// Returns the next step towards this goal. If the command is refused, returns the reason and the command to run
/// instead.
///
/// The result depends only on the arguments. Once the caller has carried out the returned step, the next call returns
/// the following step, until [`Step::Done`]. If the process is killed before it carries out the step, the next call
/// returns the same step.
pub fn step(
    state: &MigrationState,
    context: &StepContext<'_>,
    goal: Goal,
    now: Timestamp,
) -> Result<Step, StepRefusal> {
    let next = StepRequest { state, context, goal, now }.next_step();
    match &next {
        Err(refused) if refused.missing.is_empty() => Rehearsal::default(),
        // If a later step would be refused, refuse the command before it records or asks anything.
        Err(_) | Ok(Step::Preflight | Step::Record(_) | Step::Confirm | Step::Backup(_)) => {
            rehearse(state, context, goal, now)?
        }
        Ok(Step::Change(_) | Step::RecreateFlag(_) | Step::Wait(_) | Step::RunPass(_) | Step::Done) => {
            Rehearsal::default()
        }
    };
    next
}

impl StepRequest<'_> {
    /// Returns the next step, without checking whether a later step would be refused.
    pub(super) fn next_step(&self) -> Result<Step, StepRefusal> {
        self.next_step_of_goal().map(|step| self.after_backup(step))
    }

    fn next_step_of_goal(&self) -> Result<Step, StepRefusal> {
        self.check_plan()?;
        if let Some(finished) = self.finished()? {
            return Ok(finished);
        }
        if let Some(flag_seen) = self.flag_seen() {
            return Ok(flag_seen);
        }
        self.check_way_back()?;
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

    /// Refuses if the plan's kind has changed, or if the command line states facts that this kind of plan does not
    /// need.
    fn check_plan(&self) -> Result<(), StepRefusal> {
        let kind = self.context.kind;
        // The recorded migration has already done work. A migration without any work would have been discarded when the
        // state file was opened.
        if self.state.kind().is_some_and(|before| before != kind) {
            return Err(StepRefusal::new(
                "the plan is of another kind (with a flag, without one, in place, or only removing) than when the \
                 migration began: restore the original plan",
                "status",
            ));
        }
        let is_derived = |fact: &&Fact| **fact == Fact::WritersStopped;
        if let Some(fact) = self.context.facts.iter().find(is_derived).filter(|_| !self.context.puts_items) {
            return Err(StepRefusal::new(
                format!("`{}` is only for plans that put derived items, so this plan does not need it", fact.option()),
                self.goal,
            ));
        }
        match (kind, self.context.facts.iter().find(|fact| !is_derived(fact))) {
            (PlanKind::Flagged | PlanKind::InPlace | PlanKind::SetOnly, Some(fact)) => Err(StepRefusal::new(
                format!("`{}` is for plans without a flag, so this plan does not need it", fact.option()),
                self.goal,
            )),
            (PlanKind::Stated | PlanKind::RemoveOnly, _) | (_, None) => Ok(()),
        }
    }

    /// If the migration is over, or if contract or a rollback has begun, decides whether the command ends or is
    /// refused. Returns `None` if the command may continue.
    fn finished(&self) -> Result<Option<Step>, StepRefusal> {
        match (self.state.contract, self.state.rollback, self.goal) {
            (PhaseStatus::Complete, _, Goal::Contract) | (_, PhaseStatus::Complete, Goal::Rollback) => {
                Ok(Some(Step::Done))
            }
            (PhaseStatus::Complete, _, Goal::Verify { repair: false, .. }) => Ok(None),
            (PhaseStatus::Complete, _, Goal::Verify { scope, repair: true }) => Err(StepRefusal::new(
                "the old attribute is gone, so values can no longer be derived from it",
                Goal::Verify { scope, repair: false },
            )),
            (PhaseStatus::Begun, _, Goal::Contract) | (_, PhaseStatus::Begun, Goal::Rollback) => Ok(None),
            // Before contract, readers may always return to the old attribute, even during a rollback.
            (PhaseStatus::NotBegun, _, Goal::Back { .. }) if self.context.kind == PlanKind::Flagged => Ok(None),
            (PhaseStatus::Begun | PhaseStatus::Complete, ..) => Err(self.state.refused_by_contract(self.goal)),
            (_, PhaseStatus::Begun | PhaseStatus::Complete, _) => Err(self.state.rolled_back()),
            (PhaseStatus::NotBegun, PhaseStatus::NotBegun, _) => Ok(None),
        }
    }

    /// If the journal was purged, refuses to begin a pass that writes, unless the operator accepts that no rollback can
    /// undo it. If the pass is already open, it has begun after the purge, because no purge is possible while a pass is
    /// open. So it needs no further acceptance.
    fn check_way_back(&self) -> Result<(), StepRefusal> {
        let Some(at) = self.context.purged_at.filter(|_| !self.context.accept_no_way_back) else { return Ok(()) };
        let begins =
            |phase: Phase| !self.completed(phase) && self.state.open.as_ref().is_none_or(|open| open.phase != phase);
        let writes = match self.goal {
            Goal::Run { again } => match self.state.expand {
                ExpandStatus::NotBegun => true,
                ExpandStatus::Open { .. } => false,
                ExpandStatus::Complete { .. } => again && !self.completed(Phase::Expand),
            },
            Goal::FailuresRetry => self.context.failures > 0 && begins(Phase::Retry),
            Goal::Verify { scope, repair: true } => begins(Phase::Verify { scope, repair: true }),
            Goal::Verify { repair: false, .. }
            | Goal::CutoverTo(_)
            | Goal::Back { .. }
            | Goal::Contract
            | Goal::Rollback => false,
        };
        if !writes {
            return Ok(());
        }
        Err(StepRefusal::new(
            format!(
                "the journal was purged at {at}, so a rollback is refused and cannot undo what this command writes. To \
                 write anyway, use --accept no-way-back"
            ),
            NextCommand::from(self.goal).with("--accept no-way-back"),
        ))
    }

    /// If the outcome of an intended change was unknown and the current flag shows it, returns the step that records
    /// the outcome.
    fn flag_seen(&self) -> Option<Step> {
        let intended = self.state.intended.as_ref()?;
        let flag = self.context.flag.filter(|flag| flag.version != intended.version)?;
        let ours = flag.version == intended.version.saturating_add(1) && has_taken_effect(flag, intended.change);
        Some(Step::Record(EventBody::FlagSeen { version: flag.version, ours }))
    }

    fn run(&self, again: bool) -> Result<Step, StepRefusal> {
        if self.context.kind == PlanKind::RemoveOnly {
            return Err(self.only_removes("it has nothing to expand"));
        }
        if self.state.preflight.is_none() {
            return Ok(Step::Preflight);
        }
        let wait = self.wait_before_writes()?;
        let phase = Phase::Expand;
        let begins = match self.state.expand {
            ExpandStatus::NotBegun => true,
            ExpandStatus::Open { .. } => false,
            ExpandStatus::Complete { .. } => again && !self.completed(phase),
        };
        // A new pass invalidates earlier verifications, so it needs a confirmation.
        Ok(match (wait, self.state.expand) {
            _ if begins && !self.context.confirmed => Step::Confirm,
            (Some(wait), _) => wait,
            _ if begins => Step::Record(EventBody::PhaseBegun { phase }),
            (None, ExpandStatus::Open { .. }) => Step::RunPass(phase),
            (None, _) => Step::Done,
        })
    }

    fn retry(&self) -> Result<Step, StepRefusal> {
        if self.context.kind == PlanKind::RemoveOnly {
            return Err(self.only_removes("`contract` itself retries the removals that failed"));
        }
        if self.state.expand == ExpandStatus::NotBegun {
            return Err(StepRefusal::new("expand has not begun, so nothing has failed", self.first_command()));
        }
        let wait = self.wait_before_writes()?;
        let finished = self.context.failures == 0 || self.completed(Phase::Retry);
        let begins = !finished && self.state.open.as_ref().is_none_or(|open| open.phase != Phase::Retry);
        Ok(match wait {
            _ if begins && !self.context.confirmed => Step::Confirm,
            Some(wait) => wait,
            None if finished => Step::Done,
            None => self.phase_step(Phase::Retry, |_| true),
        })
    }

    /// Returns the wait before a pass that derives new values from old values. Returns `None` if the pass may begin
    /// now. All readers must read old values during the pass. So the wait lasts until no application obeys an earlier
    /// state of the flag in which readers had moved. Refuses if the current flag does not allow the pass.
    fn wait_before_writes(&self) -> Result<Option<Step>, StepRefusal> {
        let Some(flag) = self.flag_if_any()? else { return Ok(None) };
        if let Err(refused) = may_expand(flag) {
            return Err(match self.state.expand {
                ExpandStatus::Complete { .. } => StepRefusal::new(
                    format!("{} (for another pass, run `backfill cutover --back` first)", refused.why),
                    self.next_forward(Some(flag)),
                ),
                ExpandStatus::NotBegun | ExpandStatus::Open { .. } => refused,
            });
        }
        Ok(self.wait_for_caches())
    }

    fn verify(&self, scope: VerifyScope, repair: bool) -> Result<Step, StepRefusal> {
        let contracted = self.state.contract == PhaseStatus::Complete;
        if self.context.kind == PlanKind::RemoveOnly && !contracted {
            return Err(self.only_removes("there is nothing to verify before `contract`"));
        }
        if !contracted {
            self.check_expanded()?;
        }
        let flag = self.flag_if_any()?;
        if let Some(wait) = flag.and_then(|_| self.wait_for_caches()) {
            return Ok(wait);
        }
        if repair && self.context.puts_items {
            return Err(StepRefusal::new(
                "a repair does not put derived items, so nothing was read or written. A further pass puts the missing items",
                Goal::Run { again: true },
            ));
        }
        let phase = Phase::Verify { scope, repair };
        if repair && !self.context.confirmed && !self.completed(phase) {
            return Ok(Step::Confirm);
        }
        // If a verification began before every writer wrote both attributes, it cannot open the gate. So do not resume
        // it. Begin a new one instead.
        let counts = |open: &OpenPhase| {
            flag.is_none_or(|flag| {
                began_in_dual_writes(open.began, open.flag_mark, flag, self.now) || flag.dual_since.is_none()
            })
        };
        Ok(if self.completed(phase) { Step::Done } else { self.phase_step(phase, counts) })
    }

    /// Returns `None` if an override of this obstacle is already recorded. Otherwise, the operator must have given a
    /// `--force` reason. Without a reason, refuses. With a reason, returns the step that asks for confirmation or
    /// records the override.
    pub(super) fn require_override(&self, obstacle: Obstacle, why: String) -> Result<Option<Step>, StepRefusal> {
        if self.state.is_overridden(obstacle) {
            return Ok(None);
        }
        match self.context.force {
            Some(_) if !self.context.confirmed => Ok(Some(Step::Confirm)),
            Some(reason) => {
                Ok(Some(Step::Record(EventBody::Overridden(Override { obstacle, reason: reason.to_owned() }))))
            }
            None => Err(StepRefusal::new(why, NextCommand::from(self.goal).with("--force REASON"))),
        }
    }

    /// Returns whether this command has already completed a pass of this phase.
    pub(super) fn completed(&self, phase: Phase) -> bool {
        self.context.completed.contains(&phase)
    }

    /// Refuses if expand is not complete.
    pub(super) fn check_expanded(&self) -> Result<(), StepRefusal> {
        match self.state.expand {
            ExpandStatus::NotBegun => Err(StepRefusal::new("expand has not begun", self.first_command())),
            ExpandStatus::Open { .. } => Err(StepRefusal::new("expand is not complete", Goal::Run { again: false })),
            ExpandStatus::Complete { .. } => Ok(()),
        }
    }

    /// Returns the step that runs a pass of this phase. If `counts` accepts the unfinished pass, the step resumes it.
    /// Otherwise, the step begins a new pass.
    pub(super) fn phase_step(&self, phase: Phase, counts: impl FnOnce(&OpenPhase) -> bool) -> Step {
        match &self.state.open {
            Some(open) if open.phase == phase && counts(open) => Step::RunPass(phase),
            _ => Step::Record(EventBody::PhaseBegun { phase }),
        }
    }

    /// Returns the flag that applications read. For a plan without a flag, returns the virtual flag that follows from
    /// the stated facts.
    pub(super) fn flag(&self) -> Result<&Flag, StepRefusal> {
        let flag = match self.context.kind {
            PlanKind::Flagged => self.context.flag.ok_or_else(|| match self.state.preflight {
                // The first step of a migration creates the flag.
                None => self.not_begun(),
                Some(_) => self.missing_flag(),
            })?,
            PlanKind::Stated => self.state.stated_flag.as_ref().ok_or_else(|| {
                StepRefusal::new("the migration has not begun, and nothing was stated", self.first_command())
            })?,
            PlanKind::InPlace | PlanKind::SetOnly => return Err(self.no_cutover()),
            PlanKind::RemoveOnly => {
                return Err(
                    self.only_removes("no cutover is needed for readers and writers to stop using the old attribute")
                );
            }
        };
        match flag.broken_rule() {
            Some(rule) => Err(self.foreign_change(rule)),
            None => Ok(flag),
        }
    }

    pub(super) fn flag_if_any(&self) -> Result<Option<&Flag>, StepRefusal> {
        match self.context.kind {
            PlanKind::Flagged | PlanKind::Stated => self.flag().map(Some),
            PlanKind::InPlace | PlanKind::SetOnly | PlanKind::RemoveOnly => Ok(None),
        }
    }

    /// Returns the wait for applications that may still obey an earlier state of the flag. Returns `None` if no wait is
    /// necessary.
    pub(super) fn wait_for_caches(&self) -> Option<Step> {
        let left = self.left();
        (!left.is_zero()).then_some(Step::Wait(left))
    }

    /// Returns how long applications may still obey an earlier state of the flag. Without a flag, the result is zero,
    /// because a stated fact takes effect at its stated time.
    pub(super) fn left(&self) -> Duration {
        if self.context.kind == PlanKind::Flagged { self.context.left } else { Duration::ZERO }
    }

    /// Returns the next step of a flag change. The first step records the intent, and the second step changes the flag.
    /// Without a flag, the only step records the stated fact.
    pub(super) fn change_flag(&self, change: FlagChange, forced: Option<&str>) -> Result<Step, StepRefusal> {
        let forced = forced.map(str::to_owned);
        if self.context.kind == PlanKind::Stated {
            return match change {
                FlagChange::OldIsFresh => Ok(Step::Record(EventBody::OldIsFresh)),
                FlagChange::Contract => Ok(Step::Record(EventBody::PhaseBegun { phase: Phase::Contract })),
                FlagChange::DualWrite | FlagChange::DualWriteAgain => {
                    self.require_fact(Fact::DualWritesSince { since: self.now }, forced)
                }
                FlagChange::ReadNew(_) => self.require_fact(Fact::ReadersMoved, forced),
                FlagChange::WriteNew => self.require_fact(Fact::OldWritesStopped, forced),
                FlagChange::ReadOld { .. } => self.require_fact(Fact::ReadersBack, forced),
                FlagChange::WriteOld => self.require_fact(Fact::NewWritesStopped, forced),
            };
        }
        let flag = self.flag()?;
        // Another command changed the flag after this command started, probably with `--back`. Do not undo that change.
        let is_foreign = |known: Option<u64>| known.is_some_and(|known| known != flag.version);
        if is_foreign(self.state.flag_seen) && is_foreign(self.context.first) {
            return Err(self.foreign_change("it was changed by another command while this one was running"));
        }
        match flag.next(change, self.now, self.left()) {
            Err(FlagError::TooSoon { left }) => return Ok(Step::Wait(left)),
            Err(error) => return Err(StepRefusal::new(error.to_string(), self.next_forward(Some(flag)))),
            Ok(_) => {}
        }
        let intended = self.state.intended.as_ref();
        if intended.is_some_and(|i| i.change == change && i.version == flag.version && i.forced == forced) {
            return Ok(Step::Change(change));
        }
        Ok(Step::Record(EventBody::FlagIntended { change, version: flag.version, forced }))
    }

    /// Returns the step that records a fact from the command line. If the fact is missing, the refusal contains the
    /// missing option.
    pub(super) fn require_fact(&self, fact: Fact, forced: Option<String>) -> Result<Step, StepRefusal> {
        let same = |stated: &&Fact| std::mem::discriminant(*stated) == std::mem::discriminant(&fact);
        match self.context.facts.iter().find(same) {
            Some(fact) => Ok(Step::Record(EventBody::FactStated { fact: *fact, forced })),
            None => Err(StepRefusal::for_missing_facts(self.goal, &[], vec![fact])),
        }
    }

    pub(super) fn no_cutover(&self) -> StepRefusal {
        let why = if self.context.kind == PlanKind::SetOnly {
            "the plan only writes values, so no reader and no writer has to move"
        } else {
            "the plan works in place, so a run makes all changes of an item and no later step changes the item"
        };
        StepRefusal::new(
            format!("{why}. The migration ends at verify, and a rollback remains possible"),
            self.next_forward(None),
        )
    }

    pub(super) fn only_removes(&self, why: &str) -> StepRefusal {
        StepRefusal::new(format!("the plan only removes: {why}"), self.next_forward(None))
    }

    /// Returns the refusal for a flag that somebody else changed.
    pub(super) fn foreign_change(&self, what: &str) -> StepRefusal {
        StepRefusal::new(format!("the flag was changed by somebody else: {what}"), "status")
    }
}

/// Returns whether the flag is in the state that this change produces.
fn has_taken_effect(flag: &Flag, change: FlagChange) -> bool {
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

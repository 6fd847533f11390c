//! Decides the steps of `rollback`, and the steps of `cutover --back` if old values may be stale.

use super::cutover::{back_needs_state, step_back};
use super::request::{StepRequest, began_under};
use super::{
    BackTarget, EventBody, ExpandStatus, Fact, Goal, NextCommand, Obstacle, Override, Phase, PhaseSpan, PhaseStatus,
    PlanKind, ReportSummary, Step, StepRefusal, VerifyScope,
};
use crate::cutover::{Flag, FlagChange, ReadFrom, WriteTo};

impl StepRequest<'_> {
    pub(super) fn back(&self, to: BackTarget, accept_stale: bool) -> Result<Step, StepRefusal> {
        if let Some(step) = self.recreate_with_old_values(accept_stale)? {
            return Ok(step);
        }
        let flag = self.flag()?;
        let flagged = self.context.kind == PlanKind::Flagged;
        if flag.contracting || (flagged && !back_needs_state(flag)) {
            return step_back(flag, to, self.now, self.left());
        }
        if self.state.preflight.is_none() {
            return Ok(Step::Preflight);
        }
        if !accept_stale && let Some(step) = self.refresh_old_values(flag)? {
            return Ok(step);
        }
        match (flag.write, flag.read, to) {
            (WriteTo::New, ..) => self.change_flag(FlagChange::DualWriteAgain, None),
            (_, ReadFrom::New, _) => self.change_flag(FlagChange::ReadOld { accept_stale: flag.old_stale }, None),
            (WriteTo::Both, _, BackTarget::OldWrites) => self.change_flag(FlagChange::WriteOld, None),
            (WriteTo::Old, ReadFrom::Old, _) | (WriteTo::Both, ReadFrom::Old, BackTarget::OldReads) => {
                Ok(self.wait_for_caches().unwrap_or(Step::Done))
            }
        }
    }

    pub(super) fn rollback(&self) -> Result<Step, StepRefusal> {
        let flagged = matches!(self.context.kind, PlanKind::Flagged | PlanKind::Stated);
        if self.state.rollback == PhaseStatus::NotBegun
            && let Some(first) = self.begin_rollback(flagged)?
        {
            return Ok(first);
        }
        if flagged {
            return self.undo_flagged();
        }
        // If the rollback is complete, the command only reports this, and the operator need not state anything.
        let is_due = self.state.rollback != PhaseStatus::Complete;
        if let Some(step) = if is_due { self.require_writers_stopped()? } else { None } {
            return Ok(step);
        }
        Ok(self.phase_step(Phase::Undo, |_| true))
    }

    /// Requires the operator's statement that nobody writes the derived items until the rollback ends. A condition
    /// cannot say "and no other attribute", so a delete could remove an attribute that a writer adds just before the
    /// delete. Every `rollback` command needs the statement, even if it resumes a rollback, because the writers may
    /// have started again. Only the first statement of a rollback is recorded.
    fn require_writers_stopped(&self) -> Result<Option<Step>, StepRefusal> {
        if !self.context.puts_items {
            return Ok(None);
        }
        let step = self.require_fact(Fact::WritersStopped, None)?;
        Ok(self.state.writers_stopped.is_none().then_some(step))
    }

    /// Decides the next step before a rollback begins. Checks whether the migration has changed anything, and whether a
    /// rollback is possible.
    fn begin_rollback(&self, flagged: bool) -> Result<Option<Step>, StepRefusal> {
        let state = self.state;
        let untouched = state.expand == ExpandStatus::NotBegun && !state.dual_written;
        // If there is neither a flag nor a record of a migration, no step has ever been taken.
        let is_new = self.context.kind == PlanKind::Flagged && state.preflight.is_none() && self.context.flag.is_none();
        if is_new {
            return Ok(Some(Step::Done));
        }
        if flagged && (self.context.kind == PlanKind::Flagged || state.preflight.is_some()) {
            let flag = self.flag()?;
            if flag.contracting {
                return Err(StepRefusal::new(
                    "the old attribute is being removed, so a rollback is no longer possible",
                    Goal::Contract,
                ));
            }
            if untouched && flag.write == WriteTo::Old {
                return Ok(Some(self.wait_for_caches().unwrap_or(Step::Done)));
            }
        } else if untouched {
            return Ok(Some(Step::Done));
        }
        if state.preflight.is_none() {
            return Ok(Some(Step::Preflight));
        }
        if let Some(why) = self.context.no_way_back {
            return Err(StepRefusal::new(why, "status"));
        }
        if let Some(step) = self.require_writers_stopped()? {
            return Ok(Some(step));
        }
        let forced = match (self.context.unrestorable_targets, self.context.force) {
            (Some(items), None) => {
                return Err(StepRefusal::new(
                    Obstacle::UnsureTargets { items }.to_string(),
                    NextCommand::from(Goal::Rollback).with("--force REASON"),
                ));
            }
            (Some(_), Some(reason)) => Some(reason.to_owned()),
            (None, _) => None,
        };
        Ok(Some(if self.context.confirmed { Step::Record(EventBody::RollbackBegun { forced }) } else { Step::Confirm }))
    }

    fn undo_flagged(&self) -> Result<Step, StepRefusal> {
        let flag = self.flag()?;
        if flag.contracting {
            return Err(StepRefusal::new(
                "the old attribute is being removed, so a rollback is no longer possible",
                Goal::Contract,
            ));
        }
        if let Some(step) = self.refresh_old_values(flag)? {
            return Ok(step);
        }
        if flag.read == ReadFrom::New {
            return self.change_flag(FlagChange::ReadOld { accept_stale: false }, None);
        }
        if flag.write == WriteTo::Both {
            return self.change_flag(FlagChange::WriteOld, None);
        }
        if let Some(wait) = self.wait_for_caches() {
            return Ok(wait);
        }
        if self.context.kind == PlanKind::Stated {
            let facts =
                [(Fact::ReadersBack, self.state.readers_back), (Fact::NewWritesStopped, self.state.new_writes_stopped)];
            // Without a flag, only these statements prove that applications use only the old attribute. So the operator
            // must state both facts, even if no reader ever moved.
            if let Some((fact, _)) = facts.into_iter().find(|(_, stated)| stated.is_none()) {
                return self.require_fact(fact, None);
            }
        }
        Ok(self.phase_step(Phase::Undo, |open| began_under(open.began, open.flag_mark, flag)))
    }

    /// Decides the next step to make stale old values fresh. First, applications must write both attributes again. Then
    /// a pass makes old values equal to new values. Finally, a full verification that begins after the pass proves the
    /// result. Returns `None` if old values are already fresh.
    fn refresh_old_values(&self, flag: &Flag) -> Result<Option<Step>, StepRefusal> {
        if flag.write == WriteTo::New {
            return self.change_flag(FlagChange::DualWriteAgain, None).map(Some);
        }
        if !flag.old_stale {
            return Ok(None);
        }
        if let Some(wait) = self.wait_for_caches() {
            return Ok(Some(wait));
        }
        let counts = |span: &PhaseSpan| began_under(span.began, span.flag_mark, flag);
        let Some(old_from_new) = self.state.old_from_new.filter(counts) else {
            return Ok(Some(self.phase_step(Phase::OldFromNew, |open| began_under(open.began, open.flag_mark, flag))));
        };
        let verify = Phase::Verify { scope: VerifyScope::Full, repair: false };
        let report = self.state.full.as_ref();
        match report.filter(|report| report.span.began >= old_from_new.ended && report.plan == self.context.plan) {
            None => Ok(Some(self.phase_step(verify, |open| open.began >= old_from_new.ended))),
            Some(report) if report.mismatches == 0 && self.has_compared_items(report) => {
                self.change_flag(FlagChange::OldIsFresh, None).map(Some)
            }
            Some(report) if report.mismatches == 0 && self.completed(verify) => Err(StepRefusal::new(
                "the verification compared no item, but the pass before it read some items. Run the same command again \
                 to read every item again",
                self.goal,
            )),
            Some(report) if report.mismatches == 0 => {
                Ok(Some(Step::Record(EventBody::PhaseBegun { phase: Phase::OldFromNew })))
            }
            Some(report) if self.completed(verify) => self.leave_unequal(report.mismatches).map(Some),
            Some(report) => self.accept_unequal(report.mismatches).map(Some),
        }
    }

    /// Returns whether the report can prove parity. If the strongly consistent pass before the verification read items,
    /// a verification that compared no item proves nothing.
    fn has_compared_items(&self, report: &ReportSummary) -> bool {
        report.compared != Some(0) || self.state.old_from_new_items.is_none_or(|items| items == 0)
    }

    /// Decides the next step before the old-from-new pass runs again. If the operator gave a `--force` reason, the
    /// reason is recorded before the pass. It covers at most the number of unequal items that have been found so far.
    fn accept_unequal(&self, items: u64) -> Result<Step, StepRefusal> {
        Ok(match self.context.force {
            Some(_) if self.state.accepted_unequal < items && !self.context.confirmed => Step::Confirm,
            Some(reason) if self.state.accepted_unequal < items => {
                let obstacle = Obstacle::ItemsUnequal { items };
                Step::Record(EventBody::Overridden(Override { obstacle, reason: reason.to_owned() }))
            }
            _ => Step::Record(EventBody::PhaseBegun { phase: Phase::OldFromNew }),
        })
    }

    /// Decides the next step if old and new values of some items still differ after this command's passes. If the
    /// operator gave a `--force` reason that covers all these items, leaves them unequal and continues. Otherwise,
    /// refuses. A reason covers at most the number of unequal items that were known when the operator gave it.
    fn leave_unequal(&self, items: u64) -> Result<Step, StepRefusal> {
        let known = self.state.accepted_unequal;
        let only = match self.context.force {
            Some(_) if items <= known => return self.change_flag(FlagChange::OldIsFresh, self.context.force),
            Some(_) => format!(". When the reason was given, {known} were known, so it covers only that number"),
            None => String::new(),
        };
        let remedy = "Fix them by hand, and run the same command again; or leave them as they are with `--force \
                      REASON`: readers of the old attribute then find the value that is currently in the old \
                      attribute, which may be stale";
        let obstacle = Obstacle::ItemsUnequal { items };
        let next = NextCommand::from(self.goal).with("--force REASON");
        Err(StepRefusal::new(format!("{obstacle} (the items are listed above){only}. {remedy}"), next))
    }

    /// Returns the command to suggest for a rollback or a step back. If the last verification found more unequal items
    /// than the operator accepted, the command includes `--force`, because without a reason it would be refused again.
    pub(super) fn next_back(&self, goal: Goal) -> NextCommand {
        let is_later =
            |report: &&ReportSummary| self.state.old_from_new.is_some_and(|pass| report.span.began >= pass.ended);
        let next = match goal {
            // Every rollback of derived items needs this statement.
            Goal::Rollback if self.context.puts_items => NextCommand::from(goal).with(Fact::WritersStopped.option()),
            Goal::Run { .. }
            | Goal::FailuresRetry
            | Goal::Verify { .. }
            | Goal::CutoverTo(_)
            | Goal::Back { .. }
            | Goal::Contract
            | Goal::Rollback => goal.into(),
        };
        match self.state.full.as_ref().filter(is_later) {
            Some(report) if report.mismatches > self.state.accepted_unequal => next.with("--force REASON"),
            Some(_) | None => next,
        }
    }
}

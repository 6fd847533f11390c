//! The way back: `rollback`, and `cutover --back` if old values may be stale.

use super::asked::{Asked, began_under};
use super::cutover::{back_needs_state, step_back};
use super::{
    BackTo, Expand, Fact, Goal, Kind, Next, Obstacle, Override, Phase, Refused, Report, Scope, Span, Step, Way, What,
};
use crate::cutover::{Flag, FlagChange, ReadFrom, WriteTo};

impl Asked<'_> {
    pub(super) fn back(&self, to: BackTo, accept_stale: bool) -> Result<Step, Refused> {
        if let Some(step) = self.renew_at_old(accept_stale)? {
            return Ok(step);
        }
        let flag = self.flag()?;
        let flagged = self.world.kind == Kind::Flagged;
        if flag.contracting || (flagged && !back_needs_state(flag)) {
            return step_back(flag, to, self.now, self.left());
        }
        if self.state.preflight.is_none() {
            return Ok(Step::Preflight);
        }
        if !accept_stale && let Some(step) = self.freshen(flag)? {
            return Ok(step);
        }
        match (flag.write, flag.read, to) {
            (WriteTo::New, ..) => self.make(FlagChange::DualWriteAgain, None),
            (_, ReadFrom::New, _) => self.make(FlagChange::ReadOld { accept_stale: flag.old_stale }, None),
            (WriteTo::Both, _, BackTo::OldWrites) => self.make(FlagChange::WriteOld, None),
            (WriteTo::Old, ReadFrom::Old, _) | (WriteTo::Both, ReadFrom::Old, BackTo::OldReads) => {
                Ok(self.settle().unwrap_or(Step::Done))
            }
        }
    }

    pub(super) fn rollback(&self) -> Result<Step, Refused> {
        let flagged = matches!(self.world.kind, Kind::Flagged | Kind::Stated);
        if self.state.rollback == Way::Ahead
            && let Some(first) = self.begin_rollback(flagged)?
        {
            return Ok(first);
        }
        if flagged { self.undo_flagged() } else { Ok(self.sweep(Phase::Undo, |_| true)) }
    }

    /// The next step before a rollback begins. Checks whether there is anything to undo, and whether a rollback is
    /// possible.
    fn begin_rollback(&self, flagged: bool) -> Result<Option<Step>, Refused> {
        let state = self.state;
        let untouched = state.expand == Expand::NotBegun && !state.dual_written;
        if flagged && (self.world.kind == Kind::Flagged || state.preflight.is_some()) {
            let flag = self.flag()?;
            if flag.contracting {
                return Err(Refused::new(
                    "the old attribute is being removed, and there is no way back",
                    Goal::Contract,
                ));
            }
            if untouched && flag.write == WriteTo::Old {
                return Ok(Some(self.settle().unwrap_or(Step::Done)));
            }
        } else if untouched {
            return Ok(Some(Step::Done));
        }
        if state.preflight.is_none() {
            return Ok(Some(Step::Preflight));
        }
        let forced = match (self.world.no_way_back, self.world.force) {
            (Some(items), None) => {
                return Err(Refused::new(
                    Obstacle::UnsureTargets { items }.to_string(),
                    Next::from(Goal::Rollback).with("--force REASON"),
                ));
            }
            (Some(_), Some(reason)) => Some(reason.to_owned()),
            (None, _) => None,
        };
        Ok(Some(if self.world.confirmed { Step::Record(What::RollbackBegun { forced }) } else { Step::Confirm }))
    }

    fn undo_flagged(&self) -> Result<Step, Refused> {
        let flag = self.flag()?;
        if flag.contracting {
            return Err(Refused::new("the old attribute is being removed, and there is no way back", Goal::Contract));
        }
        if let Some(step) = self.freshen(flag)? {
            return Ok(step);
        }
        if flag.read == ReadFrom::New {
            return self.make(FlagChange::ReadOld { accept_stale: false }, None);
        }
        if flag.write == WriteTo::Both {
            return self.make(FlagChange::WriteOld, None);
        }
        if let Some(wait) = self.settle() {
            return Ok(wait);
        }
        if self.world.kind == Kind::Stated {
            let facts =
                [(Fact::ReadersBack, self.state.readers_back), (Fact::NewWritesStopped, self.state.new_writes_stopped)];
            // Without a flag, only these statements prove that applications use only the old attribute. So the operator
            // must state both facts even if no reader was ever moved.
            if let Some((fact, _)) = facts.into_iter().find(|(_, stated)| stated.is_none()) {
                return self.ask(fact, None);
            }
        }
        Ok(self.sweep(Phase::Undo, |open| began_under(open.began, open.under, flag)))
    }

    /// The next step to make stale old values fresh. Applications must write both attributes again. Then a pass makes
    /// old values equal to new values, and a full verification that begins after the pass proves the result. `None` if
    /// old values are fresh.
    fn freshen(&self, flag: &Flag) -> Result<Option<Step>, Refused> {
        if flag.write == WriteTo::New {
            return self.make(FlagChange::DualWriteAgain, None).map(Some);
        }
        if !flag.old_stale {
            return Ok(None);
        }
        if let Some(wait) = self.settle() {
            return Ok(Some(wait));
        }
        let counts = |span: &Span| began_under(span.began, span.under, flag);
        let Some(restored) = self.state.restored.filter(counts) else {
            return Ok(Some(self.sweep(Phase::OldFromNew, |open| began_under(open.began, open.under, flag))));
        };
        let verify = Phase::Verify { scope: Scope::Full, repair: false };
        let report = self.state.full.as_ref();
        match report.filter(|report| report.span.began >= restored.ended && report.plan == self.world.plan) {
            None => Ok(Some(self.sweep(verify, |open| open.began >= restored.ended))),
            Some(report) if report.mismatches == 0 && self.compared_what_was_read(report) => {
                self.make(FlagChange::OldIsFresh, None).map(Some)
            }
            Some(report) if report.mismatches == 0 && self.swept(verify) => Err(Refused::new(
                "the verification compared no item, although the pass before it read some. Run the same command again to \
                 read every item again",
                self.goal,
            )),
            Some(report) if report.mismatches == 0 => {
                Ok(Some(Step::Record(What::PhaseBegun { phase: Phase::OldFromNew })))
            }
            Some(report) if self.swept(verify) => self.leave_unequal(report.mismatches).map(Some),
            Some(report) => self.accept_unequal(report.mismatches).map(Some),
        }
    }

    /// Whether the report proves anything. A verification that compared no item proves nothing if the strongly
    /// consistent pass before it read items.
    fn compared_what_was_read(&self, report: &Report) -> bool {
        report.compared != Some(0) || self.state.restored_items.is_none_or(|items| items == 0)
    }

    /// The next step before the old-from-new pass runs again. A `--force` reason is recorded before the pass. The
    /// reason covers at most the number of unequal items that were found so far.
    fn accept_unequal(&self, items: u64) -> Result<Step, Refused> {
        Ok(match self.world.force {
            Some(_) if self.state.left < items && !self.world.confirmed => Step::Confirm,
            Some(reason) if self.state.left < items => {
                let obstacle = Obstacle::ItemsUnequal { items };
                Step::Record(What::Overridden(Override { obstacle, reason: reason.to_owned() }))
            }
            _ => Step::Record(What::PhaseBegun { phase: Phase::OldFromNew }),
        })
    }

    /// The next step if this command could not make some items equal. Either somebody fixes these items by hand, or the
    /// operator accepts them with a `--force` reason. The reason is valid only if the operator knew of at least as many
    /// unequal items when giving it.
    fn leave_unequal(&self, items: u64) -> Result<Step, Refused> {
        let known = self.state.left;
        let only = match self.world.force {
            Some(_) if items <= known => return self.make(FlagChange::OldIsFresh, self.world.force),
            Some(_) => format!(". The reason was given when {known} were known, and covers no more than those"),
            None => String::new(),
        };
        let way_out = "Fix them by hand, and run the same command again; or leave them as they are with `--force REASON`: \
                       readers of the old attribute then find the value that is in the old attribute now, which may be stale";
        let obstacle = Obstacle::ItemsUnequal { items };
        let next = Next::from(self.goal).with("--force REASON");
        Err(Refused::new(format!("{obstacle} (they are named above){only}. {way_out}"), next))
    }

    /// The command to suggest for the way back. If the last verification found more unequal items than the operator
    /// accepted, the suggested command includes `--force`. Without a reason, the command would be refused again.
    pub(super) fn back_by(&self, goal: Goal) -> Next {
        let behind = |report: &&Report| self.state.restored.is_some_and(|pass| report.span.began >= pass.ended);
        match self.state.full.as_ref().filter(behind) {
            Some(report) if report.mismatches > self.state.left => Next::from(goal).with("--force REASON"),
            _ => goal.into(),
        }
    }
}

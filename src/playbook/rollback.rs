//! The way back: `--back` when old values may be stale, and `rollback`.

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

    /// The steps before the rollback begins: decides whether there is anything to do and whether it is possible.
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
            // Without a flag, only these statements prove it, even if no reader was ever moved.
            if let Some((fact, _)) = facts.into_iter().find(|(_, stated)| stated.is_none()) {
                return self.ask(fact, None);
            }
        }
        Ok(self.sweep(Phase::Undo, |open| began_under(open.began, open.under, flag)))
    }

    /// If old values may be stale: write both again, make old equal new, and prove it with a full verification that begins
    /// afterwards. `None` if old values are fresh.
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

    /// A verification that compared no item proves nothing if the strongly consistent pass before it read items.
    fn compared_what_was_read(&self, report: &Report) -> bool {
        report.compared != Some(0) || self.state.restored_items.is_none_or(|items| items == 0)
    }

    /// Before another old-from-new pass: a `--force` reason covers the unequal items found so far, and no more.
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

    /// Some items cannot be made equal. Either people fix them by hand, or a `--force` reason leaves them to readers as they
    /// are. A reason only counts if it was given when at least as many items were known.
    fn leave_unequal(&self, items: u64) -> Result<Step, Refused> {
        let known = self.state.left;
        let only = match self.world.force {
            Some(_) if items <= known => return self.make(FlagChange::OldIsFresh, self.world.force),
            Some(_) => format!(". The reason was given when {known} were known, and covers no more than those"),
            None => String::new(),
        };
        let way_out = "Fix them by hand, and run the same command again; or leave them as they are with `--force REASON`: \
                       readers of the old attribute then find its current value";
        let obstacle = Obstacle::ItemsUnequal { items };
        let next = Next::from(self.goal).with("--force REASON");
        Err(Refused::new(format!("{obstacle} (they are named above){only}. {way_out}"), next))
    }

    /// The command for a way back. If its last pass left items unequal, it would leave them again without a reason, so this
    /// adds `--force`.
    pub(super) fn back_by(&self, goal: Goal) -> Next {
        let behind = |report: &&Report| self.state.restored.is_some_and(|pass| report.span.began >= pass.ended);
        match self.state.full.as_ref().filter(behind) {
            Some(report) if report.mismatches > self.state.left => Next::from(goal).with("--force REASON"),
            _ => goal.into(),
        }
    }
}

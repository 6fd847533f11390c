//! Refuses commands if somebody removed the flag, and decides how to recreate it. If applications find no flag, they
//! read and write the old attribute. If contract was removing the old attribute, `contract` recreates the flag in its
//! last state. Otherwise, `cutover --back` recreates the flag with old reads and old writes. If old values may be
//! stale, `cutover --back` does so only with `--now`.

use super::request::StepRequest;
use super::{BackTarget, EventBody, Goal, NextCommand, Obstacle, Override, PlanKind, Step, StepRefusal};
use crate::cutover::{Flag, FlagChange, WriteTo};

impl StepRequest<'_> {
    /// Returns the refusal for a command that needs the flag. The message explains how to restore the flag.
    pub(super) fn missing_flag(&self) -> StepRefusal {
        const NONE: &str = "the plan names a flag, but its item is missing";
        let Some(last) = self.context.missing_flag else { return StepRefusal::new(NONE, "check") };
        let what = "Applications that find no flag read and write the old attribute. Find out who removed it";
        let (then, next) = if last.contracting {
            let then = "then immediately restore its last state, or let this command do it, because the old attribute was being removed";
            (then, NextCommand::from(Goal::Contract).with("--force REASON"))
        } else if self.may_be_stale(last) {
            let then = "then immediately restore its last state, because old values are stale. Or accept that readers get \
                        old values, and recreate the flag with old reads and old writes; values that exist only \
                        in the new attribute stay there";
            (then, Goal::Back { to: BackTarget::OldWrites, now: true }.into())
        } else {
            (
                "then recreate it with old reads and old writes, because applications already use them",
                Goal::Back { to: BackTarget::OldWrites, now: false }.into(),
            )
        };
        StepRefusal::new(format!("{NONE}. It was last seen as [{last}]. {what}; {then}"), next)
    }

    /// If the flag is missing, returns the step of `--back` that recreates it with old reads and old writes. Returns
    /// `None` if the flag exists or never existed.
    pub(super) fn recreate_with_old_values(&self, accept_stale: bool) -> Result<Option<Step>, StepRefusal> {
        let Some(last) = self.removed_flag() else { return Ok(None) };
        if last.contracting || (self.may_be_stale(last) && !accept_stale) {
            return Err(self.missing_flag());
        }
        let obstacle = Obstacle::FlagRemoved { version: last.version };
        if !self.state.is_overridden(obstacle) {
            let reason = if accept_stale { "cutover --back --now" } else { "cutover --back" }.to_owned();
            return Ok(Some(Step::Record(EventBody::Overridden(Override { obstacle, reason }))));
        }
        let first = Flag::new(last.max_cache_seconds, self.now);
        Ok(Some(Step::RecreateFlag(Box::new(Flag { version: last.version.saturating_add(1), ..first }))))
    }

    /// If the flag is missing and its last state was `contracting`, returns the step of `contract` that recreates it in
    /// that state. This step needs a `--force` reason.
    pub(super) fn recreate_contracting(&self) -> Result<Option<Step>, StepRefusal> {
        let Some(last) = self.removed_flag().filter(|last| last.contracting) else { return Ok(None) };
        let obstacle = Obstacle::FlagRemoved { version: last.version };
        if let Some(step) = self.require_override(obstacle, self.missing_flag().why)? {
            return Ok(Some(step));
        }
        let version = last.version.saturating_add(1);
        Ok(Some(Step::RecreateFlag(Box::new(Flag { version, changed_at: self.now, ..last.clone() }))))
    }

    /// If the flag is currently missing, returns its last known state.
    fn removed_flag(&self) -> Option<&Flag> {
        let begun = self.context.kind == PlanKind::Flagged && self.state.preflight.is_some();
        self.context.missing_flag.filter(|_| begun && self.context.flag.is_none())
    }

    /// Returns whether old values may be stale. They may be stale if the last known flag has new-only writes or marks
    /// old values as stale. They may also be stale if a change to new-only writes was intended, because this change may
    /// have taken effect.
    fn may_be_stale(&self, last: &Flag) -> bool {
        let intended = self.state.intended.as_ref().is_some_and(|intended| intended.change == FlagChange::WriteNew);
        intended || last.write == WriteTo::New || last.old_stale
    }
}

//! A flag that somebody has removed. Applications that find none read and write the old attribute, so that what it said last
//! decides how it comes back: where old values are the truth it begins anew, and where the old attribute was being removed it
//! comes back as it was.

use super::asked::Asked;
use super::{BackTo, Goal, Kind, Next, Obstacle, Override, Refused, Step, What};
use crate::cutover::{Flag, FlagChange, WriteTo};

impl Asked<'_> {
    /// Refuses what needs the flag, and says how it comes back.
    pub(super) fn gone(&self) -> Refused {
        const NONE: &str = "the plan names a flag, and there is none: its item is missing";
        let Some(last) = self.world.gone else { return Refused::new(NONE, "check") };
        let what = "Applications that find none read and write the old attribute. Find out who removed it";
        let (then, next) = if last.contracting {
            let then =
                "then put it back as it was, at once, or have this put it back: the old attribute was being removed";
            (then, Next::from(Goal::Contract).with("--force REASON"))
        } else if self.may_be_stale(last) {
            let then = "then put it back as it was, at once: old values are stale. Or accept that they are what is read, and \
                        begin the flag anew at old; what only the new attribute has stays there";
            (then, Goal::Back { to: BackTo::OldWrites, now: true }.into())
        } else {
            (
                "then begin it anew where applications are by now, at old",
                Goal::Back { to: BackTo::OldWrites, now: false }.into(),
            )
        };
        Refused::new(format!("{NONE}. It was last seen as [{last}]. {what}; {then}"), next)
    }

    /// `--back` where there is no flag: it begins anew, at old. None where there is one, or never was.
    pub(super) fn renew_at_old(&self, accept_stale: bool) -> Result<Option<Step>, Refused> {
        let Some(last) = self.removed() else { return Ok(None) };
        if last.contracting || (self.may_be_stale(last) && !accept_stale) {
            return Err(self.gone());
        }
        let obstacle = Obstacle::FlagRemoved { version: last.version };
        if !self.state.is_overridden(obstacle) {
            let reason = if accept_stale { "cutover --back --now" } else { "cutover --back" }.to_owned();
            return Ok(Some(Step::Record(What::Overridden(Override { obstacle, reason }))));
        }
        let first = Flag::first(last.max_cache_seconds, self.now);
        Ok(Some(Step::Renew(Box::new(Flag { version: last.version.saturating_add(1), ..first }))))
    }

    /// `contract` where there is no flag, and was one that said so: it comes back as it was, for a reason.
    pub(super) fn renew_contracting(&self) -> Result<Option<Step>, Refused> {
        let Some(last) = self.removed().filter(|last| last.contracting) else { return Ok(None) };
        let obstacle = Obstacle::FlagRemoved { version: last.version };
        if let Some(step) = self.go_past(obstacle, self.gone().why)? {
            return Ok(Some(step));
        }
        let version = last.version.saturating_add(1);
        Ok(Some(Step::Renew(Box::new(Flag { version, changed_at: self.now, ..last.clone() }))))
    }

    /// The flag as it was seen last, where it is missing now.
    fn removed(&self) -> Option<&Flag> {
        let begun = self.world.kind == Kind::Flagged && self.state.preflight.is_some();
        self.world.gone.filter(|_| begun && self.world.flag.is_none())
    }
    /// Whether old values may be older than new ones: by the flag that was seen last, or by the one that was about to be set,
    /// and may have been.
    fn may_be_stale(&self, last: &Flag) -> bool {
        let intended = self.state.intended.as_ref().is_some_and(|intended| intended.change == FlagChange::WriteNew);
        intended || last.write == WriteTo::New || last.old_stale
    }
}

//! Decides the steps of `contract`, which removes the old attribute.

use jiff::Timestamp;

use super::request::{StepRequest, add_saturating, round_up};
use super::{EventBody, Fact, Goal, Obstacle, Phase, PhaseStatus, PlanKind, Step, StepRefusal};
use crate::cutover::{FlagChange, WriteTo};

impl StepRequest<'_> {
    pub(super) fn contract(&self) -> Result<Step, StepRefusal> {
        match self.context.kind {
            PlanKind::InPlace | PlanKind::SetOnly => Err(self.no_cutover()),
            PlanKind::RemoveOnly => self.contract_remove_only(),
            PlanKind::Flagged | PlanKind::Stated => self.contract_after_cutover(),
        }
    }

    /// Decides the next step of contract for a plan with a cutover. With a flag, a rollback is no longer possible after
    /// the change that sets `contracting`. Without a flag, it is no longer possible after the event that records the
    /// beginning of contract.
    fn contract_after_cutover(&self) -> Result<Step, StepRefusal> {
        if let Some(step) = self.recreate_contracting()? {
            return Ok(step);
        }
        let flag = self.flag()?;
        if !flag.contracting {
            if self.state.contract != PhaseStatus::NotBegun {
                return Err(self.foreign_change("contract has begun, but the flag does not record this"));
            }
            self.check_expanded()?;
            if flag.write != WriteTo::New {
                return Err(StepRefusal::new("the old attribute is still written", self.next_forward(Some(flag))));
            }
            self.check_soaked(flag.new_since)?;
            if !self.context.confirmed {
                return Ok(Step::Confirm);
            }
        }
        if let Some(wait) = self.wait_for_caches() {
            return Ok(wait);
        }
        if !flag.contracting {
            return self.change_flag(FlagChange::Contract, None);
        }
        match self.state.contract {
            PhaseStatus::NotBegun => self.contract_begun_elsewhere(),
            PhaseStatus::Begun | PhaseStatus::Complete => Ok(Step::RunPass(Phase::Contract)),
        }
    }

    /// Decides the next step if the flag says that contract has begun, but this state file does not record it. Usually,
    /// a command with another state file began contract. The other cause is a process that was killed after it changed
    /// the flag, but before it recorded the event. The effect of contract on an item depends only on that item, so a
    /// command with this state file can safely finish contract.
    fn contract_begun_elsewhere(&self) -> Result<Step, StepRefusal> {
        if self.check_expanded().is_err() {
            let obstacle = Obstacle::ForeignContract;
            let why = format!(
                "{obstacle}. Use the state file that began it, with `--state`, on its host. If that file is lost, \
                 `--force REASON` completes contract with this state file. The removed values that only the lost file \
                 contains then cannot be restored"
            );
            match self.require_override(obstacle, why)? {
                Some(Step::Record(_)) if self.state.preflight.is_none() => return Ok(Step::Preflight),
                Some(step) => return Ok(step),
                None => {}
            }
        }
        Ok(Step::Record(EventBody::PhaseBegun { phase: Phase::Contract }))
    }

    fn contract_remove_only(&self) -> Result<Step, StepRefusal> {
        if self.state.preflight.is_none() {
            return Ok(Step::Preflight);
        }
        if self.state.contract == PhaseStatus::Begun {
            return Ok(Step::RunPass(Phase::Contract));
        }
        for (fact, known) in
            [(Fact::ReadersMoved, self.state.readers_moved), (Fact::OldWritesStopped, self.state.old_writes_stopped)]
        {
            if known.is_none() {
                return self.require_fact(fact, None);
            }
        }
        self.check_soaked(self.state.old_writes_stopped)?;
        if self.context.confirmed {
            Ok(Step::Record(EventBody::PhaseBegun { phase: Phase::Contract }))
        } else {
            Ok(Step::Confirm)
        }
    }

    /// If the soak begins in the future according to this host's clock, returns a note for the refusal.
    fn clock_difference_note(&self, since: Option<Timestamp>) -> String {
        let Some(since) = since.filter(|since| *since > self.now) else { return String::new() };
        format!(
            " (the soak began at {since} by the clock of the host that set the flag, and this host's clock says {}: the \
             clocks differ)",
            self.now
        )
    }

    fn check_soaked(&self, since: Option<Timestamp>) -> Result<(), StepRefusal> {
        let until = since.map_or(Timestamp::MAX, |since| add_saturating(since, self.context.limits.soak));
        if self.now >= until {
            return Ok(());
        }
        let until = round_up(until);
        let shown = until.strftime("%Y-%m-%dT%H:%M:%SZ");
        let refused = StepRefusal::new(
            format!(
                "the migration soaks until {shown}. Until then you can go back: the tool first copies new values to the old \
                 attribute{}",
                self.clock_difference_note(since)
            ),
            Goal::Contract,
        );
        Err(StepRefusal { not_before: since.map(|_| until), ..refused })
    }
}

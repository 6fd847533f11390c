//! Contract: removes the old attribute.

use std::time::Duration;

use jiff::Timestamp;

use super::asked::{Asked, later};
use super::{Fact, Goal, Kind, Obstacle, Phase, Refused, Step, Way, What};
use crate::cutover::{FlagChange, WriteTo};

impl Asked<'_> {
    pub(super) fn contract(&self) -> Result<Step, Refused> {
        match self.world.kind {
            Kind::InPlace | Kind::SetOnly => Err(self.no_cutover()),
            Kind::RemoveOnly => self.contract_only_removing(),
            Kind::Flagged | Kind::Stated => self.contract_moved(),
        }
    }

    /// The next step of contract for a plan with a cutover. The point of no return is the change that sets
    /// `contracting` in the flag. Without a flag, the point of no return is the event that records the beginning of
    /// contract.
    fn contract_moved(&self) -> Result<Step, Refused> {
        if let Some(step) = self.renew_contracting()? {
            return Ok(step);
        }
        let flag = self.flag()?;
        if !flag.contracting {
            if self.state.contract != Way::Ahead {
                return Err(self.foreign("contract has begun, but the flag does not say so"));
            }
            self.expanded()?;
            if flag.write != WriteTo::New {
                return Err(Refused::new("the old attribute is still written", self.ahead(Some(flag))));
            }
            self.soaked(flag.new_since)?;
            if !self.world.confirmed {
                return Ok(Step::Confirm);
            }
        }
        if let Some(wait) = self.settle() {
            return Ok(wait);
        }
        if !flag.contracting {
            return self.make(FlagChange::Contract, None);
        }
        match self.state.contract {
            Way::Ahead => self.contract_begun_elsewhere(),
            Way::Begun | Way::Complete => Ok(Step::Sweep(Phase::Contract)),
        }
    }

    /// The next step if the flag says that contract has begun, but this state file does not record the beginning of
    /// contract. Usually a command with another state file began contract. A kill after the change of the flag, but
    /// before the event was recorded, has the same effect. The result of contract for an item depends only on that
    /// item, so a command with this state file may finish contract.
    fn contract_begun_elsewhere(&self) -> Result<Step, Refused> {
        if self.expanded().is_err() {
            let obstacle = Obstacle::ForeignContract;
            let why = format!(
                "{obstacle}. Use the state file that did, with `--state`, on its host. If it is lost, `--force REASON` \
                 ends the contract with this one, without the removed values that only the lost file has recorded"
            );
            match self.go_past(obstacle, why)? {
                Some(Step::Record(_)) if self.state.preflight.is_none() => return Ok(Step::Preflight),
                Some(step) => return Ok(step),
                None => {}
            }
        }
        Ok(Step::Record(What::PhaseBegun { phase: Phase::Contract }))
    }

    fn contract_only_removing(&self) -> Result<Step, Refused> {
        if self.state.preflight.is_none() {
            return Ok(Step::Preflight);
        }
        if self.state.contract == Way::Begun {
            return Ok(Step::Sweep(Phase::Contract));
        }
        for (fact, known) in
            [(Fact::ReadersMoved, self.state.readers_moved), (Fact::OldWritesStopped, self.state.old_writes_stopped)]
        {
            if known.is_none() {
                return self.ask(fact, None);
            }
        }
        self.soaked(self.state.old_writes_stopped)?;
        if self.world.confirmed {
            Ok(Step::Record(What::PhaseBegun { phase: Phase::Contract }))
        } else {
            Ok(Step::Confirm)
        }
    }

    /// Explains that the soak begins in the future by this host's clock. The explanation is added to the refusal.
    fn ahead_of_clock(&self, since: Option<Timestamp>) -> String {
        let Some(since) = since.filter(|since| *since > self.now) else { return String::new() };
        format!(
            " (it began at {since} by the clock of the host that set the flag, and this host's clock says {}: the clocks differ)",
            self.now
        )
    }

    fn soaked(&self, since: Option<Timestamp>) -> Result<(), Refused> {
        let until = since.map_or(Timestamp::MAX, |since| later(since, self.world.limits.soak));
        if self.now >= until {
            return Ok(());
        }
        // The shown time is rounded up to the next second, because contract must no longer be refused at the shown
        // time.
        let shown = later(until, Duration::from_nanos(999_999_999)).strftime("%Y-%m-%dT%H:%M:%SZ");
        Err(Refused::new(
            format!(
                "it soaks until {shown}; until then, the way back only has to make old equal new{}",
                self.ahead_of_clock(since)
            ),
            Goal::Contract,
        ))
    }
}

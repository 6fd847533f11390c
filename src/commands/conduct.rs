//! The loop over the playbook's steps that its commands share.

use std::path::Path;

pub(super) use super::conducted::{Conducted, actor, said};
use super::exit::{Exit, Refusal};
use super::output;
pub(super) use super::pursuit::Pursuit;
use backfill::internals::engine::StopReason;
use backfill::internals::migration::{Advance, ConductError, Swept};
use backfill::internals::playbook::Goal;

impl Conducted {
    /// Takes the playbook's steps until the goal is reached, or until it is stopped. Gives what went over the table.
    pub(super) async fn pursue(
        &mut self,
        mut pursuit: Pursuit<'_>,
    ) -> anyhow::Result<(Vec<Swept>, Option<StopReason>)> {
        let (mut swept, mut asked) = (Vec::new(), pursuit.confirmed);
        if asked {
            self.conductor.confirm();
        }
        loop {
            // Nothing is begun for somebody who has asked to stop, or after the lease was lost.
            if self.conductor.stop.is_stopping() {
                return Ok((swept, self.conductor.stop.reason().cloned()));
            }
            match self.advance(pursuit.goal).await? {
                Advance::Done => return Ok((swept, None)),
                Advance::Recorded => {}
                Advance::Confirm => {
                    if let Goal::Verify { scope, repair: true } = pursuit.goal {
                        if let Some(stopped) = self.ask_for_repair(scope, &pursuit).await? {
                            return Ok((swept, Some(stopped)));
                        }
                    } else {
                        pursuit.ask(&self.target)?;
                    }
                    self.conductor.confirm();
                    asked = true;
                }
                Advance::Changed(flag) => output::stderr(&format!("flag     {flag}")),
                Advance::Wait(wait) => {
                    output::waiting(&wait);
                    if !self.conductor.wait(wait.left).await {
                        return Ok((swept, self.conductor.stop.reason().cloned()));
                    }
                }
                Advance::Preflight => self.hold_preflight(&pursuit).await?,
                Advance::Sweep(phase) => {
                    self.announce(phase, &pursuit, asked).await?;
                    let came = self.conductor.sweep(phase, std::mem::take(&mut pursuit.restart)).await?;
                    if !matches!(pursuit.goal, Goal::Verify { .. }) {
                        super::verify::tell_mismatches(&came);
                    }
                    let (stopped, unfinished) = (came.stopped.clone(), came.unfinished);
                    swept.push(came);
                    if stopped.is_some() || unfinished {
                        return Ok((swept, stopped));
                    }
                }
            }
        }
    }

    /// The next step, or a refusal that names the command which is next instead.
    pub(super) async fn advance(&mut self, goal: Goal) -> anyhow::Result<Advance> {
        self.conductor.advance(goal).await.map_err(|error| refusal(error, &self.target.path))
    }
}

/// A refusal of the playbook, with the command that is next.
pub(super) fn refusal(error: ConductError, plan: &Path) -> anyhow::Error {
    if let ConductError::Refused(refused) = error {
        let next = refused.next.for_plan(&plan.display().to_string());
        Refusal::error(Exit::Refused, format!("{}.\nNext: {next}", refused.why))
    } else {
        error.into()
    }
}

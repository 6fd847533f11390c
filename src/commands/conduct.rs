//! The loop over the playbook's steps that its commands share.

use std::path::Path;

pub(super) use super::conducted::{Conducted, actor, said};
use super::confirm::confirm;
use super::exit::{Exit, Refusal};
use super::output;
use super::preflight::{Read, preflight};
use crate::cli::Decide;
use crate::clock::to_text;
use crate::conduct::{Advance, ConductError, Swept};
use crate::engine::StopReason;
use crate::playbook::{Goal, Phase};

impl Conducted {
    /// Takes the playbook's steps until the goal is reached, or until it is stopped. Gives what went over the table.
    pub(super) async fn pursue(
        &mut self,
        goal: Goal,
        decide: &Decide,
        question: &str,
    ) -> anyhow::Result<(Vec<Swept>, Option<StopReason>)> {
        let mut swept = Vec::new();
        loop {
            // Nothing is begun for somebody who has asked to stop, or after the lease was lost.
            if self.conductor.stop.is_stopping() {
                return Ok((swept, self.conductor.stop.reason().cloned()));
            }
            match self.advance(goal).await? {
                Advance::Done => return Ok((swept, None)),
                Advance::Recorded => {}
                Advance::Confirm => {
                    confirm(decide.yes, question)?;
                    self.conductor.confirm();
                }
                Advance::Changed(flag) => output::stderr(&format!("flag     {flag}")),
                Advance::Wait(until) => {
                    let why = "applications may obey what the flag said before, until";
                    output::stderr(&format!("waiting  {why} {}", to_text(until)));
                    if !self.conductor.wait(until).await {
                        return Ok((swept, self.conductor.stop.reason().cloned()));
                    }
                }
                Advance::Preflight => {
                    let phase = if goal == Goal::Contract { Phase::Contract } else { Phase::Expand };
                    let job = self.conductor.job(phase)?;
                    let found = preflight(&self.target, &job, Read::Nothing, decide.accept.clone()).await;
                    found.hold()?;
                    found.tell();
                    self.conductor.accept(found.to_record()).await?;
                }
                Advance::Sweep(phase) => {
                    output::stderr(&format!("over the table: {}", words(phase)));
                    let came = self.conductor.sweep(phase, false).await?;
                    if !matches!(goal, Goal::Verify { .. }) {
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
    match error {
        ConductError::Refused(refused) => {
            let next = refused.next.for_plan(&plan.display().to_string());
            Refusal::error(Exit::Refused, format!("{}.\nNext: {next}", refused.why))
        }
        other => other.into(),
    }
}

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Expand => "expand",
        Phase::Retry => "the failures once more",
        Phase::Verify { .. } => "shadow reads",
        Phase::OldFromNew => "old is made equal new",
        Phase::Undo => "what the migration made is taken away, what it overwrote or removed comes back",
        Phase::Contract => "the old attribute is removed",
    }
}

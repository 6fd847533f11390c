//! What the playbook's commands share: a migration that is opened, and the loop over its steps.

use std::path::Path;

use super::confirm::confirm;
use super::exit::{Exit, Refusal};
use super::preflight::{Read, preflight};
use super::target::Target;
use super::{output, signals};
use crate::checkpoint::store::{KeptFact, host_name};
use crate::cli::{Decide, Global};
use crate::clock::{to_text, wall};
use crate::conduct::{Advance, ConductError, Conductor, Said, Stage, Swept};
use crate::cutover::{LEASE_DURATION, Lease, lease_owner};
use crate::engine::StopReason;
use crate::playbook::{Fact, Goal, Phase};

/// A migration that this process has to itself.
pub(super) struct Conducted {
    pub(super) target: Target,
    pub(super) conductor: Conductor,
    lease: Option<Lease>,
}

/// What a command says to the playbook.
pub(super) fn said(decide: &Decide) -> Said {
    let mut facts = Vec::new();
    facts.extend(decide.dual_writes_since.map(|since| Fact::DualWritesSince { since }));
    let stated = [
        (decide.readers_moved, Fact::ReadersMoved),
        (decide.old_writes_stopped, Fact::OldWritesStopped),
        (decide.readers_back, Fact::ReadersBack),
        (decide.new_writes_stopped, Fact::NewWritesStopped),
    ];
    facts.extend(stated.into_iter().filter(|(said, _)| *said).map(|(_, fact)| fact));
    Said { actor: actor(), facts, force: decide.force.clone(), ..Said::default() }
}

/// Who gives this command, for the record.
pub(super) fn actor() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "(unknown)".into());
    format!("{user}@{}", host_name())
}

impl Conducted {
    /// Takes the state file, and the lease beside the flag, where there is one. Signals stop it from here on.
    pub(super) async fn open(global: &Global, plan: &Path, said: Said) -> anyhow::Result<Conducted> {
        Conducted::of(Target::open(global, plan).await?, said).await
    }

    /// The same, of a table that has been reached.
    pub(super) async fn of(target: Target, said: Said) -> anyhow::Result<Conducted> {
        let opened = crate::cutover::open(&target.plan, wall()).await.map_err(ConductError::from)?;
        let store = target.open_store()?;
        let (flag, item) = opened.map_or((None, None), |opened| (Some(opened.flag), opened.lease));
        let mut lease = None;
        if let Some(item) = item {
            // Whoever had this state file before us is dead: its lock was free.
            let (gone, owner) =
                (store.kept(KeptFact::LeaseOwner).await?, lease_owner(&host_name(), std::process::id()));
            store.keep(KeptFact::LeaseOwner, owner.clone()).await?;
            lease = Some(Lease::acquire(item, &owner, gone.as_deref(), LEASE_DURATION).await?);
        }
        let stage = Stage {
            plan: target.plan.clone(),
            table: target.table.clone(),
            description: target.description.clone(),
            budgets: target.resolved.budgets.clone(),
        };
        let conductor = Conductor::open(stage, store, flag, wall(), said).await?;
        signals::listen(conductor.stop.clone())?;
        if let Some(lease) = &lease {
            let (lost, stop) = (lease.lost(), conductor.stop.clone());
            tokio::spawn(async move { stop.stop(StopReason::LeaseLost(lost.await.to_string())) });
        }
        Ok(Conducted { target, conductor, lease })
    }

    /// Takes the playbook's steps until the goal is reached, or until it is stopped. Gives what went over the table.
    pub(super) async fn pursue(
        &mut self,
        goal: Goal,
        decide: &Decide,
        question: &str,
    ) -> anyhow::Result<(Vec<Swept>, Option<StopReason>)> {
        let mut swept = Vec::new();
        loop {
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
                    let stopped = came.stopped.clone();
                    swept.push(came);
                    if stopped.is_some() {
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

    /// Gives the lease back and closes the state file.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        if let Some(lease) = self.lease {
            lease.release().await;
        }
        Ok(self.conductor.store.close().await?)
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

//! What is checked, shown and asked before a command takes the state file: a refused command makes and changes nothing.

use super::conduct::refusal;
use super::confirm::{can_be_asked, confirm};
use super::preflight::{Read, preflight};
use super::pursuit::Pursuit;
use super::run_report::header;
use super::target::Target;
use backfill::internals::clock::wall;
use backfill::internals::cutover::{FlagStore, Opened};
use backfill::internals::migration::{ConductError, Preview, Said, job_of, preview};
use backfill::internals::playbook::{Goal, Phase};

impl Pursuit<'_> {
    /// Checks every precondition of the command's first lasting work, holds the preflight and asks, where that comes before it.
    pub(super) async fn prepare(
        &mut self,
        target: &Target,
        flags: Option<&dyn FlagStore>,
        said: &Said,
    ) -> anyhow::Result<()> {
        let Target { path, state, plan, description, .. } = target;
        let previewed = preview(state, plan, description, flags, said, self.goal, wall()()).await;
        let Some(Preview { goal, rehearsal }) = previewed.map_err(|error| refusal(error, path))? else {
            return Ok(());
        };
        self.goal = goal;
        if rehearsal.preflight && self.held.is_none() {
            self.held = Some(self.preflight(target).await?);
        }
        // What a repair would do is known once the state file is open: it is shown before it is asked for.
        let asks_later = matches!(self.goal, Goal::Verify { repair: true, .. });
        match (rehearsal.confirm, asks_later) {
            (true, true) => can_be_asked(self.yes)?,
            (true, false) => {
                self.ask(target)?;
                self.confirmed = true;
            }
            (false, _) => {}
        }
        Ok(())
    }

    /// Asks before the first step that changes anything; before a run, it is said on what it works.
    pub(super) fn ask(&self, target: &Target) -> anyhow::Result<()> {
        if matches!(self.goal, Goal::Run { .. }) {
            header(target, None);
        }
        confirm(self.yes, &self.question)
    }

    /// Holds the preflight, and gives what was accepted of it.
    pub(super) async fn preflight(&self, target: &Target) -> anyhow::Result<Vec<String>> {
        let phase = if self.goal == Goal::Contract { Phase::Contract } else { Phase::Expand };
        let Target { plan, tables, description, resolved, .. } = target;
        let job = job_of(phase, plan, tables, description, &resolved.budgets)?;
        let found = preflight(target, &job, Read::Nothing, self.accept.to_vec()).await;
        found.hold()?;
        found.tell();
        Ok(found.to_record())
    }
}

impl Target {
    /// What the plan names in `[cutover]`, by a connection that keeps to the account of this table.
    pub(super) async fn open_flag(&self) -> Result<Option<Opened>, ConductError> {
        Ok(backfill::internals::cutover::open(&self.plan, wall(), Some(&self.description)).await?)
    }
}

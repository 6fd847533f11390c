//! What a command wants of the playbook, and the preflight on the way.

use super::conducted::Conducted;
use super::output;
use super::run_report::header;
use crate::cli::Decide;
use backfill::internals::migration::Begins;
use backfill::internals::playbook::{Goal, Phase};
use backfill::internals::preflight::Accept;

/// What a command wants of the playbook, and what was said to it.
pub(super) struct Pursuit<'a> {
    pub(super) goal: Goal,
    /// Asked before the first step that changes anything.
    pub(super) question: String,
    pub(super) yes: bool,
    pub(super) accept: &'a [Accept],
    /// The preflight was held before: what was accepted of it.
    pub(super) held: Option<Vec<String>>,
    /// What it asks first was confirmed before.
    pub(super) confirmed: bool,
    /// An expansion begins anew.
    pub(super) restart: bool,
}

impl<'a> Pursuit<'a> {
    pub(super) fn of(goal: Goal, decide: &'a Decide, question: impl Into<String>) -> Pursuit<'a> {
        let (question, yes, accept) = (question.into(), decide.yes, &decide.accept);
        Pursuit { goal, question, yes, accept, held: None, confirmed: false, restart: false }
    }
}

impl Conducted {
    /// Says what goes over the table now. A run that begins anew is asked for, unless it was.
    pub(super) async fn announce(&self, phase: Phase, pursuit: &Pursuit<'_>, asked: bool) -> anyhow::Result<()> {
        if phase != Phase::Expand {
            output::stderr(&format!("over the table: {}", words(phase)));
            if matches!(pursuit.goal, Goal::Back { .. } | Goal::Rollback) {
                let limits = self.target.plan.limits.named().join(", ");
                output::stderr(&format!("the way back is exempt from [limits] {limits}; the rate budget still holds"));
            }
            return Ok(());
        }
        match self.conductor.begins(phase).await? {
            Begins::Resumes(run) if !pursuit.restart => header(&self.target, Some(&run)),
            Begins::Ended(_) if !pursuit.restart => {}
            _ if asked => {}
            Begins::New | Begins::Resumes(_) | Begins::Ended(_) => pursuit.ask(&self.target)?,
        }
        Ok(())
    }

    /// Holds the preflight, unless that was done before the state file was made, and records what was accepted of it.
    pub(super) async fn hold_preflight(&mut self, pursuit: &Pursuit<'_>) -> anyhow::Result<()> {
        let accepted = match &pursuit.held {
            Some(accepted) => accepted.clone(),
            None => pursuit.preflight(&self.target).await?,
        };
        Ok(self.conductor.accept(accepted).await?)
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

//! Starts the hooks of a migration's commands, and asks the hook `before_step` for approval.

use super::target::MigrationTarget;
use super::{DriverError, MigrationError, snapshot};
use crate::clock::wall_clock;
use crate::hooks::{Announcement, HookOrigin, Hooks, ask_before_step};
use crate::machine::Machine;
use crate::plan::{Plan, VetoStep};
use crate::playbook::Goal;
use crate::state;

/// Starts the hooks of a plan, for a command that `actor` runs.
pub(super) fn start_hooks(plan: &Plan, actor: &str, machine: &Machine) -> Hooks {
    Hooks::start(&plan.hooks, origin(plan, actor), machine.wall(), machine.random.clone())
}

fn origin(plan: &Plan, actor: &str) -> HookOrigin {
    HookOrigin {
        migration: plan.name.clone(),
        fingerprint: plan.fingerprint().as_str().to_owned(),
        table: plan.table.name.clone(),
        actor: actor.to_owned(),
        host: crate::host::name(),
        pid: std::process::id(),
    }
}

/// Asks the plan's `before_step` program whether a command with this goal is allowed to begin.
///
/// # Errors
///
/// Fails with [`MigrationError::Vetoed`] if the program refuses.
pub(super) async fn ask_hook(plan: &Plan, goal: Goal, actor: &str) -> Result<(), MigrationError> {
    match veto_step(goal) {
        Some(step) => Ok(ask_before_step(&plan.hooks, &origin(plan, actor), step, wall_clock()()).await?),
        None => Ok(()),
    }
}

/// Returns whether the plan has a program that can refuse a command with this goal.
pub(super) fn hook_may_refuse(plan: &Plan, goal: Goal) -> bool {
    let before_step = plan.hooks.before_step.as_ref();
    veto_step(goal).is_some_and(|step| before_step.is_some_and(|before| before.steps.contains(&step)))
}

/// Returns the step that a hook can refuse, or `None` if no hook can refuse the command. No hook can refuse a rollback
/// or a step back, because nothing must block them. No hook can refuse a comparison, because a comparison changes
/// nothing.
fn veto_step(goal: Goal) -> Option<VetoStep> {
    match goal {
        Goal::Run { .. } | Goal::FailuresRetry => Some(VetoStep::Run),
        Goal::Verify { repair: true, .. } => Some(VetoStep::Repair),
        Goal::CutoverTo(_) => Some(VetoStep::Cutover),
        Goal::Contract => Some(VetoStep::Contract),
        Goal::Verify { repair: false, .. } | Goal::Back { .. } | Goal::Rollback => None,
    }
}

/// Announces the next step, if there is a step that the operator has to run. The state file must be closed.
pub(super) async fn announce_next_step(target: &MigrationTarget, hooks: &Hooks) {
    if !hooks.is_active() {
        return;
    }
    match next_step(target).await {
        Ok(Some(announcement)) => hooks.announce(&announcement, None),
        Ok(None) => {}
        Err(error) => tracing::warn!("no hook was told which step is due, because the state cannot be read: {error}"),
    }
}

async fn next_step(target: &MigrationTarget) -> Result<Option<Announcement>, DriverError> {
    let file = state::read(&target.state)?;
    let summary = file.summary().await?;
    let status = snapshot(file.as_ref(), &summary, &target.plan, wall_clock()(), None).await?.status;
    Ok(status
        .next
        .map(|next| Announcement::StepDue { next: next.render(&target.commands), not_before: status.not_before }))
}

//! Builds the job for a phase of the playbook.

use std::sync::Arc;

use super::target::expand_description;
use crate::dynamodb::{TableDescription, Tables};
use crate::engine::{Job, other_budgets};
use crate::passes::{contract, old_from_new, undo};
use crate::plan::{Capacity, Plan, PlanLimits};
use crate::playbook::Phase;
use crate::preflight::{PreflightError, run_changes};
use crate::ratelimit::Budgets;

/// Builds the job for a phase on these tables.
///
/// # Errors
///
/// Fails with [`PreflightError::NothingToRun`] if `run` would have nothing to do.
pub fn job_for_phase(
    phase: Phase,
    plan: &Plan,
    tables: &Tables,
    description: &TableDescription,
    budgets: &Budgets,
) -> Result<Job, PreflightError> {
    let changes = match phase {
        Phase::Contract => Arc::new(contract::changes(plan, description)),
        Phase::OldFromNew => Arc::new(old_from_new::changes(plan, description)),
        Phase::Undo => Arc::new(undo::changes(plan, description)),
        Phase::Expand | Phase::Retry | Phase::Verify { .. } => run_changes(plan, description)?,
    };
    let mut plan = plan.clone();
    if matches!(phase, Phase::OldFromNew | Phase::Undo) {
        // In a rollback or a step back, the plan's rate applies, but its limits do not.
        plan.limits = PlanLimits::none();
    }
    if phase == Phase::Undo
        && let (Some(tables), Some(derived)) = (tables.of_derived(), &description.derived)
    {
        // The rollback deletes the derived items in their own table. `[capacity]` is about the plan's table.
        plan.capacity = Capacity::default();
        let budgets = other_budgets(derived).budgets;
        return Ok(Job::new(plan, changes, tables, (**derived).clone(), &budgets));
    }
    let description = match phase {
        Phase::Expand => expand_description(&plan, description),
        Phase::Contract | Phase::OldFromNew | Phase::Undo | Phase::Retry | Phase::Verify { .. } => description.clone(),
    };
    Ok(Job::new(plan, changes, tables.clone(), description, budgets))
}

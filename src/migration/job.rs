//! From a phase of the playbook to the job of its pass.

use std::sync::Arc;

use crate::change::Changes;
use crate::dynamodb::{TableDescription, Tables};
use crate::engine::Job;
use crate::plan::{Limits, Plan};
use crate::playbook::Phase;
use crate::preflight::{PreflightError, run_changes};
use crate::ratelimit::Budgets;
/// The job of a phase on these tables.
pub fn job_of(
    phase: Phase,
    plan: &Plan,
    tables: &Tables,
    description: &TableDescription,
    budgets: &Budgets,
) -> Result<Job, PreflightError> {
    let (key, indexes) = (description.key.clone(), description.indexes.iter().map(|index| index.schema.clone()));
    let (changes, strategy, indexes) = (&plan.changes, plan.strategy, indexes.collect());
    let changes = match phase {
        Phase::Contract => Arc::new(Changes::for_contract(changes, strategy, key, indexes).sparing_encrypted(true)),
        // The way back takes back what this migration wrote, whatever it wrote it to.
        Phase::OldFromNew => Arc::new(Changes::for_old_from_new(changes, strategy, key, indexes)),
        Phase::Undo => Arc::new(Changes::for_undo(changes, strategy, key, indexes)),
        Phase::Expand | Phase::Retry | Phase::Verify { .. } => run_changes(plan, description)?,
    };
    let mut plan = plan.clone();
    if matches!(phase, Phase::OldFromNew | Phase::Undo) {
        // Nothing but the rate holds up the way back.
        plan.limits = Limits::none();
    }
    Ok(Job::new(plan, changes, tables.clone(), description.clone(), budgets))
}

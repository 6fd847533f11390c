//! Builds the job for a phase of the playbook.

use std::sync::Arc;

use super::target::expand_description;
use crate::dynamodb::{TableDescription, Tables};
use crate::engine::{Job, other_budgets};
use crate::passes::{contract, old_from_new, undo};
use crate::plan::{Capacity, Plan, PlanLimits};
use crate::playbook::Phase;
use crate::preflight::{PreflightError, check_described_other, run_changes};
use crate::ratelimit::Budgets;

/// Builds the job for a phase on these tables.
///
/// # Errors
///
/// Fails with [`PreflightError::NothingToRun`] if `run` would have nothing to do. Fails with
/// [`PreflightError::NoOtherTable`] if the plan puts derived items into a table that is not among these tables, or that
/// was not described.
pub fn job_for_phase(
    phase: Phase,
    plan: &Plan,
    tables: &Tables,
    description: &TableDescription,
    budgets: &Budgets,
) -> Result<Job, PreflightError> {
    check_described_other(plan, description)?;
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
        && let Some(name) = plan.other_table()
    {
        let (Some(tables), Some(derived)) = (tables.of_derived(), &description.derived) else {
            return Err(PreflightError::NoOtherTable(name.to_owned()));
        };
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dynamodb::memory::{FaultPlan, MemoryTable};
    use crate::item::{KeyAttribute, KeySchema};
    use crate::passes::expand;
    use crate::state::{BeginMode, NewRun, phase};

    fn plan() -> Plan {
        let text = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n\
                    [[change]]\nput = { table = \"lookup\", key = { id = 'item.pk' }, attributes = { user = 'item.pk' } }\n";
        crate::plan::load("plan", text).unwrap_or_else(|errors| panic!("{errors}")).plan
    }

    fn lookup() -> TableDescription {
        let partition = KeyAttribute { name: "id".into(), kind: "S".into() };
        TableDescription::new("lookup", "", KeySchema { partition, sort: None })
    }

    fn described() -> TableDescription {
        TableDescription { derived: Some(Box::new(lookup())), ..TableDescription::for_tests() }
    }

    fn table(description: TableDescription) -> MemoryTable {
        let faults = FaultPlan { share: 0.0, late: Duration::ZERO, stale: Duration::ZERO, preferred: None };
        MemoryTable::new(description, (Duration::from_millis(1), Duration::from_millis(2)), faults, 0)
    }

    fn tables(has_other: bool) -> Tables {
        let tables = Tables::one(Arc::new(table(TableDescription::for_tests()).connect(0)));
        if has_other { tables.with_derived(Arc::new(table(lookup()).connect(0))) } else { tables }
    }

    /// Without the other table, a pass would write to the table of the sources.
    #[test]
    fn no_phase_starts_without_the_table_of_the_derived_items() {
        let plan = plan();
        let budgets = other_budgets(&lookup()).budgets;
        let job_of = |phase, has_other, description: TableDescription| {
            job_for_phase(phase, &plan, &tables(has_other), &description, &budgets)
        };
        for phase in [Phase::Expand, Phase::Undo, Phase::Retry] {
            let refused = job_of(phase, true, TableDescription::for_tests()).err();
            assert!(matches!(refused, Some(PreflightError::NoOtherTable(name)) if name == "lookup"), "{phase:?}");
            assert!(job_of(phase, true, described()).is_ok(), "{phase:?}");
        }
        let refused = job_of(Phase::Undo, false, described()).err();
        assert!(matches!(refused, Some(PreflightError::NoOtherTable(_))));
        let refused = run_changes(&plan, &TableDescription::for_tests()).err();
        assert!(matches!(refused, Some(PreflightError::NoOtherTable(_))));
        assert_eq!(job_of(Phase::Undo, true, described()).ok().unwrap().description.name, "lookup");
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_without_the_table_of_the_derived_items_does_nothing() {
        let budgets = other_budgets(&lookup()).budgets;
        for (tables, description) in [(tables(true), TableDescription::for_tests()), (tables(false), described())] {
            let changes = Arc::new(expand::changes(&plan(), &description));
            let job = Job::new(plan(), changes, tables, description, &budgets);
            let (store, _) = crate::state::in_memory_with_crashes();
            let new = NewRun {
                phase: phase::EXPAND.into(),
                total_segments: 1,
                tool_version: "t".into(),
                table_items_estimate: None,
            };
            let session = store.begin(BeginMode::ResumeOrNew, new).await.unwrap();
            let refused = job.work(&store, &session).await.unwrap_err().to_string();
            assert!(refused.contains("`lookup`"), "{refused}");
        }
    }
}

//! The undo pass. It removes the values that the expand pass wrote, or restores the items that the expand pass deleted.
//! It relies on the recorded history of each item.

mod deleted_items;

use std::sync::Arc;

use super::with_plan;
use super::write_pass::WritePass;
use crate::change::Changes;
use crate::dynamodb::{Source, TableDescription};
use crate::engine::{Job, SessionResult};
use crate::plan::Plan;
use crate::state::{RunSession, State, StoreError};
pub(super) use deleted_items::DeletedItems;

/// Returns the changes of an undo pass for this plan and table. The pass also writes items that are signed or encrypted
/// on the client, because it removes everything that the migration wrote. If the plan puts derived items into another
/// table, these are the changes to that table.
pub(crate) fn changes(plan: &Plan, table: &TableDescription) -> Changes {
    let table = table.derived.as_deref().unwrap_or(table);
    with_plan(Changes::for_undo(&plan.changes, plan.strategy, table.key.clone(), table.index_schemas()), plan)
}

/// Runs one session of an undo pass. If the first expand pass was stopped, some items have no baseline yet. The undo
/// pass records the missing baselines before it changes an item (`baseline/completion.rs`).
///
/// A deleted item is no longer in the table, so a pass that restores items reads the journal instead.
pub(super) async fn work(job: &Job, store: &State, session: &RunSession) -> Result<SessionResult, StoreError> {
    let write_pass = WritePass::begin(job, store, &session.run).await?;
    if job.changes.restores_items() {
        let source = DeletedItems::new(store.history(), session.run.id);
        let write_pass = write_pass.with_source(Arc::new(source) as Arc<dyn Source>);
        write_pass.execute(None, job.reads_consistently()).await?;
        return write_pass.end().await;
    }
    // If the job is stopped during this call, `execute` below ends before its first page.
    job.complete_baseline_within(store).await?;
    write_pass.execute(None, job.reads_consistently()).await?;
    write_pass.end().await
}

#[cfg(test)]
mod tests;

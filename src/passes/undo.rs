//! The undo pass: removes the values that the expand pass wrote, based on the recorded history of each item.

use super::writes::Writes;
use crate::change::Changes;
use crate::dynamodb::TableDescription;
use crate::engine::{Ended, Job};
use crate::plan::Plan;
use crate::state::{Session, State, StoreError};

/// The changes of an undo pass for this plan and table. The pass does not skip items that are signed or encrypted on
/// the client, because it removes everything that the migration wrote.
pub(crate) fn changes(plan: &Plan, table: &TableDescription) -> Changes {
    Changes::for_undo(&plan.changes, plan.strategy, table.key.clone(), table.index_schemas())
}

/// Runs one session of an undo pass. If the first expand pass was stopped, some items have no baseline yet. The undo
/// pass records the missing baselines before it changes an item (`baseline/look_through.rs`).
pub(super) async fn work(job: &Job, store: &State, session: &Session) -> Result<Ended, StoreError> {
    let writes = Writes::begin(job, store, &session.run).await?;
    // If the job is stopped during this call, the call below ends before its first page.
    job.look_through(store).await?;
    writes.walk(None, job.reads_consistently()).await?;
    writes.end().await
}

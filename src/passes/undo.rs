//! The undo pass: removes what the expand pass wrote, based on the recorded history of each item.

use super::writes::Writes;
use crate::change::Changes;
use crate::dynamodb::TableDescription;
use crate::engine::{Ended, Job};
use crate::plan::Plan;
use crate::state::{Session, State, StoreError};

/// The changes that this pass makes for a plan on this table. It does not skip items that are encrypted on the client,
/// because it takes back everything that this migration wrote.
pub(crate) fn changes(plan: &Plan, table: &TableDescription) -> Changes {
    Changes::for_undo(&plan.changes, plan.strategy, table.key.clone(), table.index_schemas())
}

/// Runs one session of an undo pass. If the first expand pass was stopped, it first records the baseline of the items that
/// pass did not reach (`baseline/look_through.rs`).
pub(super) async fn work(job: &Job, store: &State, session: &Session) -> Result<Ended, StoreError> {
    let writes = Writes::begin(job, store, &session.run).await?;
    // If a stop ends this early, the walk below stops before its first page.
    job.look_through(store).await?;
    writes.walk(None, job.reads_consistently()).await?;
    writes.end().await
}

//! The undo pass: removes what the expansion wrote, by the recorded history of each item.

use super::writes::Writes;
use crate::change::Changes;
use crate::dynamodb::TableDescription;
use crate::engine::{Ended, Job};
use crate::plan::Plan;
use crate::state::{Session, State, StoreError};

/// The changes that this pass makes for a plan on this table. It takes back whatever this migration wrote: items that are
/// encrypted on the client are not skipped.
pub(crate) fn changes(plan: &Plan, table: &TableDescription) -> Changes {
    Changes::for_undo(&plan.changes, plan.strategy, table.key.clone(), table.index_schemas())
}

/// A session of an undo. If the first expand pass was stopped, it begins with the baseline of the items which that pass did
/// not reach (`baseline/look_through.rs`).
pub(super) async fn work(job: &Job, store: &State, session: &Session) -> Result<Ended, StoreError> {
    let writes = Writes::begin(job, store, &session.run).await?;
    // If this is stopped, so is the walk below, before its first page.
    job.look_through(store).await?;
    writes.walk(None, job.reads_consistently()).await?;
    writes.end().await
}

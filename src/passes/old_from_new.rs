//! The old-from-new pass: writes the old attributes again from the new ones, before readers go back.

use super::writes::Writes;
use crate::change::Changes;
use crate::dynamodb::TableDescription;
use crate::engine::{Ended, Job};
use crate::plan::Plan;
use crate::state::{Session, State, StoreError};

/// The changes of an old-from-new pass for this plan and table. The pass does not skip items that are signed or
/// encrypted on the client, because a rollback must include all items that the migration wrote.
pub(crate) fn changes(plan: &Plan, table: &TableDescription) -> Changes {
    Changes::for_old_from_new(&plan.changes, plan.strategy, table.key.clone(), table.index_schemas())
}

/// Runs one session of an old-from-new pass.
pub(super) async fn work(job: &Job, store: &State, session: &Session) -> Result<Ended, StoreError> {
    let writes = Writes::begin(job, store, &session.run).await?;
    writes.walk(None, job.reads_consistently()).await?;
    writes.end().await
}

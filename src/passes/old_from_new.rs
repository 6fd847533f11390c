//! The old-from-new pass: rewrites the old attributes from the new ones, before readers switch back to the old
//! attributes.

use super::with_plan;
use super::write_pass::WritePass;
use crate::change::Changes;
use crate::dynamodb::TableDescription;
use crate::engine::{Job, SessionResult};
use crate::plan::Plan;
use crate::state::{RunSession, State, StoreError};

/// Returns the changes of an old-from-new pass for this plan and table. The pass also writes items that are signed or
/// encrypted on the client, because a rollback must include all items that the migration wrote.
pub(crate) fn changes(plan: &Plan, table: &TableDescription) -> Changes {
    with_plan(Changes::for_old_from_new(&plan.changes, plan.strategy, table.key.clone(), table.index_schemas()), plan)
}

/// Runs one session of an old-from-new pass.
pub(super) async fn work(job: &Job, store: &State, session: &RunSession) -> Result<SessionResult, StoreError> {
    let write_pass = WritePass::begin(job, store, &session.run).await?;
    write_pass.execute(None, job.reads_consistently()).await?;
    write_pass.end().await
}

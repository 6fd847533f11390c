//! The contract pass, which removes the old attributes.

use super::with_plan;
use super::write_pass::WritePass;
use crate::change::Changes;
use crate::dynamodb::TableDescription;
use crate::engine::{Job, SessionResult};
use crate::plan::Plan;
use crate::state::{RunSession, State, StoreError};

/// Returns the changes of a contract pass for this plan and table. The pass refuses to write items that are signed or
/// encrypted on the client, unless [`Job::allow_encrypted_edits`] was called.
pub(crate) fn changes(plan: &Plan, table: &TableDescription) -> Changes {
    let changes = Changes::for_contract(&plan.changes, plan.strategy, table.key.clone(), table.index_schemas());
    with_plan(changes, plan).with_encrypted_refused(true)
}

/// Runs one session of a contract pass.
pub(super) async fn work(job: &Job, store: &State, session: &RunSession) -> Result<SessionResult, StoreError> {
    let write_pass = WritePass::begin(job, store, &session.run).await?;
    write_pass.execute(None, job.reads_consistently()).await?;
    write_pass.end().await
}

//! The expand pass: writes the new attributes. The first expand pass over a table also records each item's baseline
//! before it writes the item.

use std::sync::Arc;

use super::baseline::BaselineRecorder;
use super::write_pass::WritePass;
use super::{other_table, with_plan};
use crate::change::Changes;
use crate::dynamodb::TableDescription;
use crate::engine::{Job, SessionResult};
use crate::plan::Plan;
use crate::state::{RunSession, State, StoreError};

/// Returns the changes of an expand pass for this plan and table. The pass refuses to write items that are signed or
/// encrypted on the client, unless [`Job::allow_encrypted_edits`] was called.
pub(crate) fn changes(plan: &Plan, table: &TableDescription) -> Changes {
    let changes = Changes::for_expand(&plan.changes, plan.strategy, table.key.clone(), table.index_schemas());
    with_plan(changes, plan).with_encrypted_refused(true).with_other_table(other_table(plan, table))
}

/// Runs one session of an expand pass.
pub(super) async fn work(job: &Job, store: &State, session: &RunSession) -> Result<SessionResult, StoreError> {
    let run = &session.run;
    let write_pass = WritePass::begin(job, store, run).await?;
    let first = store.is_first_pass(run.id).await?;
    // If a later expand pass finds nothing to do, this proves that no new value is missing. So the reads of a later
    // pass must be strongly consistent.
    let consistent = !first || job.reads_consistently();
    let baseline = (first && job.changes.needs_baseline())
        .then(|| BaselineRecorder::new(Arc::clone(&job.changes), store.history(), run.session(), session.resumed));
    // A later pass must prove that no new value is missing, so it reads every item of the table, without an index or a
    // filter.
    let requests = if first { job.first_pass_requests() } else { job.requests() };
    write_pass.execute_with(requests, baseline, consistent).await?;
    write_pass.end().await
}

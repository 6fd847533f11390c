//! The contract pass: removes the old attributes.

use super::writes::Writes;
use crate::change::Changes;
use crate::dynamodb::TableDescription;
use crate::engine::{Ended, Job};
use crate::plan::Plan;
use crate::state::{Session, State, StoreError};

/// The changes of a contract pass for this plan and table. The pass skips items that are signed or encrypted on the
/// client, unless [`Job::edit_encrypted`] is called.
pub(crate) fn changes(plan: &Plan, table: &TableDescription) -> Changes {
    Changes::for_contract(&plan.changes, plan.strategy, table.key.clone(), table.index_schemas())
        .sparing_encrypted(true)
}

/// Runs one session of a contract pass.
pub(super) async fn work(job: &Job, store: &State, session: &Session) -> Result<Ended, StoreError> {
    let writes = Writes::begin(job, store, &session.run).await?;
    writes.walk(None, job.reads_consistently()).await?;
    writes.end().await
}

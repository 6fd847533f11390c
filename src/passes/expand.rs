//! The expand pass: writes the new attributes. The first expand pass over a table also records the baseline of each
//! item, before it writes the item.

use std::sync::Arc;

use super::baseline::FirstLook;
use super::writes::Writes;
use crate::change::Changes;
use crate::dynamodb::TableDescription;
use crate::engine::{Ended, Job};
use crate::plan::Plan;
use crate::state::{Session, State, StoreError};

/// The changes of an expand pass for this plan and table. The pass skips items that are signed or encrypted on the
/// client, unless [`Job::edit_encrypted`] is called.
pub(crate) fn changes(plan: &Plan, table: &TableDescription) -> Changes {
    Changes::for_expand(&plan.changes, plan.strategy, table.key.clone(), table.index_schemas()).sparing_encrypted(true)
}

/// Runs one session of an expand pass.
pub(super) async fn work(job: &Job, store: &State, session: &Session) -> Result<Ended, StoreError> {
    let run = &session.run;
    let writes = Writes::begin(job, store, run).await?;
    let first = store.is_first_pass(run.id).await?;
    // If a later expand pass has nothing to do, this proves that no new value is missing. So its reads must be strongly
    // consistent.
    let consistent = !first || job.reads_consistently();
    let baseline = (first && job.changes.needs_baseline())
        .then(|| FirstLook::new(Arc::clone(&job.changes), store.history(), run.session(), session.resumed));
    writes.walk(baseline, consistent).await?;
    writes.end().await
}

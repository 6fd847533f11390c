//! The expand pass: writes the new attributes. The first pass of an expansion records the baseline of each item first.

use std::sync::Arc;

use super::baseline::FirstLook;
use super::writes::Writes;
use crate::change::Changes;
use crate::dynamodb::TableDescription;
use crate::engine::{Ended, Job};
use crate::plan::Plan;
use crate::state::{Session, State, StoreError};

/// The changes that this pass makes for a plan on this table. Items that are encrypted on the client are skipped, unless
/// [`Job::edit_encrypted`] says otherwise.
pub(crate) fn changes(plan: &Plan, table: &TableDescription) -> Changes {
    Changes::for_expand(&plan.changes, plan.strategy, table.key.clone(), table.index_schemas()).sparing_encrypted(true)
}

/// A session of an expansion.
pub(super) async fn work(job: &Job, store: &State, session: &Session) -> Result<Ended, StoreError> {
    let run = &session.run;
    let writes = Writes::begin(job, store, run).await?;
    let first = store.is_first_pass(run.id).await?;
    // After a complete pass, "nothing to do" says that nothing is missing any more.
    let consistent = !first || job.reads_consistently();
    let baseline = (first && job.changes.needs_baseline())
        .then(|| FirstLook::new(Arc::clone(&job.changes), store.history(), run.session(), session.resumed));
    writes.walk(baseline, consistent).await?;
    writes.end().await
}

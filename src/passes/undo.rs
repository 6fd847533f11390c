//! The undo pass: removes what the expansion wrote, by the recorded history of each item.

use super::writes::Writes;
use crate::engine::{Ended, Job};
use crate::state::{Session, State, StoreError};

/// A session of an undo. If the first expand pass was stopped, it begins with the baseline of the items which that pass did
/// not reach (`baseline/look_through.rs`).
pub(super) async fn work(job: &Job, store: &State, session: &Session) -> Result<Ended, StoreError> {
    let writes = Writes::begin(job, store, &session.run).await?;
    // If this is stopped, so is the walk below, before its first page.
    job.look_through(store).await?;
    writes.walk(None, job.reads_consistently()).await?;
    writes.end().await
}

//! The contract pass: removes the old attributes.

use super::writes::Writes;
use crate::engine::{Ended, Job};
use crate::state::{Session, State, StoreError};

/// A session of a contraction.
pub(super) async fn work(job: &Job, store: &State, session: &Session) -> Result<Ended, StoreError> {
    let writes = Writes::begin(job, store, &session.run).await?;
    writes.walk(None, job.reads_consistently()).await?;
    writes.end().await
}

//! The passes. Each pass uses the engine to process all items of the table for one purpose.
//!
//! A pass consists of a [`ProcessPage`](crate::engine::ProcessPage), which decides what happens to the items of a page,
//! and a [`CommitPage`](crate::engine::CommitPage), which makes the outcome durable.

pub(crate) mod baseline;
pub(crate) mod contract;
pub(crate) mod dry_run;
#[cfg(test)]
mod exec_tests;
pub(crate) mod expand;
pub(crate) mod old_from_new;
#[cfg(test)]
mod put_tests;
#[cfg(test)]
mod replacement_tests;
pub(crate) mod retry;
#[cfg(test)]
mod two_tables_tests;
pub(crate) mod undo;
pub mod verify;
mod write_pass;

pub use baseline::BaselineRecorder;
pub use dry_run::{
    ChangeCount, DryRun, HeaviestKeys, ItemGroup, KeyUsage, PagePrediction, PredictedOutcome, Prediction, Shape,
    predict_page, read_clusters,
};
pub use retry::RetryResult;
pub(crate) use write_pass::deletes;

use crate::change::{Changes, OtherTable};
use crate::dynamodb::TableDescription;
use crate::engine::{Job, SessionResult};
use crate::plan::Plan;
use crate::state::{RunSession, State, StoreError, phase};

/// Adds the common settings of the plan to the changes of a pass. These settings are the selection of items, the
/// evaluation of expressions, and whether an item may need several writes.
fn with_plan(changes: Changes, plan: &Plan) -> Changes {
    let changes = changes.with_rules(plan.item_rules());
    if plan.needs_split() { changes.with_split(&plan.changes, plan.strategy) } else { changes }
}

/// Returns the table that gets the plan's derived items. `None` if it is the table of their sources, or if the plan puts
/// none.
fn other_table(plan: &Plan, table: &TableDescription) -> Option<OtherTable> {
    let (name, derived) = (plan.other_table()?, table.derived.as_deref()?);
    Some(OtherTable::new(name, derived.key.clone(), derived.index_schemas()))
}

impl Job {
    /// Processes a run's open segments until all of them are done or the job is stopped. Then ends the session in the
    /// store. The run's phase determines which pass this function carries out.
    ///
    /// When this function returns, everything that it reports is durable.
    ///
    /// # Errors
    /// Fails if the run's phase does not write items, if the job lacks the table of the plan's derived items, or if the store failed at the beginning or the end of the session.
    /// Earlier commits remain durable.
    pub async fn work(&self, store: &State, session: &RunSession) -> Result<SessionResult, StoreError> {
        if let Some(name) = self.missing_table() {
            let why = format!("the plan puts derived items into table `{name}`, but the job does not have that table");
            return Err(StoreError::Refused(format!("{why}, so nothing was done")));
        }
        match session.run.phase.as_str() {
            phase::EXPAND => expand::work(self, store, session).await,
            phase::CONTRACT => contract::work(self, store, session).await,
            phase::OLD_EQUAL_NEW => old_from_new::work(self, store, session).await,
            phase::ROLLBACK => undo::work(self, store, session).await,
            other => {
                Err(StoreError::Refused(format!("a run of phase `{other}` does not write items, so nothing was done")))
            }
        }
    }
}

//! A dry run does everything that a run does, except the writes. For the items of the table or of a sample, it counts
//! the outcomes that a run would have.
//!
//! A phase that depends on recorded history reads it from a state file that is opened read-only. A rollback of a
//! stopped pass first records the baseline of items that the pass did not reach (`passes/baseline/look_through.rs`). A
//! dry run cannot record this baseline. Some new values of these items may have existed before the migration. The dry
//! run still counts a new value that equals the old one as "would be removed", and a different new value as diverged.

mod heaviest;
mod prediction;
mod sampled;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

pub use heaviest::{Heaviest, Load};
pub use prediction::{Class, Group, Prediction, Shape};
pub use sampled::read_clusters;

use crate::change::{Changes, ItemHistory};
use crate::engine::client::Requests;
use crate::engine::job::Job;
use crate::engine::stop::{StopReason, Stopped};
use crate::engine::write::{CommitPage, PageItems, PageOutcome, Pages, PartialOutcome, ProcessPage};
use crate::item::{Item, ItemKey};
use crate::state::{Counts, Records};

/// Decides on every item, but does not write it.
pub struct DryRun {
    changes: Arc<Changes>,
    records: Option<Arc<dyn Records>>,
    requests: Requests,
    seen: Mutex<Prediction>,
}

impl DryRun {
    /// Creates a dry run of a job's changes. `records` gives access to the recorded history of items, for changes that
    /// depend on it ([`Changes::lookup`]).
    pub fn new(job: &Job, records: Option<Arc<dyn Records>>) -> DryRun {
        let changes = Arc::clone(&job.changes);
        DryRun { changes, records, requests: job.requests(), seen: Mutex::new(Prediction::default()) }
    }

    /// The counts of the pages up to now.
    pub fn prediction(&self) -> Prediction {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone().sorted()
    }
}

/// The recorded history of a page's items. The histories are empty if the changes do not depend on them.
async fn history_of(
    changes: &Changes,
    records: Option<&dyn Records>,
    items: &[Item],
    requests: &Requests,
) -> Result<Vec<ItemHistory>, Stopped> {
    let Some((records, lookup)) = records.zip(changes.lookup()) else {
        return Ok(vec![ItemHistory::default(); items.len()]);
    };
    // An item without a key is rejected in any case, so its history does not matter.
    let key_of = |item: &Item| changes.key().key_of(item).unwrap_or_else(|| ItemKey::new(Item::new()));
    records.of(items.iter().map(key_of).collect(), lookup).await.map_err(|error| {
        requests.stop().stop(StopReason::Store(error.to_string()));
        Stopped
    })
}

/// The prediction for the items of one or more pages.
#[derive(Default)]
pub struct Predicted {
    counts: Counts,
    found: Prediction,
}

impl PageOutcome for Predicted {
    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn counts_mut(&mut self) -> &mut Counts {
        &mut self.counts
    }

    fn merge(&mut self, other: Predicted) {
        self.counts.add(&other.counts);
        self.found.merge(other.found);
    }
}

#[async_trait]
impl ProcessPage for DryRun {
    type Outcome = Predicted;

    async fn process(
        &self,
        PageItems { items, .. }: PageItems,
        _: &Requests,
    ) -> Result<PartialOutcome<Predicted>, Stopped> {
        let mut page = Predicted::default();
        let records = history_of(&self.changes, self.records.as_deref(), &items, &self.requests).await?;
        for (item, record) in items.iter().zip(&records) {
            page.counts.count(page.found.add(item, &self.changes, record).outcome());
        }
        Ok(PartialOutcome { outcome: page, rest: None })
    }
}

#[async_trait]
impl CommitPage<Predicted> for DryRun {
    async fn abandon(&self, _: Predicted) {}

    async fn commit(&self, pages: Pages<Predicted>) -> Result<(), Stopped> {
        let Predicted { counts, found } = pages.outcome;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.merge(found);
        seen.read_units += counts.read_units;
        seen.pages += pages.pages;
        self.requests.progress().committed(&counts, pages.pages, pages.next.is_none());
        Ok(())
    }
}

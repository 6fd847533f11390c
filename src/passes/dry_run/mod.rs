//! A dry run does everything that a run does, except the writes. It predicts the outcome of each item of the table or
//! of a sample, and counts these outcomes.
//!
//! A phase that depends on recorded history reads it from a state file that is opened read-only. A rollback of a
//! stopped pass first records the baseline of items that the pass did not reach (`passes/baseline/completion.rs`). A
//! dry run of this rollback cannot record the baseline, so it does not know which new values of these items existed
//! before the migration. It counts every new value that equals the old value as "would be removed", and every other new
//! value as diverged.

mod clusters;
mod heaviest;
#[cfg(test)]
mod parts_tests;
mod predicted_outcome;
mod prediction;
mod shape;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

pub use clusters::{predict_page, read_clusters};
pub use heaviest::{HeaviestKeys, KeyUsage};
pub use predicted_outcome::PredictedOutcome;
pub use prediction::{ChangeCount, ItemGroup, Prediction};
pub use shape::Shape;

use crate::change::{Changes, HistoryLookup, ItemHistory, Outcome};
use crate::engine::Decisions;
use crate::engine::client::Requests;
use crate::engine::job::Job;
use crate::engine::stop::{StopReason, Stopped};
use crate::engine::write::writer::SentParts;
use crate::engine::write::{CommitPage, PageItems, PageOutcome, Pages, PartialOutcome, ProcessPage};
use crate::item::{Item, ItemKey};
use crate::state::{Counts, HistoryReader};

/// The page handler of a dry run. It makes a decision for every item, but writes no item.
pub struct DryRun {
    decisions: Decisions,
    records: Option<Arc<dyn HistoryReader>>,
    requests: Requests,
    total: Mutex<Prediction>,
}

impl DryRun {
    /// Creates a dry run of a job's changes. `records` provides the recorded history of items, for changes that depend
    /// on it ([`Changes::lookup`]).
    pub fn new(job: &Job, records: Option<Arc<dyn HistoryReader>>) -> DryRun {
        DryRun {
            decisions: job.decisions(),
            records,
            requests: job.requests(),
            total: Mutex::new(Prediction::default()),
        }
    }

    /// Returns the counts of all pages so far.
    pub fn prediction(&self) -> Prediction {
        self.total.lock().unwrap_or_else(PoisonError::into_inner).clone().sorted()
    }

    /// Returns the parts of each item that a killed process wrote, like the run's own lookup.
    async fn recorded_parts(&self, items: &[Item]) -> Result<Vec<SentParts>, Stopped> {
        let changes = self.decisions.changes();
        let Some(records) = self.records.as_deref().filter(|_| changes.may_be_partly_written()) else {
            return Ok(vec![SentParts::default(); items.len()]);
        };
        let unfinished =
            read_history(changes, records, items, HistoryLookup::ForUnfinishedWrites, &self.requests).await?;
        let whole = read_history(changes, records, items, HistoryLookup::ForReport, &self.requests).await?;
        let parts = items.iter().zip(unfinished.iter().zip(&whole));
        Ok(parts
            .map(|(item, (unfinished, whole))| SentParts::recorded(changes.partly_written(item, whole, unfinished)))
            .collect())
    }
}

/// Returns the recorded history of each item of a page. The histories are empty if the changes do not depend on them.
async fn history_of(
    changes: &Changes,
    records: Option<&dyn HistoryReader>,
    items: &[Item],
    requests: &Requests,
) -> Result<Vec<ItemHistory>, Stopped> {
    let Some((records, lookup)) = records.zip(changes.lookup()) else {
        return Ok(vec![ItemHistory::default(); items.len()]);
    };
    read_history(changes, records, items, lookup, requests).await
}

async fn read_history(
    changes: &Changes,
    records: &dyn HistoryReader,
    items: &[Item],
    lookup: HistoryLookup,
    requests: &Requests,
) -> Result<Vec<ItemHistory>, Stopped> {
    // An item without a key is always rejected, so its history does not matter.
    let key_of = |item: &Item| changes.key().key_of(item).unwrap_or_else(|| ItemKey::new(Item::new()));
    records.read_history(items.iter().map(key_of).collect(), lookup).await.map_err(|error| {
        requests.stop().stop(StopReason::Store(error.to_string()));
        Stopped
    })
}

/// The prediction for the items of one or more pages.
#[derive(Default)]
pub struct PagePrediction {
    counts: Counts,
    prediction: Prediction,
}

impl PageOutcome for PagePrediction {
    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn counts_mut(&mut self) -> &mut Counts {
        &mut self.counts
    }

    fn merge(&mut self, other: PagePrediction) {
        self.counts.add(&other.counts);
        self.prediction.merge(other.prediction);
    }
}

#[async_trait]
impl ProcessPage for DryRun {
    type Outcome = PagePrediction;

    async fn process(
        &self,
        PageItems { items, .. }: PageItems,
        _: &Requests,
    ) -> Result<PartialOutcome<PagePrediction>, Stopped> {
        let mut page = PagePrediction::default();
        let changes = self.decisions.changes();
        let records = history_of(changes, self.records.as_deref(), &items, &self.requests).await?;
        let known: Vec<(&Item, &ItemHistory)> = items.iter().zip(&records).collect();
        self.decisions.check_repeatable(&items, &self.requests)?;
        let (decisions, read) = self.decisions.of(&known, &self.requests).await?;
        page.counts.read_units += read;
        let written = self.recorded_parts(&items).await?;
        for (((item, record), decision), written) in items.iter().zip(&records).zip(decisions).zip(written) {
            let has_left = !written.is_empty() && changes.has_left_selection(item);
            let decision = written.end_of(decision, has_left);
            page.counts.count(page.prediction.add_decided(item, changes, record, decision).outcome());
        }
        Ok(PartialOutcome { outcome: page, rest: None })
    }
}

#[async_trait]
impl CommitPage<PagePrediction> for DryRun {
    async fn abandon(&self, _: PagePrediction) {}

    async fn commit(&self, pages: Pages<PagePrediction>) -> Result<(), Stopped> {
        let PagePrediction { counts, prediction } = pages.outcome;
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        total.merge(prediction);
        total.read_units += counts.read_units;
        total.pages += pages.pages;
        // A dry run counts an item as gone only if the plan lists the key of the item and the item does not exist.
        total.missing += counts.of(Outcome::Gone);
        self.requests.progress().record_commit(Some(pages.segment), &counts, pages.pages, pages.next.is_none());
        Ok(())
    }
}

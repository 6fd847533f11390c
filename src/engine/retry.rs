//! Failed items, tried once more.

use super::requests::Requests;
use super::session::Job;
use super::stop::Stopped;
use super::writer::{Settled, Writer};
use crate::change::Outcome;
use crate::checkpoint::store::{FailureRecord, RunRecord, Store};
use crate::checkpoint::{CheckpointStore as _, Counts, StoreError};

/// Failures that are read from the store in one go.
const BATCH: u32 = 100;

impl Job {
    /// Tries every open failure of the run's phase once more, whichever of its runs left it: the item is read as it is
    /// now, strongly consistently, and settled like a scanned one, by the job's changes: those of that phase. What each came
    /// to is durable before the next is tried. Counts those tried; it may end early, for the reason in the job's stopper.
    /// What it spends is spent of the run's limits.
    pub async fn retry_failures(&self, store: &Store, run: &RunRecord) -> Result<Counts, StoreError> {
        self.begin_spend(store, run).await?;
        let watch = self.requests().watch().await;
        let counts = self.retry_all(store, run).await?;
        drop(watch);
        self.end_spend(store, run).await?;
        Ok(counts)
    }

    async fn retry_all(&self, store: &Store, run: &RunRecord) -> Result<Counts, StoreError> {
        let (writer, requests) = (self.writer(store, run), self.requests());
        let (mut counts, mut after) = (Counts::default(), 0);
        loop {
            let batch = store.failures_of(&run.phase, after, BATCH).await?;
            let Some(last) = batch.last() else { return Ok(counts) };
            after = last.id;
            for failure in batch {
                let Ok(settled) = retry(&writer, &requests, &failure).await else { return Ok(counts) };
                counts.add(&settled.counts);
                record(store, &failure, settled).await?;
            }
        }
    }
}

async fn retry(writer: &Writer, requests: &Requests, failure: &FailureRecord) -> Result<Settled, Stopped> {
    let got = requests.get(&failure.key).await?;
    let mut settled = match got.item {
        Some(item) => writer.settle_all(vec![item], requests).await?,
        None => {
            let mut settled = Settled::default();
            settled.counts.count(Outcome::Gone);
            settled
        }
    };
    settled.counts.read_units += got.units.unwrap_or(0.0);
    Ok(settled)
}

async fn record(store: &Store, failure: &FailureRecord, settled: Settled) -> Result<(), StoreError> {
    store.mark_refused(settled.refused).await?;
    if let Some(again) = settled.failures.into_iter().next() {
        return store.update_failure(failure.run, again).await.map(|_| ());
    }
    let paths = settled.diverged.into_iter().next().map(|d| d.paths).unwrap_or_default();
    match Outcome::ALL.into_iter().find(|o| settled.counts.of(*o) > 0) {
        Some(outcome) => store.resolve_failure(failure.run, failure.key.clone(), outcome, paths).await.map(|_| ()),
        None => Ok(()),
    }
}

//! Retries failed items.

use futures::{FutureExt as _, StreamExt as _, stream};

use crate::change::Outcome;
use crate::engine::client::Requests;
use crate::engine::job::Job;
use crate::engine::stop::{StopReason, Stopped};
use crate::engine::write::writer::{ItemOutcomes, Writer};
use crate::state::{Counts, Cursor, FailureRecord, RunRecord, SessionId, State, StoreError};

/// Number of failures read from the store in one batch.
const FAILURE_BATCH: u32 = 1_000;

/// Number of failures that are retried at the same time. A large lane keeps the same number of writes outstanding. The
/// budgets apply to retries, too.
const CONCURRENT_RETRIES: usize = 64;

/// The result of a retry.
#[derive(Debug, Clone, Default)]
pub struct RetryResult {
    /// The number of retried failures by outcome.
    pub counts: Counts,
    /// Number of items that failed again because they are signed or encrypted on the client. The operator has not
    /// allowed changes to such items.
    pub encrypted: u64,
}

impl Job {
    /// Retries every open failure of the run's phase, including failures of earlier runs. Reads each item strongly
    /// consistently and processes it like a scanned item, with the job's changes. Retries several failures in parallel.
    /// Each outcome is durable before it is counted. Returns the counts of the retried failures. If the job is stopped,
    /// this function still waits for the requests in flight and stores their outcomes. The job's stopper then contains
    /// the reason. The spend counts against the run's limits.
    pub async fn retry_failures(&self, store: &State, run: &RunRecord) -> Result<RetryResult, StoreError> {
        self.begin_spend(store, run).await?;
        let watch = self.requests().watch().await;
        let retried = self.retry_all(store, run).await?;
        drop(watch);
        self.end_spend(store, run).await?;
        Ok(retried)
    }

    async fn retry_all(&self, store: &State, run: &RunRecord) -> Result<RetryResult, StoreError> {
        let writer = self.writer(store, run);
        let requests = self.requests();
        let session = run.session();
        if let Some(programs) = &self.programs {
            programs.keep_asking();
        }
        let mut all = RetryResult::default();
        let mut after = Cursor::START;
        loop {
            let batch = store.failures_of_phase(&run.phase, after, FAILURE_BATCH).await?;
            let Some(last) = batch.last() else { return Ok(all) };
            after = last.as_ref().map_or_else(|unreadable| unreadable.id, |failure| failure.id);
            batch.iter().flat_map(|row| row.as_ref().err()).for_each(|row| {
                tracing::warn!(
                    "failure {} was not retried: {}. To resolve it, complete a `run --again`",
                    row.id,
                    row.why
                );
            });
            let failures = batch.iter().flatten();
            let tries = failures.map(|failure| try_again(store, session, &writer, &requests, failure).boxed());
            let tried: Vec<_> = stream::iter(tries).buffer_unordered(CONCURRENT_RETRIES).collect().await;
            for tried in tried {
                let RetryResult { counts, encrypted } = tried?.unwrap_or_default();
                all.counts.add(&counts);
                all.encrypted += encrypted;
            }
            if self.stop.is_stopping() {
                return Ok(all);
            }
        }
    }
}

/// Retries one failure and stores its outcome. Returns `None` if the job was stopped first.
async fn try_again(
    store: &State,
    session: SessionId,
    writer: &Writer,
    requests: &Requests,
    failure: &FailureRecord,
) -> Result<Option<RetryResult>, StoreError> {
    let Ok(outcomes) = retry(writer, requests, failure).await else { return Ok(None) };
    let retried = RetryResult { counts: outcomes.counts.clone(), encrypted: outcomes.encrypted };
    let stored = record(store, session, failure, outcomes).await;
    if let Err(error) = &stored {
        requests.stop().stop(StopReason::Store(error.to_string()));
    }
    stored?;
    requests.progress().record_commit(None, &retried.counts, 0, false);
    Ok(Some(retried))
}

async fn retry(writer: &Writer, requests: &Requests, failure: &FailureRecord) -> Result<ItemOutcomes, Stopped> {
    if writer.restores_items() {
        // A rollback restores a missing item. It reads the item itself if necessary.
        return writer.process_all(vec![failure.key.attributes().clone()], requests).await;
    }
    let got = requests.get(&failure.key).await?;
    let mut outcomes = match got.item {
        Some(item) => writer.process_all(vec![item], requests).await?,
        None => {
            let mut outcomes = ItemOutcomes::default();
            outcomes.counts.count(Outcome::Gone);
            outcomes
        }
    };
    outcomes.counts.read_units += got.units.unwrap_or(0.0);
    Ok(outcomes)
}

async fn record(
    store: &State,
    session: SessionId,
    failure: &FailureRecord,
    outcomes: ItemOutcomes,
) -> Result<(), StoreError> {
    store.mark_refused(session, outcomes.refused).await?;
    if let Some(again) = outcomes.failures.into_iter().next() {
        return store.update_failure(session, failure.run, again).await.map(|_| ());
    }
    let diverged = outcomes.diverged.into_iter().next();
    match Outcome::ALL.into_iter().find(|o| outcomes.counts.of(*o) > 0) {
        Some(outcome) => {
            store.resolve_failure(session, failure.run, failure.key.clone(), outcome, diverged).await.map(|_| ())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;

    use super::*;
    use crate::change::{Changes, GuardedWrite};
    use crate::dynamodb::{
        Describe, GetReply, Page, PageRequest, Sink, Source, TableDescription, TableError, Tables, WriteReply,
    };
    use crate::item::{Item, ItemKey, Value};
    use crate::ratelimit::{Budget, Budgets};
    use crate::state::{BeginMode, Commit, Failure, Identity, NewRun, SegmentEvent};

    /// A table in which every item exists and needs a write. The table delays every reply.
    #[derive(Default)]
    struct SlowTable {
        in_flight: AtomicUsize,
        most: AtomicUsize,
        reads: AtomicUsize,
    }

    impl SlowTable {
        async fn answer(&self) {
            self.most.fetch_max(self.in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[async_trait]
    impl Describe for SlowTable {
        async fn describe(&self) -> Result<TableDescription, TableError> {
            Ok(TableDescription::for_tests())
        }
    }

    #[async_trait]
    impl Source for SlowTable {
        async fn read_page(&self, _: &PageRequest) -> Result<Page, TableError> {
            unreachable!("failures are read one by one")
        }
    }

    #[async_trait]
    impl Sink for SlowTable {
        async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
            self.answer().await;
            chunk.iter().map(|_| Ok(WriteReply::Applied { consumed: None, removed: None })).collect()
        }

        fn max_chunk(&self) -> usize {
            1
        }

        async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError> {
            self.answer().await;
            self.reads.fetch_add(1, Ordering::SeqCst);
            let mut item = key.attributes().clone();
            item.insert("old".into(), Value::Null);
            Ok(GetReply { item: Some(item), units: Some(1.0) })
        }
    }

    fn key(n: usize) -> ItemKey {
        ItemKey::new(Item::from([("pk", n), ("sk", 0)].map(|(name, n)| (name.to_owned(), Value::S(n.to_string())))))
    }

    /// Creates a table, a run with `failures` open failures, and a job to retry them.
    async fn failed(dir: &std::path::Path, failures: usize) -> (Arc<SlowTable>, State, RunRecord, Job) {
        failed_with(dir, failures, "move = \"old\"\nto = \"new\"").await
    }

    async fn failed_with(
        dir: &std::path::Path,
        failures: usize,
        change: &str,
    ) -> (Arc<SlowTable>, State, RunRecord, Job) {
        let text = format!(
            "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n[[change]]\n{change}\n"
        );
        let mut plan = crate::plan::load("plan", &text).unwrap().plan;
        crate::exec::find_programs(&mut plan.changes, dir);
        let description = TableDescription::for_tests();
        let identity = Identity::from_plan(&plan, &description);
        let store = crate::state::open(&dir.join("s.db"), &identity, || "2026-01-01T00:00:00Z".to_owned()).unwrap();
        let new =
            NewRun { phase: "expand".into(), total_segments: 1, tool_version: "t".into(), table_items_estimate: None };
        let run = store.begin(BeginMode::ResumeOrNew, new).await.unwrap().run;
        let mut counts = Counts::default();
        (0..failures).for_each(|_| counts.count(Outcome::Rejected));
        let failed = |n| Failure { key: key(n), outcome: Outcome::Rejected, reason: "too large".to_owned() };
        let event = SegmentEvent::PagesDone { first: 1, pages: 1, next: None, counts };
        let failures = (0..failures).map(failed).collect();
        let commit =
            Commit { session: run.session(), segment: 0, event, failures, diverged: Vec::new(), refused: Vec::new() };
        store.commit(commit).await.unwrap();
        let wide = Budget { write: 100_000.0, read: 100_000.0 };
        let budgets = Budgets { table: wide, per_key_range: wide, per_partition_key: wide, indexes: Vec::new() };
        let changes = Changes::for_expand(&plan.changes, plan.strategy, description.key.clone(), Vec::new());
        let table = Arc::new(SlowTable::default());
        let job = Job::new(plan, Arc::new(changes), Tables::one(Arc::clone(&table)), description, &budgets);
        (table, store, run, job)
    }

    #[tokio::test]
    async fn failures_are_retried_in_parallel_within_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let (table, store, run, job) = failed(dir.path(), 300).await;
        let counts = job.retry_failures(&store, &run).await.unwrap().counts;
        assert_eq!((counts.scanned, counts.of(Outcome::Applied)), (300, 300));
        assert_eq!(store.open_work(None).await.unwrap().failures, 0);
        let most = table.most.load(Ordering::SeqCst);
        assert!((CONCURRENT_RETRIES / 2..=CONCURRENT_RETRIES).contains(&most), "{most} at once");
        assert_eq!(job.progress.snapshot().counts.scanned, 300, "progress is shown");
    }

    /// If a program crashes for each of the first 100 items, the later items are still retried.
    #[cfg(unix)]
    #[tokio::test(flavor = "multi_thread")]
    async fn items_that_crash_the_program_do_not_stop_a_retry() {
        let dir = tempfile::tempdir().unwrap();
        let change = "exec = [\"/bin/sh\", \"-c\", \"exit 1\"]\ninputs = [\"old\"]\noutputs = [\"new\"]\n\
                      marker = \"new_of\"";
        let (table, store, run, job) = failed_with(dir.path(), 130, change).await;
        let counts = job.retry_failures(&store, &run).await.unwrap().counts;
        assert!(!job.stop.is_stopping(), "{:?}", job.stop.reason());
        assert_eq!((counts.scanned, table.reads.load(Ordering::SeqCst)), (130, 130));
        assert_eq!(store.open_work(None).await.unwrap().failures, 130);
    }

    /// A stopped retry waits for requests in flight. The store contains the outcome of every failure that the retry
    /// counts.
    #[tokio::test]
    async fn a_stopped_retry_counts_stored_outcomes() {
        let dir = tempfile::tempdir().unwrap();
        let (table, store, run, job) = failed(dir.path(), 300).await;
        let stop = async {
            while table.reads.load(Ordering::SeqCst) < 100 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            job.stop.stop(StopReason::Interrupted);
        };
        let (counts, ()) = tokio::join!(job.retry_failures(&store, &run), stop);
        let counts = counts.unwrap().counts;
        let left = store.open_work(None).await.unwrap().failures;
        assert!(left > 0 && counts.scanned > 0, "{left} left of 300");
        assert_eq!(counts.scanned + left, 300);
        assert_eq!(table.in_flight.load(Ordering::SeqCst), 0);
    }
}

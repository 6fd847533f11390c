//! One session of a run: from its checkpoints to its end, or to where it was stopped.

use std::sync::Arc;

use super::requests::Requests;
use super::run::Expand;
use super::schedule::LocalScheduler;
use super::stop::{StopReason, Stopper};
use super::sweep;
use super::worker::Reading;
use super::writer::Writer;
use crate::change::Changes;
use crate::checkpoint::store::{OpenWork, RunRecord, SegmentTotals, Session, Store};
use crate::checkpoint::{RunStatus, StoreError};
use crate::plan::Plan;
use crate::table::{Table, TableDescription};
use crate::telemetry::Progress;
use crate::telemetry::display::Watched;
use crate::throttle::{Budgets, Feedback, Scopes};

/// Segments worked on at the same time, unless the plan says otherwise: each has two pages in memory, and together they
/// keep the write slots busy.
const DEFAULT_ACTIVE: u32 = 8;

/// What a run works with: the table and what it is allowed.
pub struct Job {
    /// The plan.
    pub plan: Plan,
    /// The plan's changes, for this phase.
    pub changes: Arc<Changes>,
    /// The table.
    pub table: Arc<dyn Table>,
    /// Its description.
    pub description: TableDescription,
    /// The token buckets of every scope.
    pub scopes: Arc<Scopes>,
    /// How it is stopped.
    pub stop: Stopper,
    /// What it tells.
    pub progress: Arc<Progress>,
}

/// How a session ended.
#[derive(Debug)]
pub struct Ended {
    /// The run as it is stored now.
    pub run: RunRecord,
    /// What its segments counted, over all sessions.
    pub totals: SegmentTotals,
    /// What of it waits for somebody.
    pub open: OpenWork,
    /// Why it stopped before its end, if it did.
    pub stopped: Option<StopReason>,
}

impl Job {
    /// A job within these budgets.
    pub fn new(
        plan: Plan,
        changes: Arc<Changes>,
        table: Arc<dyn Table>,
        description: TableDescription,
        budgets: &Budgets,
    ) -> Job {
        let indexes: Vec<String> = description.indexes.iter().map(|index| index.schema.name.clone()).collect();
        Job {
            plan,
            changes,
            table,
            description,
            scopes: Scopes::new(budgets, &indexes, Feedback::default()),
            stop: Stopper::default(),
            progress: Arc::new(Progress::default()),
        }
    }

    /// What every request of this job goes through.
    pub fn requests(&self) -> Requests {
        Requests::new(
            Arc::clone(&self.table),
            &self.description,
            Arc::clone(&self.scopes),
            self.plan.retry.clone(),
            self.stop.clone(),
            Arc::clone(&self.progress),
        )
    }

    /// How the table is read, in so many segments.
    pub fn reading(&self, total_segments: u32) -> Reading {
        Reading {
            total_segments,
            active: self.plan.scan.active.unwrap_or(DEFAULT_ACTIVE),
            page_limit: self.plan.scan.page_limit,
            consistent: self.plan.scan.consistent,
            mean_item_bytes: self.description.size_bytes.checked_div(self.description.item_count),
        }
    }

    /// A writer of this job's changes into a run.
    pub fn writer(&self, store: &Store, run: &RunRecord) -> Writer {
        Writer::new(Arc::clone(&self.changes), Arc::new(store.clone()), run.id)
    }

    /// What a progress line shows of this job.
    pub fn watched(&self, total_segments: u32, before: Option<&SegmentTotals>) -> Watched {
        Watched {
            progress: Arc::clone(&self.progress),
            scopes: Arc::clone(&self.scopes),
            items_before: before.map_or(0, |t| t.counts.scanned),
            segments_before: before.map_or(0, |t| u64::from(t.done)),
            total_segments: u64::from(total_segments),
            item_estimate: self.description.item_count,
        }
    }

    /// Works on a run's open segments until all are done or the job is stopped, and ends the session in the store.
    ///
    /// When it returns, everything that is reported is durable. An error means that not even the end could be stored;
    /// what was committed before stays.
    pub async fn expand(&self, store: &Store, session: &Session) -> Result<Ended, StoreError> {
        let run = &session.run;
        let scheduler = schedule(store, run).await?;
        let requests = self.requests();
        let writer = self.writer(store, run);
        let limit = self.plan.limits.max_failures;
        let failures = store.open_work(Some(run.id)).await?.failures;
        let (keeper, proven) = (Arc::new(store.clone()), store.is_proven().await?);
        let handler = Expand::new(writer, keeper, run.id, requests.clone(), limit, failures, proven);
        let handler = Arc::new(handler);
        sweep(self.reading(run.total_segments), &scheduler, &requests, handler.clone()).await;
        // An error stands in the stopper like every other.
        let _ = handler.finish(!self.stop.is_stopping()).await;
        self.end(store, run).await
    }

    async fn end(&self, store: &Store, run: &RunRecord) -> Result<Ended, StoreError> {
        let totals = store.totals(run.id).await?;
        // A signal that comes when the last page is committed stops nothing any more.
        let complete = totals.done == run.total_segments;
        let left = || StopReason::Internal("segments were left over".into());
        let stopped = (!complete).then(|| self.stop.reason().cloned().unwrap_or_else(left));
        let status = if complete { RunStatus::Complete } else { RunStatus::Stopped };
        let abandoned = if complete { 0 } else { self.progress.snapshot().abandoned_pages };
        let run = store.end_session(run.id, status, stopped.as_ref().map(ToString::to_string), abandoned).await?;
        let open = store.open_work(Some(run.id)).await?;
        Ok(Ended { run, totals, open, stopped })
    }
}

/// The segments that are left, read a batch at a time: a run may have a million.
async fn schedule(store: &Store, run: &RunRecord) -> Result<LocalScheduler, StoreError> {
    let mut scheduler = LocalScheduler::new(run.total_segments);
    let mut after = None;
    loop {
        let batch = store.segments_after(run.id, after, 10_000).await?;
        let Some((last, _)) = batch.last() else { return Ok(scheduler) };
        after = Some(*last);
        for (segment, state) in batch {
            scheduler.note(segment, state);
        }
    }
}

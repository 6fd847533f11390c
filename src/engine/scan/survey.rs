//! The survey: reads the first page of every fresh segment early, without processing it. This finds a giant item
//! collection while there is still time to begin with it.
//!
//! Items of one partition key are written at the pace of one partition key (by default 250 WCU/s). So a collection with
//! most of a table's items decides when the run ends, and only an early start helps. No table description tells where
//! such a collection is. Segments are cut so that an ordinary one has about one page
//! ([`crate::engine::auto_segments`]). If a segment continues after that page inside one partition key, it contains a
//! large collection.
//!
//! The survey runs beside the work and ahead of it, through the same budgets and in the same order, with few reads in
//! flight. If reads are scarce, it gets only the share of those few reads. It skips segments that the work has already
//! reached. It asks for keys only, but DynamoDB charges whole items all the same (`dynamodb/source.rs`); the next
//! committed page counts what it charged. Nothing is committed for a surveyed page, so a killed run surveys the
//! remaining segments again.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use crate::dynamodb::{Page, PageRequest, TableDescription};
use crate::engine::client::Requests;
use crate::engine::scan::answered;
use crate::engine::scan::first_page::{FirstPage, LEAST_TELLING};
use crate::engine::scan::lanes::Lanes;
use crate::engine::scan::reading::{PageSize, Reading};
use crate::engine::scan::schedule::Scheduler;
use crate::engine::stop::{StopReason, Stopped};
use crate::plan::ScanOptions;
use crate::ratelimit::Budget;

/// Pages of the survey in flight. At 15 ms a page, 4,096 segments take a quarter of a minute. Beside sixteen lanes with
/// one page in flight each, the survey gets a fifth of a scarce read budget.
const IN_FLIGHT: usize = 4;

/// A surveyed page has at least this limit: no first page of the work is larger.
const LEAST_ITEMS: u64 = 250;

/// A surveyed page has at most this limit. With items of 1 KB, the page is full then.
const MOST_ITEMS: u64 = 1_000;

/// Items of a surveyed page: twice the items of an ordinary segment, so that an ordinary segment ends with this page.
/// `None` if a survey cannot help: if there is no sort key, because every collection is then one item; if pages are too
/// small to tell; or if the run waits for reads rather than writes, because more reads would only make it longer.
pub fn surveyed_items(
    table: &TableDescription,
    scan: &ScanOptions,
    total_segments: u32,
    budget: Budget,
) -> Option<u32> {
    table.key.sort.as_ref()?;
    let ordinary = table.item_count / u64::from(total_segments.max(1));
    let mut limit = (2 * ordinary).clamp(LEAST_ITEMS, MOST_ITEMS) as f64;
    if let Some(bytes) = table.size_bytes.checked_div(table.item_count).filter(|bytes| *bytes > 0) {
        let reads = bytes as f64 / 4096.0 * if scan.consistent { 1.0 } else { 0.5 };
        let writes = bytes.div_ceil(1024) as f64;
        // The work reads every item once; the survey reads it at most once more.
        if budget.read / (2.0 * reads) < budget.write / writes {
            return None;
        }
        // Like every page, it takes at most about a second of the read budget.
        limit = limit.min(budget.read / reads);
    }
    let limit = limit.min(scan.page_limit.map_or(f64::MAX, f64::from)) as u32;
    (limit as usize >= LEAST_TELLING).then_some(limit)
}

/// A first page that is being read, and its segment. The outer error is a panic.
type Read = BoxFuture<'static, (u32, Result<Result<Page, Stopped>, JoinError>)>;

/// A survey in progress. Dropping it gives up its reads, which does no harm.
pub(crate) struct Survey<'a> {
    reading: Arc<Reading>,
    /// Items of a page. `None` when there is nothing more to survey.
    limit: Option<u32>,
    scheduler: &'a dyn Scheduler,
    requests: &'a Requests,
    lanes: &'a Lanes,
    reads: FuturesUnordered<Read>,
}

impl<'a> Survey<'a> {
    /// A survey of the segments that this scheduler names.
    pub(crate) fn new(
        reading: Arc<Reading>,
        scheduler: &'a dyn Scheduler,
        requests: &'a Requests,
        lanes: &'a Lanes,
    ) -> Survey<'a> {
        let limit = reading.survey;
        Survey { reading, limit, scheduler, requests, lanes, reads: FuturesUnordered::new() }
    }

    /// Reads until the scheduler has learnt about one more segment. Returns false when the survey is over. Dropping the
    /// call loses nothing: the next call continues.
    pub(crate) async fn learn(&mut self) -> bool {
        while self.reads.len() < IN_FLIGHT
            && let Some(limit) = self.limit
        {
            match answered(self.requests.stop(), self.scheduler.next_unknown()).await {
                Ok(Some(segment)) => self.reads.push(self.read(segment, limit)),
                Ok(None) => self.limit = None,
                Err(Stopped) => return false,
            }
        }
        let Some((segment, read)) = self.reads.next().await else { return false };
        match read {
            Ok(Ok(page)) => {
                self.lanes.surveyed(page.units.unwrap_or(0.0));
                let learnt = self.scheduler.learn(segment, FirstPage::of(&page, &self.reading.partition_key));
                answered(self.requests.stop(), learnt).await.is_ok()
            }
            Ok(Err(Stopped)) => false,
            Err(panic) => {
                self.requests.stop().stop(StopReason::Internal(panic.to_string()));
                false
            }
        }
    }

    /// Reads a first page in a task of its own, so that waiting and parsing do not block the sweep.
    fn read(&self, segment: u32, limit: u32) -> Read {
        let request = PageRequest {
            segment,
            total_segments: self.reading.total_segments,
            start: None,
            limit: Some(limit),
            consistent: self.reading.consistent,
            keys_only: true,
        };
        let requests = self.requests.in_segment();
        let estimate = PageSize::first(&self.reading, &requests).estimate(limit);
        let read = AbortOnDropHandle::new(tokio::spawn(async move {
            let stop = requests.stop().clone();
            stop.unless_stopping(requests.read_page(&request, estimate)).await?
        }));
        Box::pin(async move { (segment, read.await) })
    }
}

#[cfg(test)]
mod tests;

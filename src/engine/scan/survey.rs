//! The survey: every fresh segment's first page is read early, and only read, so that a giant item collection is found
//! while there is still time to begin with it.
//!
//! Items of one partition key are written at the pace of one partition key (by default 250 WCU/s), so a collection with
//! most of a table's items decides when the run ends, and nothing but an early start helps. No description of a table tells
//! where it is. Segments are cut so that an ordinary one is about one page ([`crate::engine::auto_segments`]); what goes on behind
//! that, inside one partition key, is a collection.
//!
//! The survey runs beside the work and ahead of it, through the same budgets, in the same order, with few reads in flight:
//! where reads are short it gets the share of its few, and segments that the work reaches first it leaves alone. It asks
//! for keys only; DynamoDB charges whole items all the same (`dynamodb/source.rs`), and what it charged is counted with the next
//! page that is committed. Nothing is committed on a surveyed page, so a killed run surveys again what is left.

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

/// Pages of the survey in flight: at 15 ms a page, 4,096 segments in a quarter of a minute; beside sixteen lanes, each with
/// one page in flight, a fifth of a read budget that is short.
const IN_FLIGHT: usize = 4;

/// A surveyed page has at least this limit: no first page of the work is larger.
const LEAST_ITEMS: u64 = 250;

/// And at most this one: a page of 1 KB items is full then.
const MOST_ITEMS: u64 = 1_000;

/// Items of a surveyed page: twice those of an ordinary segment, so that one that is no longer ends with it. None where a
/// survey cannot help: without a sort key every collection is one item; with pages too small to tell; and where reads,
/// not writes, are what the run waits for, so that reading more would only make it longer.
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
        // The work reads every item once and the survey at most once more.
        if budget.read / (2.0 * reads) < budget.write / writes {
            return None;
        }
        // Like every page, at most about a second of the read budget.
        limit = limit.min(budget.read / reads);
    }
    let limit = limit.min(scan.page_limit.map_or(f64::MAX, f64::from)) as u32;
    (limit as usize >= LEAST_TELLING).then_some(limit)
}

/// A first page on its way, and whose it is; the outer error is a panic.
type Read = BoxFuture<'static, (u32, Result<Result<Page, Stopped>, JoinError>)>;

/// A survey under way. Dropping it gives up its reads, which harms nobody.
pub(crate) struct Survey<'a> {
    reading: Arc<Reading>,
    /// Items of a page; none when there is nothing more to survey.
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

    /// Reads on until the scheduler has learnt of one more segment; false when the survey is over. A call that is dropped
    /// loses nothing: the next goes on.
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

    /// A first page on its way, on a task of its own: what it waits for and unpacks holds up nobody.
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

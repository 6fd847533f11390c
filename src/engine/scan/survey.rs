//! The survey reads the first page of every fresh segment early, but does not process the items. So the run finds giant
//! item collections early and can begin with them.
//!
//! Items of one partition key are written at the pace of one partition key (by default 250 WCU/s). If one collection
//! contains most of a table's items, the time for writing it determines the duration of the run. So the run must begin
//! to write that collection early. The table's description does not show where such a collection is. The table is
//! divided so that an ordinary segment contains about one page ([`crate::engine::auto_segments`]). If a segment still
//! continues inside one partition key after its first page, it contains a large collection.
//!
//! The survey runs at the same time as the pass and ahead of it. Survey and pass use the same budgets and the same
//! order. The survey has few reads in flight, so it gets only a small part of a small read budget. The survey skips
//! segments that have already begun. The survey requests only keys, but DynamoDB charges for whole items
//! (`dynamodb/source.rs`). The counts of the next committed page include these charges. The result of the survey is not
//! stored, so a resumed run surveys the remaining segments again.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use crate::dynamodb::{PageRequest, TableDescription};
use crate::engine::client::{ReadPage, Requests};
use crate::engine::scan::await_scheduler;
use crate::engine::scan::first_page::{FirstPage, MIN_CONCLUSIVE_ITEMS};
use crate::engine::scan::lanes::Lanes;
use crate::engine::scan::read_settings::{PageSize, ReadSettings};
use crate::engine::scan::schedule::Scheduler;
use crate::engine::stop::{StopReason, Stopped};
use crate::plan::ScanOptions;
use crate::ratelimit::Budget;

/// The largest number of surveyed pages that are in flight at the same time. If a page takes 15 ms, a survey of 4,096
/// segments takes 15 s. If sixteen lanes each have one page in flight, the survey gets a fifth of a small read budget.
const MAX_SURVEY_READS: usize = 4;

/// The smallest item limit of a surveyed page, unless the read budget or `page_limit` requires a smaller one. Without
/// `page_limit`, a pass never reads a larger first page.
const MIN_ITEMS: u64 = 250;

/// The largest item limit of a surveyed page. With items of 1 KB, DynamoDB itself ends a page at about this number.
const MAX_ITEMS: u64 = 1_000;

/// Returns the item limit of a surveyed page. The limit is twice the number of items in an ordinary segment, so an
/// ordinary segment ends with this page. Returns `None` if a survey cannot help, for one of three reasons. Without a
/// sort key, every collection is one item. Very small pages cannot show a collection. If the read budget limits the
/// run, additional reads would only make the run longer.
pub fn survey_item_limit(
    table: &TableDescription,
    scan: &ScanOptions,
    total_segments: u32,
    budget: Budget,
) -> Option<u32> {
    table.key.sort.as_ref()?;
    let ordinary = table.item_count / u64::from(total_segments.max(1));
    let mut limit = (2 * ordinary).clamp(MIN_ITEMS, MAX_ITEMS) as f64;
    if let Some(bytes) = table.size_bytes.checked_div(table.item_count).filter(|bytes| *bytes > 0) {
        let reads = bytes as f64 / 4096.0 * if scan.consistent { 1.0 } else { 0.5 };
        let writes = bytes.div_ceil(1024) as f64;
        // The pass reads every item once, and the survey reads every item at most once.
        if budget.read / (2.0 * reads) < budget.write / writes {
            return None;
        }
        // Like every page, a surveyed page takes at most about a second of the read budget.
        limit = limit.min(budget.read / reads);
    }
    let limit = limit.min(scan.page_limit.map_or(f64::MAX, f64::from)) as u32;
    (limit as usize >= MIN_CONCLUSIVE_ITEMS).then_some(limit)
}

/// The future that reads the first page of a segment. It returns the segment and the page. The outer error reports a
/// panic of the task.
type FirstPageRead = BoxFuture<'static, (u32, Result<Result<ReadPage, Stopped>, JoinError>)>;

/// A survey in progress. If it is dropped, its reads are abandoned, which does no harm.
pub(crate) struct Survey<'a> {
    read_settings: Arc<ReadSettings>,
    /// The item limit of a page. `None` if no segment remains to be surveyed.
    limit: Option<u32>,
    scheduler: &'a dyn Scheduler,
    requests: &'a Requests,
    lanes: &'a Lanes,
    reads: FuturesUnordered<FirstPageRead>,
}

impl<'a> Survey<'a> {
    /// Creates a survey of the segments that [`Scheduler::next_unsurveyed`] returns.
    pub(crate) fn new(
        read_settings: Arc<ReadSettings>,
        scheduler: &'a dyn Scheduler,
        requests: &'a Requests,
        lanes: &'a Lanes,
    ) -> Survey<'a> {
        let limit = read_settings.survey;
        Survey { read_settings, limit, scheduler, requests, lanes, reads: FuturesUnordered::new() }
    }

    /// Reads the first page of one more segment and reports it to the scheduler. Returns false when the survey is over.
    /// If the future is dropped, nothing is lost, and the next call continues.
    pub(crate) async fn read_next(&mut self) -> bool {
        while self.reads.len() < MAX_SURVEY_READS
            && let Some(limit) = self.limit
        {
            match await_scheduler(self.requests.stop(), self.scheduler.next_unsurveyed()).await {
                Ok(Some(segment)) => self.reads.push(self.read(segment, limit)),
                Ok(None) => self.limit = None,
                Err(Stopped) => return false,
            }
        }
        let Some((segment, read)) = self.reads.next().await else { return false };
        match read {
            Ok(Ok(ReadPage { page, .. })) => {
                self.lanes.surveyed(page.units.unwrap_or(0.0));
                let recorded = self
                    .scheduler
                    .record_first_page(segment, FirstPage::from_page(&page, &self.read_settings.partition_key));
                await_scheduler(self.requests.stop(), recorded).await.is_ok()
            }
            Ok(Err(Stopped)) => false,
            Err(panic) => {
                self.requests.stop().stop(StopReason::Internal(panic.to_string()));
                false
            }
        }
    }

    /// Reads a first page in a separate task, so that waiting and parsing do not block the scan.
    fn read(&self, segment: u32, limit: u32) -> FirstPageRead {
        let request = PageRequest {
            segment,
            total_segments: self.read_settings.total_segments,
            start: None,
            limit: Some(limit),
            consistent: self.read_settings.consistent,
            keys_only: true,
        };
        let requests = self.requests.in_segment(segment);
        let estimate = PageSize::first(&self.read_settings, &requests).estimate(limit);
        let read = AbortOnDropHandle::new(tokio::spawn(async move {
            let stop = requests.stop().clone();
            stop.unless_stopping(requests.read_page(&request, estimate)).await?
        }));
        Box::pin(async move { (segment, read.await) })
    }
}

#[cfg(test)]
mod tests;

//! The segment worker: page → items → outcomes → checkpoint, one segment from its start key to its end.

use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::requests::Requests;
use super::stop::Stopped;
use super::writer::Settled;
use crate::checkpoint::{SegmentState, SegmentStatus};
use crate::item::{Item, ItemKey, Units, read_units};
use crate::table::{Page, ScanRequest};

/// Items of one page at most, whatever the read budget: it bounds what a page takes in memory, and what a kill repeats.
/// Few enough that a table of 20,000 items already takes the memory that any larger one does (`tests/memory.rs`).
const MAX_PAGE_ITEMS: u32 = 250;

/// How a run reads the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Segments of the run; fixed for its life.
    pub total_segments: u32,
    /// Segments worked on at the same time.
    pub active: u32,
    /// Items per page, where the plan states it.
    pub page_limit: Option<u32>,
    /// Strongly consistent.
    pub consistent: bool,
    /// Mean bytes of an item, where the table's description tells: sizes the first page.
    pub mean_item_bytes: Option<u64>,
}

/// One or more whole pages of a segment, settled and ready to be committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Pages {
    /// The segment.
    pub segment: u32,
    /// Number of the first page, from 1.
    pub first: u64,
    /// How many pages.
    pub pages: u64,
    /// `LastEvaluatedKey` of the last; none ends the segment.
    pub next: Option<ItemKey>,
    /// What became of their items.
    pub settled: Settled,
}

impl Pages {
    /// Appends the pages that follow.
    pub(super) fn append(&mut self, following: Pages) {
        self.pages += following.pages;
        self.next = following.next;
        self.settled.merge(following.settled);
    }
}

/// What a run does with the items of a page, and with the result.
#[async_trait::async_trait]
pub trait Handler: Send + Sync {
    /// Settles every item of a page. An `Err` abandons the page.
    async fn settle(&self, items: Vec<Item>) -> Result<Settled, Stopped>;

    /// Commits pages that are settled. When it returns `Ok`, the progress is as durable as this run makes it.
    async fn commit(&self, pages: Pages) -> Result<(), Stopped>;
}

/// Works on one segment until it ends or the run stops.
///
/// The next page is fetched while the current one is written. At any moment at most two pages are read and not yet
/// committed: the one being written and the prefetched one. A kill reads those again, and no others.
pub(super) async fn work_segment(
    segment: u32,
    state: SegmentState,
    reading: Arc<Reading>,
    requests: Requests,
    handler: Arc<dyn Handler>,
) -> Result<(), Stopped> {
    let start_key = match state.status {
        SegmentStatus::Pending => None,
        SegmentStatus::Scanning(key) => Some(key),
        SegmentStatus::Done => return Ok(()),
    };
    let mut number = state.pages;
    let mut fetching = Fetch::start(segment, start_key, PageSize::first(&reading, &requests), &reading, &requests);
    loop {
        let (page, size) = fetching.page(&requests).await?;
        number += 1;
        let next = page.next.clone();
        let following = next.clone().map(|key| Fetch::start(segment, Some(key), size, &reading, &requests));

        let mut settled = handler.settle(page.items).await.inspect_err(|_| requests.progress().page_abandoned())?;
        settled.counts.read_units += page.units.unwrap_or(0.0);
        handler.commit(Pages { segment, first: number, pages: 1, next, settled }).await?;

        match following {
            Some(fetch) => fetching = fetch,
            None => return Ok(()),
        }
    }
}

/// A page on its way. Dropping it gives up the read, which harms nobody.
struct Fetch(AbortOnDropHandle<Result<(Page, PageSize), Stopped>>);

impl Fetch {
    fn start(
        segment: u32,
        start_key: Option<ItemKey>,
        size: PageSize,
        reading: &Arc<Reading>,
        requests: &Requests,
    ) -> Fetch {
        let request = ScanRequest {
            segment,
            total_segments: reading.total_segments,
            start_key,
            limit: Some(size.limit),
            consistent: reading.consistent,
        };
        let (reading, requests) = (Arc::clone(reading), requests.clone());
        Fetch(AbortOnDropHandle::new(tokio::spawn(async move {
            let page = requests.scan(&request, size.estimate()).await?;
            let size = size.after(&page, &reading, &requests);
            Ok((page, size))
        })))
    }

    async fn page(self, requests: &Requests) -> Result<(Page, PageSize), Stopped> {
        match requests.stop().unless_stopping(self.0).await? {
            Ok(fetched) => fetched,
            Err(panic) => {
                requests.stop().stop(super::StopReason::Internal(panic.to_string()));
                Err(Stopped)
            }
        }
    }
}

/// How many items the next page asks for, so that it costs about one second of the read budget, and what it will cost.
#[derive(Debug, Clone, Copy)]
struct PageSize {
    limit: u32,
    units_per_item: Units,
}

impl PageSize {
    fn first(reading: &Reading, requests: &Requests) -> PageSize {
        // Without a description: a page of items of 4 KB, which is more than most items have.
        let bytes = reading.mean_item_bytes.filter(|b| *b > 0).unwrap_or(4096);
        let units_per_item = bytes as f64 / 4096.0 * if reading.consistent { 1.0 } else { 0.5 };
        PageSize { limit: 1, units_per_item }.fitted(reading, requests)
    }

    fn after(self, page: &Page, reading: &Reading, requests: &Requests) -> PageSize {
        match (page.units, page.items.len()) {
            (Some(units), items) if items > 0 => {
                PageSize { units_per_item: units / items as f64, ..self }.fitted(reading, requests)
            }
            _ => self,
        }
    }

    fn fitted(self, reading: &Reading, requests: &Requests) -> PageSize {
        let affordable = (requests.read_rate() / self.units_per_item.max(1e-6)).clamp(1.0, f64::from(MAX_PAGE_ITEMS));
        PageSize { limit: reading.page_limit.unwrap_or(affordable as u32).max(1), ..self }
    }

    fn estimate(self) -> Units {
        // A page never costs more than 1 MB read strongly consistently.
        (f64::from(self.limit) * self.units_per_item).clamp(0.5, read_units(1024 * 1024, true))
    }
}

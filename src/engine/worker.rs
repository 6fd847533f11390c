//! The segment worker: page → items → outcomes → checkpoint, one segment from its start key to its end.

use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::allowance::PageLeave;
use super::requests::Requests;
use super::stop::{StopReason, Stopped};
use super::writer::Settled;
use crate::checkpoint::{SegmentState, SegmentStatus};
use crate::item::{Item, ItemKey, Units, read_units};
use crate::table::{Page, ScanRequest};

/// Items of one page at most, whatever the budgets: it bounds what a page takes in memory, and what a kill repeats. Few
/// enough that a table of 20,000 items already takes the memory that any larger one does (`tests/memory.rs`).
const MAX_PAGE_ITEMS: f64 = 250.0;

/// A small write budget does not make pages smaller than this: each costs a request.
const MIN_PAGE_ITEMS: f64 = 25.0;

/// A page's writes take about this long at a segment's share of the write budget.
const WRITE_SECONDS: f64 = 1.0;

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
/// committed: the one being written and the prefetched one. A kill reads those again, and no others. (Until a first write
/// is accepted, pages with refused writes are held back too: `probation.rs`.)
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
    let mut size = PageSize::first(&reading);
    let mut fetching = Fetch::start(segment, start_key, size, &reading, &requests);
    loop {
        let (page, leave) = fetching.page(&requests).await?;
        number += 1;
        size.learn_cost(&page);
        let next = page.next.clone();
        let following = next.clone().map(|key| Fetch::start(segment, Some(key), size, &reading, &requests));

        let abandoned = |_: &Stopped| requests.progress().page_abandoned();
        let items = page.items.len() as u64;
        let mut settled = handler.settle(page.items).await.inspect_err(abandoned)?;
        if settled.counts.scanned != items {
            let why = format!("{} outcomes for {items} items of a page", settled.counts.scanned);
            requests.stop().stop(StopReason::Internal(why));
            return Err(Stopped).inspect_err(abandoned);
        }
        settled.counts.read_units += page.units.unwrap_or(0.0);
        size.learn_writes(&settled);
        handler.commit(Pages { segment, first: number, pages: 1, next, settled }).await.inspect_err(abandoned)?;
        leave.done();

        match following {
            Some(fetch) => fetching = fetch,
            None => return Ok(()),
        }
    }
}

/// A page on its way. Dropping it gives up the read, which harms nobody.
struct Fetch(AbortOnDropHandle<Result<(Page, PageLeave), Stopped>>);

impl Fetch {
    fn start(
        segment: u32,
        start_key: Option<ItemKey>,
        size: PageSize,
        reading: &Reading,
        requests: &Requests,
    ) -> Fetch {
        let limit = size.limit(reading, requests);
        let (total_segments, consistent, requests) = (reading.total_segments, reading.consistent, requests.clone());
        Fetch(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut leave = requests.allowance().items(limit, requests.stop()).await?;
            let limit = Some(leave.items());
            let request = ScanRequest { segment, total_segments, start_key, limit, consistent };
            let page = requests.scan(&request, size.estimate(leave.items())).await?;
            leave.had(page.items.len());
            Ok((page, leave))
        })))
    }

    async fn page(self, requests: &Requests) -> Result<(Page, PageLeave), Stopped> {
        match requests.stop().unless_stopping(self.0).await? {
            Ok(fetched) => fetched,
            Err(panic) => {
                requests.stop().stop(StopReason::Internal(panic.to_string()));
                Err(Stopped)
            }
        }
    }
}

/// What the pages of a segment cost so far; from it, how many items the next one asks for.
#[derive(Debug, Clone, Copy)]
struct PageSize {
    read_units_per_item: Units,
    write_units_per_item: Units,
}

impl PageSize {
    fn first(reading: &Reading) -> PageSize {
        // Without a description: items of 4 KB, which is more than most have. Every item may need a write.
        let bytes = reading.mean_item_bytes.filter(|b| *b > 0).unwrap_or(4096) as f64;
        let read_units_per_item = bytes / 4096.0 * if reading.consistent { 1.0 } else { 0.5 };
        PageSize { read_units_per_item, write_units_per_item: (bytes / 1024.0).max(1.0) }
    }

    fn learn_cost(&mut self, page: &Page) {
        if let (Some(units), items @ 1..) = (page.units, page.items.len()) {
            self.read_units_per_item = units / items as f64;
        }
    }

    fn learn_writes(&mut self, settled: &Settled) {
        if settled.counts.scanned > 0 {
            let written = settled.counts.write_units + settled.counts.estimated_write_units;
            let per_item = written / settled.counts.scanned as f64;
            // Half from what was known before: one page that needed nothing must not make the next one huge.
            self.write_units_per_item = (self.write_units_per_item + per_item) / 2.0;
        }
    }

    /// So many items that reading them takes about one second of the read budget, and writing them about one second of the
    /// segment's share of the write budget: a kill repeats at most two pages a segment, and a drain abandons at most one.
    fn limit(self, reading: &Reading, requests: &Requests) -> u32 {
        if let Some(limit) = reading.page_limit {
            return limit;
        }
        let readable = requests.read_rate() / self.read_units_per_item.max(1e-6);
        let share = requests.write_rate() / f64::from(reading.active.max(1));
        let writable = share * WRITE_SECONDS / self.write_units_per_item.max(1e-6);
        readable.min(writable.max(MIN_PAGE_ITEMS)).clamp(1.0, MAX_PAGE_ITEMS) as u32
    }

    fn estimate(self, limit: u32) -> Units {
        // A page never costs more than 1 MB read strongly consistently.
        (f64::from(limit) * self.read_units_per_item).clamp(0.5, read_units(1024 * 1024, true))
    }
}

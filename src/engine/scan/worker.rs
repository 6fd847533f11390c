//! The segment worker: page → items → outcomes → checkpoint, one segment from its start key to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::dynamodb::{Page, ScanRequest};
use crate::engine::client::Requests;
use crate::engine::limits::allowance::PageLeave;
use crate::engine::scan::lanes::Seat;
use crate::engine::scan::open_pages::OpenPages;
use crate::engine::stop::{StopReason, Stopped};
use crate::engine::write::writer::{Settled, Settling};
use crate::item::{Item, ItemKey, Units, read_units};
use crate::plan::Access;
use crate::state::{PreImageId, SegmentState, SegmentStatus};

/// Items of one page at most, whatever the budgets: it bounds what a page takes in memory, and what a kill repeats. Few
/// enough that a table of 20,000 items already takes the memory that any larger one does (`tests/memory.rs`).
const MAX_PAGE_ITEMS: f64 = 250.0;

/// A small write budget does not make pages smaller than this: each costs a request.
const MIN_PAGE_ITEMS: f64 = 25.0;

/// A page's writes take about this long, in seconds.
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
    /// Segments worked on beside them, where they are known to be large.
    pub large: u32,
    /// Items of a first page that is read ahead; none reads none ahead.
    pub survey: Option<u32>,
    /// Name of the partition key.
    pub partition_key: String,
}

impl Reading {
    /// Reads so many segments of a table with this partition key, one at a time, with nothing known of its items.
    pub fn new(total_segments: u32, partition_key: impl Into<String>) -> Reading {
        Reading {
            total_segments,
            active: 1,
            page_limit: None,
            consistent: false,
            mean_item_bytes: None,
            large: 0,
            survey: None,
            partition_key: partition_key.into(),
        }
    }

    /// Between how many items a page has, where the segment has so many.
    pub fn page_items(&self) -> (u64, u64) {
        let stated = self.page_limit.map(|limit| (u64::from(limit), u64::from(limit)));
        stated.unwrap_or((MIN_PAGE_ITEMS as u64, MAX_PAGE_ITEMS as u64))
    }
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
    /// Appends the pages that follow; false, and nothing is appended, where others lie in between.
    #[must_use = "pages that do not follow must not be committed"]
    pub(crate) fn append(&mut self, following: Pages) -> bool {
        if following.first != self.first + self.pages {
            return false;
        }
        self.pages += following.pages;
        self.next = following.next;
        self.settled.merge(following.settled);
        true
    }
}

/// What a run does with the items of a page, and with the result.
#[async_trait::async_trait]
pub trait Handler: Send + Sync {
    /// The first look at the items of a page, before any of them is settled. An `Err` abandons the page.
    async fn meet(&self, segment: u32, number: u64, items: &[Item]) -> Result<(), Stopped> {
        let _ = (segment, number, items);
        Ok(())
    }

    /// Settles the items of a page through the requests of its segment, but for those that are set aside. An `Err`
    /// abandons the page.
    async fn settle(&self, items: Vec<Item>, requests: &Requests) -> Result<Settling, Stopped>;

    /// Pages are given up because the run is stopping, with these pre-images whose write was certainly refused.
    async fn abandon(&self, refused: Vec<PreImageId>);

    /// Commits pages that are settled. When it returns `Ok`, the progress is as durable as this run makes it.
    async fn commit(&self, pages: Pages) -> Result<(), Stopped>;
}

/// Works on one segment until it ends or the run stops.
///
/// The next page is fetched while the current one is written. A page of which items are set aside stays open behind them;
/// pages are committed in their order (`open_pages.rs`).
pub(crate) async fn work_segment(
    segment: u32,
    state: SegmentState,
    reading: Arc<Reading>,
    requests: Requests,
    handler: Arc<dyn Handler>,
    seat: Seat,
) -> Result<(), Stopped> {
    let start_key = match state.status {
        SegmentStatus::Pending => None,
        SegmentStatus::Scanning(key) => Some(key),
        SegmentStatus::Done => return Ok(()),
    };
    let mut open = OpenPages::new(handler.as_ref());
    let worked = work_pages(segment, start_key, state.pages, &reading, &requests, &seat, &mut open).await;
    let worked = match worked {
        Ok(()) => open.finish(&requests).await,
        stopped => stopped,
    };
    if worked.is_err() {
        open.abandon(&requests).await;
    }
    worked
}

async fn work_pages(
    segment: u32,
    start_key: Option<ItemKey>,
    mut number: u64,
    reading: &Reading,
    requests: &Requests,
    seat: &Seat,
    open: &mut OpenPages<'_>,
) -> Result<(), Stopped> {
    let mut size = PageSize::first(reading, requests);
    let mut fetching = Fetch::start(segment, start_key, size, reading, requests);
    loop {
        let mut page = std::pin::pin!(fetching.page(requests));
        let (page, leave) = loop {
            tokio::select! {
                biased;
                page = &mut page => break page?,
                // Committed at once: it may hold the leave that the fetch waits for.
                _ = open.first_settled(requests) => open.commit_first(requests).await?,
            }
        };
        number += 1;
        size.learn_cost(&page);
        seat.look_at(&page, reading);
        requests.move_to(seat.lane());
        let next = page.next.clone();
        let following = next.clone().map(|key| Fetch::start(segment, Some(key), size, reading, requests));
        let since = Instant::now();
        let mut pages = Pages { segment, first: number, pages: 1, next, settled: Settled::default() };
        pages.settled.counts.read_units = page.units.unwrap_or(0.0) + seat.take_surveyed();
        open.settle(pages, page.items, leave, requests).await?;
        size.learn_pace(since.elapsed());
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
            let request = ScanRequest { segment, total_segments, start_key, limit, consistent, keys_only: false };
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

/// What the pages of a segment cost so far, and how long they take; from it, how many items the next one asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageSize {
    read_units_per_item: Units,
    /// Items that are settled in about [`WRITE_SECONDS`].
    paced: f64,
}

impl PageSize {
    /// The first page is for a segment's share of the write budget, as if every item needed a write.
    pub(crate) fn first(reading: &Reading, requests: &Requests) -> PageSize {
        // Without a description: items of 4 KB, which is more than most have.
        let bytes = reading.mean_item_bytes.filter(|b| *b > 0).unwrap_or(4096) as f64;
        let read_units_per_item = bytes / 4096.0 * if reading.consistent { 1.0 } else { 0.5 };
        let share = requests.table_rate(Access::Write) / f64::from(reading.active.max(1));
        let paced = share.min(requests.rate(Access::Write)) * WRITE_SECONDS / (bytes / 1024.0).max(1.0);
        PageSize { read_units_per_item, paced: paced.clamp(MIN_PAGE_ITEMS, MAX_PAGE_ITEMS) }
    }

    pub(crate) fn learn_cost(&mut self, page: &Page) {
        if let (Some(units), items @ 1..) = (page.units, page.items.len()) {
            self.read_units_per_item = units / items as f64;
        }
    }

    /// A page that was settled in half the time may be followed by one of twice the size, and the other way round.
    fn learn_pace(&mut self, took: Duration) {
        let factor = (WRITE_SECONDS / took.as_secs_f64().max(1e-3)).clamp(0.5, 2.0);
        self.paced = (self.paced * factor).clamp(MIN_PAGE_ITEMS, MAX_PAGE_ITEMS);
    }

    /// So many items that reading them takes about one second of the read budget, and writing them about one second at
    /// the segment's pace: a kill repeats little, and a drain abandons little.
    pub(crate) fn limit(self, reading: &Reading, requests: &Requests) -> u32 {
        if let Some(limit) = reading.page_limit {
            return limit;
        }
        let readable = requests.table_rate(Access::Read) / self.read_units_per_item.max(1e-6);
        readable.min(self.paced).clamp(1.0, MAX_PAGE_ITEMS) as u32
    }

    pub(crate) fn estimate(self, limit: u32) -> Units {
        // A page never costs more than 1 MB read strongly consistently.
        (f64::from(limit) * self.read_units_per_item).clamp(0.5, read_units(1024 * 1024, true))
    }
}

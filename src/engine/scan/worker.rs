//! Processes one segment from its committed position to its end: page → items → outcomes → checkpoint.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::dynamodb::{Page, PageRequest};
use crate::engine::client::Requests;
use crate::engine::limits::allowance::PageLeave;
use crate::engine::scan::lanes::Seat;
use crate::engine::scan::open_pages::OpenPages;
use crate::engine::scan::reading::{PageSize, Reading};
use crate::engine::scan::schedule::WorkLease;
use crate::engine::stop::{StopReason, Stopped};
use crate::engine::write::outcome::PageOutcome as _;
use crate::engine::write::page::{CommitPage, Pages, ProcessPage};
use crate::item::Position;
use crate::state::SegmentStatus;

/// Works on one leased segment until it ends or the run stops.
///
/// The next page is fetched while the current one is written. If items of a page are set aside, the page stays open
/// until they are processed. Pages are committed in order (`open_pages.rs`).
pub(crate) async fn work_segment<P: ProcessPage + CommitPage<P::Outcome>>(
    lease: &WorkLease,
    reading: Arc<Reading>,
    requests: Requests,
    pass: Arc<P>,
    seat: Seat,
) -> Result<(), Stopped> {
    let start = match &lease.state.status {
        SegmentStatus::Pending => None,
        SegmentStatus::Scanning(position) => Some(position.clone()),
        SegmentStatus::Done => return Ok(()),
    };
    let mut open = OpenPages::new(pass.as_ref());
    let worked = work_pages(lease, start, &reading, &requests, &seat, &mut open).await;
    let worked = match worked {
        Ok(()) => open.finish(&requests).await,
        stopped => stopped,
    };
    if worked.is_err() {
        open.abandon(&requests).await;
    }
    worked
}

async fn work_pages<P: ProcessPage + CommitPage<P::Outcome>>(
    lease: &WorkLease,
    start: Option<Position>,
    reading: &Reading,
    requests: &Requests,
    seat: &Seat,
    open: &mut OpenPages<'_, P>,
) -> Result<(), Stopped> {
    let segment = lease.unit;
    let epoch = lease.epoch;
    let mut number = lease.state.pages;
    let mut size = PageSize::first(reading, requests);
    let mut fetching = Fetch::start(segment, start, size, reading, requests);
    loop {
        let mut page = std::pin::pin!(fetching.page(requests));
        let (page, leave) = loop {
            tokio::select! {
                biased;
                page = &mut page => break page?,
                // Commit immediately. If `[limits] max_items` is set, the fetch of the next page may wait until this
                // page gives back items.
                _ = open.first_processed(requests) => open.commit_first(requests).await?,
            }
        };
        number += 1;
        size.learn_cost(&page);
        seat.look_at(&page, reading);
        requests.move_to(seat.lane());
        let next = page.next.clone();
        let following = next.clone().map(|next| Fetch::start(segment, Some(next), size, reading, requests));
        let since = Instant::now();
        let mut pages = Pages { segment, epoch, first: number, pages: 1, next, outcome: P::Outcome::default() };
        pages.outcome.counts_mut().read_units = page.units.unwrap_or(0.0) + seat.take_surveyed();
        open.process(pages, page.items, leave, requests).await?;
        size.learn_pace(since.elapsed());
        match following {
            Some(fetch) => fetching = fetch,
            None => return Ok(()),
        }
    }
}

/// A page that is being fetched. Dropping this value abandons the read, which does no harm.
struct Fetch(AbortOnDropHandle<Result<(Page, PageLeave), Stopped>>);

impl Fetch {
    fn start(segment: u32, start: Option<Position>, size: PageSize, reading: &Reading, requests: &Requests) -> Fetch {
        let limit = size.limit(reading, requests);
        let total_segments = reading.total_segments;
        let consistent = reading.consistent;
        let requests = requests.clone();
        Fetch(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut leave = requests.allowance().items(limit, requests.stop()).await?;
            let limit = Some(leave.items());
            let request = PageRequest { segment, total_segments, start, limit, consistent, keys_only: false };
            let page = requests.read_page(&request, size.estimate(leave.items())).await?;
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

//! Processes one segment from its committed position to its end: page → items → outcomes → checkpoint.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::dynamodb::{Page, PageRequest};
use crate::engine::client::{ReadPage, Requests};
use crate::engine::limits::allowance::ItemGrant;
use crate::engine::scan::lanes::LaneGuard;
use crate::engine::scan::open_pages::OpenPages;
use crate::engine::scan::read_settings::{PageSize, ReadSettings};
use crate::engine::scan::schedule::WorkLease;
use crate::engine::stop::{StopReason, Stopped};
use crate::engine::write::outcome::PageOutcome as _;
use crate::engine::write::page::{CommitPage, Pages, ProcessPage};
use crate::item::Position;
use crate::state::SegmentStatus;

/// Processes one leased segment until it ends or the run stops.
///
/// The next page is fetched while the current one is written. If items of a page are set aside, the page stays open
/// until they are processed. Pages are committed in order (`open_pages.rs`).
pub(crate) async fn work_segment<P: ProcessPage + CommitPage<P::Outcome>>(
    lease: &WorkLease,
    read_settings: Arc<ReadSettings>,
    requests: Requests,
    pass: Arc<P>,
    lane_guard: LaneGuard,
) -> Result<(), Stopped> {
    let start = match &lease.state.status {
        SegmentStatus::Pending => None,
        SegmentStatus::Scanning(position) => Some(position.clone()),
        SegmentStatus::Done => return Ok(()),
    };
    let mut open = OpenPages::new(pass.as_ref());
    let worked = work_pages(lease, start, &read_settings, &requests, &lane_guard, &mut open).await;
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
    read_settings: &ReadSettings,
    requests: &Requests,
    lane_guard: &LaneGuard,
    open: &mut OpenPages<'_, P>,
) -> Result<(), Stopped> {
    let segment = lease.unit;
    let epoch = lease.epoch;
    let mut number = lease.state.pages;
    let mut size = PageSize::first(read_settings, requests);
    let mut fetching = Fetch::start(segment, start, size, read_settings, requests);
    loop {
        let mut page = std::pin::pin!(fetching.page(requests));
        let (read, item_grant) = loop {
            tokio::select! {
                biased;
                page = &mut page => break page?,
                // Commit immediately. With `[limits] max_items`, the fetch of the next page may have to wait until the
                // commit of this page makes unused items available again.
                _ = open.wait_for_first_page(requests) => open.commit_first(requests).await?,
            }
        };
        number += 1;
        requests.begin_page(number);
        size.learn_cost(&read);
        let ReadPage { page, missing, left_out } = read;
        // The items that a filter left out can have other partition keys.
        if left_out == 0 || ends_in_first_collection(&page, &read_settings.partition_key) {
            lane_guard.promote_if_large(&page, read_settings);
        }
        requests.move_to(lane_guard.lane());
        let next = page.next.clone();
        let following = next.clone().map(|next| Fetch::start(segment, Some(next), size, read_settings, requests));
        let since = Instant::now();
        let mut pages = Pages { segment, epoch, first: number, pages: 1, next, outcome: P::Outcome::default() };
        let counts = pages.outcome.counts_mut();
        counts.read_units = page.units.unwrap_or(0.0) + lane_guard.take_surveyed();
        counts.count_missing(missing);
        counts.count_left_out(left_out);
        requests.progress().items_processed(left_out);
        open.process(pages, page.items, item_grant, requests).await?;
        size.learn_pace(since.elapsed());
        match following {
            Some(fetch) => fetching = fetch,
            None => return Ok(()),
        }
    }
}

/// Returns whether the last item that DynamoDB read for a page has the same partition key as the page's first item.
fn ends_in_first_collection(page: &Page, partition_key: &str) -> bool {
    let first = page.items.first().and_then(|item| item.get(partition_key));
    let last = page.next.as_ref().and_then(Position::key).and_then(|key| key.attributes().get(partition_key));
    first.is_some() && first == last
}

/// A page that is being fetched. If this value is dropped, the read is abandoned, which does no harm.
struct Fetch(AbortOnDropHandle<Result<(ReadPage, ItemGrant), Stopped>>);

impl Fetch {
    fn start(
        segment: u32,
        start: Option<Position>,
        size: PageSize,
        read_settings: &ReadSettings,
        requests: &Requests,
    ) -> Fetch {
        let limit = size.limit(read_settings, requests);
        let total_segments = read_settings.total_segments;
        let consistent = read_settings.consistent;
        let requests = requests.clone();
        Fetch(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut item_grant = requests.allowance().items(limit, requests.stop()).await?;
            let limit = Some(item_grant.items());
            let request = PageRequest { segment, total_segments, start, limit, consistent, keys_only: false };
            let page = requests.read_page(&request, size.estimate(item_grant.items())).await?;
            item_grant.record_used(usize::try_from(page.scanned()).unwrap_or(usize::MAX));
            Ok((page, item_grant))
        })))
    }

    async fn page(self, requests: &Requests) -> Result<(ReadPage, ItemGrant), Stopped> {
        match requests.stop().unless_stopping(self.0).await? {
            Ok(fetched) => fetched,
            Err(panic) => {
                requests.stop().stop(StopReason::Internal(panic.to_string()));
                Err(Stopped)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{Item, ItemKey, Value};

    #[test]
    fn a_filtered_page_shows_a_collection_only_if_it_ends_in_it() {
        let item = |key: &str| Item::from([("pk".to_owned(), Value::S(key.to_owned()))]);
        let page = |items: &[&str], next: Option<&str>| Page {
            items: items.iter().map(|key| item(key)).collect(),
            next: next.map(|key| Position::Key(ItemKey::new(item(key)))),
            units: None,
        };
        assert!(ends_in_first_collection(&page(&["a", "a"], Some("a")), "pk"));
        for (items, next) in [(["a", "a"].as_slice(), Some("b")), (&["a"], None), (&[], Some("a")), (&[], None)] {
            assert!(!ends_in_first_collection(&page(items, next), "pk"), "{items:?} {next:?}");
        }
    }
}

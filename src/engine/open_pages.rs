//! Pages of a segment that are read and not yet committed, in the order of the scan.

use std::collections::VecDeque;

use tokio_util::task::AbortOnDropHandle;

use super::allowance::PageLeave;
use super::aside::Rest;
use super::requests::Requests;
use super::stop::{StopReason, Stopped};
use super::worker::{Handler, Pages};
use super::writer::{Settled, Settling};
use crate::item::Item;

/// Items that a segment sets aside take at most about so many bytes; then the segment waits for them. Enough for some
/// thousand items of a hot partition key to be passed by; with all segments that may be active at once, a bound on memory.
const MAX_ASIDE_BYTES: usize = 1 << 20;

/// A kill repeats at most so many pages that wait for items which were set aside, beside the one that is being written
/// and the one that is being fetched.
const MAX_OPEN_PAGES: usize = 8;

/// The pages of one segment that wait for their commit.
pub(super) struct OpenPages<'a> {
    handler: &'a dyn Handler,
    pages: VecDeque<OpenPage>,
    bytes: usize,
}

struct OpenPage {
    pages: Pages,
    items: u64,
    /// Leave to scan those.
    leave: PageLeave,
    /// Items that are set aside: their bytes, and the task that settles them.
    rest: Option<(usize, AbortOnDropHandle<Result<Settled, Stopped>>)>,
    came_to: Option<Result<Result<Settled, Stopped>, tokio::task::JoinError>>,
}

impl OpenPage {
    fn is_settled(&self) -> bool {
        self.rest.as_ref().is_none_or(|(_, task)| self.came_to.is_some() || task.is_finished())
    }
}

impl<'a> OpenPages<'a> {
    pub(super) fn new(handler: &'a dyn Handler) -> OpenPages<'a> {
        OpenPages { handler, pages: VecDeque::new(), bytes: 0 }
    }

    /// Settles the items of a page, and commits what is complete. Returns when there is room for another page.
    pub(super) async fn settle(
        &mut self,
        mut pages: Pages,
        items: Vec<Item>,
        leave: PageLeave,
        requests: &Requests,
    ) -> Result<(), Stopped> {
        let count = items.len() as u64;
        let abandoned = |_: &Stopped| requests.progress().page_abandoned();
        let Settling { settled, rest } = self.handler.settle(items, requests).await.inspect_err(abandoned)?;
        pages.settled.merge(settled);
        let rest = rest.map(|Rest { bytes, settled }| (bytes, AbortOnDropHandle::new(tokio::spawn(settled))));
        self.bytes += rest.as_ref().map_or(0, |(bytes, _)| *bytes);
        self.pages.push_back(OpenPage { pages, items: count, leave, rest, came_to: None });
        while self.pages.front().is_some_and(OpenPage::is_settled) || self.is_full() {
            self.commit_first(requests).await?;
        }
        Ok(())
    }

    /// Returns when the first page is settled; never without one. Safe to drop.
    pub(super) async fn first_settled(&mut self) {
        match self.pages.front_mut() {
            Some(OpenPage { rest: Some((_, task)), came_to, .. }) if came_to.is_none() => *came_to = Some(task.await),
            Some(_) => {}
            None => std::future::pending().await,
        }
    }

    /// Commits everything, when it is settled.
    pub(super) async fn finish(&mut self, requests: &Requests) -> Result<(), Stopped> {
        while !self.pages.is_empty() {
            self.commit_first(requests).await?;
        }
        Ok(())
    }

    /// Gives up what is not committed, because the run is stopping: waits for what is in flight.
    pub(super) async fn abandon(&mut self, requests: &Requests) {
        while self.pages.front().is_some_and(OpenPage::is_settled) && self.commit_first(requests).await.is_ok() {}
        for OpenPage { pages, rest, came_to, .. } in std::mem::take(&mut self.pages) {
            requests.progress().page_abandoned();
            let mut refused = pages.settled.refused;
            let joined = match (rest, came_to) {
                (_, Some(joined)) => Some(joined),
                (Some((_, task)), None) => Some(task.await),
                _ => None,
            };
            if let Some(Ok(Ok(settled))) = joined {
                refused.extend(settled.refused);
            }
            self.handler.abandon(refused).await;
        }
    }

    fn is_full(&self) -> bool {
        self.bytes > MAX_ASIDE_BYTES || self.pages.len() > MAX_OPEN_PAGES
    }

    pub(super) async fn commit_first(&mut self, requests: &Requests) -> Result<(), Stopped> {
        let Some(OpenPage { mut pages, items, leave, rest, came_to }) = self.pages.pop_front() else { return Ok(()) };
        let abandoned = |_: &Stopped| requests.progress().page_abandoned();
        if let Some((bytes, task)) = rest {
            self.bytes -= bytes;
            let joined = match came_to {
                Some(joined) => joined,
                None => task.await,
            };
            let settled = joined.unwrap_or_else(|panic| {
                requests.stop().stop(StopReason::Internal(panic.to_string()));
                Err(Stopped)
            });
            match settled {
                Ok(settled) => pages.settled.merge(settled),
                Err(Stopped) => {
                    self.handler.abandon(pages.settled.refused).await;
                    return Err(Stopped).inspect_err(abandoned);
                }
            }
        }
        if pages.settled.counts.scanned != items {
            let why = format!("{} outcomes for {items} items of a page", pages.settled.counts.scanned);
            requests.stop().stop(StopReason::Internal(why));
            return Err(Stopped).inspect_err(abandoned);
        }
        self.handler.commit(pages).await.inspect_err(abandoned)?;
        leave.done();
        Ok(())
    }
}

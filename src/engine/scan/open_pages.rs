//! Holds a segment's pages that have been read but not yet committed, in scan order.

use std::collections::VecDeque;

use tokio_util::task::AbortOnDropHandle;

use crate::engine::client::Requests;
use crate::engine::limits::allowance::ItemGrant;
use crate::engine::stop::{StopReason, Stopped};
use crate::engine::write::outcome::PageOutcome;
use crate::engine::write::page::{CommitPage, PageItems, Pages, ProcessPage};
use crate::engine::write::writer::{PartialOutcome, RemainingWork};
use crate::item::Item;

/// The approximate limit on the total size of a segment's set-aside items, in bytes. If the total exceeds this limit,
/// the segment waits for its set-aside items. The limit is large enough to set aside a few thousand items of a hot
/// partition key. Together with the number of active segments, this limit bounds the memory. The limit does not include
/// the writes that a large lane has in flight at the end of a page. [`MAX_OPEN_PAGES`] bounds these writes, because
/// they belong to open pages, and each page has at most 1 MB.
const MAX_SET_ASIDE_BYTES: usize = 1 << 20;

/// The largest number of pages that may wait for their set-aside items. After a kill, a run repeats at most these
/// pages, the page being written and the page being fetched.
const MAX_OPEN_PAGES: usize = 8;

/// The pages of one segment that wait to be committed.
pub(crate) struct OpenPages<'a, P: ProcessPage> {
    pass: &'a P,
    pages: VecDeque<OpenPage<P::Outcome>>,
    bytes: usize,
    /// Whether a page could not be committed. If so, later pages must not be committed.
    broken: bool,
}

struct OpenPage<O> {
    pages: Pages<O>,
    items: u64,
    /// The permission to scan this page's items.
    item_grant: ItemGrant,
    /// Size of this page's set-aside items, in bytes.
    set_aside_bytes: usize,
    /// The task that processes the set-aside items. `None` if no items are set aside, or if the task has ended.
    rest: Option<AbortOnDropHandle<Result<O, Stopped>>>,
    /// Whether some items of this page were abandoned because the run is stopping.
    given_up: bool,
}

impl<O: PageOutcome> OpenPage<O> {
    fn is_processed(&self) -> bool {
        self.rest.as_ref().is_none_or(AbortOnDropHandle::is_finished)
    }

    /// Waits until every item is processed or abandoned. This function is cancel-safe: if the caller drops the future,
    /// a later call continues to wait for the same items.
    async fn wait_until_processed(&mut self, requests: &Requests) -> Result<(), Stopped> {
        if let Some(rest) = &mut self.rest {
            let ended = rest.await;
            self.rest = None;
            match ended {
                Ok(Ok(more)) => self.pages.outcome.merge(more),
                Ok(Err(Stopped)) => self.given_up = true,
                Err(panic) => {
                    requests.stop().stop(StopReason::Internal(panic.to_string()));
                    self.given_up = true;
                }
            }
        }
        if self.given_up { Err(Stopped) } else { Ok(()) }
    }
}

impl<'a, P: ProcessPage + CommitPage<P::Outcome>> OpenPages<'a, P> {
    pub(crate) fn new(pass: &'a P) -> OpenPages<'a, P> {
        OpenPages { pass, pages: VecDeque::new(), bytes: 0, broken: false }
    }

    /// Processes the items of a page, and commits complete pages. Then waits until one more open page is allowed.
    pub(crate) async fn process(
        &mut self,
        mut pages: Pages<P::Outcome>,
        items: Vec<Item>,
        item_grant: ItemGrant,
        requests: &Requests,
    ) -> Result<(), Stopped> {
        // `pages` already counts the keys that have no item.
        let count = pages.outcome.counts().scanned + items.len() as u64;
        let abandoned = |_: &Stopped| requests.progress().page_abandoned();
        let page = PageItems { segment: pages.segment, number: pages.first, items };
        let PartialOutcome { outcome, rest } = self.pass.process(page, requests).await.inspect_err(abandoned)?;
        pages.outcome.merge(outcome);
        let set_aside_bytes = rest.as_ref().map_or(0, |rest| rest.bytes);
        let rest = rest.map(|RemainingWork { outcome, .. }| AbortOnDropHandle::new(tokio::spawn(outcome)));
        self.bytes += set_aside_bytes;
        self.pages.push_back(OpenPage { pages, items: count, item_grant, set_aside_bytes, rest, given_up: false });
        while self.pages.front().is_some_and(OpenPage::is_processed) || self.is_full() {
            self.commit_first(requests).await?;
        }
        Ok(())
    }

    /// Waits until the first page is processed. If there is no page, waits forever. This function is cancel-safe.
    pub(crate) async fn wait_for_first_page(&mut self, requests: &Requests) -> Result<(), Stopped> {
        match self.pages.front_mut() {
            Some(first) => first.wait_until_processed(requests).await,
            None => std::future::pending().await,
        }
    }

    /// Waits until all pages are processed, and commits them.
    pub(crate) async fn finish(&mut self, requests: &Requests) -> Result<(), Stopped> {
        while !self.pages.is_empty() {
            self.commit_first(requests).await?;
        }
        Ok(())
    }

    /// Ends the work on the segment because the run is stopping. Waits for requests in flight, then commits the pages
    /// before the first incomplete page, in order. Abandons the incomplete page and all pages after it.
    pub(crate) async fn abandon(&mut self, requests: &Requests) {
        while !self.broken && !self.pages.is_empty() && self.commit_first(requests).await.is_ok() {}
        while let Some(mut page) = self.pages.pop_front() {
            // Ignore the result. This page cannot be committed, because an earlier page was not committed.
            let _ = page.wait_until_processed(requests).await;
            requests.progress().page_abandoned();
            self.pass.abandon(page.pages.outcome).await;
        }
    }

    /// Waits until the first page is processed, and commits it.
    pub(crate) async fn commit_first(&mut self, requests: &Requests) -> Result<(), Stopped> {
        let Some(first) = self.pages.front_mut() else { return Ok(()) };
        let processed = first.wait_until_processed(requests).await;
        let Some(OpenPage { pages, items, item_grant, set_aside_bytes, .. }) = self.pages.pop_front() else {
            return Ok(());
        };
        self.bytes -= set_aside_bytes;
        // Until this page is committed, the segment counts as broken.
        self.broken = true;
        let abandoned = |_: &Stopped| requests.progress().page_abandoned();
        if let Err(Stopped) = processed {
            self.pass.abandon(pages.outcome).await;
            return Err(Stopped).inspect_err(abandoned);
        }
        if pages.outcome.counts().scanned != items {
            let why = format!("{} outcomes for {items} items of a page", pages.outcome.counts().scanned);
            requests.stop().stop(StopReason::Internal(why));
            return Err(Stopped).inspect_err(abandoned);
        }
        self.pass.commit(pages).await.inspect_err(abandoned)?;
        item_grant.commit();
        self.broken = false;
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.bytes > MAX_SET_ASIDE_BYTES || self.pages.len() > MAX_OPEN_PAGES
    }
}

#[cfg(test)]
mod tests;

//! The two parts of a pass. [`ProcessPage`] processes the items of a page, and [`CommitPage`] commits the result.

use super::outcome::PageOutcome;
use super::writer::{ItemOutcomes, PartialOutcome};
use crate::engine::client::Requests;
use crate::engine::stop::Stopped;
use crate::item::{Item, Position};

/// One or more whole pages of a segment, processed and ready to be committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Pages<O = ItemOutcomes> {
    /// The segment.
    pub segment: u32,
    /// The epoch of the lease under which the pages were read. After a later session has begun, the store refuses to
    /// commit these pages.
    pub epoch: u64,
    /// The number of the first page within its segment, counted from 1.
    pub first: u64,
    /// Number of pages.
    pub pages: u64,
    /// The position after the last page. `None` if the segment ends there.
    pub next: Option<Position>,
    /// The results for the items of these pages.
    pub outcome: O,
}

impl<O: PageOutcome> Pages<O> {
    /// Appends later pages. Returns false and appends nothing if pages in between are missing.
    #[must_use = "pages that were not appended must not be committed"]
    pub(crate) fn append(&mut self, following: Pages<O>) -> bool {
        if following.first != self.first + self.pages {
            return false;
        }
        self.pages += following.pages;
        self.next = following.next;
        self.outcome.merge(following.outcome);
        true
    }
}

/// The items of one page, in scan order.
#[derive(Debug, Clone, PartialEq)]
pub struct PageItems {
    /// The segment.
    pub segment: u32,
    /// The number of the page within its segment, counted from 1.
    pub number: u64,
    /// The items as they were read.
    pub items: Vec<Item>,
}

/// The part of a pass that processes the items of a page.
#[async_trait::async_trait]
pub trait ProcessPage: Send + Sync {
    /// The results for the items.
    type Outcome: PageOutcome;

    /// Processes the items of a page. `requests` is the client of the page's segment. If items are set aside, the
    /// result contains a future that processes them. This function commits nothing. An `Err` means that the page is
    /// abandoned.
    async fn process(&self, page: PageItems, requests: &Requests) -> Result<PartialOutcome<Self::Outcome>, Stopped>;
}

/// The part of a pass that makes the outcome of pages durable.
#[async_trait::async_trait]
pub trait CommitPage<O>: Send + Sync {
    /// Commits pages in which every item has an outcome. After `Ok`, the progress is durable if this pass stores
    /// progress.
    async fn commit(&self, pages: Pages<O>) -> Result<(), Stopped>;

    /// Abandons pages because the run is stopping. An implementation may record which writes were certainly not
    /// applied, but stores nothing else.
    async fn abandon(&self, outcome: O);
}

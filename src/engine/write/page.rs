//! The two halves of a pass: [`ProcessPage`] processes the items of a page, and [`CommitPage`] commits the result.

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
    /// The epoch of the lease under which the pages were read. The store refuses the pages after a later session has
    /// begun.
    pub epoch: u64,
    /// Number of the first page in its segment, from 1.
    pub first: u64,
    /// Number of pages.
    pub pages: u64,
    /// The position after the last page. `None` if the segment ends there.
    pub next: Option<Position>,
    /// The outcome of the items of these pages.
    pub outcome: O,
}

impl<O: PageOutcome> Pages<O> {
    /// Appends the pages that follow. Returns false, and appends nothing, if pages in between are missing.
    #[must_use = "pages that do not follow must not be committed"]
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

/// Items of one page, in the order of the scan.
#[derive(Debug, Clone, PartialEq)]
pub struct PageItems {
    /// The segment.
    pub segment: u32,
    /// Number of the page in its segment, from 1.
    pub number: u64,
    /// The items as they were read.
    pub items: Vec<Item>,
}

/// The half of a pass that processes the items of a page.
#[async_trait::async_trait]
pub trait ProcessPage: Send + Sync {
    /// The results for the items.
    type Outcome: PageOutcome;

    /// Processes the items of a page, with the requests of its segment. If items are set aside, the result contains a
    /// future that processes them. Nothing of the page is committed yet. An `Err` means that the page is given up.
    async fn process(&self, page: PageItems, requests: &Requests) -> Result<PartialOutcome<Self::Outcome>, Stopped>;
}

/// The half of a pass that makes the outcome of pages durable.
#[async_trait::async_trait]
pub trait CommitPage<O>: Send + Sync {
    /// Commits pages in which every item has an outcome. After `Ok`, the progress is durable if this pass stores
    /// progress.
    async fn commit(&self, pages: Pages<O>) -> Result<(), Stopped>;

    /// Gives up pages because the run is stopping. May store the information that some writes were certainly not
    /// applied, but stores nothing else.
    async fn abandon(&self, outcome: O);
}

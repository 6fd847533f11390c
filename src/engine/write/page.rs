//! What a pass does with the items of a page, and how the result is committed.

use super::writer::{Settled, Settling};
use crate::engine::client::Requests;
use crate::engine::stop::Stopped;
use crate::item::{Item, ItemKey};
use crate::state::PreImageId;

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

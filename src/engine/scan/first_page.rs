//! What a segment's first page shows about the segment.

use crate::dynamodb::Page;
use crate::item::Item;

/// A page with fewer items than this shows nothing about collections: a few items may share a partition key by chance.
pub(crate) const LEAST_TELLING: usize = 8;

/// What a segment's first page shows about the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstPage {
    /// The segment ends with this page.
    Ends,
    /// The segment continues after this page.
    GoesOn,
    /// The segment continues inside an item collection that fills at least half of the page. The page has twice the
    /// items of an ordinary segment, so the items before the collection are fewer than an ordinary segment has. A
    /// collection that fills less than half is written in about a second at its own pace, and needs no lane.
    InCollection,
}

impl FirstPage {
    /// What a page shows that was read from a segment's beginning.
    pub fn of(page: &Page, partition_key: &str) -> FirstPage {
        if page.next.is_none() {
            return FirstPage::Ends;
        }
        let last = page.items.last().and_then(|item| item.get(partition_key));
        let same = page.items.iter().rev().take_while(|item| item.get(partition_key) == last).count();
        let fills = page.items.len() >= LEAST_TELLING && 2 * same >= page.items.len();
        if fills { FirstPage::InCollection } else { FirstPage::GoesOn }
    }
}

/// Whether all items of a page belong to one item collection, and there are enough of them to tell.
pub(crate) fn is_one_collection(items: &[Item], partition_key: &str) -> bool {
    let first = items.first().and_then(|item| item.get(partition_key));
    items.len() >= LEAST_TELLING && items.iter().all(|item| item.get(partition_key) == first)
}

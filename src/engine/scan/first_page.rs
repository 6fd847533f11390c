//! What a first page shows of its segment.

use crate::dynamodb::Page;
use crate::item::Item;

/// A page of fewer items than this says nothing of collections: of so few, many share a partition key by chance.
pub(crate) const LEAST_TELLING: usize = 8;

/// What a segment's first page tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstPage {
    /// The segment ends with it.
    Ends,
    /// The segment goes on behind it.
    GoesOn,
    /// The segment goes on inside an item collection that fills at least half of the page. The page has twice the items of
    /// an ordinary segment, so those before the collection fill less than that; and a collection that does not fill it is
    /// written in about a second of its own pace, and needs no lane.
    InCollection,
}

impl FirstPage {
    /// What a page tells that was read from a segment's beginning.
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

/// Whether all of a page's items are of one item collection, and enough to tell.
pub(crate) fn is_one_collection(items: &[Item], partition_key: &str) -> bool {
    let first = items.first().and_then(|item| item.get(partition_key));
    items.len() >= LEAST_TELLING && items.iter().all(|item| item.get(partition_key) == first)
}

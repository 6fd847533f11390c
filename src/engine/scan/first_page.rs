//! What the first page of a segment shows about the segment.

use crate::dynamodb::Page;
use crate::item::Item;

/// The smallest number of items from which a page shows something about collections. A few items may share a partition
/// key by chance.
pub(crate) const LEAST_TELLING: usize = 8;

/// What the first page of a segment shows about the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstPage {
    /// The segment ends with this page.
    Ends,
    /// The segment continues after this page.
    GoesOn,
    /// The segment continues inside an item collection that fills at least half of the page. The page has twice as many
    /// items as an ordinary segment. So fewer items than an ordinary segment has come before the collection. A
    /// collection that fills less than half of the page is written in about a second at its own pace, so it needs no
    /// large lane.
    InCollection,
}

impl FirstPage {
    /// What `page` shows about its segment. The page must have been read from the beginning of the segment.
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

/// Whether all items of a page belong to one item collection. Returns false if there are too few items to tell.
pub(crate) fn is_one_collection(items: &[Item], partition_key: &str) -> bool {
    let first = items.first().and_then(|item| item.get(partition_key));
    items.len() >= LEAST_TELLING && items.iter().all(|item| item.get(partition_key) == first)
}

//! Classifies a segment by its first page.

use crate::dynamodb::Page;
use crate::item::Item;

/// A page with fewer items than this is inconclusive, because a few items may share a partition key by chance.
pub(crate) const MIN_CONCLUSIVE_ITEMS: usize = 8;

/// What the first page of a segment shows about the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstPage {
    /// The segment ends with this page.
    Ends,
    /// The segment continues after this page.
    Continues,
    /// The segment continues inside an item collection that fills at least half of the page. The page has twice as many
    /// items as an ordinary segment. So at most as many items as in an ordinary segment precede the collection. A
    /// collection that fills less than half of the page needs no large lane, because writing it takes only about a
    /// second, even at the rate of one partition key.
    InCollection,
}

impl FirstPage {
    /// Classifies the segment to which `page` belongs. The page must begin at the start of the segment.
    pub fn from_page(page: &Page, partition_key: &str) -> FirstPage {
        if page.next.is_none() {
            return FirstPage::Ends;
        }
        let last = page.items.last().and_then(|item| item.get(partition_key));
        let same = page.items.iter().rev().take_while(|item| item.get(partition_key) == last).count();
        let fills = page.items.len() >= MIN_CONCLUSIVE_ITEMS && 2 * same >= page.items.len();
        if fills { FirstPage::InCollection } else { FirstPage::Continues }
    }
}

/// Returns whether all items of a page belong to one item collection. Returns false if the page has too few items to
/// decide.
pub(crate) fn is_one_collection(items: &[Item], partition_key: &str) -> bool {
    let first = items.first().and_then(|item| item.get(partition_key));
    items.len() >= MIN_CONCLUSIVE_ITEMS && items.iter().all(|item| item.get(partition_key) == first)
}

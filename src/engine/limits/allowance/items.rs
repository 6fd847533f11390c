//! Counts the items that a run may still scan. This module is pure.

/// Counts a run's scanned items and the items that are promised to uncommitted pages. Both count towards the limit.
#[derive(Debug, Default)]
pub(crate) struct Items {
    limit: Option<u64>,
    scanned: u64,
    promised: u64,
}

/// The answer to a request for the items of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ItemsReply {
    /// The page can contain up to this number of items.
    Items(u32),
    /// All remaining items are promised to uncommitted pages. These pages could still give some of them back.
    Wait,
    /// The limit is reached, and no uncommitted page can give items back.
    Exhausted,
}

impl Items {
    /// Creates the account of a run that has already scanned `scanned` items.
    pub(crate) fn new(limit: Option<u64>, scanned: u64) -> Items {
        Items { limit, scanned, promised: 0 }
    }

    /// If the limit is reached, returns the number of scanned items and the limit. Otherwise, returns `None`.
    pub(crate) fn exhausted(&self) -> Option<(u64, u64)> {
        self.limit.filter(|limit| self.scanned >= *limit).map(|limit| (self.scanned, limit))
    }

    /// Returns the limit and the number of scanned items. `None` without a limit.
    pub(crate) fn limit(&self) -> Option<(f64, f64)> {
        self.limit.map(|limit| (limit as f64, self.scanned as f64))
    }

    /// Asks for up to this number of items for a page.
    pub(crate) fn request(&mut self, page: u32) -> ItemsReply {
        let left = self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.scanned + self.promised));
        match u32::try_from(left).unwrap_or(u32::MAX).min(page) {
            0 if self.promised > 0 => ItemsReply::Wait,
            0 => ItemsReply::Exhausted,
            items => {
                self.promised += u64::from(items);
                ItemsReply::Items(items)
            }
        }
    }

    /// Gives back items that a page does not need, or all items of an abandoned page.
    pub(crate) fn give_back(&mut self, items: u64) {
        self.promised = self.promised.saturating_sub(items);
    }

    /// Adds the items of a committed page to the scanned items.
    pub(crate) fn commit(&mut self, items: u64) {
        self.give_back(items);
        self.scanned += items;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_gets_only_the_remaining_items() {
        let mut items = Items::new(Some(100), 20);
        assert_eq!(items.request(50), ItemsReply::Items(50));
        assert_eq!(items.request(50), ItemsReply::Items(30));
        assert_eq!(items.request(50), ItemsReply::Wait);
        items.give_back(10);
        assert_eq!(items.request(50), ItemsReply::Items(10));
        items.commit(40);
        items.commit(30);
        assert_eq!(items.request(50), ItemsReply::Wait, "the last page may still be abandoned");
        items.commit(10);
        assert_eq!((items.request(50), items.exhausted()), (ItemsReply::Exhausted, Some((100, 100))));
    }

    #[test]
    fn without_a_limit_every_page_is_granted() {
        let mut items = Items::new(None, u64::MAX / 2);
        assert_eq!(items.request(u32::MAX), ItemsReply::Items(u32::MAX));
        assert_eq!(items.exhausted(), None);
    }

    #[test]
    fn a_limit_below_the_scanned_items_is_reached() {
        let mut items = Items::new(Some(5), 20);
        assert_eq!((items.request(1), items.exhausted()), (ItemsReply::Exhausted, Some((20, 5))));
    }
}

//! The trait [`Source`], which reads the items of a run.

use async_trait::async_trait;

use super::TableError;
use crate::change::Filter;
use crate::item::{Item, Position, Units};

/// Reads the items of a run page by page. A source is a table scan, an index scan, a file of keys or, for a rollback,
/// the journal's list of deleted items. Later versions could add exports and streams.
///
/// A source is divided into segments, which are read independently of each other. When the caller knows the outcome of
/// every item in a page, it commits the position after that page. After a crash, the caller continues from the
/// committed position. An implementation promises:
/// - **Order.** The items of a segment always have the same order, in every process and in every attempt. A request
///   that starts at a position returns the items after that position. If an item exists during the whole read of its
///   segment, at least one page contains the item.
/// - **Positions are durable.** A position stays valid for the whole run, even if items are written during the run.
///   Each page ends at a later position than the previous page. If the requested position comes from a different kind
///   of source, the request fails with [`TableError::Fatal`].
/// - **Ends are certain.** `next` is `None` only if the segment has ended. An incomplete, damaged or unexpectedly empty
///   reply is an error and does not end a segment.
/// - **Consistency.** If `consistent` is set, a page shows every write that DynamoDB acknowledged before the request
///   was sent. A source that cannot promise this (an index, an export, a stream) returns an error instead.
/// - **One request.** Each call sends one request and returns its result. The caller retries and waits for capacity, so
///   an implementation must do neither. Dropping the future abandons the read and changes nothing.
#[async_trait]
pub trait Source: Send + Sync {
    /// Reads one page of one segment.
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError>;

    /// Reads one page like [`Source::read_page`], but can omit items that `filter` excludes. The request's `limit`
    /// bounds the number of items that are read, including omitted items. A source that cannot filter returns all
    /// items, so the caller must still test each item. Apart from the omitted items, the page is the same as that of
    /// [`Source::read_page`], with the same positions and cost.
    async fn read_filtered_page(&self, request: &PageRequest, _filter: &Filter) -> Result<FilteredPage, TableError> {
        Ok(FilteredPage { page: self.read_page(request).await?, left_out: 0 })
    }

    /// Returns whether the items in a page contain only their key attributes. If so, the engine reads each whole item
    /// from the sink.
    fn yields_keys(&self) -> bool {
        false
    }

    /// Returns the name of the index that this source scans. `None` if it scans no index.
    fn index(&self) -> Option<&str> {
        None
    }
}

/// A request for one page.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct PageRequest {
    /// The segment, from 0.
    pub segment: u32,
    /// Total number of segments in the run. This number never changes during the run.
    pub total_segments: u32,
    /// The position after which the page begins. `None` means that the page begins at the start of the segment.
    pub start: Option<Position>,
    /// The maximum number of items to read. `None` means that the source decides. DynamoDB itself ends a page at 1 MB.
    pub limit: Option<u32>,
    /// Whether the read is strongly consistent.
    pub consistent: bool,
    /// Whether the caller needs only the key of each item. If the implementation does not know the table's key yet, it
    /// returns whole items. Reading only keys costs the same, because DynamoDB charges for whole items (developer
    /// guide, "Scan").
    pub keys_only: bool,
}

/// One page of a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The items. The list may be empty even if more pages follow.
    pub items: Vec<Item>,
    /// The position after the page. `None` means that the segment has ended.
    pub next: Option<Position>,
    /// The consumed read capacity units, if the server reported them.
    pub units: Option<Units>,
}

/// One page of a segment, without the items that a filter excludes.
#[derive(Debug, Clone, PartialEq)]
pub struct FilteredPage {
    /// The page. Its list of items may be empty even if more pages follow.
    pub page: Page,
    /// The number of items that were read but are not in the page.
    pub left_out: u64,
}

impl FilteredPage {
    /// Returns the filtered page of a reply to `Scan`. `scanned` is the reply's `ScannedCount`. It is 0 if the reply
    /// has no `ScannedCount`.
    ///
    /// # Errors
    ///
    /// Fails if the reply does not report the number of items that DynamoDB read, because the number of scanned items
    /// would then be unknown. A count of 0 is invalid if more pages follow.
    pub(super) fn counted(page: Page, scanned: Option<u64>) -> Result<FilteredPage, TableError> {
        let left_out = scanned.and_then(|scanned| scanned.checked_sub(page.items.len() as u64));
        let is_uncounted = scanned == Some(0) && page.next.is_some();
        let left_out = left_out.filter(|_| !is_uncounted);
        let left_out =
            left_out.ok_or(TableError::UnusableReply { operation: "Scan", flaw: "it has no `ScannedCount`" })?;
        Ok(FilteredPage { page, left_out })
    }
}

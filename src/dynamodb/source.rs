//! The trait [`Source`], which reads the items of a run.

use async_trait::async_trait;

use super::TableError;
use crate::change::Filter;
use crate::item::{Item, Position, Units};

/// Reads the items of a run page by page. A source is a table scan, an index scan, a file of keys or, for a rollback,
/// the journal's list of deleted items. Exports or streams may be added later.
///
/// A source is divided into segments, which are read independently of each other. When the caller knows the outcome of
/// every item in a page, it commits the position after that page. After a crash, the caller continues from the
/// committed position. An implementation promises:
/// - **Order.** The items of a segment always have the same order, in every process and in every attempt. A request
///   that starts at a position returns the items after that position. If an item exists for as long as its segment is
///   being read, at least one page contains it.
/// - **Positions are durable.** A position stays valid for the life of a run, even if items are written meanwhile. Each
///   page ends at a later position than the previous page. If a different kind of source created the requested
///   position, the request fails with [`TableError::Fatal`].
/// - **Ends are certain.** `next` is `None` only if the segment has ended. An incomplete, damaged or unexpectedly empty
///   reply is an error, and never ends a segment.
/// - **Consistency.** If `consistent` is set, a page shows every write that DynamoDB acknowledged before the request
///   was sent. A source that cannot promise this (an index, an export, a stream) returns an error instead.
/// - **One request.** Each call sends one request and returns its result. The caller retries and waits for capacity, so
///   an implementation must do neither. Dropping the future abandons the read and changes nothing.
#[async_trait]
pub trait Source: Send + Sync {
    /// Reads one page of one segment.
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError>;

    /// Reads one page, but may leave out items that `filter` excludes. `limit` in the request bounds the number of
    /// items that are read, including those that are left out. A source that cannot filter returns all items, so the
    /// caller must test each item itself. The items that the filter includes, the positions and the cost of the page
    /// are the same as those of [`Source::read_page`].
    async fn read_filtered_page(&self, request: &PageRequest, _filter: &Filter) -> Result<FilteredPage, TableError> {
        Ok(FilteredPage { page: self.read_page(request).await?, left_out: 0 })
    }

    /// Returns whether the items in a page consist only of their keys. The engine then reads each item from the sink.
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
    /// Returns the filtered page of a reply to `Scan`. `scanned` is its `ScannedCount`, where 0 may mean that the reply
    /// has none.
    ///
    /// # Errors
    ///
    /// Fails if the reply does not say how many items DynamoDB read, because the page could not be counted. A page that
    /// another one follows has read at least one item.
    pub(super) fn counted(page: Page, scanned: Option<u64>) -> Result<FilteredPage, TableError> {
        let left_out = scanned.and_then(|scanned| scanned.checked_sub(page.items.len() as u64));
        let is_uncounted = scanned == Some(0) && page.next.is_some();
        let left_out = left_out.filter(|_| !is_uncounted);
        let left_out =
            left_out.ok_or(TableError::UnusableReply { operation: "Scan", flaw: "it has no `ScannedCount`" })?;
        Ok(FilteredPage { page, left_out })
    }
}

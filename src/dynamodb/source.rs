//! The port [`Source`]: reads the items of a run.

use async_trait::async_trait;

use super::TableError;
use crate::item::{Item, Position, Units};

/// Reads the items of a run page by page. Today the source is a table scan. Later it may be an index, an export or a
/// stream.
///
/// A source has segments, which are read independently of each other. The caller commits the position after a page when
/// it knows the outcome of every item of the page. After a crash, it continues from the committed position. An
/// implementation promises:
/// - **Order.** The items of a segment always have the same order, in every process and in every attempt. A request
///   that starts at a position returns the items after that position. If an item exists during the whole read of its
///   segment, at least one page contains it.
/// - **Positions are durable.** A position stays valid for the life of a run, whatever is written meanwhile. Each page
///   ends at a later position than the page before. A source that gets a position of another kind of source fails with
///   [`TableError::Fatal`].
/// - **Ends are certain.** `next` is `None` only if the segment has ended. A reply that is cut short, damaged or
///   unexpectedly empty is an error, never an end.
/// - **Consistency.** With `consistent`, a page shows every write whose reply was sent before the request. A source
///   that cannot do that (an index, an export, a stream) fails the request instead.
/// - **One request.** Each call sends one request and reports how it ended. An implementation does not retry and does
///   not wait for capacity, because the caller does both. If the future is dropped, the read is given up, and nothing
///   has changed.
#[async_trait]
pub trait Source: Send + Sync {
    /// Reads one page of one segment.
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError>;
}

/// A request for one page.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct PageRequest {
    /// The segment, from 0.
    pub segment: u32,
    /// Number of segments of the run. This number never changes during the run.
    pub total_segments: u32,
    /// The page begins after this position. `None` means that it begins at the start of the segment.
    pub start: Option<Position>,
    /// The largest number of items to read. `None` means that the source decides. DynamoDB itself ends a page at 1 MB.
    pub limit: Option<u32>,
    /// Whether the read is strongly consistent.
    pub consistent: bool,
    /// Whether the caller needs only the key of each item. An implementation that does not know the table's key yet
    /// returns whole items. The cost is the same, because DynamoDB charges for whole items (developer guide, "Scan").
    pub keys_only: bool,
}

/// One page of a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The items. The list may be empty although more pages follow.
    pub items: Vec<Item>,
    /// The position after the page. `None` means that the segment has ended.
    pub next: Option<Position>,
    /// Read capacity units consumed, if the server stated them.
    pub units: Option<Units>,
}

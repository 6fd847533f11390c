//! The port [`Source`]: where items come from.

use async_trait::async_trait;

use super::TableError;
use crate::item::{Item, Position, Units};

/// Yields the items of a run, page by page: a table scan, later an index, an export or a stream.
///
/// A source has segments, which are read independently of each other. The caller commits the position after a page when
/// every outcome of the page is known, and starts there after a crash. An implementation promises:
/// - **Order.** A segment is read in one order, the same in every process and in every attempt. A request that starts
///   at a position returns what follows it. An item that exists throughout a read of its segment, from beginning to
///   end, is in the pages at least once.
/// - **Positions are durable.** A position stays valid for the life of a run, whatever is written in between. It moves
///   forward with every page. A source that gets a position of another kind fails with [`TableError::Fatal`].
/// - **Ends are certain.** `next` is `None` only if the segment has ended. A reply that is cut short, damaged or
///   unexpectedly empty is an error, never an end.
/// - **Consistency.** With `consistent`, a page shows every write that was answered before the request. A source that
///   cannot do that (an index, an export, a stream) fails the request instead.
/// - **One request.** Each call sends one request and reports how it ended. It does not retry and does not wait for
///   capacity: the caller does. Dropping the future gives up the read and changes nothing.
#[async_trait]
pub trait Source: Send + Sync {
    /// Reads one page of one segment.
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError>;
}

/// One page to read.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct PageRequest {
    /// The segment, from 0.
    pub segment: u32,
    /// Number of segments of the run; fixed for its life.
    pub total_segments: u32,
    /// The page begins after this position. `None` means the segment's beginning.
    pub start: Option<Position>,
    /// The largest number of items to evaluate. `None` leaves it to the source. DynamoDB's own bound is 1 MB.
    pub limit: Option<u32>,
    /// Whether the read is strongly consistent.
    pub consistent: bool,
    /// Only the key of each item is needed. An implementation that does not know the key yet returns whole items. The page
    /// costs the same either way: DynamoDB charges whole items (developer guide, "Scan").
    pub keys_only: bool,
}

/// One page of a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The items. They may be empty although more follow.
    pub items: Vec<Item>,
    /// The position after the page. `None` means that the segment has ended.
    pub next: Option<Position>,
    /// Read capacity units consumed, if the server stated them.
    pub units: Option<Units>,
}

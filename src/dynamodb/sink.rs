//! The trait [`Sink`], which applies guarded writes.

use async_trait::async_trait;

use super::TableError;
use crate::change::GuardedWrite;
use crate::item::{Item, ItemKey, Units};

/// Applies guarded writes, and reads single items after failed conditions.
///
/// Writes are passed in chunks, so that a different transport can be added: one `UpdateItem` request has a single
/// write, but a batch of statements has several. An implementation promises:
/// - **Guards.** A write takes effect only if all of its conditions are true at that moment. All of its actions then
///   take effect together. If DynamoDB cannot copy values with this transport, the implementation sends
///   [`GuardedWrite::pinned`] instead. That write contains the values, and its condition requires that the sources have
///   not changed.
/// - **Replies.** The result has exactly one reply for each write, in the order of the writes. An applied write is
///   never reported as refused. If an error does not show whether the write was applied, the error is ambiguous
///   ([`TableError::is_ambiguous`]).
/// - **Durability.** [`WriteReply::Applied`] means that the write is durable, and visible to [`Sink::get`].
/// - **Images.** A failed condition returns the current item if the service supports this (`ALL_OLD`).
/// - **One request.** An implementation does not retry and does not wait for capacity, because the caller does both.
///   After it has returned the replies, it sends nothing in the background.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Sends a chunk of guarded writes and returns the reply to each, in order. A chunk has at most [`Sink::max_chunk`]
    /// writes, and no two of them are for the same item.
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>>;

    /// The largest number of writes that one call of [`Sink::write`] accepts. The number is 1 if each write is a
    /// separate request.
    fn max_chunk(&self) -> usize;

    /// Reads one item, strongly consistently. The engine calls this method if a reply to a failed condition has no
    /// image. If this method returns no item, the item is gone.
    async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError>;
}

/// One `GetItem` response.
#[derive(Debug, Clone, PartialEq)]
pub struct GetReply {
    /// The item. `None` if there is no such item.
    pub item: Option<Item>,
    /// Read capacity units consumed, if the server stated them.
    pub units: Option<Units>,
}

/// Write capacity that one request consumed, as DynamoDB states it (`ReturnConsumedCapacity = INDEXES`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WriteConsumption {
    /// Write capacity units that the table and its local indexes consumed.
    pub table: Units,
    /// The write capacity units that each global index consumed, with the name of the index. Only indexes that the
    /// request touched.
    pub indexes: Vec<(String, Units)>,
}

impl WriteConsumption {
    /// Total write capacity units. AWS bills this total.
    pub fn total(&self) -> Units {
        self.table + self.indexes.iter().map(|(_, units)| units).sum::<Units>()
    }
}

/// The reply to one guarded write that DynamoDB evaluated.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteReply {
    /// The write was applied.
    Applied {
        /// Write capacity that the write consumed, if the server stated it.
        consumed: Option<WriteConsumption>,
    },
    /// The condition was not true, and the write changed nothing.
    ConditionFailed {
        /// The current item, if the engine returned it. `None` does not mean that the item is gone: call [`Sink::get`].
        image: Option<Item>,
    },
}

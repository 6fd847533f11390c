//! The port [`Sink`]: where guarded writes go.

use async_trait::async_trait;

use super::TableError;
use crate::change::GuardedWrite;
use crate::item::{Item, ItemKey, Units};

/// Applies guarded writes, and reads the single item that decides what a failed condition means.
///
/// The chunk is the seam for another transport: a batch of statements takes several writes in one request, `UpdateItem`
/// takes one. An implementation promises:
/// - **Guards.** A write takes effect only if all of its conditions are true at that moment. All of its actions then
///   take effect together. A transport that cannot let DynamoDB copy a value sends [`GuardedWrite::pinned`] instead:
///   the values travel, and the condition pins each source to the value that travels.
/// - **Replies.** There is exactly one reply for each write, in order. An applied write is never reported as refused.
///   If an error leaves open whether the write was applied, it is ambiguous ([`TableError::is_ambiguous`]).
/// - **Durability.** [`WriteReply::Applied`] means that the write is durable, and visible to [`Sink::get`].
/// - **Images.** A failed condition returns the current item, if the service can (`ALL_OLD`).
/// - **One request.** It does not retry and does not wait for capacity: the caller does. It sends nothing in the
///   background after it has returned the replies.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Sends a chunk of guarded writes and returns the reply to each, in order. A chunk never names an item twice and has at
    /// most [`Sink::max_chunk`] members.
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>>;

    /// Number of writes that one call of [`Sink::write`] takes; 1 if each write is a request of its own.
    fn max_chunk(&self) -> usize;

    /// Reads one item, strongly consistently. It decides what a failed condition without an image means: if it returns
    /// no item, the item is gone.
    async fn get(&self, key: &ItemKey) -> Result<Got, TableError>;
}

/// One `GetItem` response.
#[derive(Debug, Clone, PartialEq)]
pub struct Got {
    /// The item, if there is one.
    pub item: Option<Item>,
    /// Read capacity units consumed, if the server stated them.
    pub units: Option<Units>,
}

/// Write capacity that one request consumed, as DynamoDB states it (`ReturnConsumedCapacity = INDEXES`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Consumed {
    /// By the table and its local indexes, in write capacity units.
    pub table: Units,
    /// By each global index that the request touched: its name, and write capacity units.
    pub indexes: Vec<(String, Units)>,
}

impl Consumed {
    /// Total write capacity units. This is what is billed.
    pub fn total(&self) -> Units {
        self.table + self.indexes.iter().map(|(_, units)| units).sum::<Units>()
    }
}

/// The reply to one guarded write that DynamoDB evaluated.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteReply {
    /// It was applied.
    Applied {
        /// Write capacity consumed, if the server stated them.
        consumed: Option<Consumed>,
    },
    /// The condition was not true. Nothing changed.
    ConditionFailed {
        /// The current item, if the engine returned it. `None` does not mean that the item is gone: call [`Sink::get`].
        image: Option<Item>,
    },
}

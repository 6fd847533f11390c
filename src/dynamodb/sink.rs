//! The port [`Sink`]: where guarded writes go.

use async_trait::async_trait;

use super::TableError;
use crate::change::GuardedWrite;
use crate::item::{Item, ItemKey, Units};

/// Applies guarded writes, and reads the single item that decides what a failed condition means.
///
/// The chunk is the seam for another transport: a batch of statements takes several writes in one request, `UpdateItem`
/// takes one. An implementation promises:
/// - **Guards.** A write takes effect only if all of its conditions hold at that instant, and then all of its actions take
///   effect at once. A transport that cannot let DynamoDB copy a value sends [`GuardedWrite::pinned`] instead: the values
///   travel, and the condition pins each source to the value that travels.
/// - **Replies.** There is exactly one reply for each write, in order. A write that was applied is never reported as refused. An
///   error that leaves open whether the write was applied is ambiguous ([`TableError::is_ambiguous`]).
/// - **Durability.** [`WriteReply::Applied`] means that the write is durable, and visible to [`Sink::get`].
/// - **Images.** A failed condition returns the item as it was found, if the service can (`ALL_OLD`).
/// - **One request.** It does not retry and does not wait for capacity: the caller does. It sends nothing behind the
///   caller's back after the replies are returned.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Sends a chunk of guarded writes and returns the reply to each, in order. A chunk never names an item twice and has at
    /// most [`Sink::max_chunk`] members.
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>>;

    /// Number of writes that one call of [`Sink::write`] takes; 1 if each write is a request of its own.
    fn max_chunk(&self) -> usize;

    /// Reads one item, strongly consistently. It decides what a failed condition without an image means: no item is proof
    /// that the item is gone.
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
    /// Write capacity units in all: what is billed.
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
    /// The condition did not hold; nothing changed.
    ConditionFailed {
        /// The item as it is, if the engine returned it. None does not say that the item is gone: [`Sink::get`] does.
        image: Option<Item>,
    },
}

//! The trait [`Sink`], which applies guarded writes.

use async_trait::async_trait;

use super::TableError;
#[cfg(doc)]
use super::ThrottlingReason;
use crate::change::GuardedWrite;
use crate::item::{Item, ItemKey, Units};

/// Applies guarded writes, and rereads single items after failed conditions.
///
/// The caller passes writes in chunks, so that other transports can be added later. One `UpdateItem` request contains a
/// single write, but a batch of statements contains several. An implementation promises:
/// - **Guards.** If all conditions of a write are true, all of its actions take effect together. Otherwise, none of
///   them takes effect. If DynamoDB cannot copy values with this transport, the implementation sends
///   [`GuardedWrite::pinned`] instead. That write contains the values, and its condition requires that the sources have
///   not changed.
/// - **Derived items.** A write that puts a derived item is one transaction. It checks the conditions of the write, and
///   puts the derived item only if no item with the derived key exists. Both happen, or neither. The derived item goes
///   into the table that [`GuardedWrite::other_table`] names, or else into the sink's own table. If only one of two
///   tables throttles the transaction, the throttling reason names that table in [`ThrottlingReason::resource`].
/// - **Replies.** The result contains exactly one reply for each write, in the same order as the writes. An applied
///   write is never reported as refused. If an error does not show whether the write was applied, the error is
///   ambiguous ([`TableError::is_ambiguous`]).
/// - **Durability.** [`WriteReply::Applied`] means that the write is durable, and visible to [`Sink::get`].
/// - **Images.** The reply to a failed condition contains the current item, if the service supports this (`ALL_OLD`).
///   The reply to a delete contains the removed item, if the service supports this.
/// - **One request.** The caller retries and waits for capacity, so an implementation must do neither. After it has
///   returned the replies, it sends nothing in the background.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Sends a chunk of guarded writes and returns one reply per write, in the same order. A chunk contains at most
    /// [`Sink::max_chunk`] writes, each for a different item.
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>>;

    /// Returns the maximum number of writes in one call of [`Sink::write`]. This number is 1 if each write is a
    /// separate request. The number may change while the sink is used.
    fn max_chunk(&self) -> usize;

    /// Returns whether this write can be in the same request as other writes. If not, the caller passes it alone to
    /// [`Sink::write`], because it needs a request of its own.
    fn can_share_request(&self, _write: &GuardedWrite) -> bool {
        true
    }

    /// Reads one item with a strongly consistent read. The engine calls this method if the reply to a failed condition
    /// contains no image. If this method returns no item, the item no longer exists.
    async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError>;

    /// Requests an on-demand backup of the table with this name (`CreateBackup`), and returns the backup's ARN. After
    /// an ambiguous error, the backup may exist. Only a plan with `[safety] backup = true` calls this method.
    async fn create_backup(&self, _name: &str) -> Result<String, TableError> {
        Err(TableError::unsupported("CreateBackup"))
    }

    /// Reads the status of a backup (`DescribeBackup`).
    async fn backup_status(&self, _arn: &str) -> Result<BackupStatus, TableError> {
        Err(TableError::unsupported("DescribeBackup"))
    }
}

/// The status of an on-demand backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupStatus {
    /// DynamoDB is still creating the backup.
    Creating,
    /// The backup is complete.
    Available,
    /// Somebody deleted the backup.
    Deleted,
}

/// One `GetItem` response.
#[derive(Debug, Clone, PartialEq)]
pub struct GetReply {
    /// The item, or `None` if the item does not exist.
    pub item: Option<Item>,
    /// The consumed read capacity units, if the server reported them.
    pub units: Option<Units>,
}

/// The write capacity that one request consumed, as DynamoDB reports it (`ReturnConsumedCapacity = INDEXES`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WriteConsumption {
    /// Write capacity units that the table and its local indexes consumed.
    pub table: Units,
    /// The name and the consumed write capacity units of each global index that the request touched.
    pub indexes: Vec<(String, Units)>,
    /// What the put of a derived item consumed on another table. `None` if the request touched only one table.
    pub elsewhere: Option<Box<WriteConsumption>>,
}

impl WriteConsumption {
    /// Returns the total write capacity units of all tables, which AWS bills.
    pub fn total(&self) -> Units {
        self.of_table() + self.elsewhere.as_ref().map_or(0.0, |other| other.total())
    }

    /// Returns the write capacity units of the table of the write and of its indexes.
    pub fn of_table(&self) -> Units {
        self.table + self.indexes.iter().map(|(_, units)| units).sum::<Units>()
    }
}

/// The reply to one guarded write that DynamoDB evaluated.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteReply {
    /// The write was applied.
    Applied {
        /// The write capacity that the write consumed, if the server reported it.
        consumed: Option<WriteConsumption>,
        /// The item that a delete removed, if the server returned it (`ReturnValues = ALL_OLD`). `None` for all other
        /// writes.
        removed: Option<Item>,
    },
    /// A condition of the write was false, so the write changed nothing.
    ConditionFailed {
        /// The current item, if the engine returned it. `None` does not mean that the item no longer exists. In that
        /// case, call [`Sink::get`].
        image: Option<Item>,
    },
    /// The write was not sent. The sink used its permits for a request that finds out what the endpoint can do, and that
    /// changed nothing. DynamoDB charged this request like a failed condition.
    EndpointChecked {
        /// The current item, if the engine returned it. `None` does not mean that the item is gone: call [`Sink::get`].
        image: Option<Item>,
    },
    /// An item with the derived key already exists, so the write of a derived item changed nothing. The conditions on
    /// the source item were true.
    DerivedExists {
        /// The item with the derived key, if the engine returned it. `None` does not mean that the item no longer
        /// exists.
        existing: Option<Item>,
    },
}

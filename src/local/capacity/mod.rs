//! A model of DynamoDB's capacity limits. The model decides which requests DynamoDB would throttle, and which errors it
//! would return.
//!
//! The model is pure: it reads no clock and never waits. The caller passes the time, counted from the model's start. So
//! the proxy can use the model in real time, and a simulation can use it in virtual time. [`Model::admit`] decides
//! whether a request is executed. After the execution, [`Model::charge`] subtracts the units that the request consumed.
//! A scope admits requests while its balance is above zero. One request can push the balance below zero, because the
//! cost of a request is known only after its execution. The same is true in DynamoDB. The balance then recovers over
//! time.
//!
//! # Scopes, narrow to wide
//!
//! * **Partition**: a range of the key hash. It has a limit of 1,000 WCU/s and 3,000 RCU/s (developer guide, "Partition
//!   key design"). It saves up to one second of unused capacity. A partition that throttles more than one key for ten
//!   minutes is split in the middle. The ten minutes are an assumption, because DynamoDB publishes no figure.
//! * **Global index**: an index has its own limit. If an index has no write capacity left, it throttles *every* write
//!   to the table, even writes that do not touch the index (developer guide, "Throttling of global secondary indexes").
//!   A write does not name the positions of its index entries. So if the spec gives the index its own partitions, the
//!   model puts all entries of one partition key at one position in the index. This position is unrelated to the key's
//!   position in the table.
//! * **Table**: a provisioned table has its provisioned capacity, and saves up to 300 s of unused capacity as burst
//!   credit. An on-demand table is limited to its configured maximum, and saves up to one second of unused capacity.
//!   Without a configured maximum, only the partitions of an on-demand table have limits. Burst credit never raises a
//!   partition's limit.
//! * **Account**: the account's limit, if the spec contains one.
//!
//! DynamoDB has three effects that the model omits. They are auto scaling, delayed index writes, and the throttling of
//! an on-demand table beyond twice its previous peak.

mod balance;
mod model;
mod partitions;
mod reason;
mod spec;
mod stats;

pub use model::Model;
pub use reason::{Limit, ReadWrite, Reason, RequestKind, Resource, Throttle};
pub use spec::{BurstSpec, IndexSpec, Maximum, ModelSpec, PartitionSpec, SpecError, Storm, Throughput};
pub use stats::{ModelStats, PartitionStats};

pub use crate::dynamodb::ThrottlingReason;

use crate::item::Units;

/// The properties of a request that are known before its cost is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Whether the request reads or writes.
    pub kind: RequestKind,
    /// The position in the key-hash space, from 0 to 1. If the request reads an index, this is the position in the
    /// index's own space.
    pub position: f64,
    /// The hash of the partition key. With the hash, the model distinguishes a hot key from a hot range.
    pub key: u64,
    /// The position in the spec of the index that the request reads. `None` if the request reads the table, or if it is
    /// a write.
    pub index: Option<usize>,
}

impl Demand {
    /// Creates the demand of a request that reads the table.
    pub fn read(position: f64, key: u64) -> Demand {
        Demand { kind: RequestKind::Read, position, key, index: None }
    }

    /// Creates the demand of a request that writes to the table.
    pub fn write(position: f64, key: u64) -> Demand {
        Demand { kind: RequestKind::Write, position, key, index: None }
    }
}

/// The units that a request consumed: read units for a read, write units for a write.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConsumedUnits {
    /// Units of the table and its local indexes.
    pub table: Units,
    /// Units of each global index. The first number of each pair is the index's position in the spec.
    pub indexes: Vec<(usize, Units)>,
}

impl ConsumedUnits {
    /// Creates the consumption of a request that touches no index.
    pub fn table(units: Units) -> ConsumedUnits {
        ConsumedUnits { table: units, indexes: Vec::new() }
    }
}

/// A part of the service that has its own limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitScope {
    /// The account.
    Account,
    /// The table.
    Table,
    /// One partition of the table.
    Partition,
    /// An index. The number is the index's position in the spec.
    Index(usize),
    /// One partition of an index that has its own partitions.
    IndexPartition(usize),
}

#[cfg(test)]
mod tests;

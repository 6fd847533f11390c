//! A model of DynamoDB's capacity: which requests it would throttle, and with which words.
//!
//! Pure: it reads no clock and waits for nothing. Time is an argument, counted from the model's start, so that the same
//! model serves the HTTP layer in real time and a simulation in virtual time. [`Model::admit`] decides about a request
//! before it is done; [`Model::charge`] takes what it turned out to consume. A scope admits while its balance is above
//! zero, so that a balance goes below zero by one request and is then paid off: DynamoDB learns a request's cost by doing
//! it.
//!
//! # Scopes, narrow to wide
//!
//! * **Partition**: a range of the key hash with 1,000 WCU/s and 3,000 RCU/s (developer guide, "Partition key design"). It
//!   holds one second of them. One that throttled for ten minutes, and for more than one key, is split at its middle: the
//!   delay is an assumption, no figure is published.
//! * **Global index**: its own limit. One without write capacity left throttles *every* write to the table, also those
//!   that do not touch it (developer guide, "Throttling of global secondary indexes"). Where its entries lie no request
//!   says: with partitions of its own, a partition key's entries lie together, at a place that has nothing to do with the
//!   key's place in the table.
//! * **Table**: provisioned capacity, with up to 300 s of what was not used as burst credit; or the maximum on demand,
//!   which holds one second; or, on demand without one, nothing but its partitions. Burst credit never lifts a
//!   partition's own limit.
//! * **Account**: if stated.
//!
//! Not modelled: an on-demand table that throttles beyond twice its previous peak, auto scaling, and index entries that
//! are written late.

mod figures;
mod model;
mod partitions;
mod reason;
mod spec;
mod tank;

pub use figures::{Figures, PartitionFigures};
pub use model::Model;
pub use reason::{Kind, Limit, PerKind, Reason, Resource, Throttled};
pub use spec::{BurstSpec, IndexSpec, Maximum, ModelSpec, PartitionSpec, SpecError, Storm, Throughput};

pub use crate::dynamodb::ThrottlingReason;

use crate::item::Units;

/// What a request asks for, before it is known what it costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Read or write.
    pub kind: Kind,
    /// Where in the key-hash space, of 0..1; of an index's own, where it reads one.
    pub position: f64,
    /// Hash of the partition key: tells a hot key from a hot range.
    pub key: u64,
    /// The index that it reads, by its place in the spec; writes go to the table.
    pub index: Option<usize>,
}

impl Demand {
    /// A read of the table.
    pub fn read(position: f64, key: u64) -> Demand {
        Demand { kind: Kind::Read, position, key, index: None }
    }

    /// A write to the table.
    pub fn write(position: f64, key: u64) -> Demand {
        Demand { kind: Kind::Write, position, key, index: None }
    }
}

/// What a request turned out to consume, of the kind that its demand named.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConsumedUnits {
    /// By the table and its local indexes.
    pub table: Units,
    /// By each global index: its place in the spec, and units.
    pub indexes: Vec<(usize, Units)>,
}

impl ConsumedUnits {
    /// Consumed by the table alone.
    pub fn table(units: Units) -> ConsumedUnits {
        ConsumedUnits { table: units, indexes: Vec::new() }
    }
}

/// A scope, to ask what it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The account.
    Account,
    /// The table.
    Table,
    /// Any one partition of the table.
    Partition,
    /// An index, by its place in the spec.
    Index(usize),
    /// Any one partition of an index that has them.
    IndexPartition(usize),
}

#[cfg(test)]
mod tests;

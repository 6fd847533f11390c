//! The table features that a migration can affect: backups, streams and replicas. The preflight checks these features,
//! and the tool never changes them.

use crate::item::Projection;

/// A table's features, as `DescribeTable` reports them.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Features {
    /// The part of an item that a stream record contains. `None` if the table has no stream.
    pub stream: Option<StreamView>,
    /// The other regions to which the table is replicated, in alphabetical order.
    pub replicas: Vec<String>,
    /// Whether the table has multi-region strong consistency: a write succeeds only after the regions have agreed on
    /// it.
    pub strong_across_regions: bool,
    /// The table class, which determines the prices.
    pub class: TableClass,
    /// Whether the table is protected against deletion. `None` if the engine does not report this.
    pub deletion_protection: Option<bool>,
    /// The vector indexes of the table.
    pub vector_indexes: Vec<VectorIndex>,
}

/// A vector index. Searches read it with `SearchVectors`. Its writes are metered separately from write capacity, and
/// only when a write changes an attribute of the index (developer guide, "Vector search": requirements, monitoring).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct VectorIndex {
    /// The name of the index.
    pub name: String,
    /// The attribute with the vector, and the attributes by which searches select items.
    pub attributes: Vec<String>,
    /// The other attributes that the index contains.
    pub projection: Projection,
}

/// The part of an item that a stream record contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum StreamView {
    /// The item's key.
    Keys,
    /// The item after the write.
    New,
    /// The item before the write.
    Old,
    /// The item before and after the write.
    NewAndOld,
}

/// A table's class, which determines the prices of storage and requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum TableClass {
    /// DynamoDB Standard.
    #[default]
    Standard,
    /// DynamoDB Standard-Infrequent Access: requests cost more, storage less.
    InfrequentAccess,
}

/// Information from `DescribeContinuousBackups`: whether the table can be restored to a point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Whether point-in-time recovery is on.
    pub enabled: bool,
    /// The earliest time to which the table can be restored, in RFC 3339 format.
    pub earliest: Option<String>,
    /// Number of days that a restore can go back.
    pub days: Option<u32>,
}

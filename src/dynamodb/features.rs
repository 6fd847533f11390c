//! The table features that a migration can affect, such as backups, streams and replicas. The preflight checks these
//! features. The tool never changes them.

use crate::item::Projection;

/// A table's features, as `DescribeTable` reports them.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Features {
    /// The view type of the table's stream. `None` if the table has no stream.
    pub stream: Option<StreamView>,
    /// The other regions to which the table is replicated, in alphabetical order.
    pub replicas: Vec<String>,
    /// Whether the table has multi-region strong consistency. If it has, a write succeeds only after the regions have
    /// agreed on the write.
    pub strong_across_regions: bool,
    /// The table class, which determines the prices.
    pub class: TableClass,
    /// Whether the table is protected against deletion. `None` if the engine does not report this.
    pub deletion_protection: Option<bool>,
    /// The vector indexes of the table.
    pub vector_indexes: Vec<VectorIndex>,
}

/// A vector index. `SearchVectors` requests read it. DynamoDB meters writes to the index separately from write
/// capacity. It meters a write only if the write changes an attribute of the index (developer guide, "Vector search":
/// requirements, monitoring).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct VectorIndex {
    /// The name of the index.
    pub name: String,
    /// The vector attribute, and the attributes by which searches can filter items.
    pub attributes: Vec<String>,
    /// The other attributes that the index contains.
    pub projection: Projection,
}

/// The view type of a stream, that is, the part of an item that a stream record contains.
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
    /// DynamoDB Standard-Infrequent Access. Compared with the standard class, requests cost more and storage costs
    /// less.
    InfrequentAccess,
}

/// The table's point-in-time recovery status, from `DescribeContinuousBackups`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Whether point-in-time recovery is on.
    pub enabled: bool,
    /// The earliest time to which the table can be restored, in RFC 3339 format.
    pub earliest: Option<String>,
    /// Number of days that a restore can go back.
    pub days: Option<u32>,
}

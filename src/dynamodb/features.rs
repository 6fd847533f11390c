//! Features of a table that a migration can affect: backups, streams, replicas. The preflight checks them, and the tool
//! never changes them.

/// The features of a table according to `DescribeTable`.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Features {
    /// The part of an item that the stream's records show. `None` if the table has no stream.
    pub stream: Option<StreamView>,
    /// The other regions to which the table is replicated, in order.
    pub replicas: Vec<String>,
    /// Whether the regions agree on each write before it is accepted (multi-region strong consistency).
    pub strong_across_regions: bool,
    /// The table class, which determines the prices.
    pub class: TableClass,
    /// Whether the table is protected against deletion. `None` if the engine does not report this.
    pub deletion_protection: Option<bool>,
}

/// The part of an item that the records of a stream show.
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

/// The class of a table, which determines the prices of storage and requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum TableClass {
    /// DynamoDB Standard.
    #[default]
    Standard,
    /// DynamoDB Standard-Infrequent Access: requests cost more, storage less.
    InfrequentAccess,
}

/// Whether the table can be restored to a point in time, according to `DescribeContinuousBackups`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Whether point-in-time recovery is on.
    pub enabled: bool,
    /// The earliest moment to which the table can be restored, in RFC 3339 format.
    pub earliest: Option<String>,
    /// Number of past days to which the table can be restored.
    pub days: Option<u32>,
}

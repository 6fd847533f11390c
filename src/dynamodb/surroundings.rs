//! What surrounds a table's items: backups, consumers of its stream, replicas. The preflight uses it; the tool never
//! changes it.

/// What `DescribeTable` says about a table besides its key, size and capacity.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Features {
    /// What the records of its stream show. `None` if it has no stream.
    pub stream: Option<StreamView>,
    /// The other regions that it is replicated to, in order.
    pub replicas: Vec<String>,
    /// Whether those regions agree on each write before it is accepted (multi-region strong consistency).
    pub strong_across_regions: bool,
    /// Its table class, which sets the prices.
    pub class: TableClass,
    /// Whether it is protected against deletion, if the engine says so.
    pub deletion_protection: Option<bool>,
}

/// What the records of a stream show about an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum StreamView {
    /// Its key.
    Keys,
    /// The item after the write.
    New,
    /// The item before the write.
    Old,
    /// Both.
    NewAndOld,
}

/// The prices for storage and requests of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum TableClass {
    /// DynamoDB Standard.
    #[default]
    Standard,
    /// DynamoDB Standard-Infrequent Access: requests cost more, storage less.
    InfrequentAccess,
}

/// `DescribeContinuousBackups`: whether the table can be restored to a point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Point-in-time recovery is on.
    pub enabled: bool,
    /// The earliest moment that can be restored, RFC 3339.
    pub earliest: Option<String>,
    /// Number of days back that can be restored.
    pub days: Option<u32>,
}

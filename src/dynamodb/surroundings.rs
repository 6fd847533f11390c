//! What surrounds a table's items: the way back, who hears of writes, where else the items are. For the preflight; nothing
//! here is ever changed by the tool.

/// What `DescribeTable` says of a table beside its key, size and capacity.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Features {
    /// What the records of its stream show; none where it has no stream.
    pub stream: Option<StreamView>,
    /// The other regions that it is replicated to, in order.
    pub replicas: Vec<String>,
    /// Whether those regions agree on each write before it is accepted (multi-region strong consistency).
    pub strong_across_regions: bool,
    /// What it costs.
    pub class: TableClass,
    /// Whether it is protected against being deleted, where the engine says so.
    pub deletion_protection: Option<bool>,
}

/// What a stream's records show of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum StreamView {
    /// Its key.
    Keys,
    /// It as it is after the write.
    New,
    /// It as it was before.
    Old,
    /// Both.
    NewAndOld,
}

/// What storage and requests of a table cost.
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
    /// For how many days back.
    pub days: Option<u32>,
}

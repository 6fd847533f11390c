//! The properties of secondary indexes on which the cost of a write depends.

use super::KeyAttribute;

/// Describes which items and which of their attributes an index contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSchema {
    /// Index name.
    pub name: String,
    /// Key attributes of the index, partition key first. An item is in the index if it has all of them.
    pub key: Vec<KeyAttribute>,
    /// Number of key attributes that form the partition key: one, or up to four for a global index. The remaining key
    /// attributes form the sort key.
    pub partition: usize,
    /// The attributes in the index that are not key attributes.
    pub projection: Projection,
    /// Whether the index is local. A local index uses the table's capacity; a global index has its own capacity.
    pub local: bool,
}

/// The attributes that an index contains in addition to its own key and the table's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projection {
    /// All attributes.
    All,
    /// No other attributes.
    KeysOnly,
    /// Only these attributes.
    Include(Vec<String>),
}

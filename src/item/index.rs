//! The properties of secondary indexes that determine the cost of a write.

use super::KeyAttribute;

/// Describes which items an index contains, and which of their attributes it contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSchema {
    /// Index name.
    pub name: String,
    /// Key attributes of the index, partition key first. An index contains an item if the item has all of these
    /// attributes.
    pub key: Vec<KeyAttribute>,
    /// Number of key attributes that form the partition key: one, or up to four for a global index. The remaining key
    /// attributes form the sort key.
    pub partition: usize,
    /// The attributes that the index contains in addition to key attributes.
    pub projection: Projection,
    /// Whether the index is local. A local index uses the table's capacity. A global index has its own capacity.
    pub local: bool,
}

/// The attributes that an index contains in addition to its own key and the table's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projection {
    /// All attributes.
    All,
    /// No attributes other than keys.
    KeysOnly,
    /// Only these additional attributes.
    Include(Vec<String>),
}

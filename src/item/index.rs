//! Secondary indexes, as far as the cost of a write depends on them.

use super::KeyAttribute;

/// The attributes of an item that an index contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSchema {
    /// Index name.
    pub name: String,
    /// Key attributes of the index, partition key first. An item is in the index if it has all of them.
    pub key: Vec<KeyAttribute>,
    /// Number of these attributes that form the partition key: one, or up to four for a global index. The others form
    /// the sort key.
    pub partition: usize,
    /// The other attributes of the index.
    pub projection: Projection,
    /// A local secondary index uses the table's capacity; a global index has its own.
    pub local: bool,
}

/// The attributes of an index in addition to its own key and the table's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projection {
    /// All attributes.
    All,
    /// No other attributes.
    KeysOnly,
    /// Only these attributes.
    Include(Vec<String>),
}

//! Secondary indexes, as far as they decide what a write costs.

use super::KeyAttribute;

/// What of an item an index holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSchema {
    /// Index name.
    pub name: String,
    /// Key attributes of the index, partition key first. An item is in the index when it has all of them.
    pub key: Vec<KeyAttribute>,
    /// How many of them are its partition key: one, or up to four of a global index. The others are its sort key.
    pub partition: usize,
    /// The other attributes that it holds.
    pub projection: Projection,
    /// A local secondary index is paid for with the table's own capacity; a global one has its own.
    pub local: bool,
}

/// Which attributes an index holds beside its own key and the table's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projection {
    /// All of them.
    All,
    /// None.
    KeysOnly,
    /// These.
    Include(Vec<String>),
}

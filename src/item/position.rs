//! A durable place in a source.

use super::ItemKey;

/// A durable place in a segment of a source. Reading goes on behind it, also in another process. A further kind of source
/// adds a variant: a match over positions names each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// Behind the item with this key, in the order of a table scan: `LastEvaluatedKey`, and then `ExclusiveStartKey`. The
    /// item itself need not exist any more.
    Key(ItemKey),
}

impl From<ItemKey> for Position {
    fn from(key: ItemKey) -> Position {
        Position::Key(key)
    }
}

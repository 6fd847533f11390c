//! A durable position in a source.

use super::ItemKey;

/// A durable position in a segment of a source. Reading continues after it, also in another process. A new kind of
/// source adds a variant, and a match over positions names every variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// After the item with this key, in the order of a table scan: the `LastEvaluatedKey` that becomes the next
    /// `ExclusiveStartKey`. The item itself may no longer exist.
    Key(ItemKey),
}

impl From<ItemKey> for Position {
    fn from(key: ItemKey) -> Position {
        Position::Key(key)
    }
}

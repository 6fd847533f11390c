//! A durable position in a source.

use super::ItemKey;

/// A durable position in a segment of a source. Another read, also in another process, can continue after this
/// position. A new kind of source needs another variant. Every match over positions names each variant, so that the
/// compiler finds all places to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// The position after the item with this key, in the order of a table scan: the `LastEvaluatedKey` that becomes the
    /// next `ExclusiveStartKey`. The item itself may no longer exist.
    Key(ItemKey),
}

impl From<ItemKey> for Position {
    fn from(key: ItemKey) -> Position {
        Position::Key(key)
    }
}

//! A durable position in a source.

use super::ItemKey;

/// A durable position in a segment of a source. A later read can continue after this position, even if another process
/// does the read. For a new kind of source, add a variant. Every match over positions handles each variant explicitly,
/// so that the compiler reports all code that must change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// The position after the item with this key, in the order of a table scan. A scan returns the key as
    /// `LastEvaluatedKey`, and the next request sends it as `ExclusiveStartKey`. The item with this key might no longer
    /// exist.
    Key(ItemKey),
    /// A number. For a file of keys, it is the byte offset of the next line. For a rollback's list of deleted items, it
    /// is the last journal row that was read. Both numbers stay valid: the SHA-256 of the file is part of the plan's
    /// fingerprint, and a rollback ignores rows that are added to the journal later.
    Offset(u64),
}

impl Position {
    /// Returns the item key of a position in a table scan. Returns `None` for a position that is a number.
    pub fn key(&self) -> Option<&ItemKey> {
        match self {
            Position::Key(key) => Some(key),
            Position::Offset(_) => None,
        }
    }
}

impl From<ItemKey> for Position {
    fn from(key: ItemKey) -> Position {
        Position::Key(key)
    }
}

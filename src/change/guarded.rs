//! A guarded write: one conditional update of one item, still independent of how it is sent.

use crate::item::{ItemKey, Path, Units, Value, write_units};

/// One `UpdateItem`, with the condition that makes it safe against every live writer.
///
/// Kept as structure, not as text, because the single and the batched transport spell it differently.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardedWrite {
    /// The item.
    pub key: ItemKey,
    /// What changes; never empty, never two actions on overlapping paths.
    pub actions: Vec<Action>,
    /// What must hold at the instant of the write; starts with [`Condition::ItemExists`].
    pub conditions: Vec<Condition>,
    /// Values that this write destroys. They must be durable before it is sent; each is also in `conditions`.
    pub pre_images: Vec<PreImage>,
    /// Bytes of the whole item in the image that this was planned from.
    pub bytes_before: usize,
    /// Bytes of the whole item as this write would leave that image.
    pub bytes_after: usize,
}

impl GuardedWrite {
    /// Write capacity units that the table will charge, estimated from the image (indexes not included).
    pub fn estimated_units(&self) -> Units {
        write_units(self.bytes_before, self.bytes_after)
    }
}

/// One change of one path.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// DynamoDB copies the value that is current at the instant of the write.
    SetFrom {
        /// Target.
        to: Path,
        /// Source.
        from: Path,
    },
    /// The value travels with the request.
    SetValue {
        /// Target.
        to: Path,
        /// The value.
        value: Value,
    },
    /// The path is removed.
    Remove {
        /// What is removed.
        path: Path,
    },
}

/// One term of a guarded write's condition; all of them must hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The item still exists: `attribute_exists` of the named partition key attribute.
    ItemExists(String),
    /// The path has a value.
    Exists(Path),
    /// The path has no value.
    Missing(Path),
    /// The path is a map, so that a member of it can be set.
    IsMap(Path),
    /// The path has exactly this value.
    Equals(Path, Value),
    /// Both paths have values, and they are equal.
    Same(Path, Path),
}

/// A value that a write is about to destroy.
#[derive(Debug, Clone, PartialEq)]
pub struct PreImage {
    /// Where it is.
    pub path: Path,
    /// What it is.
    pub value: Value,
}

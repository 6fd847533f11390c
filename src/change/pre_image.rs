//! Pre-images: the state of a path before a write changed the path. The journal stores pre-images for the rollback.

use super::digest::{Digest, ValueDigests};
use super::leftover::Leftover;
use crate::item::{Item, Path, Value};

/// The state of a path before a write changes the path. A rollback uses this state.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct PreImage {
    /// The path.
    pub path: Path,
    /// The state before the write.
    pub prior: PriorValue,
    /// The digest of the value that a move or copy writes to the path. `None` for any other write.
    pub written_digest: Option<Digest>,
}

/// The state of a path before a write.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum PriorValue {
    /// The path has this value, which the write destroys.
    Value(Value),
    /// The path has no value, and the write creates one. This state is recorded for constants, for maps that the write
    /// creates for a target, and for targets of in-place moves and of changes with `skip`. A rollback needs no other
    /// information to undo such a write.
    Nothing,
    /// The path already has the value with the recorded digest, and the write does not change it. The row of an
    /// in-place move that only removes its source has the target as its path. The row of a stable attribute
    /// ([`ItemRules::stable`](super::ItemRules::stable)) records its value when the migration first wrote the item.
    SameAsSource,
    /// The write deletes the whole item, which has these attributes.
    Item(Item),
    /// A note about the whole item. The previous rows of the item contain its attributes.
    Mark(ItemMark),
    /// A note for reports; no decision depends on it. It records that a rollback's write may leave the path in a
    /// different state than before the migration. No value is lost, because the other attribute of the pair has the
    /// same value.
    Leftover(Leftover),
}

/// What happened to an item that a write deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemMark {
    /// DynamoDB confirmed the delete.
    Deleted,
    /// DynamoDB confirmed the delete, and a writer had changed the item just before. The previous row is the removed item.
    DeletedChanged,
    /// A rollback is about to put the item back, or to delete the derived item. This mark is recorded before the write is
    /// sent.
    PuttingBack,
    /// The item exists in the table again, or the derived item is gone.
    PutBack,
}

impl PriorValue {
    /// Returns the destroyed value, if the write destroys one.
    pub fn value(&self) -> Option<&Value> {
        match self {
            PriorValue::Value(value) => Some(value),
            PriorValue::Nothing
            | PriorValue::SameAsSource
            | PriorValue::Item(_)
            | PriorValue::Mark(_)
            | PriorValue::Leftover(_) => None,
        }
    }
}

impl PreImage {
    /// Creates the pre-image of a value that a write destroys.
    pub fn with_value(path: &Path, value: &Value) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Value(value.clone()), written_digest: None }
    }

    /// Creates the pre-image of a path that has no value before the write.
    pub fn without_value(path: &Path) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Nothing, written_digest: None }
    }

    /// Creates the pre-image of a path whose value equals the source's value in an in-place move.
    pub fn same_as_source(path: &Path) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::SameAsSource, written_digest: None }
    }

    /// Creates the record of a stable attribute, which the write leaves unchanged. The write's condition must require
    /// that the attribute still has this value.
    pub fn of_stable(path: &Path, value: Option<&Value>) -> PreImage {
        PreImage { written_digest: Some(Digest::of_stable(value)), ..PreImage::same_as_source(path) }
    }

    /// Creates the pre-image of a whole item that a write deletes. `partition_key` is the name of the partition key.
    /// The path of this key stands for the item, because no other write can change a key.
    pub fn of_item(partition_key: &str, item: &Item) -> PreImage {
        let path = Path::attribute(partition_key);
        PreImage { path, prior: PriorValue::Item(item.clone()), written_digest: None }
    }

    /// Creates the record that DynamoDB confirmed the delete of an item.
    pub fn confirmed_delete(partition_key: &str) -> PreImage {
        PreImage::mark(partition_key, ItemMark::Deleted)
    }

    /// Creates a record of what happened to an item that a write deletes.
    pub fn mark(partition_key: &str, mark: ItemMark) -> PreImage {
        PreImage { path: Path::attribute(partition_key), prior: PriorValue::Mark(mark), written_digest: None }
    }

    /// Creates the note that a rollback's write may leave this path in a different state than before the migration.
    pub fn with_leftover(path: &Path, leftover: Leftover) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Leftover(leftover), written_digest: None }
    }

    /// Returns the same pre-image, with the digest of the written value.
    pub fn with_written_value(self, value: &Value) -> PreImage {
        PreImage { written_digest: Some(Digest::from_value(value)), ..self }
    }

    /// Returns the same pre-image, with the digest of the computed value that is written.
    pub fn with_computed_value(self, value: &Value) -> PreImage {
        PreImage { written_digest: Some(Digest::by_number(value)), ..self }
    }

    /// Returns the difference that the write may leave, or `None` if this pre-image is not a note about a difference.
    pub fn leftover(&self) -> Option<Leftover> {
        match self.prior {
            PriorValue::Leftover(leftover) => Some(leftover),
            PriorValue::Value(_)
            | PriorValue::Nothing
            | PriorValue::SameAsSource
            | PriorValue::Item(_)
            | PriorValue::Mark(_) => None,
        }
    }

    /// Returns the known digests of the value that the path had before the write. Returns an empty list if the path had
    /// no value.
    pub(super) fn found(&self) -> Vec<Digest> {
        match &self.prior {
            PriorValue::Value(value) => ValueDigests::from_value(value).both().to_vec(),
            PriorValue::SameAsSource => self.written_digest.into_iter().collect(),
            PriorValue::Nothing | PriorValue::Item(_) | PriorValue::Mark(_) | PriorValue::Leftover(_) => Vec::new(),
        }
    }
}

//! Pre-images: the state of a path before a write changed the path. The journal keeps pre-images for the rollback.

use super::digest::Digest;
use super::leftover::Leftover;
use crate::item::{Path, Value};

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
    /// The path has no value, and the write creates it. This is recorded for constants, for maps that are created for a
    /// target, and for targets of in-place moves. This is all the information that a rollback needs to undo such a
    /// write.
    Nothing,
    /// The path has the same value as the source. The write is an in-place move that only removes the source.
    SameAsSource,
    /// A note for reports; no decision depends on it. It records that a write of the rollback may leave the path in a
    /// different state than before the migration. No value is lost, because the other attribute of the pair has the
    /// same value.
    Leftover(Leftover),
}

impl PriorValue {
    /// The destroyed value, if the write destroyed one.
    pub fn value(&self) -> Option<&Value> {
        match self {
            PriorValue::Value(value) => Some(value),
            PriorValue::Nothing | PriorValue::SameAsSource | PriorValue::Leftover(_) => None,
        }
    }
}

impl PreImage {
    /// The pre-image of a value that a write destroys.
    pub fn with_value(path: &Path, value: &Value) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Value(value.clone()), written_digest: None }
    }

    /// The pre-image of a path that has no value before the write.
    pub fn without_value(path: &Path) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Nothing, written_digest: None }
    }

    /// The pre-image of a path that has the same value as the source of an in-place move.
    pub fn same_as_source(path: &Path) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::SameAsSource, written_digest: None }
    }

    /// The note that a write of the rollback may leave this path in a different state than before the migration.
    pub fn with_leftover(path: &Path, leftover: Leftover) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Leftover(leftover), written_digest: None }
    }

    /// The same pre-image, with the digest of the value that the write writes.
    pub fn with_written_value(self, value: &Value) -> PreImage {
        PreImage { written_digest: Some(Digest::from_value(value)), ..self }
    }

    /// The difference that the write may leave. `None` if this is not a note about a difference.
    pub fn leftover(&self) -> Option<Leftover> {
        match self.prior {
            PriorValue::Leftover(leftover) => Some(leftover),
            PriorValue::Value(_) | PriorValue::Nothing | PriorValue::SameAsSource => None,
        }
    }

    /// The digest of the value that the path had before the write. `None` if the path had no value.
    pub(super) fn found(&self) -> Option<Digest> {
        match &self.prior {
            PriorValue::Value(value) => Some(Digest::from_value(value)),
            PriorValue::SameAsSource => self.written_digest,
            PriorValue::Nothing | PriorValue::Leftover(_) => None,
        }
    }
}

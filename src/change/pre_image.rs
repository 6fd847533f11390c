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
    pub wrote: Option<Digest>,
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
    Same,
    /// A note for reports; no decision depends on it. It records that a write of the rollback may leave the path in a
    /// different state than before the migration. No value is lost, because the other attribute of the pair has the
    /// same value.
    Left(Leftover),
}

impl PriorValue {
    /// The destroyed value, if the write destroyed one.
    pub fn value(&self) -> Option<&Value> {
        match self {
            PriorValue::Value(value) => Some(value),
            PriorValue::Nothing | PriorValue::Same | PriorValue::Left(_) => None,
        }
    }
}

impl PreImage {
    /// The pre-image of a value that a write destroys.
    pub fn of(path: &Path, value: &Value) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Value(value.clone()), wrote: None }
    }

    /// The pre-image of a path that has no value before the write.
    pub fn nothing(path: &Path) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Nothing, wrote: None }
    }

    /// The pre-image of a path that has the same value as the source of an in-place move.
    pub fn same(path: &Path) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Same, wrote: None }
    }

    /// The note that a write of the rollback may leave this path in a different state than before the migration.
    pub fn left(path: &Path, leftover: Leftover) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Left(leftover), wrote: None }
    }

    /// The same pre-image, with the digest of the value that the write writes.
    pub fn wrote(self, value: &Value) -> PreImage {
        PreImage { wrote: Some(Digest::of(value)), ..self }
    }

    /// The difference that the write may leave. `None` if this is not a note about a difference.
    pub fn leaves(&self) -> Option<Leftover> {
        match self.prior {
            PriorValue::Left(leftover) => Some(leftover),
            PriorValue::Value(_) | PriorValue::Nothing | PriorValue::Same => None,
        }
    }

    /// The digest of the value that the path had before the write. `None` if the path had no value.
    pub(super) fn found(&self) -> Option<Digest> {
        match &self.prior {
            PriorValue::Value(value) => Some(Digest::of(value)),
            PriorValue::Same => self.wrote,
            PriorValue::Nothing | PriorValue::Left(_) => None,
        }
    }
}

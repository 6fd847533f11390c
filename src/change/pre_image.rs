//! Pre-images: what a path had before a write changed it. The journal keeps them for the rollback.

use super::digest::Digest;
use super::leftover::Leftover;
use crate::item::{Path, Value};

/// The state of a path that a write is about to change, for the rollback.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct PreImage {
    /// The path.
    pub path: Path,
    /// The state before the write.
    pub prior: PriorValue,
    /// The digest of the value that a move or copy writes there. `None` for any other write.
    pub wrote: Option<Digest>,
}

/// The state of a path before a write.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum PriorValue {
    /// The path has this value, which the write destroys.
    Value(Value),
    /// The path has no value, and the write creates it. Recorded for constants, for maps that are created for a target,
    /// and for targets of in-place moves, whose reverse needs no more than that.
    Nothing,
    /// The path has the same value as the source: an in-place move found both equal and only removes the source.
    Same,
    /// A note that only reports use: this write of the rollback may leave the path different from before the migration.
    /// The other attribute of the pair has the value that is removed or created, so nothing is lost.
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
    /// A value that is about to be destroyed.
    pub fn of(path: &Path, value: &Value) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Value(value.clone()), wrote: None }
    }

    /// A path that has no value before the write.
    pub fn nothing(path: &Path) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Nothing, wrote: None }
    }

    /// A path that has the same value as the source of an in-place move.
    pub fn same(path: &Path) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Same, wrote: None }
    }

    /// A path that this write of the rollback may leave different from before the migration.
    pub fn left(path: &Path, leftover: Leftover) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Left(leftover), wrote: None }
    }

    /// The same pre-image for a write that writes this value.
    pub fn wrote(self, value: &Value) -> PreImage {
        PreImage { wrote: Some(Digest::of(value)), ..self }
    }

    /// The difference that the write may leave, if this is such a note.
    pub fn leaves(&self) -> Option<Leftover> {
        match self.prior {
            PriorValue::Left(leftover) => Some(leftover),
            PriorValue::Value(_) | PriorValue::Nothing | PriorValue::Same => None,
        }
    }

    /// The digest of the value that was there, if there was one.
    pub(super) fn found(&self) -> Option<Digest> {
        match &self.prior {
            PriorValue::Value(value) => Some(Digest::of(value)),
            PriorValue::Same => self.wrote,
            PriorValue::Nothing | PriorValue::Left(_) => None,
        }
    }
}

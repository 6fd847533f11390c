//! What a path had before a write changed it: the row that the journal keeps for the way back.

use super::digest::Digest;
use super::leftover::Leftover;
use crate::item::{Path, Value};

/// What a write is about to change, for the way back.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct PreImage {
    /// Where.
    pub path: Path,
    /// What is there.
    pub prior: PriorValue,
    /// What a write that moves or copies puts there; none of any other.
    pub wrote: Option<Digest>,
}

/// What was at a path before a write.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum PriorValue {
    /// This value, which the write destroys.
    Value(Value),
    /// Nothing: the write creates the path. Recorded for constants, for maps that are created for a target, and for
    /// targets of moves in place, whose reverse move needs no more than that.
    Nothing,
    /// The value that the source had: a move in place found both equal, and only removes the source.
    Same,
    /// A note, for reports alone: this write of the way back may leave the path otherwise than it was before the migration.
    /// The other attribute of the pair has the value that is removed or made, so that nothing is lost by it.
    Left(Leftover),
}

impl PriorValue {
    /// The value that was there, if the write destroyed one.
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

    /// A path that has what the source of a move in place has.
    pub fn same(path: &Path) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Same, wrote: None }
    }

    /// A path that this write of the way back may leave otherwise than it was before the migration.
    pub fn left(path: &Path, leftover: Leftover) -> PreImage {
        PreImage { path: path.clone(), prior: PriorValue::Left(leftover), wrote: None }
    }

    /// The same, of a write that puts this value there.
    pub fn wrote(self, value: &Value) -> PreImage {
        PreImage { wrote: Some(Digest::of(value)), ..self }
    }

    /// What the write may leave otherwise than it was, if this says so.
    pub fn leaves(&self) -> Option<Leftover> {
        match self.prior {
            PriorValue::Left(leftover) => Some(leftover),
            PriorValue::Value(_) | PriorValue::Nothing | PriorValue::Same => None,
        }
    }

    /// The digest of the value that was there, if one was.
    pub(super) fn found(&self) -> Option<Digest> {
        match &self.prior {
            PriorValue::Value(value) => Some(Digest::of(value)),
            PriorValue::Same => self.wrote,
            PriorValue::Nothing | PriorValue::Left(_) => None,
        }
    }
}

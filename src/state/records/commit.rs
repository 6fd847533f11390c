//! The contents of a checkpoint.

use super::super::{PreImageId, SegmentEvent, SessionId};
use crate::change::Outcome;
use crate::item::{ItemKey, Path};

/// Progress of one segment by one or more whole pages.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The session of the run that commits it.
    pub session: SessionId,
    /// The segment.
    pub segment: u32,
    /// The event of the segment.
    pub event: SegmentEvent,
    /// Items that failed in these pages.
    pub failures: Vec<Failure>,
    /// Diverged items of these pages.
    pub diverged: Vec<DivergedItem>,
    /// Pre-images whose write DynamoDB certainly refused; a rollback must not restore them.
    pub refused: Vec<PreImageId>,
}

/// An item that could not be changed: a dead letter.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Its key.
    pub key: ItemKey,
    /// `Conflict` or `Rejected`.
    pub outcome: Outcome,
    /// Why it failed, without attribute values.
    pub reason: String,
}

/// An item with a target that has another value than the plan implies.
#[derive(Debug, Clone, PartialEq)]
pub struct DivergedItem {
    /// Its key.
    pub key: ItemKey,
    /// The targets that have another value.
    pub paths: Vec<Path>,
}

//! What a checkpoint consists of.

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
    /// What happened to it.
    pub event: SegmentEvent,
    /// Items that failed in these pages.
    pub failures: Vec<Failure>,
    /// Items that were found diverged in these pages.
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
    /// Why, without attribute values.
    pub reason: String,
}

/// An item whose target holds something else than the plan implies.
#[derive(Debug, Clone, PartialEq)]
pub struct DivergedItem {
    /// Its key.
    pub key: ItemKey,
    /// The targets that hold something else.
    pub paths: Vec<Path>,
}

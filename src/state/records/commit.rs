//! The data of a commit.

use super::super::{PreImageId, SegmentEvent, SessionId};
use crate::change::Outcome;
use crate::item::{ItemKey, Path};

/// One or more finished pages of one segment, ready to be committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The calling session.
    pub session: SessionId,
    /// The number of the segment.
    pub segment: u32,
    /// The event that [`SegmentState::next`](super::super::SegmentState::next) applies to the segment.
    pub event: SegmentEvent,
    /// Items that failed in these pages.
    pub failures: Vec<Failure>,
    /// Diverged items of these pages.
    pub diverged: Vec<DivergedItem>,
    /// The pre-images of writes that DynamoDB certainly refused. A rollback must not restore them.
    pub refused: Vec<PreImageId>,
}

/// An item that could not be changed: a dead letter.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The key of the item.
    pub key: ItemKey,
    /// `Conflict` or `Rejected`.
    pub outcome: Outcome,
    /// The reason for the failure, without attribute values.
    pub reason: String,
}

/// An item in which a target has a value that differs from the value that the plan implies.
#[derive(Debug, Clone, PartialEq)]
pub struct DivergedItem {
    /// The key of the item.
    pub key: ItemKey,
    /// The targets with a different value.
    pub paths: Vec<Path>,
}

//! The data that a commit stores.

use super::super::{PreImageId, SegmentEvent, SessionId};
use crate::change::Outcome;
use crate::item::{ItemKey, Path};

/// One or more finished pages of one segment, ready for a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The calling session.
    pub session: SessionId,
    /// The number of the segment.
    pub segment: u32,
    /// The event that [`SegmentState::next`](super::super::SegmentState::next) applies to the segment.
    pub event: SegmentEvent,
    /// Items that failed while these pages were processed.
    pub failures: Vec<Failure>,
    /// Items in these pages that were found to be diverged.
    pub diverged: Vec<DivergedItem>,
    /// The pre-images of writes that DynamoDB certainly refused. A rollback must not restore these pre-images.
    pub refused: Vec<PreImageId>,
}

/// An item that could not be changed (a dead letter).
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The key of the item.
    pub key: ItemKey,
    /// The outcome: `Conflict`, `Rejected` or `NotComputable`.
    pub outcome: Outcome,
    /// The reason why the item failed. The reason contains no attribute values.
    pub reason: String,
}

/// An item with a target whose value differs from the value that the plan implies.
#[derive(Debug, Clone, PartialEq)]
pub struct DivergedItem {
    /// The key of the item.
    pub key: ItemKey,
    /// The targets whose values differ. For a source of a derived item: the attributes in which the derived item differs.
    pub paths: Vec<Path>,
    /// The key of the derived item that differs.
    pub derived: Option<ItemKey>,
}

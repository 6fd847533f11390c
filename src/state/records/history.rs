//! The recorded history of items: the pre-images of the journal, and the baseline of the first pass.

use super::super::{Cursor, PreImageId, RunId, SessionId};
use crate::change::{BaselinePair, Digest, PreImage};
use crate::item::{ItemKey, Path, Value};

/// A stored pre-image. The record contains a value of the user's table, which is printed only on request.
#[derive(Debug, Clone, PartialEq)]
pub struct PreImageRecord {
    /// The id of the pre-image. Later pre-images have larger ids.
    pub id: PreImageId,
    /// The run that destroyed the value.
    pub run: RunId,
    /// The key of the item.
    pub key: ItemKey,
    /// The path of the value.
    pub path: Path,
    /// The value; `None` if the stored row cannot be read.
    pub value: Option<Value>,
    /// The time at which the pre-image was recorded.
    pub at: String,
}

impl PreImageRecord {
    /// The position of the pre-image in the list of pre-images, for [`ListQuery::after`](super::ListQuery::after).
    pub fn cursor(&self) -> Cursor {
        Cursor::from_number(self.id.number())
    }
}

/// A list of items that may be incomplete: the total number of items, and the first ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AffectedItems {
    /// The number of items.
    pub count: u64,
    /// The first items, each with one affected path. An item with two affected paths appears twice.
    pub first: Vec<(ItemKey, Path)>,
    /// Whether there may be more items than `count`, because the first pass ran with an earlier version of this
    /// program, which did not record pairs.
    pub pairs_unrecorded: bool,
}

/// A pre-image to append to the journal: the value that a write is about to change.
#[derive(Debug, Clone, PartialEq)]
pub struct PreImageRow {
    /// The key of the item.
    pub key: ItemKey,
    /// The path, and its value before the write.
    pub pre: PreImage,
}

/// The baseline of the items of a page, recorded before any of them is written.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselinePage {
    /// The session that records the page.
    pub session: SessionId,
    /// The number of the segment.
    pub segment: u32,
    /// The number of the page within the segment.
    pub number: u64,
    /// Items with preexisting targets, and the digests of the targets' values.
    pub preexisting: Vec<(ItemKey, Vec<(Path, Digest)>)>,
    /// Items with a pair of old and new attribute that the operator should know about. Either a rollback would not
    /// restore the pair exactly, or readers will see its new value for the first time.
    pub pairs: Vec<(ItemKey, Vec<(Path, BaselinePair)>)>,
    /// Digests of the keys of items that the session may write.
    pub may_write: Vec<Digest>,
    /// Items with targets that were filled after the pass had first read the item.
    pub filled: Vec<FilledTargets>,
}

/// The targets of one item that were filled after the pass first read the item, and whose values differ from their
/// sources. If the reply to a write was lost, or a process was killed, the migration itself may have filled such a
/// target. Otherwise a live writer filled the target, and the target counts as preexisting. Only changes with
/// `on_existing = "skip"` need this record. The journal has the digest of every value that such a change writes.
#[derive(Debug, Clone, PartialEq)]
pub struct FilledTargets {
    /// The key of the item.
    pub key: ItemKey,
    /// The filled targets, with digests of their values.
    pub targets: Vec<(Path, Digest)>,
    /// The pre-images of writes that DynamoDB certainly refused but that are not yet marked as refused.
    pub refused: Vec<PreImageId>,
}

impl BaselinePage {
    /// Creates a page without records.
    pub fn empty(session: SessionId, segment: u32, number: u64) -> BaselinePage {
        let (preexisting, pairs) = (Vec::new(), Vec::new());
        BaselinePage { session, segment, number, preexisting, pairs, may_write: Vec::new(), filled: Vec::new() }
    }
}

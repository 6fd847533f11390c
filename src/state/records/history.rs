//! The recorded history of items, which consists of the journal's pre-images and the first pass's baseline.

use super::super::{Cursor, PreImageId, RunId, SessionId};
use crate::change::{BaselinePair, Digest, PreImage, ValueDigests};
use crate::item::{ItemKey, Path, Value};

/// A stored pre-image. It contains a value from the user's table. The value is printed only on request.
///
/// The list of the journal ([`StateReader::journal`](super::super::StateReader::journal)) has one of these for each
/// path that a write changed, and only one for a write of a whole item. The journal itself has several rows for such a
/// write.
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
    /// The value; `None` if the stored value cannot be read.
    pub value: Option<Value>,
    /// The time at which the pre-image was recorded.
    pub at: String,
    /// What the write did.
    pub write: JournaledWrite,
}

/// What a recorded write did.
#[derive(Debug, Clone, PartialEq)]
pub enum JournaledWrite {
    /// It changed the value at a path.
    Value,
    /// It deleted the whole item, or attempted to. The value of the record is the item.
    Delete {
        /// The time at which DynamoDB's confirmation was recorded. `None` if no confirmation is recorded. In this case,
        /// the delete may not have taken effect.
        confirmed_at: Option<String>,
        /// The removed item, if a writer had changed the item just before the delete.
        removed: Option<Value>,
    },
    /// It put a derived item, or attempted to. The value of the record is the derived item.
    Put {
        /// The key of the source. `None` if the stored key cannot be read.
        source: Option<ItemKey>,
        /// The time at which DynamoDB's confirmation was recorded. `None` if no confirmation is recorded. In this case,
        /// the put may not have taken effect.
        confirmed_at: Option<String>,
    },
}

impl PreImageRecord {
    /// Returns the pre-image's position in the list of pre-images, for [`ListQuery::after`](super::ListQuery::after).
    pub fn cursor(&self) -> Cursor {
        Cursor::from_number(self.id.number())
    }
}

/// The total number of affected items, and the first of these items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AffectedItems {
    /// The number of items.
    pub count: u64,
    /// The first items, each with one affected path. An item with two affected paths appears twice.
    pub first: Vec<(ItemKey, Path)>,
    /// Whether more than `count` items may be affected. This is the case if the first pass ran with an earlier version
    /// of this program, which did not record pairs.
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

/// A part of the list of deleted items. The list is divided into `parts` parts of nearly equal length, so that several
/// segments of a rollback can share it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeletedItemsQuery {
    /// The rollback's run. Only records of earlier runs are in the list.
    pub before: RunId,
    /// The number of the part, from 0.
    pub part: u32,
    /// The number of parts.
    pub parts: u32,
    /// If set, only rows after this row of the same part. If `None`, all rows of the part.
    pub after: Option<PreImageId>,
    /// The maximum number of items.
    pub limit: u32,
}

/// The number of items that a run deleted, according to its journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeleteCounts {
    /// Items whose delete DynamoDB confirmed.
    pub confirmed: u64,
    /// Items whose delete may have been sent, but was not confirmed. Such an item may still exist.
    pub unconfirmed: u64,
}

/// An item that the migration may have deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedItem {
    /// The journal row of the last delete.
    pub id: PreImageId,
    /// The key of the item; `None` if the stored key cannot be read.
    pub key: Option<ItemKey>,
}

/// The baseline of a page's items, recorded before the first write to any of these items.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselinePage {
    /// The session that records the page.
    pub session: SessionId,
    /// The number of the segment.
    pub segment: u32,
    /// The number of the page within the segment.
    pub number: u64,
    /// Items with preexisting targets, and digests of these targets' values.
    pub preexisting: Vec<(ItemKey, Vec<(Path, Digest)>)>,
    /// Items with stable attributes, and digests of the values of these attributes.
    pub stable: Vec<(ItemKey, Vec<(Path, Digest)>)>,
    /// Items with a pair of an old and a new attribute that the operator should know about. The [`BaselinePair`] names
    /// the reason: a rollback would not restore the pair exactly, or readers will see the pair's new value for the
    /// first time.
    pub pairs: Vec<(ItemKey, Vec<(Path, BaselinePair)>)>,
    /// Key digests of the items that the session may write.
    pub may_write: Vec<Digest>,
    /// Items with targets that were filled after the pass had read the item for the first time.
    pub filled: Vec<FilledTargets>,
}

/// One item's targets that were filled after the pass had read the item for the first time, and whose values differ
/// from the values of their sources. If the journal contains a digest of the target's value, the migration itself may
/// have filled the target, for example if the reply to its write was lost or a process was killed. If the journal
/// contains neither digest of the value, a live writer filled the target, so the target counts as preexisting. Only
/// changes with `on_existing = "skip"` need this record. The journal contains a digest of every value that such a
/// change writes. For a computed value, this digest does not depend on how numbers are written.
#[derive(Debug, Clone, PartialEq)]
pub struct FilledTargets {
    /// The key of the item.
    pub key: ItemKey,
    /// The filled targets, with digests of the targets' values.
    pub targets: Vec<(Path, ValueDigests)>,
    /// The pre-images of writes that DynamoDB certainly refused. These pre-images are not yet marked as refused.
    pub refused: Vec<PreImageId>,
}

impl BaselinePage {
    /// Creates a page without records.
    pub fn empty(session: SessionId, segment: u32, number: u64) -> BaselinePage {
        BaselinePage {
            session,
            segment,
            number,
            preexisting: Vec::new(),
            stable: Vec::new(),
            pairs: Vec::new(),
            may_write: Vec::new(),
            filled: Vec::new(),
        }
    }
}

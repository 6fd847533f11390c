//! The recorded history of items: the pre-images of the journal, and the baseline of the first pass.

use super::super::{Cursor, PreImageId, RunId, SessionId};
use crate::change::{BaselinePair, Digest, PreImage};
use crate::item::{ItemKey, Path, Value};

/// A stored pre-image. It contains a value of the table, which is printed only on request.
#[derive(Debug, Clone, PartialEq)]
pub struct PreImageRecord {
    /// The name of the pre-image. Later pre-images have larger names.
    pub id: PreImageId,
    /// The run that destroyed the value.
    pub run: RunId,
    /// The key of the item.
    pub key: ItemKey,
    /// The path of the value.
    pub path: Path,
    /// The value; `None` if the stored row cannot be read.
    pub value: Option<Value>,
    /// When the pre-image was recorded.
    pub at: String,
}

impl PreImageRecord {
    /// The position of the pre-image in the list of pre-images, for [`ListQuery::after`](super::ListQuery::after).
    pub fn cursor(&self) -> Cursor {
        Cursor::from_number(self.id.number())
    }
}

/// Items of one kind: their number, and the first items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// The number of items.
    pub count: u64,
    /// The first items, each with the path in question. An item with two paths in question appears twice.
    pub first: Vec<(ItemKey, Path)>,
    /// Whether there may be more items than `count`, because an earlier version of this program made the first pass and
    /// did not record its pairs.
    pub unrecorded: bool,
}

/// A value that a write is about to change, recorded for a rollback before the write is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct PreImageRow {
    /// The key of the item.
    pub key: ItemKey,
    /// The path, and the value that the write finds there.
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
    /// Items with preexisting targets, with digests of the values of these targets.
    pub preexisting: Vec<(ItemKey, Vec<(Path, Digest)>)>,
    /// Items with a pair of old and new attribute that a rollback does not restore exactly, or whose new value readers
    /// see for the first time.
    pub pairs: Vec<(ItemKey, Vec<(Path, BaselinePair)>)>,
    /// Digests of the keys of items that the session may write.
    pub may_write: Vec<Digest>,
    /// Items with targets that were filled after the pass first read them.
    pub filled: Vec<Filled>,
}

/// The targets of one item that were filled after the pass first read the item, and whose values differ from their
/// sources. A write of this process or of a killed one may have filled such a target if the reply to the write was
/// lost. Otherwise a live writer filled the target, and the target counts as preexisting. Only changes with
/// `on_existing = "skip"` need this. The journal has the digest of every value that such a change writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Filled {
    /// The key of the item.
    pub key: ItemKey,
    /// The filled targets, with digests of their values.
    pub targets: Vec<(Path, Digest)>,
    /// The pre-images of writes that DynamoDB certainly refused, even if the refusal is not recorded yet.
    pub refused: Vec<PreImageId>,
}

impl BaselinePage {
    /// An empty page of this session.
    pub fn empty(session: SessionId, segment: u32, number: u64) -> BaselinePage {
        let (preexisting, pairs) = (Vec::new(), Vec::new());
        BaselinePage { session, segment, number, preexisting, pairs, may_write: Vec::new(), filled: Vec::new() }
    }
}

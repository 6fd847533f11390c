//! The recorded history of items: the pre-images of the journal, and the baseline of the first pass.

use super::super::{Cursor, PreImageId, RunId, SessionId};
use crate::change::{BaselinePair, Digest, PreImage};
use crate::item::{ItemKey, Path, Value};

/// A stored pre-image. It holds a value of the table, which is printed only on request.
#[derive(Debug, Clone, PartialEq)]
pub struct PreImageRecord {
    /// Its name. Later pre-images have larger names.
    pub id: PreImageId,
    /// The run that destroyed the value.
    pub run: RunId,
    /// The item.
    pub key: ItemKey,
    /// The path of the value.
    pub path: Path,
    /// The value; `None` if the stored row cannot be read.
    pub value: Option<Value>,
    /// When it was recorded.
    pub at: String,
}

impl PreImageRecord {
    /// Its position in the list of pre-images, for [`ListQuery::after`](super::ListQuery::after).
    pub fn cursor(&self) -> Cursor {
        Cursor::from_number(self.id.number())
    }
}

/// Items of one kind: their number, and the first items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// The number of items.
    pub count: u64,
    /// The first items, each with the path in question. An item with two such paths appears twice.
    pub first: Vec<(ItemKey, Path)>,
    /// Whether there may be more, because an earlier version of this program made the first pass and did not record its
    /// pairs.
    pub unrecorded: bool,
}

/// A value that a write is about to change, recorded for a rollback before the write is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct PreImageRow {
    /// The item.
    pub key: ItemKey,
    /// The path and its value.
    pub pre: PreImage,
}

/// The baseline of the items of a page, recorded before any of them is written.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselinePage {
    /// The session of the run that records it.
    pub session: SessionId,
    /// The segment.
    pub segment: u32,
    /// The number of the page in the segment.
    pub number: u64,
    /// Items with preexisting targets, with digests of the values of these targets.
    pub preexisting: Vec<(ItemKey, Vec<(Path, Digest)>)>,
    /// Items with pairs that a rollback does not restore exactly, or with a new value that readers see for the first time.
    pub pairs: Vec<(ItemKey, Vec<(Path, BaselinePair)>)>,
    /// Digests of the keys of items that may be written.
    pub may_write: Vec<Digest>,
    /// Items with targets that were filled after the pass first read them.
    pub filled: Vec<Filled>,
}

/// Targets with another value than their source, in an item to which this process or a killed one may have applied
/// writes without receiving the reply. If no such write filled a target, a live writer did, and the target counts as
/// preexisting. Only a change with `on_existing = "skip"` needs this; the digest of every value that it writes is
/// recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Filled {
    /// The item.
    pub key: ItemKey,
    /// The targets, with digests of their values.
    pub targets: Vec<(Path, Digest)>,
    /// Pre-images whose write DynamoDB certainly refused, even if the refusal is not recorded yet.
    pub refused: Vec<PreImageId>,
}

impl BaselinePage {
    /// Of a session, with nothing in it.
    pub fn empty(session: SessionId, segment: u32, number: u64) -> BaselinePage {
        let (preexisting, pairs) = (Vec::new(), Vec::new());
        BaselinePage { session, segment, number, preexisting, pairs, may_write: Vec::new(), filled: Vec::new() }
    }
}

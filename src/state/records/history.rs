//! The recorded history of items: pre-images of the journal, and what the first pass found before it wrote.

use super::super::{Cursor, PreImageId, RunId, SessionId};
use crate::change::{BaselinePair, Digest, PreImage};
use crate::item::{ItemKey, Path, Value};

/// A pre-image as stored. It holds a value of the table, which is printed only on request.
#[derive(Debug, Clone, PartialEq)]
pub struct PreImageRecord {
    /// Its name; later ones are larger.
    pub id: PreImageId,
    /// The run that destroyed the value.
    pub run: RunId,
    /// The item.
    pub key: ItemKey,
    /// Where the value was.
    pub path: Path,
    /// The value; `None` if the stored row cannot be read.
    pub value: Option<Value>,
    /// When it was recorded.
    pub at: String,
}

impl PreImageRecord {
    /// Its place in the list of pre-images, for [`ListQuery::after`](super::ListQuery::after).
    pub fn cursor(&self) -> Cursor {
        Cursor::from_number(self.id.number())
    }
}

/// Items of one kind: how many there are, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// How many.
    pub count: u64,
    /// The first of them, each with the path that it is about: an item with two such paths is there twice.
    pub first: Vec<(ItemKey, Path)>,
    /// An earlier version of this program made the first pass and has not recorded its pairs: there may be more.
    pub unrecorded: bool,
}

/// What a write is about to change in an item, recorded for a rollback before the write is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct PreImageRow {
    /// The item.
    pub key: ItemKey,
    /// Where, and what is there.
    pub pre: PreImage,
}

/// The baseline of the items of a page, recorded before any of them is written.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselinePage {
    /// The session of the run that records it.
    pub session: SessionId,
    /// The segment.
    pub segment: u32,
    /// Number of the page in it.
    pub number: u64,
    /// Items with preexisting targets: these targets, with digests of their values.
    pub preexisting: Vec<(ItemKey, Vec<(Path, Digest)>)>,
    /// Items with pairs that a rollback changes from what they were, or whose new value readers see for the first time.
    pub pairs: Vec<(ItemKey, Vec<(Path, BaselinePair)>)>,
    /// Digests of the keys of items that may be written.
    pub may_write: Vec<Digest>,
    /// Items with targets that were filled behind the look at them.
    pub filled: Vec<Filled>,
}

/// Targets that hold another value than their source, in an item of which writes may have been applied without an answer: by
/// a process that was killed, or by this one. Those that no such write has filled are a live writer's, and count as there
/// before the migration. Only a change that skips asks for this: of each of its writes the digest of the value is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Filled {
    /// The item.
    pub key: ItemKey,
    /// The targets, with digests of their values.
    pub targets: Vec<(Path, Digest)>,
    /// Pre-images of writes that were certainly refused, whether or not that is recorded yet.
    pub refused: Vec<PreImageId>,
}

impl BaselinePage {
    /// Of a session, with nothing in it.
    pub fn empty(session: SessionId, segment: u32, number: u64) -> BaselinePage {
        let (preexisting, pairs) = (Vec::new(), Vec::new());
        BaselinePage { session, segment, number, preexisting, pairs, may_write: Vec::new(), filled: Vec::new() }
    }
}

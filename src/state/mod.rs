//! Durable progress: what a segment's state is, how it may change, and the port that keeps it.
//!
//! [`SegmentState::next`] is the only way in which progress moves, live and when a state file is read back.

mod packed;
mod progress;
mod spend;

pub mod sqlite;

use std::collections::HashSet;

use async_trait::async_trait;

pub use packed::only_if_kept;
pub use progress::{Counts, RunStatus, SegmentEvent, SegmentState, SegmentStatus, TransitionError};
pub use spend::{Reservation, Spend, SpendState};

use crate::change::{Digest, Lookup, MetPair, OnRecord, Outcome, PreImage};
use crate::item::{ItemKey, Path};

/// Names one run in a state file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub i64);

/// Names one recorded pre-image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PreImageId(pub i64);

/// Where progress is kept. The engine knows only this; one machine keeps it in SQLite ([`store`]), a fleet can keep it
/// elsewhere.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    /// Commits a segment's progress together with everything it rests on: failures, diverged items, refused pre-images.
    ///
    /// Before it returns `Ok`, nothing of it may be durable; after, all of it is. An error means that the run must stop:
    /// what was being committed will be read and written again, which is safe.
    async fn commit(&self, commit: Commit) -> Result<(), StoreError>;

    /// Appends pre-images. When it returns they are durable, and only then may the writes that destroy them be sent.
    async fn append_pre_images(&self, run: RunId, rows: Vec<PreImageRow>) -> Result<Vec<PreImageId>, StoreError>;

    /// What is on record of these items for a rollback, in their order. A record that cannot be read is one of its item
    /// alone ([`OnRecord::unreadable`]). Asked to report, a store that is damaged has nothing but such records.
    async fn recall(&self, keys: Vec<ItemKey>, lookup: Lookup) -> Result<Vec<OnRecord>, StoreError>;

    /// Records what the first look at a page's items has told. When it returns it is durable, and only then may the page's
    /// first write be sent.
    async fn append_page(&self, page: MetPage) -> Result<(), StoreError>;

    /// Digests of the keys of items that the run may have written in pages of this segment which were not committed: what
    /// they have now is not what they had before.
    async fn under_way(&self, run: RunId, segment: u32) -> Result<HashSet<Digest>, StoreError>;

    /// Marks pre-images whose write DynamoDB certainly did not apply, outside of a commit: for pages that are abandoned.
    async fn mark_refused(&self, ids: Vec<PreImageId>) -> Result<(), StoreError>;

    /// Reserves capacity before it is used. When it returns `Ok`, it is durable that the run has spent `spent` and may
    /// have spent the slice beyond it, and only then may the slice be used; it takes the place of the slice before. Should
    /// the process die, the whole slice counts as spent. After an error nothing of it may be used.
    async fn reserve(&self, run: RunId, reservation: Reservation) -> Result<(), StoreError>;
}

/// What is on record of items, for who only reads it.
#[async_trait]
pub trait Records: Send + Sync {
    /// Of these items, in their order.
    async fn of(&self, keys: Vec<ItemKey>, lookup: Lookup) -> Result<Vec<OnRecord>, StoreError>;
}

/// What phases are called in state files.
pub mod phase {
    /// `run`.
    pub const EXPAND: &str = "expand";
    /// `contract`.
    pub const CONTRACT: &str = "contract";
    /// The first phase of a `rollback` behind writes of the new attribute alone.
    pub const OLD_EQUAL_NEW: &str = "rollback:old-equal-new";
    /// The phase of a `rollback` that undoes the expansion. Where one is complete, what was on record counts no more for an
    /// expansion that begins behind it.
    pub const ROLLBACK: &str = "rollback";
}

/// What the first look at the items of a page has told, before any of them is written.
#[derive(Debug, Clone, PartialEq)]
pub struct MetPage {
    /// The run.
    pub run: RunId,
    /// The segment.
    pub segment: u32,
    /// Number of the page in it.
    pub number: u64,
    /// Items with targets that were there before the migration, which, and digests of their values.
    pub there_before: Vec<(ItemKey, Vec<(Path, Digest)>)>,
    /// Items with pairs that a rollback changes from what they were, or whose new value readers see for the first time.
    pub pairs: Vec<(ItemKey, Vec<(Path, MetPair)>)>,
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

impl MetPage {
    /// Of a run, with nothing in it.
    pub fn empty(run: RunId, segment: u32, number: u64) -> MetPage {
        let (there_before, pairs) = (Vec::new(), Vec::new());
        MetPage { run, segment, number, there_before, pairs, may_write: Vec::new(), filled: Vec::new() }
    }
}

/// Progress of one segment by one or more whole pages.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The run.
    pub run: RunId,
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

/// What a write is about to change of an item, for the way back.
#[derive(Debug, Clone, PartialEq)]
pub struct PreImageRow {
    /// The item.
    pub key: ItemKey,
    /// Where, and what is there.
    pub pre: PreImage,
}

/// Why the state could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process owns the state file.
    #[error("{0}")]
    Locked(String),
    /// The state file is of another plan, another table, another version, or not ours.
    #[error("{0}")]
    Foreign(String),
    /// The file cannot be read, or what is in it contradicts itself.
    #[error("{0}")]
    Corrupt(String),
    /// The disk, the directory or SQLite failed.
    #[error("{0}")]
    Io(String),
    /// The disk or SQLite failed while this process was storing, so it stores nothing more. What was committed before
    /// stays, and a later process resumes from it.
    #[error("{0}")]
    Broken(String),
    /// What was asked does not fit where the runs stand; nothing was changed. The text says what to ask instead.
    #[error("{0}")]
    Refused(String),
    /// Progress would have moved in a way that it never may.
    #[error("the checkpoint was refused, and nothing of it was stored: {0}")]
    Transition(#[from] TransitionError),
}

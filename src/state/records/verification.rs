//! Verifications.

use super::super::{PreImageId, RunId, SegmentEvent, SessionId};
use super::{NewRun, RunRecord};
use crate::cutover::Truths;
use crate::item::{ItemKey, Path};
use crate::state::{Stage, Verdict, VerdictCounts};

/// Mismatching items of one verdict that are kept, with their keys: enough to look into, and a few megabytes. All of them
/// are counted.
pub const MAX_MISMATCHES: u32 = 10_000;

/// What a verification is asked. One that was stopped is resumed only by one that is asked the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// How far the migration is.
    pub stage: Stage,
    /// Which side the other is derived from.
    pub truths: Truths,
    /// Whether mismatching items are repaired.
    pub repair: bool,
    /// Version of the cutover flag that `stage` and `truths` follow from; `None` without a flag.
    pub flag_version: Option<u64>,
    /// Number of clusters to draw; `None` reads the whole table.
    pub wanted: Option<u32>,
}

/// How a sample was drawn: enough to draw it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// The seed, below 2^63.
    pub seed: u64,
    /// Segments of the run that large ones are known of.
    pub run_segments: u32,
    /// Those that are large.
    pub large: Vec<u32>,
}

/// What a new verification is created with. It has no effect on one that is resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVerification {
    /// What is asked.
    pub asked: Asked,
    /// How the sample is drawn; `None` if the whole table is read.
    pub drawn: Option<Drawn>,
    /// Segments that are to be read.
    pub due: u32,
    /// `TotalSegments`, the version of the tool and the table's items; the phase is [`VERIFY`](super::super::phase::VERIFY).
    pub run: NewRun,
}

/// A verification as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct VerificationRecord {
    /// Its run.
    pub run: RunRecord,
    /// What it was asked.
    pub asked: Asked,
    /// How its sample was drawn.
    pub drawn: Option<Drawn>,
    /// Segments that it reads.
    pub due: u32,
    /// Whether it continues from checkpoints.
    pub resumed: bool,
}

/// Progress of one segment by one or more whole pages.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedPages {
    /// The session of the verification that commits it.
    pub session: SessionId,
    /// The segment.
    pub segment: u32,
    /// What happened to it.
    pub event: SegmentEvent,
    /// The verdicts on its items.
    pub verdicts: VerdictCounts,
    /// Those that did not match.
    pub mismatches: Vec<Mismatch>,
    /// Pre-images of repairs whose write DynamoDB certainly refused.
    pub refused: Vec<PreImageId>,
}

/// An item that did not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Its key.
    pub key: ItemKey,
    /// The worst of its changes.
    pub verdict: Verdict,
    /// Where.
    pub paths: Vec<Path>,
    /// Whether it was repaired.
    pub repaired: bool,
    /// Why it was not repaired, without attribute values.
    pub why: Option<String>,
}

/// The report of a complete verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReport {
    /// Its run.
    pub run: RunId,
    /// What it was asked.
    pub asked: Asked,
    /// When the run was created: nothing was read before.
    pub began_at: String,
    /// When it was complete.
    pub ended_at: String,
    /// The report, as canonical JSON.
    pub json: String,
    /// SHA-256 of that, in hexadecimal digits.
    pub hash: String,
}

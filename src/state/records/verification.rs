//! The records of verifications.

use super::super::{PreImageId, RunId, SegmentEvent, SessionId};
use super::{NewRun, RunRecord};
use crate::cutover::Truths;
use crate::item::{ItemKey, Path};
use crate::state::{Stage, Verdict, VerdictCounts};

/// The maximum number of stored mismatching items per verdict. This is enough to investigate, and takes a few
/// megabytes. All mismatches are counted.
pub const MAX_MISMATCHES: u32 = 10_000;

/// The parameters of a verification. Only a verification with equal parameters resumes a stopped one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The stage of the migration.
    pub stage: Stage,
    /// The side that the other side is derived from.
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
    /// Number of segments of the run that identified the large segments.
    pub run_segments: u32,
    /// The large segments of that run.
    pub large: Vec<u32>,
}

/// Parameters of a new verification. They have no effect on a resumed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVerification {
    /// Its parameters.
    pub asked: Asked,
    /// How the sample is drawn; `None` if the whole table is read.
    pub drawn: Option<Drawn>,
    /// Number of segments to read.
    pub due: u32,
    /// `TotalSegments`, the version of the tool and the table's items; the phase is
    /// [`VERIFY`](super::super::phase::VERIFY).
    pub run: NewRun,
}

/// A stored verification.
#[derive(Debug, Clone, PartialEq)]
pub struct VerificationRecord {
    /// Its run.
    pub run: RunRecord,
    /// Its parameters.
    pub asked: Asked,
    /// How its sample was drawn.
    pub drawn: Option<Drawn>,
    /// Number of segments to read.
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
    /// The event of the segment.
    pub event: SegmentEvent,
    /// The number of items by verdict.
    pub verdicts: VerdictCounts,
    /// The items that did not match.
    pub mismatches: Vec<Mismatch>,
    /// Pre-images of repairs whose write DynamoDB certainly refused.
    pub refused: Vec<PreImageId>,
}

/// An item that did not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Its key.
    pub key: ItemKey,
    /// The worst verdict among its changes.
    pub verdict: Verdict,
    /// The mismatching paths.
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
    /// Its parameters.
    pub asked: Asked,
    /// When the run was created. Nothing was read before that time.
    pub began_at: String,
    /// When it was complete.
    pub ended_at: String,
    /// The report as canonical JSON.
    pub json: String,
    /// The SHA-256 of the JSON in hexadecimal digits.
    pub hash: String,
}

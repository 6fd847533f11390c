//! The records of verifications.

use super::super::{PreImageId, RunId, SegmentEvent, SessionId};
use super::{NewRun, RunRecord};
use crate::cutover::TruthByKey;
use crate::item::{ItemKey, Path};
use crate::state::{TableStage, Verdict, VerdictCounts};

/// The maximum number of mismatching items that are stored for each verdict. The stored items take a few megabytes,
/// which is enough for an investigation. The counts include all mismatching items, stored or not.
pub const MAX_MISMATCHES: u32 = 10_000;

/// The parameters of a verification. A stopped verification is resumed only if the requested parameters equal its own
/// parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationParameters {
    /// The stage of the migration.
    pub stage: TableStage,
    /// The true side: the old or the new attributes. The other side is derived from the true side.
    pub truths: TruthByKey,
    /// Whether mismatching items are repaired.
    pub repair: bool,
    /// The version of the cutover flag from which `stage` and `truths` follow; `None` without a flag.
    pub flag_version: Option<u64>,
    /// Number of clusters in the sample; `None` if the whole table is read.
    pub sample_clusters: Option<u32>,
}

/// The inputs from which the clusters of a sample are drawn at random. The same inputs always draw the same clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleDraw {
    /// The seed of the random draw, below 2^63.
    pub seed: u64,
    /// The number of segments of an earlier run. The item counts of these segments showed which of them are large.
    pub run_segments: u32,
    /// The large segments of the earlier run.
    pub large: Vec<u32>,
}

/// Parameters of a new verification. A resumed verification ignores them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVerification {
    /// The parameters of the verification.
    pub parameters: VerificationParameters,
    /// The inputs from which the sample is drawn; `None` if the whole table is read.
    pub drawn: Option<SampleDraw>,
    /// Number of segments that the verification must read.
    pub segments_to_read: u32,
    /// The parameters of the verification's run. The phase of this run is [`VERIFY`](super::super::phase::VERIFY).
    pub run: NewRun,
}

/// A stored verification.
#[derive(Debug, Clone, PartialEq)]
pub struct VerificationRecord {
    /// The run of the verification.
    pub run: RunRecord,
    /// The parameters of the verification.
    pub parameters: VerificationParameters,
    /// The inputs from which the sample is drawn; `None` if the whole table is read.
    pub drawn: Option<SampleDraw>,
    /// Number of segments that the verification must read.
    pub segments_to_read: u32,
    /// Whether the verification was resumed from checkpoints.
    pub resumed: bool,
}

/// One or more finished pages of one segment of a verification, ready for a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedPages {
    /// The session that commits the pages.
    pub session: SessionId,
    /// The number of the segment.
    pub segment: u32,
    /// The event that [`SegmentState::next`](super::super::SegmentState::next) applies to the segment.
    pub event: SegmentEvent,
    /// The number of items for each verdict.
    pub verdicts: VerdictCounts,
    /// The items whose attributes did not match.
    pub mismatches: Vec<Mismatch>,
    /// The pre-images of those repairs that DynamoDB certainly refused.
    pub refused: Vec<PreImageId>,
}

/// An item whose attributes did not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The key of the item.
    pub key: ItemKey,
    /// The worst verdict among the item's changes.
    pub verdict: Verdict,
    /// The mismatching paths.
    pub paths: Vec<Path>,
    /// Whether the item was repaired.
    pub repaired: bool,
    /// The reason why the item was not repaired; `None` if it was repaired. A verification without a repair records
    /// what a repair would do, or `None` if it would only add a value. The text contains no attribute values.
    pub why: Option<String>,
}

/// The report of a complete verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReport {
    /// The run of the verification.
    pub run: RunId,
    /// The parameters of the verification.
    pub parameters: VerificationParameters,
    /// The time at which the run was created. All reads of the verification happened after this time.
    pub began_at: String,
    /// The time at which the verification became complete.
    pub ended_at: String,
    /// The report as canonical JSON.
    pub json: String,
    /// The SHA-256 of the JSON in hexadecimal digits.
    pub hash: String,
}

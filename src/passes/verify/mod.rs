//! Verification compares a table's items with the values that the plan implies.
//!
//! [`verify()`] reads a table, or a [`Sample`] of its clusters, and compares each item with the plan ([`Parity`]). On
//! request, it repairs mismatches ([`Repair`]). The result is a [`VerifyReport`]. For a sample, the report contains an
//! exact upper bound for the whole table ([`Clusters`]).

mod bound;
mod compare;
mod pass;
mod repair;
mod repair_preview;
mod report;
mod sample;

pub use crate::cutover::{Truth, TruthByKey};
pub use crate::state::{TableStage, Verdict, VerdictCounts};
pub use bound::{CONFIDENCE, Clusters, percent_text, upper_bound};
pub use compare::{Comparison, Parity};
pub use pass::{ItemHistories, VerificationResult, VerifyInput, begin, verify};
pub use repair::Repair;
pub use repair_preview::RepairPreview;
pub use report::{
    MAX_EXAMPLES, MAX_SEGMENTS, MismatchExample, RepairForecast, SampleReport, SegmentReport, VerifyReport,
};
pub use sample::{Sample, large_segments, total_clusters};

//! Parity: what a table's items are, held against what the plan implies.
//!
//! [`verify()`] reads a table, or a [`Sample`] of its clusters, holds each item against the plan ([`Parity`]), repairs what
//! does not match where that is asked ([`Repair`]), and makes a [`VerifyReport`]. What a sample proves of the whole is
//! an exact bound ([`Clusters`]).

mod bound;
mod compare;
mod pass;
mod repair;
mod repair_preview;
mod report;
mod sample;

pub use crate::cutover::{Truth, Truths};
pub use crate::state::{Stage, Verdict, VerdictCounts};
pub use bound::{CONFIDENCE, Clusters, percent_text, upper_bound};
pub use compare::{Comparison, Parity};
pub use pass::{Before, Verified, VerifyInput, begin, verify};
pub use repair::Repair;
pub use repair_preview::RepairPreview;
pub use report::{Example, MAX_EXAMPLES, MAX_SEGMENTS, SampleReport, SegmentReport, VerifyReport};
pub use sample::{Sample, large_segments, split};

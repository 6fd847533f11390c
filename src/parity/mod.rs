//! Parity: what a table's items are, held against what the plan implies.

mod bound;
mod compare;
mod repair;
mod report;
mod sample;

pub use bound::{CONFIDENCE, Clusters, percent_text, upper_bound};
pub use compare::{Comparison, Parity, Stage, Truth, Verdict, VerdictCounts};
pub use repair::Repair;
pub use report::{Example, MAX_EXAMPLES, MAX_SEGMENTS, SampleReport, SegmentReport, VerifyReport};
pub use sample::{Sample, large_segments, split};

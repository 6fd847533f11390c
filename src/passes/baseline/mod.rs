//! Records the baseline: an item's state before the migration first writes it.

mod baseline_pass;
mod completion;
pub(crate) mod recorder;

pub(crate) use baseline_pass::BaselinePass;
pub use recorder::BaselineRecorder;

//! Records the baseline: the state of an item before the migration writes it for the first time.

mod baseline_pass;
mod completion;
pub(crate) mod recorder;

pub(crate) use baseline_pass::BaselinePass;
pub use recorder::BaselineRecorder;

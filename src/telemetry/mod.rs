//! What a run tells about itself: live figures, the progress line, and the summary at its end.

pub mod display;
mod pace;
mod progress;
mod summary;

pub use pace::Pace;
pub use progress::{Progress, Snapshot};
pub use summary::{number, write_counts, write_prediction};

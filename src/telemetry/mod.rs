//! What a run tells about itself while it is on.

mod progress;

pub use progress::{Progress, Snapshot};

//! The pass that the hooks announce.

use super::detect::Detector;
use super::event::PassState;

/// The pass that runs, or that has just been requested.
pub(super) struct CurrentPass {
    pub(super) phase: &'static str,
    /// What the pass was doing when it was last seen; `None` before it has begun.
    pub(super) state: Option<PassState>,
    pub(super) detector: Detector,
}

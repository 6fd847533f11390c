//! From an item's image to a decision.
use super::GuardedWrite;

/// All changes of a plan, ready to be applied to items.
#[derive(Debug)]
pub struct Changes;

/// What one item needs.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// This write.
    Write(GuardedWrite),
}

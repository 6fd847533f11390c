//! The decision for one item.

use std::fmt::Debug;

use super::{GuardedWrite, Rule};
use crate::item::{Item, Path};

/// Decides about items with a rule of its own, instead of the operations of a plan.
pub trait Decider: Debug + Send + Sync {
    /// Decides what an item needs, like [`Changes::decide`](super::Changes::decide).
    fn decide(&self, item: &Item) -> Decision;
}

/// The decision about one item.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// No change of the plan applies to the item.
    NothingToDo,
    /// The item already matches the plan.
    AlreadyApplied,
    /// These targets already have a different value, which stays and counts as done. The item needs no other change.
    Skipped(Vec<Path>),
    /// These targets have a different value from the value that the plan implies. The value stays, and the item is not
    /// written.
    Diverged(Vec<Path>),
    /// The item's shape does not allow a change. The text is the reason, without attribute values.
    Rejected(String),
    /// This write would make the item match the plan, but this rule forbids the write. The write is not sent.
    Refused(Box<GuardedWrite>, Rule),
    /// This write makes the item match the plan.
    Write(GuardedWrite),
}

//! The decision for one item.

use std::fmt::Debug;

use super::{GuardedWrite, Rule};
use crate::item::{Item, Path};

/// Decides on items by another rule than a plan's operations.
pub trait Decides: Debug + Send + Sync {
    /// See [`Changes::decide`](super::Changes::decide).
    fn decide(&self, item: &Item) -> Decision;
}

/// What one item needs.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The plan asks nothing of it.
    NothingToDo,
    /// It is as the plan implies.
    AlreadyApplied,
    /// These targets already have another value, which stays and counts as done; nothing else is left to do.
    Skipped(Vec<Path>),
    /// These targets hold something else than the plan implies, and are kept; nothing of the item is written.
    Diverged(Vec<Path>),
    /// The item's shape does not allow a change, for this reason (without attribute values).
    Rejected(String),
    /// This write would make it as the plan implies, but DynamoDB rejects it by this rule. It is not sent.
    Refused(Box<GuardedWrite>, Rule),
    /// This write makes it as the plan implies.
    Write(GuardedWrite),
}

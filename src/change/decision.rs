//! The decision for one item.

use std::fmt::Debug;

use super::{GuardedWrite, ProgramQuestion, Rule};
use crate::item::{Item, NotComputable, Path};

/// A rule that makes the decision for each item, instead of the plan's operations.
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
    /// These targets already have values that differ from what the plan implies. The values stay and count as done, and
    /// the item needs no other change.
    Skipped(Vec<Path>),
    /// The values of these targets differ from what the plan implies. The values stay, and the item is not written.
    Diverged(Vec<Path>),
    /// The item's shape does not allow a change. The text states the reason, and contains no attribute values.
    Rejected(String),
    /// An expression or conversion of the plan has no result for the item, so the item is not written.
    NotComputable(NotComputable),
    /// This write would make the item match the plan, but this rule forbids the write, so the write is not sent.
    Refused(Box<GuardedWrite>, Rule),
    /// The item needs a write, but programs must answer these questions first ([`Changes::decide_answered`]). The write
    /// lacks the values that the programs compute, so it must not be sent. It contains only the changes that are
    /// already known, and the markers.
    ///
    /// [`Changes::decide_answered`]: super::Changes::decide_answered
    NeedsAnswers(Vec<ProgramQuestion>, Box<GuardedWrite>),
    /// This write makes the item match the plan.
    Write(GuardedWrite),
}

//! The crash points: the named moments at which a kill leaves different traces.
//!
//! The crate documentation lists them under "Crash points", and states what the next process finds after each of them.
//! Tests kill a process at each crash point by name. They kill the real binary with SIGKILL, and simulate the kill in
//! memory ([`super::memory::MemoryState::with_crash_points`]).

use std::fmt;

/// A moment at which a kill leaves traces that differ from the traces of a kill just before or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CrashPoint {
    /// A page's baseline is about to be stored.
    BaselineUnrecorded,
    /// A page's baseline is durable, and no item of the page was written.
    BaselineRecorded,
    /// A read-only pass records the baseline of items that a stopped pass has not read.
    BaselineCompletion,
    /// A program computes values for a page.
    ProgramAsked,
    /// The prior values of a write are about to be stored.
    PriorValuesUnrecorded,
    /// The prior values of a write are durable, and the write was not sent.
    PriorValuesRecorded,
    /// DynamoDB has carried out a write, and its reply was not handled.
    WriteUnanswered,
    /// All writes of a page are answered, and the commit is about to be stored.
    PageUncommitted,
    /// DynamoDB has accepted a delete, and its confirmation is about to be stored.
    DeleteUnconfirmed,
    /// A rollback has restored a deleted item, and the item's mark is about to be stored.
    PutBackUnmarked,
    /// A page's commit is durable.
    PageCommitted,
    /// A slice of capacity is reserved, and no part of it was used.
    CapacityReserved,
}

impl CrashPoint {
    /// Every crash point, in the order of the documentation.
    pub const ALL: [CrashPoint; 12] = [
        CrashPoint::BaselineUnrecorded,
        CrashPoint::BaselineRecorded,
        CrashPoint::BaselineCompletion,
        CrashPoint::ProgramAsked,
        CrashPoint::PriorValuesUnrecorded,
        CrashPoint::PriorValuesRecorded,
        CrashPoint::WriteUnanswered,
        CrashPoint::PageUncommitted,
        CrashPoint::DeleteUnconfirmed,
        CrashPoint::PutBackUnmarked,
        CrashPoint::PageCommitted,
        CrashPoint::CapacityReserved,
    ];

    /// Returns the name that the documentation and the tests use.
    pub fn name(self) -> &'static str {
        match self {
            CrashPoint::BaselineUnrecorded => "baseline-unrecorded",
            CrashPoint::BaselineRecorded => "baseline-recorded",
            CrashPoint::BaselineCompletion => "baseline-completion",
            CrashPoint::ProgramAsked => "program-asked",
            CrashPoint::PriorValuesUnrecorded => "prior-values-unrecorded",
            CrashPoint::PriorValuesRecorded => "prior-values-recorded",
            CrashPoint::WriteUnanswered => "write-unanswered",
            CrashPoint::PageUncommitted => "page-uncommitted",
            CrashPoint::DeleteUnconfirmed => "delete-unconfirmed",
            CrashPoint::PutBackUnmarked => "put-back-unmarked",
            CrashPoint::PageCommitted => "page-committed",
            CrashPoint::CapacityReserved => "capacity-reserved",
        }
    }
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The crate documentation lists every crash point, in this order.
    #[test]
    fn the_crate_documentation_lists_every_crash_point() {
        let documented: Vec<&str> = include_str!("../lib.rs")
            .lines()
            .skip_while(|line| *line != "//! # Crash points")
            .skip(1)
            .take_while(|line| !line.starts_with("//! # "))
            .filter_map(|line| line.strip_prefix("//! | `")?.split('`').next())
            .collect();
        assert_eq!(documented, CrashPoint::ALL.map(CrashPoint::name));
    }
}

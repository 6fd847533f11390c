//! A whole migration, for a report.

use std::collections::BTreeMap;

use super::super::RunId;
use super::{EventRecord, RunProgress, StateSummary, StoredFact, StoredReport};
use crate::change::Outcome;
use crate::item::{ItemKey, Path};

/// The limits for reading a migration. Each limit bounds a part of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordLimits {
    /// The maximum number of cells into which a run's segments are grouped; at least 1.
    pub cells: u32,
    /// The maximum number of verification reports.
    pub reports: u32,
    /// The maximum number of groups of failures, and of groups of diverged items. If this number is 0, no records are
    /// read, and the counts are 0.
    pub groups: u32,
    /// The maximum number of keys in a group. With 0, no key is read.
    pub keys: u32,
    /// Whether to count the derived items in the journal. Only the state of a plan with `put` has any.
    pub derived_items: bool,
}

/// Everything that a state file records about a migration, read in one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct MigrationRecord {
    /// The data that `status` shows.
    pub summary: StateSummary,
    /// All runs, oldest first.
    pub runs: Vec<RunDetails>,
    /// All events, oldest first.
    pub events: Vec<EventRecord>,
    /// All facts by name.
    pub facts: BTreeMap<String, String>,
    /// The reports of complete verifications, newest first.
    pub reports: Vec<StoredReport>,
    /// Failures, grouped by reason; the largest groups first.
    pub failures: WorkGroups<FailureGroup>,
    /// Diverged items, grouped by paths; the largest groups first.
    pub diverged: WorkGroups<DivergedGroup>,
    /// Number of derived items that the journal records; `None` if they were not counted.
    pub derived_items: Option<u64>,
}

/// Groups of failures or of diverged items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkGroups<T> {
    /// The largest groups.
    pub groups: Vec<T>,
    /// Number of records in groups that are not listed.
    pub unlisted: u64,
    /// Number of damaged records, which belong to no group.
    pub damaged: u64,
}

/// A run with its progress and its segments.
#[derive(Debug, Clone, PartialEq)]
pub struct RunDetails {
    /// The run and its totals.
    pub progress: RunProgress,
    /// The segments in ascending order, grouped into cells.
    pub cells: Vec<SegmentCell>,
}

/// Neighbouring segments of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SegmentCell {
    /// The first segment.
    pub first: u32,
    /// The last segment.
    pub last: u32,
    /// Number of segments that have committed pages but are not done.
    pub scanning: u32,
    /// Number of segments that are done.
    pub done: u32,
    /// Number of committed pages.
    pub pages: u64,
    /// Number of items on these pages.
    pub scanned: u64,
}

impl SegmentCell {
    /// Returns the number of segments.
    pub fn segments(&self) -> u32 {
        (self.last + 1).saturating_sub(self.first)
    }

    /// Returns the cells of a run with this number of segments, without progress.
    pub(in crate::state) fn empty(total_segments: u32, limit: u32) -> Vec<SegmentCell> {
        let cells = u64::from(total_segments.min(limit.max(1)));
        let first = |cell: u64| u32::try_from((cell * u64::from(total_segments)).div_ceil(cells)).unwrap_or(u32::MAX);
        (0..cells)
            .map(|cell| SegmentCell { first: first(cell), last: first(cell + 1) - 1, ..SegmentCell::default() })
            .collect()
    }
}

/// The failures of a run that have the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureGroup {
    /// The run in which the items failed.
    pub run: RunId,
    /// The outcome of the last failed attempts.
    pub outcome: Outcome,
    /// The reason. It contains no attribute values.
    pub reason: String,
    /// Number of failures that are open.
    pub open: u64,
    /// Number of failures that are resolved.
    pub resolved: u64,
    /// The keys of the first open failures.
    pub keys: Vec<ItemKey>,
}

/// The diverged items of a run that differ at the same paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DivergedGroup {
    /// The run that found the items.
    pub run: RunId,
    /// The targets whose values differ.
    pub paths: Vec<Path>,
    /// Number of items that are open.
    pub open: u64,
    /// Number of items that are resolved.
    pub resolved: u64,
    /// The keys of the first open items.
    pub keys: Vec<ItemKey>,
}

impl MigrationRecord {
    /// Returns a stored fact; `None` if it was never stored.
    pub fn fact(&self, fact: StoredFact) -> Option<&str> {
        self.facts.get(fact.name().as_ref()).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every segment is in exactly one cell, and SQL's division finds the same cell.
        #[test]
        fn cells_cover_all_segments(total in 1_u32..5_000, limit in 0_u32..600) {
            let cells = SegmentCell::empty(total, limit);
            prop_assert!(cells.len() <= limit.max(1) as usize);
            let mut next = 0;
            for (at, cell) in cells.iter().enumerate() {
                prop_assert_eq!(cell.first, next);
                prop_assert!(cell.last >= cell.first);
                for segment in cell.first..=cell.last {
                    prop_assert_eq!(u64::from(segment) * cells.len() as u64 / u64::from(total), at as u64);
                }
                next = cell.last + 1;
            }
            prop_assert_eq!(next, total);
        }
    }
}

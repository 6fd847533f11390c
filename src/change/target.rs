//! Targets of copies.

use super::Change;
use crate::item::Path;

/// The target of a copy.
#[derive(Debug, Clone)]
pub(super) struct CopyTarget {
    pub(super) to: Path,
    /// Whether a preexisting value stays and counts as done.
    pub(super) skips_existing: bool,
}

impl CopyTarget {
    /// Returns the targets to which these changes copy a path. A move does not count as a copy, because it removes its
    /// source.
    pub(super) fn copies_of(changes: &[Change], path: &Path) -> Vec<CopyTarget> {
        let copy = |change: &Change| match change {
            Change::Copy { from, to, .. } if from == path => {
                Some(CopyTarget { to: to.clone(), skips_existing: change.skips_existing() })
            }
            Change::Copy { .. }
            | Change::Move { .. }
            | Change::Set { .. }
            | Change::Remove { .. }
            | Change::Compute { .. }
            | Change::Convert { .. }
            | Change::Bump { .. }
            | Change::Exec { .. }
            | Change::Append { .. }
            | Change::Delete { .. }
            | Change::Put { .. }
            | Change::Each { .. } => None,
        };
        changes.iter().filter_map(copy).collect()
    }
}

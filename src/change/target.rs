//! Targets of copies.

use super::Change;
use crate::item::Path;

/// The target of a copy.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) to: Path,
    /// Whether a preexisting value stays and counts as done.
    pub(super) skips: bool,
}

impl Target {
    /// The targets to which these changes copy a path. A move does not count as a copy, because it removes its source.
    pub(super) fn copies_of(changes: &[Change], path: &Path) -> Vec<Target> {
        let copy = |change: &Change| match change {
            Change::Copy { from, to, .. } if from == path => Some(Target { to: to.clone(), skips: change.skips() }),
            Change::Copy { .. } | Change::Move { .. } | Change::Set { .. } | Change::Remove { .. } => None,
        };
        changes.iter().filter_map(copy).collect()
    }
}

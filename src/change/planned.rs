//! One change of a plan: what it reads, and what it may change.

use super::{Change, ItemRules, Selected};
use crate::item::{Item, Path};

/// One change of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedChange {
    /// The path that identifies the change in the plan. `None` if the change deletes the item or puts a derived item.
    own_path: Option<Path>,
    /// The paths that the change reads ([`Change::sources`]).
    pub(super) sources: Vec<Path>,
    /// The paths that the change may change. `None` if it deletes the item or puts a derived item.
    changed: Option<Vec<Path>>,
}

impl Change {
    /// Returns the paths without which the change has nothing to do, or from which it computes a value. Leaves out the
    /// paths that the change itself creates.
    pub fn sources(&self) -> Vec<&Path> {
        let paths = self.paths();
        let own = match self {
            Change::Convert { path, .. } | Change::Bump { path } | Change::Remove { path } => Some(path),
            Change::Each { each } => Some(each.container()),
            Change::Move { .. }
            | Change::Copy { .. }
            | Change::Set { .. }
            | Change::Compute { .. }
            | Change::Append { .. }
            | Change::Exec { .. }
            | Change::Delete { .. }
            | Change::Put { .. } => None,
        };
        let read = paths.reads.into_iter().chain(paths.inputs).filter(|path| !paths.writes.contains(path));
        let mut sources: Vec<&Path> = Vec::new();
        for path in own.into_iter().chain(read) {
            if !sources.contains(&path) {
                sources.push(path);
            }
        }
        sources
    }
}

impl PlannedChange {
    /// Returns the changes of a plan, in the plan's order.
    pub(super) fn from_changes(changes: &[Change]) -> Vec<PlannedChange> {
        let of_change = |change: &Change| {
            let is_whole = change.deletes_items() || change.derived().is_some();
            let paths = change.paths();
            let changed = paths.writes.into_iter().chain(paths.removes).cloned().collect();
            PlannedChange {
                own_path: change.own_path().cloned(),
                sources: change.sources().into_iter().cloned().collect(),
                changed: (!is_whole).then_some(changed),
            }
        };
        changes.iter().map(of_change).collect()
    }

    /// Returns whether the change applies to this item, and the item has something that the change reads.
    pub(super) fn concerns(&self, item: &Item, rules: &ItemRules) -> bool {
        let has_source = self.sources.is_empty() || self.sources.iter().any(|path| path.get(item).is_some());
        has_source && self.own_path.as_ref().is_none_or(|path| rules.applies(path, item) == Selected::Yes)
    }

    /// Returns whether the change is a part of the write that turns `before` into `after`.
    pub(super) fn is_made(&self, before: &Item, after: &Item) -> bool {
        self.changed.as_ref().is_none_or(|paths| paths.iter().any(|path| path.get(before) != path.get(after)))
    }
}

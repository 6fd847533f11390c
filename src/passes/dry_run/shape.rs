//! The kinds of change that a dry run lists: paths and types, without values.

use std::collections::BTreeMap;

use crate::change::{Action, GuardedWrite};
use crate::item::{Item, Path};

/// One kind of change: the paths that it touches, and the types of their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The touched paths and their current types (`-` if absent).
    pub before: String,
    /// The types at the same paths after the change.
    pub after: String,
    /// Number of items with this shape.
    pub items: u64,
}

/// Returns the paths that a write touches, with their types before and after the write.
pub(super) fn shape(item: &Item, write: &GuardedWrite) -> Shape {
    let mut before: BTreeMap<&Path, &'static str> = BTreeMap::new();
    let mut after: BTreeMap<&Path, &'static str> = BTreeMap::new();
    let kind = |path: &Path| path.get(item).map_or("-", |v| v.type_name());
    for action in &write.actions {
        match action {
            Action::SetFrom { to, from, .. } => {
                before.insert(from, kind(from));
                before.insert(to, kind(to));
                after.entry(from).or_insert_with(|| kind(from));
                after.insert(to, kind(from));
            }
            Action::SetValue { to, value } => {
                before.insert(to, kind(to));
                after.insert(to, value.type_name());
            }
            Action::Remove { path } => {
                before.insert(path, kind(path));
                after.insert(path, "-");
            }
            Action::DeleteItem { .. } => return Shape { before: "an item".into(), after: "no item".into(), items: 1 },
            Action::PutItem { .. } => return Shape { before: "no item".into(), after: "an item".into(), items: 1 },
            Action::PutDerived { .. } => {
                return Shape { before: "no derived item".into(), after: "a derived item".into(), items: 1 };
            }
        }
    }
    let text = |side: BTreeMap<&Path, &'static str>| {
        side.iter().map(|(path, kind)| format!("{path}: {kind}")).collect::<Vec<_>>().join(", ")
    };
    Shape { before: text(before), after: text(after), items: 1 }
}

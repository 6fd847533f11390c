//! The properties of one change: the paths that it uses, and what its kind implies.

use std::sync::Arc;

use super::computed::{RAISES_OF_THE_WAY_BACK, can_be_raised};
use super::{Change, DerivedItem, Each, EditFailure, Exec, GapRule, ItemRules, OnExisting, Replaced};
use crate::item::{Item, Path, Value};

/// The paths that a change uses during the whole migration, from `run` to `contract`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangePaths<'a> {
    /// Paths whose values are moved or copied.
    pub reads: Vec<&'a Path>,
    /// Paths from which the value of a target is computed. A write is conditional on each of them.
    pub inputs: Vec<&'a Path>,
    /// Paths that get a value.
    pub writes: Vec<&'a Path>,
    /// Paths that are removed. An in-place plan removes them in the same write; otherwise `contract` removes them.
    pub removes: Vec<&'a Path>,
}

impl<'a> ChangePaths<'a> {
    /// Returns each path that the change copies, paired with each path that gets its value.
    pub fn pairs(&self) -> Vec<(&'a Path, &'a Path)> {
        self.reads.iter().flat_map(|read| self.writes.iter().map(|written| (*read, *written))).collect()
    }
}

impl Change {
    /// Returns the paths that the change reads, writes and removes. Code that needs only the paths calls this function,
    /// so the code also works for new kinds of change.
    pub fn paths(&self) -> ChangePaths<'_> {
        let mut paths = ChangePaths { reads: Vec::new(), inputs: Vec::new(), writes: Vec::new(), removes: Vec::new() };
        match self {
            Change::Move { from, to, .. } => {
                paths.reads.push(from);
                paths.writes.push(to);
                paths.removes.push(from);
            }
            Change::Copy { from, to, .. } => {
                paths.reads.push(from);
                paths.writes.push(to);
            }
            Change::Set { to, .. } | Change::Append { to, .. } => paths.writes.push(to),
            Change::Remove { path } => paths.removes.push(path),
            Change::Compute { to, formula, replaces, .. } => {
                paths.inputs.extend(formula.inputs());
                paths.writes.push(to);
                if let Some(Replaced { path, inverse }) = replaces {
                    let others = inverse.iter().flat_map(|inverse| inverse.formula().inputs());
                    let is_known = |input: &&Path| formula.inputs().contains(input) || input.overlaps(to);
                    paths.inputs.extend(others.filter(|input| !is_known(input)));
                    paths.removes.push(path);
                }
            }
            Change::Convert { path, .. } | Change::Bump { path } => paths.writes.push(path),
            Change::Delete { gap: GapRule::Version(path), .. } => paths.inputs.push(path),
            Change::Delete { gap: GapRule::Attributes(_) | GapRule::WritersStopped, .. } => {}
            Change::Exec { exec, .. } => {
                paths.inputs.extend(&exec.inputs);
                paths.writes.extend(exec.targets());
            }
            Change::Each { each } => {
                paths.inputs.extend(each.inputs());
                paths.writes.push(each.container());
            }
            // The attributes of the derived item are not paths of the source item.
            Change::Put { derived } => paths.inputs.extend(derived.inputs()),
        }
        paths
    }

    /// Returns the path that identifies the change in its plan: its target, or the path that it removes. No two changes
    /// of a plan have the same path.
    pub fn own_path(&self) -> Option<&Path> {
        let paths = self.paths();
        paths.writes.first().or(paths.removes.first()).copied()
    }

    /// Returns what happens if the target already has a different value, or `None` if the change has no target.
    pub fn on_existing(&self) -> Option<OnExisting> {
        match self {
            Change::Move { on_existing, .. }
            | Change::Copy { on_existing, .. }
            | Change::Set { on_existing, .. }
            | Change::Compute { on_existing, .. }
            | Change::Exec { on_existing, .. } => Some(*on_existing),
            // Each change in the elements has its own `on_existing`.
            Change::Each { .. } => None,
            Change::Remove { .. }
            | Change::Convert { .. }
            | Change::Append { .. }
            | Change::Bump { .. }
            | Change::Delete { .. }
            | Change::Put { .. } => None,
        }
    }

    /// Returns the same change with this `on_existing`.
    #[must_use]
    pub fn with_on_existing(mut self, value: OnExisting) -> Change {
        match &mut self {
            Change::Move { on_existing, .. }
            | Change::Copy { on_existing, .. }
            | Change::Set { on_existing, .. }
            | Change::Compute { on_existing, .. }
            | Change::Exec { on_existing, .. } => *on_existing = value,
            Change::Remove { .. }
            | Change::Convert { .. }
            | Change::Append { .. }
            | Change::Bump { .. }
            | Change::Delete { .. }
            | Change::Put { .. }
            | Change::Each { .. } => {}
        }
        self
    }

    /// Returns whether the change only writes values, so that no reader or writer has to stop using an old attribute.
    pub fn only_writes_values(&self) -> bool {
        match self {
            Change::Set { .. }
            | Change::Compute { replaces: None, .. }
            | Change::Convert { .. }
            | Change::Append { .. }
            | Change::Bump { .. }
            | Change::Exec { .. }
            // A plan with such a change has no cutover. `run` changes the elements immediately, as it does for a
            // `convert`.
            | Change::Each { .. }
            | Change::Put { .. } => true,
            Change::Move { .. }
            | Change::Copy { .. }
            | Change::Remove { .. }
            | Change::Delete { .. }
            | Change::Compute { replaces: Some(_), .. } => false,
        }
    }

    /// Returns whether [`Change::is_computable`] can be false.
    pub fn may_be_not_computable(&self) -> bool {
        match self {
            Change::Compute { .. }
            | Change::Convert { .. }
            | Change::Append { .. }
            | Change::Bump { .. }
            | Change::Delete { .. }
            | Change::Put { .. } => true,
            Change::Each { each } => each.computes(),
            // An invalid answer of a program is a failure that no plan can skip.
            Change::Move { .. }
            | Change::Copy { .. }
            | Change::Set { .. }
            | Change::Remove { .. }
            | Change::Exec { .. } => false,
        }
    }

    /// Returns whether every expression and conversion of this change has a result for this item, and whether the
    /// version that it needs is valid. `rules` are the plan's rules.
    ///
    /// It is enough that a rollback can raise the version, because a run may already have written the item. `run`
    /// requires room for more raises.
    pub fn is_computable(&self, item: &Item, rules: &ItemRules) -> bool {
        let facts = &rules.facts;
        match self {
            Change::Append { to, addition } => {
                addition.added_to(rules.options.of(to).target_value(to, item, None)).is_ok()
            }
            // If the item has no old value, there is nothing to replace.
            Change::Compute { replaces: Some(replaced), .. } if replaced.path.get(item).is_none() => true,
            Change::Compute { formula, replaces: Some(_), .. } => formula.value(item, facts).is_ok(),
            // With `skip`, any existing value counts as done.
            Change::Compute { to, formula, on_existing, replaces: None } => {
                let has_value = || rules.options.of(to).target_value(to, item, None).is_some();
                formula.value(item, facts).is_ok() || (*on_existing == OnExisting::Skip && has_value())
            }
            Change::Convert { path, conversion } => {
                path.get(item).is_none_or(|value| conversion.is_converted(value) || conversion.apply(value).is_ok())
            }
            Change::Bump { path } => {
                matches!(path.get(item), Some(Value::N(number)) if can_be_raised(number, RAISES_OF_THE_WAY_BACK))
            }
            Change::Delete { gap: GapRule::Version(path), .. } => matches!(path.get(item), Some(Value::N(_))),
            Change::Each { each } => !matches!(each.edit(item, facts), Err(EditFailure::NotComputable(_))),
            Change::Put { derived } => {
                derived.expressions().all(|(_, expression)| expression.evaluate(item, facts).is_ok())
            }
            Change::Delete { gap: GapRule::Attributes(_) | GapRule::WritersStopped, .. }
            | Change::Move { .. }
            | Change::Copy { .. }
            | Change::Set { .. }
            | Change::Remove { .. }
            | Change::Exec { .. } => true,
        }
    }

    /// Returns whether the change deletes whole items.
    pub fn deletes_items(&self) -> bool {
        matches!(self, Change::Delete { .. })
    }

    /// Returns the changes in the elements of a container, if the change has any.
    pub fn each(&self) -> Option<&Arc<Each>> {
        if let Change::Each { each } = self { Some(each) } else { None }
    }

    /// Returns how the change computes a derived item for each selected item. Returns `None` if the change puts no
    /// derived items.
    pub fn derived(&self) -> Option<&Arc<DerivedItem>> {
        if let Change::Put { derived } = self { Some(derived) } else { None }
    }

    /// Returns the program that computes values, if the change has one.
    pub fn program(&self) -> Option<&Arc<Exec>> {
        if let Change::Exec { exec, .. } = self { Some(exec) } else { None }
    }

    /// Returns how the change deletes items, and whether the journal keeps them. Returns `None` if the change deletes
    /// no items.
    pub fn deletion(&self) -> Option<(&GapRule, bool)> {
        if let Change::Delete { gap, keeps_image } = self { Some((gap, *keeps_image)) } else { None }
    }

    /// Returns the target and the replaced attribute of a change without an `inverse`. No old value can be computed
    /// from its new values.
    pub fn without_inverse(&self) -> Option<(&Path, &Path)> {
        if let Change::Compute { to, replaces: Some(Replaced { path, inverse: None }), .. } = self {
            Some((to, path))
        } else {
            None
        }
    }

    /// Returns the old and the new path of a move if they are in different maps.
    pub fn moved_between_maps(&self) -> Option<(&Path, &Path)> {
        match self {
            Change::Move { from, to, .. } if from.parent() != to.parent() => Some((from, to)),
            Change::Move { .. }
            | Change::Copy { .. }
            | Change::Set { .. }
            | Change::Remove { .. }
            | Change::Compute { .. }
            | Change::Convert { .. }
            | Change::Append { .. }
            | Change::Each { .. }
            | Change::Exec { .. }
            | Change::Bump { .. }
            | Change::Delete { .. }
            | Change::Put { .. } => None,
        }
    }

    /// Returns whether the change removes exactly this path.
    pub fn removes(&self, removed: &Path) -> bool {
        matches!(self, Change::Remove { path } if path == removed)
    }

    /// Returns whether the change keeps an existing value at its target and counts it as done.
    pub fn skips_existing(&self) -> bool {
        self.on_existing() == Some(OnExisting::Skip)
    }
}

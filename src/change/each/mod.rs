//! `each`: changes in every element of a list, or in every value of a map.
//!
//! The changes of a container produce one new value for the container. The write stores this value on
//! condition that the container has not changed since it was read. The write never addresses an element by its
//! position, because another element may have this position when the write arrives. The journal records the exact old
//! container.
//!
//! [`Each::edit`] is a pure function. The plan's rules ensure that no edit reads a value that another edit or the edit
//! itself writes. So applying the function twice gives the same container as applying it once, and the order of the
//! edits does not matter.

mod edit;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

pub use edit::{EditFailure, Edited, ElementFault};

use super::draft::Draft;
use super::{Change, Formula, OnExisting, PreImage};
use crate::convert::Conversion;
use crate::expr::Expr;
use crate::item::{Path, Value};

/// The changes of a plan in every element of one list, or in every value of one map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Each {
    container: Path,
    edits: Vec<ElementEdit>,
    inputs: Vec<Path>,
}

/// One change in an element. Its paths start at the element.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum ElementEdit {
    /// Moves a value within the element.
    Move {
        /// The old path.
        from: Path,
        /// The new path.
        to: Path,
        /// What happens to an existing value at the new path.
        existing: ExistingRule,
    },
    /// Writes this constant.
    Set {
        /// The path that is written.
        to: Path,
        /// The constant.
        value: Value,
        /// What happens to an existing value.
        existing: ExistingRule,
    },
    /// Removes the path.
    Remove {
        /// The path that is removed.
        path: Path,
    },
    /// Writes the result of an expression over the element and the item.
    Compute {
        /// The path that is written.
        to: Path,
        /// The expression.
        expression: Expr,
        /// What happens to an existing value.
        existing: ExistingRule,
    },
    /// Converts a value to another type, under the same name.
    Convert {
        /// The path.
        path: Path,
        /// The conversion. It changes the value's type, so a converted value is never converted twice.
        conversion: Conversion,
    },
    /// Writes the converted value of one path to another path.
    ConvertInto {
        /// The path whose value is converted. It keeps its value.
        from: Path,
        /// The path that is written.
        to: Path,
        /// The conversion.
        conversion: Conversion,
        /// What happens to an existing value.
        existing: ExistingRule,
    },
}

/// What happens to an existing value at the target of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExistingRule {
    /// What happens to a value that differs from the one that the plan implies.
    pub on_existing: OnExisting,
    /// Whether a NULL at the target, or at a map that contains the target, counts as missing.
    pub null_is_missing: bool,
}

/// The paths of an edit. They start at the element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditPaths<'a> {
    /// The path whose value is moved.
    pub moved: Option<&'a Path>,
    /// The paths from which a value is computed.
    pub inputs: Vec<&'a Path>,
    /// The path that gets a value.
    pub target: Option<&'a Path>,
    /// The path that is removed.
    pub removed: Option<&'a Path>,
}

impl Each {
    /// Creates the changes in the elements of the list or map at this path.
    pub fn new(container: Path, edits: Vec<ElementEdit>) -> Each {
        let mut inputs: Vec<Path> = Vec::new();
        for input in edits.iter().flat_map(ElementEdit::item_inputs) {
            if !inputs.iter().any(|known| known.contains(input)) {
                inputs.retain(|known| !input.contains(known));
                inputs.push(input.clone());
            }
        }
        Each { container, edits, inputs }
    }

    /// Returns the path of the list or map.
    pub fn container(&self) -> &Path {
        &self.container
    }

    /// Returns the changes in each element.
    pub fn edits(&self) -> &[ElementEdit] {
        &self.edits
    }

    /// Returns the paths outside the container from which values are computed. A write is conditional on each of them.
    pub fn inputs(&self) -> &[Path] {
        &self.inputs
    }

    /// Returns whether the write can remove or replace a value of an element. If so, readers of the element see the new
    /// form immediately after the write.
    pub fn destroys_values(&self) -> bool {
        self.edits.iter().any(|edit| match edit {
            ElementEdit::Move { .. } | ElementEdit::Remove { .. } | ElementEdit::Convert { .. } => true,
            ElementEdit::Set { existing, .. }
            | ElementEdit::Compute { existing, .. }
            | ElementEdit::ConvertInto { existing, .. } => existing.on_existing == OnExisting::Overwrite,
        })
    }

    /// Returns whether an expression or a conversion can have no result for an element.
    pub fn computes(&self) -> bool {
        self.edits.iter().any(|edit| match edit {
            ElementEdit::Compute { .. } | ElementEdit::Convert { .. } | ElementEdit::ConvertInto { .. } => true,
            ElementEdit::Move { .. } | ElementEdit::Set { .. } | ElementEdit::Remove { .. } => false,
        })
    }
}

impl ElementEdit {
    /// Returns the edit for a change whose paths start at the element. Returns `None` for a kind of change that cannot
    /// be made in elements.
    pub(crate) fn from_change(change: Change, null_is_missing: bool) -> Option<ElementEdit> {
        let rule = |on_existing| ExistingRule { on_existing, null_is_missing };
        match change {
            Change::Move { from, to, on_existing } => Some(ElementEdit::Move { from, to, existing: rule(on_existing) }),
            Change::Set { to, value, on_existing } => Some(ElementEdit::Set { to, value, existing: rule(on_existing) }),
            Change::Remove { path } => Some(ElementEdit::Remove { path }),
            Change::Compute { to, formula, on_existing, replaces: None } => match formula {
                Formula::Expression(expression) => {
                    Some(ElementEdit::Compute { to, expression, existing: rule(on_existing) })
                }
                Formula::Conversion { from, conversion } => {
                    Some(ElementEdit::ConvertInto { from, to, conversion, existing: rule(on_existing) })
                }
                Formula::Inverse(_) | Formula::Custom(_) => None,
            },
            Change::Convert { path, conversion } => Some(ElementEdit::Convert { path, conversion }),
            Change::Compute { replaces: Some(_), .. }
            | Change::Copy { .. }
            | Change::Append { .. }
            | Change::Bump { .. }
            | Change::Delete { .. }
            | Change::Each { .. }
            | Change::Put { .. }
            | Change::Exec { .. } => None,
        }
    }

    /// Returns the paths of the edit.
    pub fn paths(&self) -> EditPaths<'_> {
        let none = EditPaths { moved: None, inputs: Vec::new(), target: None, removed: None };
        match self {
            ElementEdit::Move { from, to, .. } => EditPaths { moved: Some(from), target: Some(to), ..none },
            ElementEdit::Set { to, .. } => EditPaths { target: Some(to), ..none },
            ElementEdit::Remove { path } => EditPaths { removed: Some(path), ..none },
            ElementEdit::Compute { to, expression, .. } => {
                EditPaths { inputs: expression.element_inputs().iter().collect(), target: Some(to), ..none }
            }
            ElementEdit::Convert { path, .. } => EditPaths { target: Some(path), ..none },
            ElementEdit::ConvertInto { from, to, .. } => EditPaths { inputs: vec![from], target: Some(to), ..none },
        }
    }

    /// Returns what happens to an existing value at the target, or `None` if the edit removes a value or converts a
    /// value in place.
    pub fn existing(&self) -> Option<ExistingRule> {
        match self {
            ElementEdit::Move { existing, .. }
            | ElementEdit::Set { existing, .. }
            | ElementEdit::Compute { existing, .. }
            | ElementEdit::ConvertInto { existing, .. } => Some(*existing),
            ElementEdit::Remove { .. } | ElementEdit::Convert { .. } => None,
        }
    }

    /// Returns the item's paths outside the element from which a value is computed.
    fn item_inputs(&self) -> &[Path] {
        match self {
            ElementEdit::Compute { expression, .. } => expression.inputs(),
            ElementEdit::Move { .. }
            | ElementEdit::Set { .. }
            | ElementEdit::Remove { .. }
            | ElementEdit::Convert { .. }
            | ElementEdit::ConvertInto { .. } => &[],
        }
    }
}

impl Draft<'_> {
    /// Plans the changes in the elements of a container.
    pub(super) fn edit_elements(&mut self, each: &Each) {
        let container = &each.container;
        self.require_unchanged(container);
        each.inputs.iter().for_each(|input| self.require_unchanged(input));
        let edited = match each.edit(self.item, &self.rules.facts) {
            Ok(edited) => edited,
            Err(EditFailure::NotComputable(why)) => return self.mark_not_computable(why),
            Err(EditFailure::Rejected(why)) => return self.reject(why),
        };
        if edited.has_diverged {
            return self.diverged.push(edited.diverged_at.unwrap_or_else(|| container.clone()));
        }
        self.already_applied |= edited.is_applied;
        self.skipped.extend(edited.has_skipped.then(|| container.clone()));
        if let (Some(before), Some(bytes)) = (container.get(self.item), edited.too_many_bytes) {
            // The size rule refuses this write, because the item would exceed the maximum size.
            return self.overwrite_with_too_many_bytes(container, before, bytes);
        }
        if let (Some(before), Some(after)) = (container.get(self.item), &edited.after) {
            self.record_pre_image(PreImage::with_value(container, before).with_computed_value(after));
            self.overwrite(container, before, after);
        }
    }
}

//! The options of one change in a plan: the items to which the change applies, and whether a NULL counts as missing.
//!
//! A change with its own `where` applies only to the items for which the `where` is true. The decision about an item
//! depends on every `where` that was tested, even if it was false. A write therefore pins everything that each `where`
//! read.
//!
//! With `null_is_missing`, a NULL at the target counts as missing, and so does a NULL at a map that contains the
//! target. The NULL is recorded in the journal before it is overwritten, and the write's condition requires that it is
//! still there. A NULL that equals the value to write is not overwritten. A NULL at the source of a move or copy is a
//! value like any other.

use std::collections::BTreeMap;

use super::{Change, Selection};
use crate::item::{Item, Path, Value};

/// The options of one change in a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct ChangeOptions {
    /// The items to which the change applies. `None` means every item that the plan selects.
    pub applies_to: Option<Selection>,
    /// Whether a NULL at the target, or at a map that contains the target, counts as missing.
    pub null_is_missing: bool,
}

/// The options of a plan's changes. A change is identified by its target, or by the path that it removes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OptionsByTarget(BTreeMap<Path, ChangeOptions>);

impl ChangeOptions {
    /// The options of a change that applies to every selected item, and for which a NULL is a value.
    pub const DEFAULT: ChangeOptions = ChangeOptions { applies_to: None, null_is_missing: false };

    /// Returns the value at the target, or `None` if the target counts as missing. `implied` is the value that the plan
    /// implies for the target. If this value is NULL, a NULL at the target does not count as missing.
    pub fn target_value<'i>(&self, target: &Path, item: &'i Item, implied: Option<&Value>) -> Option<&'i Value> {
        let value = target.get(item)?;
        let counts_as_missing = self.null_is_missing && *value == Value::Null && implied != Some(value);
        (!counts_as_missing).then_some(value)
    }
}

impl OptionsByTarget {
    /// Collects the options of these changes. Leaves out a change that has no path.
    pub fn new<'c>(changes: impl IntoIterator<Item = (&'c Change, ChangeOptions)>) -> OptionsByTarget {
        let special = changes.into_iter().filter(|(_, options)| *options != ChangeOptions::DEFAULT);
        OptionsByTarget(special.filter_map(|(change, options)| Some((change.own_path()?.clone(), options))).collect())
    }

    /// Returns the options of the change with this target.
    pub fn of(&self, target: &Path) -> &ChangeOptions {
        self.0.get(target).unwrap_or(&ChangeOptions::DEFAULT)
    }

    /// Returns the options of this change.
    pub fn of_change(&self, change: &Change) -> &ChangeOptions {
        change.own_path().map_or(&ChangeOptions::DEFAULT, |target| self.of(target))
    }

    /// Returns the target and the `where` of every change that has a `where`, in the order of the targets.
    pub(super) fn conditional(&self) -> impl Iterator<Item = (&Path, &Selection)> {
        self.0.iter().filter_map(|(target, options)| Some((target, options.applies_to.as_ref()?)))
    }

    /// Returns the `where` of every change that has one, in the order of the targets.
    pub fn selections(&self) -> impl Iterator<Item = &Selection> {
        self.0.values().filter_map(|options| options.applies_to.as_ref())
    }
}

//! The old attribute from which the value of a new attribute comes.
//!
//! A `move` or `copy` gives both attributes the same value. A `compute … replaces` computes the new value from the old
//! value, and an inverse computes an old value from the new one. Each phase asks a [`Source`] which new value an item
//! implies, so all phases treat both kinds of pair by the same rules.

use std::borrow::Cow;

use super::formula::Inverse;
use super::{Change, Formula};
use crate::expr::Facts;
use crate::item::{Item, NotComputable, Path, Value};

/// The old attribute that a computed value replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Replaced {
    /// The old path. `contract` removes it.
    pub path: Path,
    /// How an old value is computed from the new value. Without an inverse, no old value can be restored if
    /// applications have written only the new attribute of an item.
    pub inverse: Option<Inverse>,
}

/// The source of a pair: the old attribute, and how the new value follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The old path.
    pub path: Path,
    /// How the new value is computed. `None` if both attributes have the same value.
    pub derivation: Option<Box<Derivation>>,
}

/// How a new value is computed from an old value, and how an old value is computed from a new value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derivation {
    /// Computes the new value.
    pub formula: Formula,
    /// Computes an old value, if the plan says how.
    pub inverse: Option<Inverse>,
}

impl Source {
    /// Returns the source and the target of a change. Returns `None` if the change has no old attribute.
    pub fn of_change(change: &Change) -> Option<(Source, &Path)> {
        match change {
            Change::Move { from, to, .. } | Change::Copy { from, to, .. } => Some((Source::same(from), to)),
            Change::Compute { to, formula, replaces: Some(replaced), .. } => {
                Some((Source::replaced(replaced, formula), to))
            }
            Change::Compute { replaces: None, .. }
            | Change::Set { .. }
            | Change::Remove { .. }
            | Change::Convert { .. }
            | Change::Append { .. }
            | Change::Exec { .. }
            | Change::Bump { .. }
            | Change::Delete { .. }
            | Change::Put { .. }
            | Change::Each { .. } => None,
        }
    }

    /// Creates the source of a pair whose values are the same.
    pub fn same(path: &Path) -> Source {
        Source { path: path.clone(), derivation: None }
    }

    /// Creates the source of a pair whose new value is computed from the replaced attribute.
    pub(super) fn replaced(replaced: &Replaced, formula: &Formula) -> Source {
        let derivation = Derivation { formula: formula.clone(), inverse: replaced.inverse.clone() };
        Source { path: replaced.path.clone(), derivation: Some(Box::new(derivation)) }
    }

    /// Returns the new value that this item implies. Returns `None` if the item has no old value.
    ///
    /// # Errors
    ///
    /// Fails if no new value can be computed from the item.
    pub fn value<'i>(&self, item: &'i Item, facts: &Facts) -> Result<Option<Cow<'i, Value>>, NotComputable> {
        let old = self.path.get(item);
        match (&self.derivation, old) {
            (_, None) => Ok(None),
            (None, Some(old)) => Ok(Some(Cow::Borrowed(old))),
            (Some(derivation), Some(_)) => Ok(derivation.formula.value(item, facts)?.map(Cow::Owned)),
        }
    }

    /// Returns whether this item has an old value that implies this new value.
    pub fn implies(&self, item: &Item, facts: &Facts, new: &Value) -> bool {
        matches!(self.value(item, facts), Ok(Some(implied)) if *implied == *new)
    }
}

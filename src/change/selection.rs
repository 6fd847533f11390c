//! The selection: which items a plan changes.
//!
//! A single change may have its own selection (`options.rs`).
//!
//! The selection is part of every write's condition: everything that the selection read must be unchanged when the
//! write arrives. An item that no longer matches is therefore never written.
//!
//! Only `run` may rely on a selection that can change. `contract` and the passes of a rollback change an item in two
//! cases. Either a record shows that this migration wrote the item, or the item is in a selection that cannot change
//! because it reads only keys and stable attributes.
//!
//! The values of stable attributes are recorded when the migration first writes an item (`stable.rs`).

use crate::expr::{Expr, Facts, Filter, KnownTypes};
use crate::item::{Item, KeySchema, NotComputable, Path};

/// `[select]`: the items that a plan changes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Selection {
    /// The expression that is true for a selected item.
    pub condition: Expr,
    /// The top-level attributes that never change, according to the operator. Key attributes are always stable and are
    /// not listed here.
    pub stable: Vec<String>,
}

/// What happens to an item for which an expression has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum OnNotComputable {
    /// The item is a failure. Its key and the reason are recorded.
    #[default]
    Fail,
    /// The item is not written and counts as skipped.
    Skip,
}

impl OnNotComputable {
    /// Returns the word that a plan uses for this value.
    pub fn name(self) -> &'static str {
        match self {
            OnNotComputable::Fail => "fail",
            OnNotComputable::Skip => "skip",
        }
    }
}

/// Whether a selection includes an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected {
    /// The item is selected.
    Yes,
    /// The item is not selected.
    No,
    /// It is unknown whether the item is selected.
    NotComputable(NotComputable),
}

impl Selection {
    /// Returns whether this item is selected.
    pub fn includes(&self, item: &Item, facts: &Facts) -> Selected {
        match self.condition.test(item, facts) {
            Ok(true) => Selected::Yes,
            Ok(false) => Selected::No,
            Err(why) => Selected::NotComputable(why),
        }
    }

    /// Returns whether the selection depends only on the table's key and on stable attributes, so that it never changes
    /// for an item.
    pub fn is_fixed(&self, is_key: impl Fn(&str) -> bool) -> bool {
        self.changeable(is_key).is_empty()
    }

    /// Returns a filter for the scan of a table with this key. With it, DynamoDB leaves out items that are not
    /// selected. Returns `None` if DynamoDB cannot evaluate even the first part of the condition.
    pub fn filter(&self, key: &KeySchema) -> Option<Filter> {
        let known = std::iter::once(&key.partition).chain(&key.sort);
        let known = known.fold(KnownTypes::default(), |known, key| known.with(&key.name, Some(&key.kind)));
        self.condition.filter(&known)
    }

    /// Returns the paths that the selection reads in stable attributes.
    pub fn stable_inputs(&self) -> impl Iterator<Item = &Path> {
        let is_stable = |input: &&Path| self.stable.iter().any(|stable| stable == input.root());
        self.condition.inputs().iter().filter(is_stable)
    }

    /// Returns the names of the changeable attributes that the selection reads. An attribute is changeable if it is
    /// neither stable nor in the table's key.
    pub fn changeable(&self, is_key: impl Fn(&str) -> bool) -> Vec<&str> {
        let roots = self.condition.inputs().iter().map(|input| input.root());
        roots.filter(|name| !is_key(name) && !self.stable.iter().any(|stable| stable == name)).collect()
    }
}

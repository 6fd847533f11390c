//! The rules of a plan about items.

use super::{OnNotComputable, OptionsByTarget, Selected, Selection, Source};
use crate::expr::Facts;
use crate::item::{Item, Path, Value};

/// The rules of a plan about items: which items are selected, to which items each change applies, and how expressions
/// are evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct ItemRules {
    /// The items that the plan changes. `None` means every item.
    pub selection: Option<Selection>,
    /// The key attributes of the index through which the plan selects items. An item without one of them is not in the
    /// index, so it is not selected. Empty if the plan selects through no index.
    pub index_key: Vec<Path>,
    /// What the plan says about single changes: their own `where`, and whether a NULL counts as missing.
    pub options: OptionsByTarget,
    /// What happens to an item for which an expression has no result.
    pub on_not_computable: OnNotComputable,
    /// The facts about the migration that expressions may use.
    pub facts: Facts,
}

impl ItemRules {
    /// Returns whether the plan selects items, by a `where` or through an index.
    pub(super) fn selects_items(&self) -> bool {
        self.selection.is_some() || !self.index_key.is_empty()
    }

    /// Returns whether the index through which the plan selects contains this item. Returns true if there is no such
    /// index.
    pub(super) fn is_in_index(&self, item: &Item) -> bool {
        self.index_key.iter().all(|path| path.get(item).is_some())
    }

    /// Returns whether this item is selected.
    pub fn includes(&self, item: &Item) -> Selected {
        if !self.is_in_index(item) {
            return Selected::No;
        }
        self.selection.as_ref().map_or(Selected::Yes, |selection| selection.includes(item, &self.facts))
    }

    /// Returns whether the change with this target applies to the item, if the item is selected.
    pub fn applies(&self, target: &Path, item: &Item) -> Selected {
        let selection = self.options.of(target).applies_to.as_ref();
        selection.map_or(Selected::Yes, |selection| selection.includes(item, &self.facts))
    }

    /// Returns the value at the target of a pair, or `None` if the target counts as missing
    /// ([`ChangeOptions::target_value`](super::ChangeOptions::target_value)).
    pub fn paired_value<'i>(&self, source: &Source, target: &Path, item: &'i Item) -> Option<&'i Value> {
        let options = self.options.of(target);
        let implied = if options.null_is_missing { source.value(item, &self.facts).ok().flatten() } else { None };
        options.target_value(target, item, implied.as_deref())
    }
}

//! Defines the index through which a plan selects items.

use super::Plan;
use super::text::TextSpan;
use crate::change::SelectingIndex;
use crate::item::IndexSchema;

/// `index` in `[select]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedIndex {
    /// The name of the index.
    pub name: String,
    /// The key of the index. `None` if the table's description has not been read yet, or if the table no longer has the
    /// index.
    pub schema: Option<IndexSchema>,
}

impl SelectedIndex {
    /// Returns the effect of the index on the selection of items.
    pub(super) fn selecting(&self) -> SelectingIndex {
        self.schema.clone().map_or(SelectingIndex::Unknown, SelectingIndex::Known)
    }
}

/// The index in a plan, and its position in the plan's text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WrittenIndex {
    pub(super) name: String,
    pub(super) at: TextSpan,
}

impl Plan {
    /// Returns the same plan with the key of its index, which is taken from the table's indexes.
    #[must_use]
    pub fn with_index_key(mut self, indexes: &[IndexSchema]) -> Plan {
        if let Some(selected) = &mut self.index {
            selected.schema = indexes.iter().find(|index| index.name == selected.name).cloned();
        }
        self
    }
}

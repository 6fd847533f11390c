//! The index through which a plan selects items.

use super::Plan;
use super::text::TextSpan;
use crate::item::IndexSchema;

/// `index` in `[select]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedIndex {
    /// The name of the index.
    pub name: String,
    /// The key attributes of the index. Empty until a session has read the table's description.
    pub key: Vec<String>,
}

/// The index in a plan, and its position in the plan's text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WrittenIndex {
    pub(super) name: String,
    pub(super) at: TextSpan,
}

impl Plan {
    /// Returns the same plan with the key attributes of its index, which are found in the table's indexes.
    #[must_use]
    pub fn with_index_key(mut self, indexes: &[IndexSchema]) -> Plan {
        if let Some(selected) = &mut self.index {
            let found = indexes.iter().find(|index| index.name == selected.name);
            selected.key = found.iter().flat_map(|index| &index.key).map(|key| key.name.clone()).collect();
        }
        self
    }
}

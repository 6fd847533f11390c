//! The rules of a plan about items.

use super::{OnNotComputable, OptionsByTarget, Selected, Selection, Source, index_key_fault};
use crate::expr::Facts;
use crate::item::{IndexSchema, Item, Path, Value};

/// The index through which a plan selects items.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SelectingIndex {
    /// The plan selects through no index.
    #[default]
    None,
    /// The plan selects through an index, but the key of the index is unknown, because the table currently has no such
    /// index or because the table's description has not been read. So it is unknown which items the index contains.
    Unknown,
    /// The plan selects through an index with this key.
    Known(IndexSchema),
}

impl SelectingIndex {
    /// Returns the index, if its key is known.
    pub(super) fn schema(&self) -> Option<&IndexSchema> {
        match self {
            SelectingIndex::None | SelectingIndex::Unknown => None,
            SelectingIndex::Known(schema) => Some(schema),
        }
    }
}

/// A plan's rules about items: which items are selected, to which items each change applies, and how expressions are
/// evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct ItemRules {
    /// The items that the plan changes. `None` means every item.
    pub selection: Option<Selection>,
    /// The index through which the plan selects items. If an item lacks one of the index key attributes, or has one
    /// with the wrong type, it is not in the index, so it is not selected.
    pub index: SelectingIndex,
    /// The paths in stable attributes that a `where` reads and that the plan leaves unchanged. The journal records
    /// their values when the migration first writes an item. Empty if the plan deletes items.
    pub stable: Vec<Path>,
    /// The options of individual changes: their own `where`, and whether a NULL counts as missing.
    pub options: OptionsByTarget,
    /// What happens to an item for which an expression has no result.
    pub on_not_computable: OnNotComputable,
    /// The facts about the migration that expressions can use.
    pub facts: Facts,
}

impl ItemRules {
    /// Returns whether the plan selects items, by a `where` or through an index.
    pub(super) fn selects_items(&self) -> bool {
        self.selection.is_some() || self.index != SelectingIndex::None
    }

    /// Returns whether the index through which the plan selects contains this item. Returns true if the plan selects
    /// through no index. Returns false if the key of the index is unknown.
    pub(super) fn is_in_index(&self, item: &Item) -> bool {
        let index = match &self.index {
            SelectingIndex::None => return true,
            SelectingIndex::Unknown => return false,
            SelectingIndex::Known(index) => index,
        };
        let is_valid = |name: &str, value| index_key_fault(name, value, std::slice::from_ref(index)).is_none();
        index.key.iter().all(|key| item.get(&key.name).is_some_and(|value| is_valid(&key.name, value)))
    }

    /// Returns whether this item is selected.
    pub fn includes(&self, item: &Item) -> Selected {
        if !self.is_in_index(item) {
            return Selected::No;
        }
        self.selection.as_ref().map_or(Selected::Yes, |selection| selection.includes(item, &self.facts))
    }

    /// Returns whether the `where` of the plan includes this derived item. Ignores the index and the file of keys,
    /// because a derived item must stay outside the selection even if it enters the index later.
    pub fn selects_derived(&self, item: &Item) -> Selected {
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

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::item::{KeyAttribute, Projection, item_from_json};

    /// DynamoDB puts an item into an index only if every key attribute has the right type and a valid length.
    #[test]
    fn an_item_with_another_type_is_not_in_the_index() {
        let key = [("status", "S"), ("day", "N")];
        let key = key.map(|(name, kind)| KeyAttribute { name: name.to_owned(), kind: kind.to_owned() }).to_vec();
        let index = IndexSchema { name: "i".to_owned(), key, partition: 1, projection: Projection::All, local: false };
        let rules = ItemRules { index: SelectingIndex::Known(index), ..ItemRules::default() };
        let is_in = |item: Json| rules.is_in_index(&item_from_json(&item).unwrap());
        assert!(is_in(json!({"status": {"S": "new"}, "day": {"N": "5"}, "other": {"NULL": true}})));
        for outside in [
            json!({"status": {"S": "new"}}),
            json!({"status": {"S": "new"}, "day": {"S": "5"}}),
            json!({"status": {"NULL": true}, "day": {"N": "5"}}),
            json!({"status": {"S": ""}, "day": {"N": "5"}}),
            json!({"status": {"S": "x".repeat(2_049)}, "day": {"N": "5"}}),
        ] {
            assert!(!is_in(outside.clone()), "{outside}");
            let item = item_from_json(&outside).unwrap();
            assert_eq!(rules.includes(&item), Selected::No);
        }
        assert!(ItemRules::default().is_in_index(&Item::new()));
        let rules = ItemRules { index: SelectingIndex::Unknown, ..ItemRules::default() };
        assert!(rules.selects_items() && !rules.is_in_index(&Item::new()));
    }
}

//! `put`: writes a derived item for each selected item, and removes it on a rollback.
//!
//! One transaction checks the source item and puts the derived item. The check pins every attribute from which the
//! derived item or the selection was computed. The put requires that no item with the derived key exists. So a live
//! writer can change neither item in between. Before the transaction, the engine reads the derived item
//! (`engine/client/derived.rs`), because a transaction costs capacity even if it fails.
//!
//! # Undo
//!
//! The journal gets two records of each put, both under the key of the derived item. Before the tool sends the
//! transaction, it records the derived item and the key of its source. After DynamoDB has accepted the transaction, the
//! tool records a confirmation. The confirmation contains the derived item again, because two sources can have the same
//! derived key, and their records can alternate. A rollback deletes a derived item only if the newest confirmation is
//! for exactly this item. There may be newer records without a confirmation, because a process may have recorded the
//! derived item of another source and then died. If the process dies between the two records of a put, it is unknown
//! whether this migration or an application put the item. Such an item stays, and is a failure of the rollback.
//!
//! One limit remains. If an application deletes a derived item and later puts an equal one, no record shows that this
//! item is new, so a rollback deletes it. The tool states this limit before each rollback.
//!
//! If the record of a transaction has no confirmation, the transaction may still be in flight. The transaction could
//! then put the item after the rollback has deleted it. So the rollback deletes such an item only when no transaction
//! can still be in flight (`engine/write/writer/put_back.rs`).
//!
//! The condition of the delete compares every recorded attribute. A condition cannot say "and no other attribute", so
//! the operator states for each rollback that nobody writes the derived items until the rollback ends
//! (`--writers-stopped`). DynamoDB returns the removed item, and the tool compares it with the record
//! (`engine/write/writer/derived.rs`).
//!
//! Before the delete is sent, the journal records that it may be in flight. If the reply is lost and the item is gone,
//! the report of the rollback names the item. A writer that did not stop may have changed the item just before the
//! delete.
//!
//! When a derived item is gone, the journal gets a mark. If an application later puts an item with this key, even an
//! equal one, a repeated rollback leaves this item unchanged.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::draft::Draft;
use super::formula::stored;
use super::rule::{KeyFault, key_fault};
use super::{Action, Condition, Deletion, ItemMark, PreImage, Selected, Undone};
use crate::expr::{Expr, Facts};
use crate::item::{Item, ItemKey, KeySchema, NotComputable, Path, Value};

/// A derived item: how each of its attributes is computed from the source item.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct DerivedItem {
    /// The table that gets the derived items, in the account and region of the plan's table. `None` for the plan's table.
    pub table: Option<Arc<str>>,
    /// The key attributes, each with its expression.
    pub key: Vec<(String, Expr)>,
    /// The other attributes, each with its expression.
    pub attributes: Vec<(String, Expr)>,
}

/// The reason why a rollback keeps a derived item whose put was not confirmed.
const UNCONFIRMED: &str = "the derived item exists, but it is unknown whether this migration or an application put it, because \
                           the run died or lost the reply. The item stays. Delete it by hand if no application needs it";

/// Maximum number of attribute names in the reason for a failure.
const MAX_NAMES: usize = 5;

/// Returns the reason for a failure if a writer changed a derived item just before a rollback deleted it. The text
/// contains no values.
pub(crate) fn changed_before_removal(planned: &Item, removed: &Item) -> String {
    format!(
        "the derived item was deleted, but another writer had changed {} just before, although all writers should have \
         stopped. The journal has the deleted item, so you can put it back by hand: `backfill journal PLAN \
         --show-values` shows it",
        changed_names(planned, removed)
    )
}

/// Lists the names of the attributes in which two items differ.
pub(crate) fn changed_names(planned: &Item, removed: &Item) -> String {
    let names = planned.keys().chain(removed.keys().filter(|name| !planned.contains_key(*name)));
    let changed: Vec<&String> = names.filter(|name| planned.get(*name) != removed.get(*name)).collect();
    let mut listed: Vec<String> =
        changed.iter().take(MAX_NAMES).map(|name| format!("`{}`", Path::attribute(name.as_str()))).collect();
    if changed.len() > MAX_NAMES {
        listed.push(format!("{} more", changed.len() - MAX_NAMES));
    }
    listed.join(", ")
}

impl DerivedItem {
    /// Returns every attribute of the derived item with its expression, the key first.
    pub fn expressions(&self) -> impl Iterator<Item = &(String, Expr)> {
        self.key.iter().chain(&self.attributes)
    }

    /// Returns the paths of the source item that determine the derived item. The paths are distinct, and no path is
    /// inside another.
    pub fn inputs(&self) -> Vec<&Path> {
        let all: BTreeSet<&Path> = self.expressions().flat_map(|(_, expression)| expression.inputs()).collect();
        let mut kept: Vec<&Path> = Vec::new();
        // A path sorts before the paths inside it.
        for path in all {
            if !kept.iter().any(|before| before.overlaps(path)) {
                kept.push(path);
            }
        }
        kept
    }

    /// Computes the derived item of this source item, in the form in which DynamoDB stores it.
    ///
    /// # Errors
    ///
    /// Fails if an expression has no result, or if the result is not a valid key of a table with this key schema.
    pub fn of_source(&self, source: &Item, key: &KeySchema, facts: &Facts) -> Result<Item, NotComputable> {
        let mut item = Item::new();
        for (name, expression) in self.expressions() {
            let value = expression.evaluate(source, facts).map_err(|why| {
                let name = Path::attribute(name.as_str());
                NotComputable::new(format!("`{name}` of the derived item cannot be computed: {}", why.reason()))
            })?;
            item.insert(name.clone(), stored(value));
        }
        let parts = [(Some(&key.partition), true), (key.sort.as_ref(), false)];
        for (part, is_partition) in parts.into_iter().filter_map(|(part, is_first)| Some((part?, is_first))) {
            let name = Path::attribute(part.name.as_str());
            let Some(value) = item.get(&part.name) else {
                return Err(NotComputable::new(format!("the derived item has no key attribute `{name}`")));
            };
            if let Some(fault) = key_fault(value, &part.kind, is_partition) {
                return Err(NotComputable::new(format!("`{name}` of the derived item {}", text_of(fault))));
            }
        }
        Ok(item)
    }
}

/// Describes an invalid key value. The text contains no values.
fn text_of(fault: KeyFault) -> String {
    match fault {
        KeyFault::Type { expected, found } => {
            format!("would be of type {found}, but the key attribute has type {expected:?}")
        }
        KeyFault::Empty => "would be empty, which DynamoDB does not accept in a key".to_owned(),
        KeyFault::PartitionTooLong => "would be longer than 2,048 bytes, DynamoDB's limit".to_owned(),
        KeyFault::SortTooLong => "would be longer than 1,024 bytes, DynamoDB's limit".to_owned(),
    }
}

impl Draft<'_> {
    /// Plans the put of the derived item.
    pub(super) fn put(&mut self, derived: &DerivedItem, schema: &KeySchema) {
        // The key needs no condition, because the key of an item never changes.
        let is_key = |input: &&Path| schema.names().any(|key| key == input.root());
        derived.inputs().into_iter().filter(|input| !is_key(input)).for_each(|input| self.require_unchanged(input));
        let of_derived = self.other_table.map_or(schema, |table| &table.key);
        let item = match derived.of_source(self.item, of_derived, &self.rules.facts) {
            Ok(item) => item,
            Err(why) => return self.mark_not_computable(why),
        };
        let (Some(key), Some(source)) = (of_derived.key_of(&item), schema.key_of(self.item)) else {
            return self.reject("the item or its derived item has no key attributes".to_owned());
        };
        // A run reads no items of another table, so it derives nothing from a derived item there.
        if self.other_table.is_none()
            && let Some(why) = self.selection_fault(&item, key == source)
        {
            return self.reject(why);
        }
        let partition_key = &of_derived.partition.name;
        self.pre_images.push(PreImage::source_of(partition_key, &source));
        self.pre_images.push(PreImage::of_item(partition_key, &item));
        self.actions.push(Action::PutDerived {
            table: self.other_table.map(|table| Arc::clone(&table.name)),
            key,
            item,
        });
    }

    /// Returns why the table of the sources cannot get this derived item. `is_itself` says whether it has the key of its
    /// source.
    fn selection_fault(&self, item: &Item, is_itself: bool) -> Option<String> {
        if is_itself {
            let why = "the derived item would have the key of the item itself, so the derived item was not written";
            return Some(why.to_owned());
        }
        match self.rules.selects_derived(item) {
            Selected::No => None,
            Selected::Yes => Some(
                "the selection would include the derived item, so the next run would derive another item from it. The \
                 derived item was not written"
                    .to_owned(),
            ),
            Selected::NotComputable(why) => Some(format!(
                "it is unknown whether the selection would include the derived item: {}. The derived item was not written",
                why.reason()
            )),
        }
    }

    /// Plans the delete of the derived item that this migration put. `self.item` is the derived item.
    pub(super) fn remove_derived(&mut self, schema: &KeySchema) {
        let history = self.history;
        let Some(Deletion { image, undone, puts, removed, .. }) = history.deletion() else { return };
        if let Some(removed) = removed {
            // An earlier process of this rollback removed the item, and died before it could record the failure.
            return self.reject(changed_before_removal(puts.planned_for(removed).unwrap_or(image), removed));
        }
        if *undone == Undone::Yes || self.is_missing {
            self.already_applied = true;
            return;
        }
        if !puts.has_put(self.item) {
            if self.item == image {
                return self.reject(UNCONFIRMED.to_owned());
            }
            // Somebody has changed the item since, or the put did not take effect and somebody else put this item.
            let put = puts.confirmed.as_ref().map_or(image, |put| &put.item);
            self.diverged.extend(ExistingDerived::of(Some(self.item), put).different_paths());
            return;
        }
        let image = self.item;
        let is_key = |name: &str| schema.names().any(|key| key == name);
        for (name, value) in image.iter().filter(|(name, _)| !is_key(name)) {
            self.require(Condition::Equals(Path::attribute(name.as_str()), value.clone()));
        }
        // If the reply to the delete is lost, this record shows that the rollback may have deleted the item.
        self.pre_images.push(PreImage::mark(&schema.partition.name, ItemMark::PuttingBack));
        self.actions.push(Action::DeleteItem { image: image.clone() });
    }
}

/// How an existing item relates to the derived item that a plan implies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExistingDerived {
    /// There is no item with the derived key.
    Missing,
    /// The item equals the derived item.
    Equal,
    /// The item differs in these attributes. Two sources may have the same derived key, or an application changed the
    /// item.
    Different(Vec<Path>),
}

impl ExistingDerived {
    /// Returns the attributes in which the item differs.
    fn different_paths(self) -> Vec<Path> {
        match self {
            ExistingDerived::Different(paths) => paths,
            ExistingDerived::Missing | ExistingDerived::Equal => Vec::new(),
        }
    }

    /// Compares the derived item that the plan implies with the existing item at its key, if any.
    pub fn of(existing: Option<&Item>, derived: &Item) -> ExistingDerived {
        let Some(existing) = existing else { return ExistingDerived::Missing };
        let names: BTreeSet<&String> = existing.keys().chain(derived.keys()).collect();
        let unequal = names.into_iter().filter(|name| existing.get(*name) != derived.get(*name));
        let paths: Vec<Path> = unequal.map(|name| Path::attribute(name.as_str())).collect();
        if paths.is_empty() { ExistingDerived::Equal } else { ExistingDerived::Different(paths) }
    }
}

impl PreImage {
    /// Creates the record of the source from which a derived item is computed. Its path stands for the whole item, like
    /// that of [`PreImage::of_item`].
    pub(crate) fn source_of(partition_key: &str, source: &ItemKey) -> PreImage {
        PreImage::with_value(&Path::attribute(partition_key), &Value::M(source.attributes().clone()))
    }
}

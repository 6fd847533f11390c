//! `delete`: removes whole items, and puts them back on a rollback.
//!
//! A condition cannot say "and no other attribute". Between the read of an item and its delete, a writer may add an
//! attribute that the image lacks, and an equality with every attribute of the image would not notice. So each `delete`
//! names a [`GapRule`] that closes this gap.
//!
//! DynamoDB returns the image that a delete removed. The writer compares this image with the planned one
//! (`engine/write/writer/deleted.rs`), so a broken promise is noticed, and the removed image is in the journal.
//!
//! # Undo
//!
//! The journal has two records of each delete: the item, before the delete is sent, and a confirmation, after DynamoDB
//! accepted the delete. Only an item with both records is put back. If the process dies between the two records, it is
//! unknown whether the delete took effect or another writer deleted the item. Such an item is a failure of the
//! rollback, because putting it back could resurrect an item that the application deleted.
//!
//! An item is put back only if no item with its key exists. Otherwise, an application has created a new item since, and
//! this item stays.

use super::draft::Draft;
use super::{Action, Condition, Deletion, PreImage};
use crate::item::{KeySchema, NotComputable, Path, Value};

/// What proves that a delete removes nothing that the item's image lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum GapRule {
    /// Every writer raises the number at this path in every write. The condition pins the number, and what the
    /// selection read.
    Version(Path),
    /// Items have no attributes other than these and the key. The condition pins each attribute, and requires that
    /// each listed attribute that the image lacks is still missing.
    Attributes(Vec<String>),
    /// Nobody else writes the selected items during the run. The condition pins each attribute.
    WritersStopped,
}

/// The reason why a rollback does not put an item back whose delete was not confirmed.
const UNCONFIRMED: &str = "the item is gone, but it is unknown whether this migration or another writer deleted it, because \
                           the run died or lost the reply. The item was not put back. Its attributes are in the journal: \
                           put it back by hand if the application did not delete it";

impl Draft<'_> {
    /// Plans the delete of the item.
    pub(super) fn delete(&mut self, gap: &GapRule, keeps_image: bool, key: &KeySchema) {
        match gap {
            GapRule::Version(path) => match path.get(self.item) {
                Some(Value::N(_)) => self.require_unchanged(path),
                Some(_) | None => {
                    let why = format!("the version `{path}` is missing or not a number, so the item cannot be deleted");
                    return self.mark_not_computable(NotComputable::new(why));
                }
            },
            GapRule::Attributes(names) => {
                let is_listed = |name: &str| is_key(key, name) || names.iter().any(|listed| listed == name);
                if let Some(other) = self.item.keys().find(|name| !is_listed(name)) {
                    return self.reject(format!(
                        "the item has the attribute `{}`, which the plan's `attributes` does not list; it was not deleted",
                        Path::attribute(other.as_str())
                    ));
                }
                self.require_image(key);
                for name in names.iter().filter(|name| !self.item.contains_key(name.as_str())) {
                    self.require(Condition::Missing(Path::attribute(name.as_str())));
                }
            }
            GapRule::WritersStopped => self.require_image(key),
        }
        if keeps_image {
            self.pre_images.push(PreImage::of_item(&key.partition.name, self.item));
        }
        self.actions.push(Action::DeleteItem { image: self.item.clone() });
    }

    /// Requires that each attribute of the image is unchanged. The key of an item never changes.
    fn require_image(&mut self, key: &KeySchema) {
        for (name, value) in self.item.iter().filter(|(name, _)| !is_key(key, name)) {
            self.require(Condition::Equals(Path::attribute(name.as_str()), value.clone()));
        }
    }

    /// Plans to put the item back that this migration deleted. `self.item` has only the key if the table has no such
    /// item as far as the caller knows.
    pub(super) fn restore(&mut self, key: &KeySchema) {
        let history = self.history;
        match history.deletion() {
            None => {}
            Some(Deletion { image, is_confirmed: true }) => {
                self.actions.push(Action::PutItem { item: image.clone() });
            }
            // The delete did not take effect, or an application has created the item again.
            Some(_) if self.item.keys().any(|name| !is_key(key, name)) => {}
            Some(_) => self.reject(UNCONFIRMED.to_owned()),
        }
    }
}

fn is_key(key: &KeySchema, name: &str) -> bool {
    key.names().any(|known| known == name)
}

//! `delete`: removes whole items, and restores them on a rollback.
//!
//! A condition cannot say "and no other attribute". After the tool has read an item and before it deletes the item, a
//! writer may add an attribute that the image lacks. A condition that compares every attribute of the image would still
//! be true. So each `delete` names a [`GapRule`] that closes this gap.
//!
//! DynamoDB returns the image that a delete removed. The tool compares the removed image with the planned image
//! (`engine/write/writer/deleted.rs`), so it detects an application that broke the plan's promise. If the plan keeps a
//! journal, the tool then records the removed image.
//!
//! # Undo
//!
//! The journal gets two records of each delete. Before the tool sends the delete, it records the item. After DynamoDB
//! has accepted the delete, the tool records a confirmation. A rollback restores only an item with both records. If the
//! process dies between the two records, it is unknown whether this delete or another writer removed the item. Such an
//! item is a failure of the rollback, because a restore could resurrect an item that the application deleted.
//!
//! A rollback restores an item only if no item with its key exists. If an application has created a new item with this
//! key since, the new item stays.
//!
//! A rollback may be repeated, and the application may delete an item that the rollback has restored. So the journal
//! gets two marks for each restored item: one before the write is sent, and one after DynamoDB has accepted the write.
//! An item with both marks is done. If only the first mark exists, the write may have taken effect. If such an item is
//! missing, it is a failure.

use super::draft::Draft;
use super::{Action, Condition, Deletion, ItemMark, PreImage, Undone};
use crate::item::{KeySchema, NotComputable, Path, Value};

/// Why a delete cannot remove an attribute that the item's image lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum GapRule {
    /// Every writer raises the number at this path in every write. The condition pins the number, and everything that
    /// the selection read.
    Version(Path),
    /// Items have no attributes other than these and the key. The condition pins each attribute, and requires that
    /// each listed attribute that the image lacks is still missing.
    Attributes(Vec<String>),
    /// Nobody else writes the selected items during the run. The condition pins each attribute.
    WritersStopped,
}

/// The reason why a rollback does not restore an item whose delete was not confirmed.
const UNCONFIRMED: &str = "the item is gone, but it is unknown whether this migration or another writer deleted it, because \
                           the run died or lost the reply. The item was not put back. Its attributes are in the journal: \
                           put it back by hand if the application did not delete it";

/// The reason why a rollback does not restore an item that an earlier rollback may already have restored.
pub(crate) const MAYBE_PUT_BACK: &str = "a rollback found another item with this key, or it may have put the item back before it \
                              died or lost the reply. The item is missing now. It is unknown whether the application \
                              deleted it, so it was not put back. Its attributes are in the journal: put it back by hand \
                              if the application did not delete it";

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
                        "the item has the attribute `{}`, which the plan's `attributes` does not list; the item was \
                         not deleted",
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

    /// Requires that each attribute of the image is unchanged. The key needs no condition, because it never changes.
    fn require_image(&mut self, key: &KeySchema) {
        for (name, value) in self.item.iter().filter(|(name, _)| !is_key(key, name)) {
            self.require(Condition::Equals(Path::attribute(name.as_str()), value.clone()));
        }
    }

    /// Plans to restore the item that this migration deleted.
    pub(super) fn restore(&mut self, key: &KeySchema) {
        let history = self.history;
        let Some(Deletion { image, is_confirmed, undone, .. }) = history.deletion() else { return };
        match (undone, is_confirmed, self.is_missing) {
            (Undone::Yes, _, _) => self.already_applied = true,
            (Undone::No, true, true) => {
                self.pre_images.push(PreImage::mark(&key.partition.name, ItemMark::PuttingBack));
                self.actions.push(Action::PutItem { item: image.clone() });
            }
            (Undone::No, false, true) => self.reject(UNCONFIRMED.to_owned()),
            (Undone::Unknown, _, true) => self.reject(MAYBE_PUT_BACK.to_owned()),
            // The delete did not take effect, or an application has created the item again.
            (Undone::No, false, false) => {}
            (Undone::No, true, false) | (Undone::Unknown, _, false) if self.item == image => {
                self.already_applied = true
            }
            (Undone::No, true, false) | (Undone::Unknown, _, false) => {
                self.diverged.push(Path::attribute(key.partition.name.as_str()));
            }
        }
    }
}

fn is_key(key: &KeySchema, name: &str) -> bool {
    key.names().any(|known| known == name)
}

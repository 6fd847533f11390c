//! Stable attributes: attributes that no writer ever changes, according to the plan. A selection by stable attributes
//! cannot change, so `contract` and the way back rely on it. This module checks the promise.
//!
//! The first write to an item records the digests of its stable attributes in the journal, and the write's condition
//! pins them. The baseline of an item that the migration does not write records them too. An item without such a record
//! was not written, or nobody had recorded it. Its current attributes then decide.

use super::PreImage;
use super::draft::Draft;
use crate::item::Path;

/// Returns the reason for leaving an item unchanged: its stable attribute has changed. The text begins with a fixed id.
pub fn stable_changed(path: &Path) -> String {
    format!(
        "stable-changed: `{path}` is in a stable attribute, but it has changed since this migration first recorded the \
         item, or the item was deleted and created again. So the tool cannot rely on the selection. The item was not \
         written. Restore the earlier value if you know it. Otherwise, before `contract` begins, `rollback --force REASON` \
         or `cutover --back --force REASON` leaves the item as it is"
    )
}

impl Draft<'_> {
    /// Records the stable attributes that the plan's selections read. The write's condition pins their values.
    pub(super) fn record_stable(&mut self) {
        for path in &self.rules.stable {
            self.require_unchanged(path);
            self.pre_images.push(PreImage::of_stable(path, path.get(self.item)));
        }
    }

    /// Rejects the item if a stable attribute has changed. No record shows that the migration wrote the value in
    /// question, and the tool cannot rely on the selection.
    pub(super) fn reject_if_stable_changed(&mut self) {
        if let Some(path) = self.history.changed_stable(&self.rules.stable, self.item) {
            self.reject(stable_changed(path));
        }
    }
}

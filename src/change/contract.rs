//! What `contract` wants of one item: the old attribute goes.

use super::decide::Wanted;
use super::draft::Draft;
use super::{Condition, PreImage};
use crate::item::Path;

impl Draft<'_> {
    /// Nothing goes away that has no copy: an equal new value, or the journal.
    pub(super) fn contract(&mut self, wanted: &Wanted) {
        match wanted {
            Wanted::DropMoved { from, to } => self.drop_moved(from, to),
            Wanted::DropRemoved { path, copies } => self.drop_removed(path, copies),
            _ => {}
        }
    }

    /// The source of a move. Where only the new attribute was written since, the old value is kept on record.
    fn drop_moved(&mut self, from: &Path, to: &Path) {
        match (from.get(self.item), to.get(self.item)) {
            (None, _) => self.require(Condition::Missing(from.clone())),
            (Some(_), None) => self.diverged.push(from.clone()),
            (Some(old), Some(new)) => {
                if old == new {
                    self.require(Condition::Same(from.clone(), to.clone()));
                } else {
                    self.keep_pre_image(PreImage::of(from, old));
                    self.require(Condition::Equals(to.clone(), new.clone()));
                }
                self.remove(from, old);
            }
        }
    }

    /// A path that the plan removes; where it is copied too, the copies must be there.
    fn drop_removed(&mut self, path: &Path, copies: &[Path]) {
        let Some(value) = path.get(self.item) else { return self.require(Condition::Missing(path.clone())) };
        if copies.iter().any(|to| to.get(self.item).is_none()) {
            return self.diverged.push(path.clone());
        }
        copies.iter().for_each(|to| self.require(Condition::Exists(to.clone())));
        self.keep_pre_image(PreImage::of(path, value));
        self.remove(path, value);
    }
}

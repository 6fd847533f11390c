//! What `contract` wants of one item: the old attribute goes.

use super::decide::{Target, Wanted};
use super::draft::Draft;
use super::forward::is_other;
use super::{Condition, PreImage};
use crate::item::{Path, Value};

impl Draft<'_> {
    /// Nothing goes away that has no copy: an equal new value, or the journal.
    pub(super) fn contract(&mut self, wanted: &Wanted) {
        match wanted {
            Wanted::DropMoved { from, to, skips } => self.drop_moved(from, to, *skips),
            Wanted::DropRemoved { path, copies } => self.drop_removed(path, copies),
            _ => {}
        }
    }

    /// The source of a move. Where only the new attribute was written since, the old value is kept on record. Where the move
    /// was skipped, it stays: it is nowhere else.
    fn drop_moved(&mut self, from: &Path, to: &Path, skips: bool) {
        match (from.get(self.item), to.get(self.item)) {
            (None, _) => self.require(Condition::Missing(from.clone())),
            (Some(_), None) => self.diverged.push(from.clone()),
            (Some(old), Some(_)) if skips && self.was_skipped(old, to) => self.leave_skipped(from, to),
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
    fn drop_removed(&mut self, path: &Path, copies: &[Target]) {
        let Some(value) = path.get(self.item) else { return self.require(Condition::Missing(path.clone())) };
        if copies.iter().any(|copy| copy.to.get(self.item).is_none()) {
            return self.diverged.push(path.clone());
        }
        if let Some(copy) = copies.iter().find(|copy| copy.skips && self.was_skipped(value, &copy.to)) {
            return self.leave_skipped(path, &copy.to);
        }
        copies.iter().for_each(|copy| self.require(Condition::Exists(copy.to.clone())));
        self.keep_pre_image(PreImage::of(path, value));
        self.remove(path, value);
    }

    /// Whether the run left what is at this target beside the old value. Nobody knows of an item that no run of this state
    /// file has met: there every other value counts as such.
    fn was_skipped(&self, old: &Value, to: &Path) -> bool {
        let there = to.get(self.item);
        is_other(there, old) && (!self.record.is_met() || there.is_some_and(|there| self.record.is_existing(to, there)))
    }

    fn leave_skipped(&mut self, from: &Path, to: &Path) {
        self.hold(from);
        self.hold(to);
        self.skipped.push(to.clone());
    }
}

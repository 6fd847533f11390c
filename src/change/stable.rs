//! Stable attributes: attributes that no writer ever changes, according to the plan. A selection by stable attributes
//! cannot change, so `contract` and a rollback rely on it. This module checks whether such an attribute has changed.
//!
//! The first write to an item records the digests of its stable attributes in the journal, and the write's condition
//! pins them. The baseline of an item that the migration does not write records them too. If an item has no such
//! record, the tool relies on the item's current attributes.

use super::decide::Changes;
use super::decision::Decision;
use super::draft::Draft;
use super::ops::Ops;
use super::{Digest, ItemHistory, PreImage};
use crate::item::{Item, ItemKey, Path};

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

    /// If a stable attribute has changed, rejects the item, because the tool cannot rely on the selection. Undo calls
    /// this function before it removes a value whose write is not recorded, or the last copy of a value.
    pub(super) fn reject_if_stable_changed(&mut self) {
        if let Some(path) = self.history.changed_stable(&self.rules.stable, self.item) {
            self.reject(stable_changed(path));
        }
    }
}

impl Changes {
    /// Decides about an item whose stable attribute `changed` differs from its record. The selection of such an item is
    /// unreliable, so the decision ignores every `where`. If a selected item in this state would need no write, the
    /// item is not written. Old-from-new also writes the item if a record shows that this migration wrote every target
    /// that needs a change. Every other item is rejected.
    pub(super) fn decide_without_selection(
        &self,
        item: &Item,
        history: &ItemHistory,
        key: &ItemKey,
        changed: &Path,
    ) -> Decision {
        let draft = || {
            let mut draft = Draft::new(item, history, &self.rules, self.key());
            draft.ignores_selection = true;
            draft
        };
        let finish = |draft: Draft<'_>| draft.finish(key.clone(), self.raised(), &self.pricing);
        let (unproven, all) = match &self.ops {
            Ops::Contract(ops) => {
                let mut draft = draft();
                ops.iter().for_each(|op| draft.contract(op));
                (finish(draft), None)
            }
            Ops::OldFromNew(ops) => {
                let (mut unproven, mut all) = (draft(), draft());
                for op in ops {
                    all.make_old_from_new(op);
                    if !op.is_proven(item, &self.rules.facts, history) {
                        unproven.make_old_from_new(op);
                    }
                }
                (finish(unproven), Some(finish(all)))
            }
            // These phases do not check stable attributes here.
            Ops::Expand(_) | Ops::Undo(_) | Ops::Decider(_) => return Decision::Rejected(stable_changed(changed)),
        };
        match unproven {
            Decision::NothingToDo | Decision::AlreadyApplied | Decision::Skipped(_) => all.unwrap_or(unproven),
            Decision::Write(_)
            | Decision::NeedsAnswers(..)
            | Decision::Diverged(_)
            | Decision::Rejected(_)
            | Decision::NotComputable(_)
            | Decision::Refused(..) => Decision::Rejected(stable_changed(changed)),
        }
    }

    /// Returns whether this phase compares stable attributes with their records before it relies on the selection.
    pub(super) fn checks_stable(&self) -> bool {
        let relies_on_selection = match &self.ops {
            Ops::Contract(_) | Ops::OldFromNew(_) => !self.ops.is_empty(),
            // `run` itself decides which items are selected. Undo compares the attributes in its own code, because it
            // always needs the history.
            Ops::Expand(_) | Ops::Undo(_) | Ops::Decider(_) => false,
        };
        relies_on_selection && !self.rules.stable.is_empty()
    }

    /// Returns a stable attribute that has changed since it was recorded. Returns `None` in a phase that does not rely
    /// on the selection.
    pub(super) fn changed_stable(&self, item: &Item, history: &ItemHistory) -> Option<&Path> {
        if self.checks_stable() { history.changed_stable(&self.rules.stable, item) } else { None }
    }

    /// Returns the digests of the item's stable attributes, for its baseline.
    pub(super) fn stable_digests(&self, item: &Item) -> Vec<(Path, Digest)> {
        self.rules.stable.iter().map(|path| (path.clone(), Digest::of_stable(path.get(item)))).collect()
    }
}

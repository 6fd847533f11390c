//! An item as the first pass meets it, before anything is written.

use super::decide::Changes;
use super::expand::ExpandOp;
use super::ops::Ops;
use super::{Decision, Digest, MetPair, OnExisting};
use crate::item::{Item, Path};

/// What the first look at an item tells for the way back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Met {
    /// Targets of moves and copies that are there already, with digests of their values.
    pub there_before: Vec<(Path, Digest)>,
    /// Existing targets, with or without their source, that a rollback changes or that readers see for the first time.
    pub pairs: Vec<(Path, MetPair)>,
    /// The phase may write a target of this item, which then looks as if it had been there before: also if it only writes
    /// another change, and a live writer gives the target a source meanwhile.
    pub may_write: bool,
}

/// What the recorded history of an item is looked up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// To decide by it: every record is proven first, and an item whose record cannot be read is not written.
    ToDecide,
    /// To report what the phase leaves otherwise than it was. Only targets that were there before matter; no damage to the
    /// file holds the phase up, and what is not known is reported so.
    ToReport,
}

impl Changes {
    /// Whether a rollback asks which targets were there before this phase. Moves in place are on record one by one.
    pub fn meets(&self) -> bool {
        self.ops.expand().iter().any(|op| matches!(op, ExpandOp::Copy { removes_source: false, .. }))
    }

    /// The first look at an item. While applications write both attributes (`dual_writes`), an equal pair is theirs.
    pub fn meet(&self, item: &Item, dual_writes: bool) -> Met {
        let mut met = Met::default();
        for op in self.ops.expand() {
            let ExpandOp::Copy { from, to, removes_source: false, on_existing, .. } = op else { continue };
            match (from.get(item), to.get(item)) {
                (None, None) => {}
                (Some(_), None) => met.may_write = true,
                (Some(old), Some(new)) if old == new && dual_writes => met.pairs.push((to.clone(), MetPair::Equal)),
                (old, Some(new)) => {
                    met.pairs.extend(old.is_none().then(|| (to.clone(), MetPair::NewAlone)));
                    // One that is overwritten is in the journal too, which goes first; but the write may never be made.
                    met.may_write |= old.is_some_and(|old| old != new) && *on_existing == OnExisting::Overwrite;
                    met.there_before.push((to.clone(), Digest::of(new)));
                }
            }
        }
        // With a single change, `met` already says whether the item gets a write.
        met.may_write |= self.ops.expand().len() > 1 && matches!(self.decide(item), Decision::Write(_));
        met
    }

    /// Targets that a run leaves because a live writer filled them between its look at the item and its write: they count
    /// as there before, like those that the look found.
    pub fn skipped_targets(&self, item: &Item) -> Vec<(Path, Digest)> {
        let skipped = self.ops.expand().iter().filter_map(|op| match op {
            ExpandOp::Copy { from, to, removes_source: false, on_existing: OnExisting::Skip, .. } => {
                let (old, there) = (from.get(item)?, to.get(item)?);
                (old != there).then(|| (to.clone(), Digest::of(there)))
            }
            ExpandOp::Copy { .. } | ExpandOp::Set { .. } | ExpandOp::Remove { .. } => None,
        });
        skipped.collect()
    }

    /// What this phase looks up the recorded history of an item for; nothing if it does not.
    pub fn lookup(&self) -> Option<Lookup> {
        if self.recalls() {
            return Some(Lookup::ToDecide);
        }
        match &self.ops {
            Ops::OldFromNew(ops) => (!ops.is_empty()).then_some(Lookup::ToReport),
            Ops::Expand(_) | Ops::Contract(_) | Ops::Undo(_) | Ops::Rule(_) => None,
        }
    }

    /// Whether decisions of this phase depend on the recorded history of an item.
    pub fn recalls(&self) -> bool {
        self.ops.need_history()
    }
}

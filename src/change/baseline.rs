//! The baseline: what is recorded about an item before the migration first writes it. Only this module decides whether
//! a target existed before the migration.

use std::fmt;

use super::decide::Changes;
use super::expand::ExpandOp;
use super::{Decision, Digest, OnExisting, ValueDigests};
use crate::item::{Item, Path, Value};

/// What a rollback needs to know about an item's state before the migration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    /// Preexisting targets of moves and copies, with digests of their values.
    pub preexisting: Vec<(Path, Digest)>,
    /// Targets that had a value and need a [`BaselinePair`], because a rollback may change the value, or because
    /// readers see the value for the first time after the cutover. The target's source may be missing.
    pub pairs: Vec<(Path, BaselinePair)>,
    /// The stable attributes, with digests of their values. Recorded here only if the item has preexisting targets or
    /// pairs. Otherwise, the first write of the item records them.
    pub stable: Vec<(Path, Digest)>,
    /// Whether the phase might write a target of this item. This includes a target whose source is currently missing,
    /// if another change needs a write. A live writer might create the source before this write arrives. The tool would
    /// then decide again and fill the target. After the phase has written a target, the target looks like a preexisting
    /// target.
    pub may_write: bool,
}

/// The state of an old and a new attribute before the migration. It is recorded if a rollback may change the pair, or
/// if readers may see the new value for the first time after the cutover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BaselinePair {
    /// Both attributes had equal values, and applications already wrote both.
    Equal,
    /// Only the new attribute existed.
    NewAlone,
}

impl Changes {
    /// Returns whether a rollback needs to know which targets existed before this phase. In-place moves do not need a
    /// baseline, because the journal records each of them.
    pub fn needs_baseline(&self) -> bool {
        self.ops.expand().iter().any(|op| op.kept_pair().is_some())
    }

    /// Returns the baseline of an item that the migration has not written yet. While applications write both attributes
    /// ([`Changes::with_dual_writes`]), a pair of equal values counts as written by the applications.
    pub fn baseline(&self, item: &Item) -> Baseline {
        let mut baseline = Baseline::default();
        for (source, to, on_existing) in self.ops.expand().iter().filter_map(ExpandOp::kept_pair) {
            let implies = |new: &Value| source.implies(item, self.facts(), new);
            match (source.path.get(item), to.get(item)) {
                (None, None) => {}
                (Some(_), None) => baseline.may_write = true,
                (Some(_), Some(new)) if self.dual_writes() && implies(new) => {
                    baseline.pairs.push((to.clone(), BaselinePair::Equal));
                }
                (old, Some(new)) => {
                    baseline.pairs.extend(old.is_none().then(|| (to.clone(), BaselinePair::NewAlone)));
                    // Record the value here even if a write will overwrite it. The journal also records such a value,
                    // but only when the write is planned, and the write may never be planned.
                    let overwrites =
                        on_existing == OnExisting::Overwrite || self.rules().paired_value(&source, to, item).is_none();
                    baseline.may_write |= old.is_some() && !implies(new) && overwrites;
                    baseline.preexisting.push((to.clone(), Digest::from_value(new)));
                }
            }
        }
        if !(baseline.preexisting.is_empty() && baseline.pairs.is_empty()) {
            baseline.stable = self.stable_digests(item);
        }
        // With only one operation, the loop above has already determined whether the item needs a write.
        baseline.may_write |=
            self.ops.expand().len() > 1 && matches!(self.decide(item), Decision::Write(_) | Decision::NeedsAnswers(..));
        baseline
    }

    /// Returns the targets that a run skips because a live writer filled them between the recording of the baseline and
    /// the write. These targets count as preexisting, unless the journal shows that the migration itself may have
    /// filled them.
    pub fn skipped_targets(&self, item: &Item) -> Vec<(Path, ValueDigests)> {
        let pairs = self.ops.expand().iter().filter_map(ExpandOp::kept_pair);
        let skipped =
            pairs.filter(|(.., on_existing)| *on_existing == OnExisting::Skip).filter_map(|(source, to, _)| {
                source.path.get(item)?;
                let existing = self.rules().paired_value(&source, to, item)?;
                let is_other = !source.implies(item, self.facts(), existing);
                is_other.then(|| (to.clone(), ValueDigests::from_value(existing)))
            });
        skipped.collect()
    }
}

impl BaselinePair {
    /// All values of the enum.
    pub const ALL: [BaselinePair; 2] = [BaselinePair::Equal, BaselinePair::NewAlone];

    /// Returns the name used in state files.
    pub fn name(self) -> &'static str {
        match self {
            BaselinePair::Equal => "equal",
            BaselinePair::NewAlone => "new_alone",
        }
    }
}

impl fmt::Display for BaselinePair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BaselinePair::Equal => {
                "had equal values at both attributes when the run first read them, after dual writes began. A rollback \
                 removes their new attribute, even if it existed before the migration"
            }
            BaselinePair::NewAlone => {
                "had only the new attribute before the migration. After new-only writes, a rollback leaves them with \
                 an old attribute too"
            }
        })
    }
}

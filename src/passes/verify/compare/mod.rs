//! What one item's image says of the plan: pure, from the image alone.
//!
//! A pair is what a `move` or a `copy` ties together: the value at its old path and the one at its new path. One side is the
//! [`Truth`], the other is derived from it:
//!
//! | old | new | truth: old | truth: new, then old | truth: new | truth: new, on the way back |
//! | --- | --- | --- | --- | --- | --- |
//! | none | none | matching | matching | matching | matching |
//! | a | a | matching | matching | matching | matching |
//! | a | b | stale | stale | stale | stale |
//! | a | none | missing | missing | missing | matching |
//! | none | b | unexpected, or matching if new existed before the migration | missing, or matching likewise | missing | missing |
//!
//! Where only new values are written, an old value alone is one that readers do not find: nobody has given the item its new
//! one, or somebody has written it who should not have. On the way back they will find it, and it stands. Of a new value
//! alone it is the old one that is missing, which readers that go back would look for: also where the new one was there
//! before the migration, because an application may have written it since.
//!
//! After an in-place move, or a copy whose source the plan removes, nothing is left to compare the new value with. A
//! source that is still there is missing at the target, stale there, or, if both are equal, unexpected itself. After
//! `contract`, a move's source that is still there is unexpected, whatever the target holds, and the two sides of a copy
//! are independent. What a `remove` names is unexpected once its phase is over (`run` in place, else `contract`).
//!
//! With `on_existing = "skip"` an unequal new value may count as done, and the item as skipped. At a constant, and in
//! place, every value counts as done. In a pair of an expand-contract plan, only the value that existed before the
//! migration does (its digest is recorded), whichever side is the truth. A pair that became unequal later is stale: if
//! only its old value was written, readers of the copy would get a value older than the last write. What `contract` left
//! of a skipped pair matches, too.
//!
//! A `set` is held against its constant (absent: missing; another value: stale), but not under `truth: new`, on the
//! way back or not, before `contract`: applications that write the new side alone may change a constant and insert items
//! without it, which says nothing of whether old values are fresh. A rollback waits for a verification that finds
//! nothing.

mod held;
#[cfg(test)]
mod tests;

use crate::change::{Change, ItemHistory, Strategy};
use crate::cutover::{Truth, Truths};
use crate::item::{Item, Path};
use crate::state::{Stage, Verdict};
use held::Held;
pub(super) use held::{Existing, was_skipped};

/// What is expected of every item: the plan's changes, ready to be held against images.
#[derive(Debug, Clone)]
pub struct Parity {
    held: Vec<Held>,
    split: Option<Split>,
}

/// What is held against items of keys that are read at their new attribute, while others are not.
#[derive(Debug, Clone)]
struct Split {
    truths: Truths,
    partition_key: String,
    held: Vec<Held>,
}

/// The result of comparing one item with the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The worst of its changes.
    pub verdict: Verdict,
    /// Where it is not as it should be, and how: the path that has no value, or that has the wrong one.
    pub paths: Vec<(Path, Verdict)>,
}

impl Parity {
    /// What these changes imply at a stage. Plans that work in place have no later stage than the first.
    pub fn new(changes: &[Change], strategy: Strategy, stage: Stage, truth: Truth) -> Parity {
        Parity { held: Held::all(changes, strategy, stage, truth), split: None }
    }

    /// The same where the truth may differ by the value of the named partition key.
    pub fn by_key(changes: &[Change], strategy: Strategy, stage: Stage, truths: Truths, partition_key: &str) -> Parity {
        let split = |held| Split { truths, partition_key: partition_key.to_owned(), held };
        match truths {
            Truths::All(truth) => Parity::new(changes, strategy, stage, truth),
            Truths::Percent(_) => Parity {
                split: Some(split(Held::all(changes, strategy, stage, Truth::NewThenOld))),
                ..Parity::new(changes, strategy, stage, Truth::Old)
            },
        }
    }

    /// Whether nothing is implied of any item yet: every change waits for `contract`.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether an old value of this item stands without a new one, which matches only on the way back.
    pub fn leaves_old_alone(&self, item: &Item) -> bool {
        self.held.iter().any(|held| {
            matches!(held, Held::Pair { old, new, truth: Truth::NewOnTheWayBack, .. }
                if old.get(item).is_some() && new.get(item).is_none())
        })
    }

    /// Holds an item against it. `record` knows the targets that the item had before the migration, and their digests.
    pub fn compare(&self, item: &Item, record: &ItemHistory) -> Comparison {
        let of_key = self.split.as_ref().filter(|split| split.is_of(item));
        let held = of_key.map_or(&self.held, |split| &split.held);
        let found: Vec<(&Path, Verdict)> = held.iter().map(|held| held.compare(item, record)).collect();
        let verdict = found.iter().map(|(_, verdict)| *verdict).max().unwrap_or(Verdict::Matching);
        let wrong = found.into_iter().filter(|(_, verdict)| verdict.is_mismatch());
        Comparison { verdict, paths: wrong.map(|(path, verdict)| (path.clone(), verdict)).collect() }
    }
}

impl Split {
    fn is_of(&self, item: &Item) -> bool {
        self.truths.at(item.get(&self.partition_key)) == Truth::NewThenOld
    }
}

//! Compares one item's image with the plan. Pure: the result depends only on the image and on the item's recorded
//! history.
//!
//! A pair consists of the two values of a `move` or a `copy`: the value at the old path and the value at the new path.
//! One side is the [`Truth`], and the other side is derived from it:
//!
//! | old | new | truth: old | truth: new, then old | truth: new | truth: new, on the way back | | --- | --- | --- | ---
//! | --- | --- | | none | none | matching | matching | matching | matching | | a | a | matching | matching | matching |
//! matching | | a | b | stale | stale | stale | stale | | a | none | missing | missing | missing | matching | | none |
//! b | unexpected, or matching if new existed before the migration | missing, or matching likewise | missing | missing
//! |
//!
//! While only new values are written, readers do not find an old value without a new one. Either nobody gave the item
//! its new value, or somebody wrote the old value by mistake. On the way back, readers will find the old value, so it
//! stays. If there is a new value without an old one, the old value counts as missing, because readers that go back
//! would look for it. The old value counts as missing even if the new value existed before the migration, because an
//! application may have written it since.
//!
//! After an in-place move, or an in-place copy whose source the plan removes, there is nothing left to compare the new
//! value with. If the source still exists, the target is missing or stale. If source and target are equal, the source
//! is unexpected instead. After `contract`, the source of a move is unexpected if it still exists, whatever value the
//! target has. The two sides of a copy are independent then. The path of a `remove` is unexpected if it still exists
//! after the phase that removes it. That phase is `run` for an in-place plan, and `contract` otherwise.
//!
//! With `on_existing = "skip"`, an unequal new value may count as done, and the item as skipped. For a constant and for
//! an in-place plan, every value counts as done. In a pair of an expand-contract plan, only the value that existed
//! before the migration counts as done (its digest is recorded), whichever side is the truth. A pair that became
//! unequal later is stale. For example, if only the old value was written, readers of the new one would get a value
//! that is older than the last write. If `contract` left a skipped pair, the pair matches, too.
//!
//! A `set` is compared with its constant. If there is no value, it is missing; if there is another value, it is stale.
//! Before `contract`, a `set` is not compared under `truth: new`, not even on the way back. Applications that write
//! only the new side may change a constant, or insert items without it. A changed or missing constant says nothing
//! about whether old values are fresh, and it would hold up a rollback, which waits for a verification without
//! mismatches.

mod held;
#[cfg(test)]
mod tests;

use crate::change::{Change, ItemHistory, Strategy};
use crate::cutover::{Truth, Truths};
use crate::item::{Item, Path};
use crate::state::{Stage, Verdict};
use held::Held;
pub(super) use held::{Existing, was_skipped};

/// What the plan implies for every item: its changes, prepared for comparison with images.
#[derive(Debug, Clone)]
pub struct Parity {
    held: Vec<Held>,
    split: Option<Split>,
}

/// The comparison for keys whose readers already use the new attribute, while the readers of other keys still use the
/// old one.
#[derive(Debug, Clone)]
struct Split {
    truths: Truths,
    partition_key: String,
    held: Vec<Held>,
}

/// The result of comparing one item with the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The worst verdict of all changes for this item.
    pub verdict: Verdict,
    /// The paths that are wrong, with the verdict of each. A path is listed if its value is missing or wrong.
    pub paths: Vec<(Path, Verdict)>,
}

impl Parity {
    /// Creates the parity of these changes at a stage. In-place plans have only the first stage.
    pub fn new(changes: &[Change], strategy: Strategy, stage: Stage, truth: Truth) -> Parity {
        Parity { held: Held::all(changes, strategy, stage, truth), split: None }
    }

    /// Creates the parity of these changes if the truth may depend on the value of the partition key, which is named
    /// `partition_key`.
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

    /// Whether there is nothing to compare yet, because every change of the plan waits for `contract`.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether this item has an old value without a new one, and matches only because readers are on the way back.
    pub fn leaves_old_alone(&self, item: &Item) -> bool {
        self.held.iter().any(|held| {
            matches!(held, Held::Pair { old, new, truth: Truth::NewOnTheWayBack, .. }
                if old.get(item).is_some() && new.get(item).is_none())
        })
    }

    /// Compares an item with the plan. `record` holds the targets that the item had before the migration, with their digests.
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

//! Compares one item's image with the plan. Pure: it depends on the image alone, and on the item's recorded history.
//!
//! A pair is the two values that a `move` or a `copy` ties together: the one at its old path and the one at its new path. One
//! side is the [`Truth`], and the other is derived from it:
//!
//! | old | new | truth: old | truth: new, then old | truth: new | truth: new, on the way back |
//! | --- | --- | --- | --- | --- | --- |
//! | none | none | matching | matching | matching | matching |
//! | a | a | matching | matching | matching | matching |
//! | a | b | stale | stale | stale | stale |
//! | a | none | missing | missing | missing | matching |
//! | none | b | unexpected, or matching if new existed before the migration | missing, or matching likewise | missing | missing |
//!
//! While only new values are written, readers do not find an old value without a new one: nobody gave the item its new value,
//! or somebody wrote the old one by mistake. On the way back, readers will find it, so it stays. For a new value without an
//! old one, the old value counts as missing, because readers that go back would look for it. This holds even if the new value
//! existed before the migration, because an application may have written it since.
//!
//! After an in-place move, or an in-place copy whose source the plan removes, there is nothing left to compare the new value
//! with. If the source still exists, the target is missing or stale, or, if both are equal, the source itself is unexpected.
//! After `contract`, a move's source that still exists is unexpected, whatever the target holds, and the two sides of a copy
//! are independent. The path of a `remove` is unexpected once its phase is over (`run` in place, otherwise `contract`).
//!
//! With `on_existing = "skip"`, an unequal new value may count as done, and the item as skipped. At a constant, and in place,
//! every value counts as done. In a pair of an expand-contract plan, only the value that existed before the migration does
//! (its digest is recorded), whichever side is the truth. A pair that became unequal later is stale: if only its old value
//! was written, readers of the copy would get a value older than the last write. What `contract` left of a skipped pair
//! matches, too.
//!
//! A `set` is compared with its constant (absent: missing; another value: stale). It is not compared under `truth: new`
//! before `contract`, on the way back or not: applications that write only the new side may change a constant, or insert
//! items without it, and that says nothing about whether old values are fresh. A rollback waits for a verification that finds
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

/// What the plan implies for every item: its changes, prepared for comparison with images.
#[derive(Debug, Clone)]
pub struct Parity {
    held: Vec<Held>,
    split: Option<Split>,
}

/// The comparison for keys whose readers use the new attribute, while readers of other keys do not.
#[derive(Debug, Clone)]
struct Split {
    truths: Truths,
    partition_key: String,
    held: Vec<Held>,
}

/// The result of comparing one item with the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The worst verdict of its changes.
    pub verdict: Verdict,
    /// The paths that are wrong, and how: the path without a value, or the path with the wrong one.
    pub paths: Vec<(Path, Verdict)>,
}

impl Parity {
    /// The parity of these changes at a stage. For plans that work in place, only the first stage exists.
    pub fn new(changes: &[Change], strategy: Strategy, stage: Stage, truth: Truth) -> Parity {
        Parity { held: Held::all(changes, strategy, stage, truth), split: None }
    }

    /// The same, if the truth may depend on the value of the named partition key.
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

    /// Whether the plan implies nothing for any item yet, because every change waits for `contract`.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether this item has an old value without its new one, which matches only on the way back.
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

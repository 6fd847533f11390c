//! Checks how an item changes between two live operations. Either the item does not change, or the tool has made the
//! plan's complete change.
//!
//! This file implements the plan's transformation independently of the tool's code. Let A be the item's image after a
//! live operation, and T the transformation. The next observed image must be A or T(A), byte for byte. For each live
//! operation, this means:
//!
//! - *update of the old attribute, the new attribute, both, or another attribute; removal of the old or the new
//!   attribute*: A contains the values that the operation wrote. The next image contains these values too, unless T
//!   changes them. Under `keep`, T never replaces a value. Under `overwrite`, T replaces only the value of a target,
//!   and each replaced value must be among the pre-images.
//! - *delete*: A is "no item", and T(A) is "no item" too. The item must not exist until its writer puts it back.
//! - *insert*, also after a delete: A is the whole item.
//! - *put of a whole item from a stale read*: A is the item that was put, even if the put undoes a change that the tool
//!   made after the read. The tool can make the change a second time by the same rules, but must not derive it from an
//!   older image.
//!
//! An image that is neither A nor T(A) reveals four kinds of bugs: a lost update, a recreated item, a partial change,
//! and a value from a stale image.

use backfill::internals::item::{Item, Path, Value};

use super::writer::{Op, OperationKind};
use super::{MARKER, OLD, Scenario, Shape};
use crate::harness::bytes_of;

/// The plan's transformation of one item.
pub(super) struct Transformation {
    in_place: bool,
    overwrite: bool,
    shape: Shape,
    target: Path,
}

/// The result of the check for an item with a correct history.
#[derive(Debug, Default)]
pub(super) struct ItemCheck {
    /// Whether a writer has operated on the item.
    pub(super) touched: bool,
    /// The live operation that preceded each of the tool's changes.
    pub(super) transitions: Vec<Option<OperationKind>>,
    /// The values that the tool's changes replaced.
    pub(super) overwritten: Vec<(Path, Value)>,
    /// Whether the item existed and was diverged in every image.
    pub(super) always_diverged: bool,
    /// Whether the item was diverged in any image.
    pub(super) ever_diverged: bool,
}

/// The constant to which the plan sets [`MARKER`].
fn marker() -> Value {
    Value::N(backfill::internals::item::Num::parse("2").unwrap())
}

impl Transformation {
    pub(super) fn new(scenario: Scenario) -> Transformation {
        Transformation {
            in_place: scenario.strategy == "in-place",
            overwrite: scenario.on_existing == "overwrite",
            shape: scenario.shape,
            target: scenario.shape.target(),
        }
    }

    /// Returns whether the item is diverged: a target has a different value, so the plan does not change the item.
    pub(super) fn diverged(&self, item: &Item) -> bool {
        let moved = match (item.get(OLD), self.target.get(item)) {
            (Some(old), Some(new)) => old != new,
            _ => false,
        };
        !self.overwrite && (moved || item.get(MARKER).is_some_and(|m| *m != marker()))
    }

    /// Returns the item after the plan's pass. The pass makes either both changes or neither of them.
    pub(super) fn apply(&self, item: &Item) -> Item {
        let mut item = item.clone();
        if self.diverged(&item) {
            return item;
        }
        item.insert(MARKER.into(), marker());
        if let Some(old) = item.get(OLD).cloned() {
            if self.shape == Shape::Nested {
                item.entry("doc".into()).or_insert_with(|| Value::M(Item::new()));
            }
            assert!(self.target.set(&mut item, old));
            if self.in_place {
                item.remove(OLD);
            }
        }
        item
    }

    /// Returns the values that the plan's change of this item replaces.
    pub(super) fn overwritten(&self, item: &Item) -> Vec<(Path, Value)> {
        let after = self.apply(item);
        [self.target.clone(), Path::attribute(MARKER)]
            .into_iter()
            .filter_map(|path| {
                let there = path.get(item).filter(|there| path.get(&after) != Some(there))?.clone();
                Some((path, there))
            })
            .collect()
    }

    /// Checks an item's history: the first image, every live operation, and the last image.
    pub(super) fn check(&self, first: Option<&Item>, ops: &[Op], last: Option<&Item>) -> Result<ItemCheck, String> {
        let mut found = ItemCheck { touched: !ops.is_empty(), always_diverged: true, ..ItemCheck::default() };
        let mut left = first;
        let mut before_op = None;
        found.note_divergence(first.is_some_and(|item| self.diverged(item)));
        for (n, op) in ops.iter().enumerate() {
            self.step(left, op.before.as_ref(), before_op, &mut found)
                .map_err(|why| format!("before operation {n} ({:?}), {why}", op.kind))?;
            left = op.after.as_ref();
            before_op = Some(op.kind);
            found.note_divergence(left.is_some_and(|item| self.diverged(item)));
        }
        self.step(left, last, before_op, &mut found).map_err(|why| format!("in the end, {why}"))?;
        Ok(found)
    }

    /// Checks the step from the image after one operation to the next observed image.
    fn step(
        &self,
        left: Option<&Item>,
        seen: Option<&Item>,
        after: Option<OperationKind>,
        found: &mut ItemCheck,
    ) -> Result<(), String> {
        match (left, seen) {
            (None, None) => Ok(()),
            (None, Some(seen)) => Err(format!("the item is back, after {after:?}: {}", bytes_of(seen))),
            (Some(left), None) => Err(format!("the item is gone, after {after:?} left {}", bytes_of(left))),
            (Some(left), Some(seen)) if bytes_of(left) == bytes_of(seen) => Ok(()),
            (Some(left), Some(seen)) => {
                let changed = self.apply(left);
                if bytes_of(&changed) != bytes_of(seen) {
                    return Err(format!(
                        "after {after:?} left\n  {}\nthe image is neither that nor\n  {}\nbut\n  {}",
                        bytes_of(left),
                        bytes_of(&changed),
                        bytes_of(seen)
                    ));
                }
                found.transitions.push(after);
                found.overwritten.extend(self.overwritten(left));
                found.note_divergence(false);
                Ok(())
            }
        }
    }
}

impl ItemCheck {
    fn note_divergence(&mut self, diverged: bool) {
        self.always_diverged &= diverged;
        self.ever_diverged |= diverged;
    }
}

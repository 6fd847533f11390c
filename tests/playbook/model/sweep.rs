//! The work of a phase on one item. The phase reads the item, and decides based on the image that it read. It journals
//! the values that its write will destroy, and then writes under a condition.

use backfill::internals::playbook::{Phase, VerifyScope};

/// An attribute's value. At the start, the item's old attribute has the value `0`.
pub(super) type Value = u8;

/// The value of a new attribute that existed before the migration.
pub(super) const FOREIGN: Value = 1;

/// The item, with its two attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) old: Option<Value>,
    pub(super) new: Option<Value>,
}

/// An item that a phase has read but not finished. A kill discards the item's image and any request in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PassInProgress {
    pub(super) phase: ModelPhase,
    pub(super) image: Item,
    /// Whether readers of this key used its new attribute when the page began.
    pub(super) reads_new: bool,
    /// Whether writers wrote both attributes when the page began. Always false for phases that do not use this fact.
    pub(super) writes_both: bool,
    /// Whether the values that the write destroys are durable in the journal.
    pub(super) journaled: bool,
}

/// The phases of the model. A verification that repairs is a separate phase, because it treats an item differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum ModelPhase {
    Expand,
    Retry,
    Verify,
    Repair,
    OldFromNew,
    Undo,
    Contract,
}

impl From<Phase> for ModelPhase {
    fn from(phase: Phase) -> ModelPhase {
        match phase {
            Phase::Expand => ModelPhase::Expand,
            Phase::Retry => ModelPhase::Retry,
            Phase::Verify { scope: VerifyScope::Full, repair: false } => ModelPhase::Verify,
            Phase::Verify { scope: VerifyScope::Full, repair: true } => ModelPhase::Repair,
            Phase::Verify { scope: VerifyScope::Sampled, .. } => {
                panic!("the model has only one item, so it does not sample")
            }
            Phase::OldFromNew => ModelPhase::OldFromNew,
            Phase::Undo => ModelPhase::Undo,
            Phase::Contract => ModelPhase::Contract,
        }
    }
}

/// The facts that a phase knows about an item in addition to the item's image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Knowledge {
    /// Whether the new attribute existed before the migration. `None` if no pass has recorded this.
    pub(super) preexisting: Option<bool>,
    pub(super) reads_new: bool,
    pub(super) writes_both: bool,
    pub(super) old_stale: bool,
    pub(super) dual_written: bool,
    /// Whether a test has planted this wrong rule in the phase.
    pub(super) skip_preexisting: bool,
    pub(super) removes_old_without_new: bool,
}

/// The decision about an item, which follows from its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// The item needs no write. For a verification, the item matches.
    Nothing,
    /// The item gets no write, even though it differs or has diverged.
    Differs,
    /// `SET new = old`, on the condition that the old attribute exists and the new one does not. The value does not
    /// pass through the client.
    Copy,
    /// Removes one attribute, on the condition that both attributes are equal.
    RemoveEqual { old: bool },
    /// Replaces the item with this one, on the condition that both attributes still equal the image.
    Swap(Item),
}

/// Returns whether the baseline of an item counts its new attribute as preexisting. While applications write both
/// attributes, a new attribute that equals the old one does not count, because an application could have written both.
pub(super) fn counts_as_preexisting(image: Item, dual_writes: bool) -> bool {
    image.new.is_some() && !(dual_writes && image.old == image.new)
}

pub(super) fn decide(phase: ModelPhase, image: Item, known: Knowledge) -> Decision {
    let Item { old, new } = image;
    match phase {
        ModelPhase::Expand | ModelPhase::Retry => match (old, new) {
            (Some(_), None) => Decision::Copy,
            (Some(old), Some(new)) if old != new => Decision::Differs,
            _ => Decision::Nothing,
        },
        ModelPhase::Verify if differs(image, known) => Decision::Differs,
        ModelPhase::Repair if differs(image, known) => match repaired(image, known) {
            Some(repaired) => Decision::Swap(repaired),
            None => Decision::Differs,
        },
        ModelPhase::Verify | ModelPhase::Repair => Decision::Nothing,
        ModelPhase::OldFromNew if old == new => Decision::Nothing,
        ModelPhase::OldFromNew if known.skip_preexisting && old.is_none() && known.preexisting == Some(true) => {
            Decision::Nothing
        }
        ModelPhase::OldFromNew if new.is_none() && !known.removes_old_without_new => Decision::Differs,
        ModelPhase::OldFromNew => Decision::Swap(Item { old: new, new }),
        ModelPhase::Undo => match (new, known.preexisting) {
            (None, _) | (_, Some(true)) => Decision::Nothing,
            (_, None) if old == new && known.dual_written => Decision::RemoveEqual { old: false },
            (_, None) => Decision::Nothing,
            (_, Some(false)) if old == new => Decision::RemoveEqual { old: false },
            (_, Some(false)) => Decision::Swap(Item { old, new: None }),
        },
        ModelPhase::Contract => match (old, new) {
            (None, _) => Decision::Nothing,
            (_, None) => Decision::Differs,
            _ if old == new => Decision::RemoveEqual { old: true },
            _ => Decision::Swap(Item { old: None, new }),
        },
    }
}

fn differs(Item { old, new }: Item, known: Knowledge) -> bool {
    let left_alone = old.is_none() && known.preexisting == Some(true) && (!known.old_stale || known.skip_preexisting);
    // If an item has no new value, readers can still read its old value after they go back.
    let stays = new.is_none() && known.old_stale && known.writes_both;
    old != new && !left_alone && !stays
}

/// Returns the item after a repair. Returns `None` if the right value is unknown.
fn repaired(Item { old, new }: Item, known: Knowledge) -> Option<Item> {
    if known.reads_new || known.old_stale {
        // While applications write both attributes, readers fall back to the old one if the new one is missing.
        let read = if known.writes_both && !known.old_stale { new.or(old) } else { new };
        read.map(|_| Item { old: read, new: read })
    } else {
        Some(Item { old, new: old })
    }
}

/// Returns the item after the write, or `None` if the write's condition fails.
pub(super) fn write(decision: Decision, item: Item, image: Item) -> Option<Item> {
    match decision {
        Decision::Nothing | Decision::Differs => Some(item),
        Decision::Copy => (item.old.is_some() && item.new.is_none()).then_some(Item { new: item.old, ..item }),
        Decision::RemoveEqual { old } => (item.old == item.new && item.old.is_some()).then_some(if old {
            Item { old: None, ..item }
        } else {
            Item { new: None, ..item }
        }),
        Decision::Swap(to) => (item == image).then_some(to),
    }
}

/// Returns the set of values that a write destroys if the item still equals this image.
pub(super) fn destroyed(decision: Decision, image: Item) -> u8 {
    match decision {
        Decision::Swap(to) => values(image) & !values(to),
        _ => 0,
    }
}

/// Returns an item's values as a set.
pub(super) fn values(item: Item) -> u8 {
    [item.old, item.new].into_iter().flatten().fold(0, |set, value| set | 1 << value)
}

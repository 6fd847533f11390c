//! What a phase does to one item: reads it, decides by the image, journals what its write destroys, and writes under a
//! condition.

use backfill::internals::playbook::{Phase, Scope};

/// Values that the application writes; the item begins with `0` in its old attribute, and a foreign value is `1`.
pub(super) type Value = u8;

/// The value that a new attribute has before the migration.
pub(super) const FOREIGN: Value = 1;

/// The item: its two attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) old: Option<Value>,
    pub(super) new: Option<Value>,
}

/// An item that a phase has read and not finished. A kill forgets it; a request that is under way ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct UnderWay {
    pub(super) phase: At,
    pub(super) image: Item,
    /// Whether this key was read at its new attribute when the page began.
    pub(super) reads_new: bool,
    /// What the flag said of writes then, where that is asked.
    pub(super) writes_both: bool,
    /// What the write destroys is in the journal, durably.
    pub(super) journaled: bool,
}

/// The phases, as far as they differ for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum At {
    Expand,
    Retry,
    Verify,
    Repair,
    OldFromNew,
    Undo,
    Contract,
}

impl From<Phase> for At {
    fn from(phase: Phase) -> At {
        match phase {
            Phase::Expand => At::Expand,
            Phase::Retry => At::Retry,
            Phase::Verify { scope: Scope::Full, repair: false } => At::Verify,
            Phase::Verify { scope: Scope::Full, repair: true } => At::Repair,
            Phase::Verify { scope: Scope::Sampled, .. } => panic!("nobody samples one item"),
            Phase::OldFromNew => At::OldFromNew,
            Phase::Undo => At::Undo,
            Phase::Contract => At::Contract,
        }
    }
}

/// What a phase knows beside the image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Whether the new attribute existed before the migration; `None` if no pass has looked.
    pub(super) preexisting: Option<bool>,
    pub(super) reads_new: bool,
    pub(super) writes_both: bool,
    pub(super) old_stale: bool,
    pub(super) dual_written: bool,
    /// The planted rules.
    pub(super) leave_there_before: bool,
    pub(super) removes_old_alone: bool,
}

/// What an image asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing: for a verification, it matches.
    Nothing,
    /// It differs, or has diverged, and stays.
    Differs,
    /// `SET new = old`, where old is there and new is not: the value does not pass through the client.
    Copy,
    /// Takes one attribute away, where both are equal.
    RemoveEqual { old: bool },
    /// Makes it so, where both attributes still are as in the image.
    Swap(Item),
}

/// Whether the first look at an item counts its new attribute as preexisting. While applications write both attributes, an
/// equal pair is theirs.
pub(super) fn was_there(image: Item, dual_writes: bool) -> bool {
    image.new.is_some() && !(dual_writes && image.old == image.new)
}

pub(super) fn decide(phase: At, image: Item, known: Known) -> Decision {
    let Item { old, new } = image;
    match phase {
        At::Expand | At::Retry => match (old, new) {
            (Some(_), None) => Decision::Copy,
            (Some(old), Some(new)) if old != new => Decision::Differs,
            _ => Decision::Nothing,
        },
        At::Verify if differs(image, known) => Decision::Differs,
        At::Repair if differs(image, known) => match repaired(image, known) {
            Some(repaired) => Decision::Swap(repaired),
            None => Decision::Differs,
        },
        At::Verify | At::Repair => Decision::Nothing,
        At::OldFromNew if old == new => Decision::Nothing,
        At::OldFromNew if known.leave_there_before && old.is_none() && known.preexisting == Some(true) => {
            Decision::Nothing
        }
        At::OldFromNew if new.is_none() && !known.removes_old_alone => Decision::Differs,
        At::OldFromNew => Decision::Swap(Item { old: new, new }),
        At::Undo => match (new, known.preexisting) {
            (None, _) | (_, Some(true)) => Decision::Nothing,
            (_, None) if old == new && known.dual_written => Decision::RemoveEqual { old: false },
            (_, None) => Decision::Nothing,
            (_, Some(false)) if old == new => Decision::RemoveEqual { old: false },
            (_, Some(false)) => Decision::Swap(Item { old, new: None }),
        },
        At::Contract => match (old, new) {
            (None, _) => Decision::Nothing,
            (_, None) => Decision::Differs,
            _ if old == new => Decision::RemoveEqual { old: true },
            _ => Decision::Swap(Item { old: None, new }),
        },
    }
}

fn differs(Item { old, new }: Item, known: Known) -> bool {
    let left_alone = old.is_none() && known.preexisting == Some(true) && (!known.old_stale || known.leave_there_before);
    // Readers that go back find an old value without a new one.
    let stays = new.is_none() && known.old_stale && known.writes_both;
    old != new && !left_alone && !stays
}

/// None where it is not known what the item should be.
fn repaired(Item { old, new }: Item, known: Known) -> Option<Item> {
    if known.reads_new || known.old_stale {
        // Readers fall back to the old one while both are written.
        let read = if known.writes_both && !known.old_stale { new.or(old) } else { new };
        read.map(|_| Item { old: read, new: read })
    } else {
        Some(Item { old, new: old })
    }
}

/// The item after the write, if its condition holds.
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

/// The values that a write destroys, were it made on this image, as a set.
pub(super) fn destroyed(decision: Decision, image: Item) -> u8 {
    match decision {
        Decision::Swap(to) => values(image) & !values(to),
        _ => 0,
    }
}

/// The values of an item, as a set.
pub(super) fn values(item: Item) -> u8 {
    [item.old, item.new].into_iter().flatten().fold(0, |set, value| set | 1 << value)
}

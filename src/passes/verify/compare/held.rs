//! Compares one change of the plan with an image.

use crate::change::{Change, ItemHistory, Strategy};
use crate::cutover::Truth;
use crate::item::{Item, Path, Value};
use crate::state::{Stage, Verdict};

/// One change, prepared for comparison with an image.
#[derive(Debug, Clone)]
pub(super) enum Held {
    Pair {
        old: Path,
        new: Path,
        truth: Truth,
        existing: Existing,
    },
    InPlace {
        from: Path,
        to: Path,
        existing: Existing,
    },
    Constant {
        to: Path,
        value: Value,
        existing: Existing,
    },
    /// The path must be absent, unless the plan skipped one of these copies of the path.
    Gone {
        path: Path,
        copies: Vec<(Path, Existing)>,
    },
}

/// Defines whether a value at a target counts as done although it differs from the implied value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Existing {
    /// A different value never counts as done.
    Held,
    /// A different value counts as done if it existed before the migration.
    Recorded,
    /// A different value always counts as done.
    Done,
}

impl Existing {
    pub(in super::super) fn of(change: &Change, strategy: Strategy) -> Existing {
        match (change.skips(), change, strategy) {
            (false, ..) => Existing::Held,
            (true, Change::Move { .. } | Change::Copy { .. }, Strategy::ExpandContract) => Existing::Recorded,
            (true, ..) => Existing::Done,
        }
    }

    /// Whether the value `there` at the target `to` counts as done although it is not the implied value.
    pub(in super::super) fn counts(self, record: &ItemHistory, to: &Path, there: &Value) -> bool {
        match self {
            Existing::Held => false,
            Existing::Recorded => record.is_preexisting_value(to, there),
            Existing::Done => true,
        }
    }
}

impl Held {
    /// Prepares the changes that can be compared at this stage.
    pub(super) fn all(changes: &[Change], strategy: Strategy, stage: Stage, truth: Truth) -> Vec<Held> {
        changes.iter().filter_map(|change| Held::of(change, strategy, stage, truth, changes)).collect()
    }

    fn of(change: &Change, strategy: Strategy, stage: Stage, truth: Truth, all: &[Change]) -> Option<Held> {
        let in_place = strategy == Strategy::InPlace;
        let goes = |path: &Path| all.iter().any(|other| other.removes(path));
        let contracted = stage == Stage::Contracted && !in_place;
        let existing = Existing::of(change, strategy);
        Some(match change.clone() {
            Change::Move { from, to, .. } if contracted => Held::Gone { path: from, copies: vec![(to, existing)] },
            Change::Move { from, to, .. } if in_place => Held::InPlace { from, to, existing },
            Change::Copy { from, to, .. } if in_place && goes(&from) => Held::InPlace { from, to, existing },
            Change::Copy { .. } if contracted => return None,
            Change::Move { from, to, .. } | Change::Copy { from, to, .. } => {
                Held::Pair { old: from, new: to, truth, existing }
            }
            Change::Set { .. } if truth.is_new_alone() && stage == Stage::Expanded => return None,
            Change::Set { to, value, .. } => Held::Constant { to, value, existing },
            Change::Remove { path } if in_place || contracted => {
                Held::Gone { copies: skipping_copies(all, &path, strategy), path }
            }
            Change::Remove { .. } => return None,
        })
    }

    /// Compares an item with this change. Returns the compared path and the verdict.
    pub(super) fn compare(&self, item: &Item, record: &ItemHistory) -> (&Path, Verdict) {
        match self {
            Held::Pair { old, new, truth, existing } => {
                let was_there = record.is_preexisting(new);
                match (old.get(item), new.get(item)) {
                    (Some(a), Some(b)) if a == b => (new, Verdict::Matching),
                    (Some(_), Some(b)) if existing.counts(record, new, b) => (new, Verdict::Skipped),
                    (Some(_), Some(_)) if *truth == Truth::Old => (new, Verdict::Stale),
                    (Some(_), Some(_)) => (old, Verdict::Stale),
                    (Some(_), None) if *truth == Truth::NewOnTheWayBack => (new, Verdict::Matching),
                    (Some(_), None) => (new, Verdict::Missing),
                    (None, Some(_)) if was_there && !truth.is_new_alone() => (new, Verdict::Matching),
                    (None, Some(_)) if *existing == Existing::Done => (new, Verdict::Matching),
                    (None, Some(_)) if *truth == Truth::Old => (new, Verdict::Unexpected),
                    (None, Some(_)) => (old, Verdict::Missing),
                    (None, None) => (new, Verdict::Matching),
                }
            }
            Held::InPlace { from, to, existing } => match (from.get(item), to.get(item)) {
                (Some(a), Some(b)) if a == b => (from, Verdict::Unexpected),
                (Some(_), Some(b)) if existing.counts(record, to, b) => (to, Verdict::Skipped),
                (Some(_), Some(_)) => (to, Verdict::Stale),
                (Some(_), None) => (to, Verdict::Missing),
                (None, _) => (to, Verdict::Matching),
            },
            Held::Constant { to, value, existing } => match to.get(item) {
                Some(there) if there == value => (to, Verdict::Matching),
                Some(there) if existing.counts(record, to, there) => (to, Verdict::Skipped),
                Some(_) => (to, Verdict::Stale),
                None => (to, Verdict::Missing),
            },
            Held::Gone { path, copies } => match path.get(item) {
                Some(old) if copies.iter().any(|copy| was_skipped(item, record, old, copy)) => (path, Verdict::Skipped),
                Some(_) => (path, Verdict::Unexpected),
                None => (path, Verdict::Matching),
            },
        }
    }
}

/// The copies of a path whose targets the plan may skip.
fn skipping_copies(changes: &[Change], path: &Path, strategy: Strategy) -> Vec<(Path, Existing)> {
    let skipping = changes.iter().filter_map(|change| match change {
        Change::Copy { from, to, .. } if from == path && change.skips() => {
            Some((to.clone(), Existing::of(change, strategy)))
        }
        Change::Copy { .. } | Change::Move { .. } | Change::Set { .. } | Change::Remove { .. } => None,
    });
    skipping.collect()
}

/// Whether the value at the target of this copy differs from the old value but counts as done. If so, the old value
/// exists only at the source.
pub(in super::super) fn was_skipped(
    item: &Item,
    record: &ItemHistory,
    old: &Value,
    (to, existing): &(Path, Existing),
) -> bool {
    to.get(item).is_some_and(|there| there != old && existing.counts(record, to, there))
}

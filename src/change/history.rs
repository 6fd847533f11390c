//! The history of an item, from which a rollback decides: its journal (values that writes destroyed, paths where there was
//! nothing) and its baseline (preexisting targets).
//!
//! # Which pre-image is the one to restore
//!
//! A path can have several: of several passes, of a write that was planned anew after a lost reply, of a write that was
//! killed in flight and may never have happened. Neither the oldest nor the newest is right as such:
//!
//! - Not the oldest. A pass recorded `x0` and died before its write was sent; a live writer put `x1`; the next pass recorded
//!   `x1` and overwrote it. `x1` is what the application had there last, and the oldest would bring back `x0`.
//! - Not the newest. A pass overwrote `x0` with the old attribute's value `v`; an application that knows only the old
//!   attribute changed it; another pass recorded `v`, which the tool itself had put there, and overwrote it. The newest
//!   would bring back `v`, which no application ever wrote there.
//!
//! So it is the newest that the tool did not write itself. Of every write that moves or copies, the digest of what it wrote
//! is kept beside the pre-image ([`PreImage::wrote`]): a pre-image whose value is what the recorded write before it wrote
//! is the tool's own, and the one before it counts. A constant never is its own pre-image, because a write that would
//! change nothing is not made. Pre-images of writes that were refused are not among them; one whose write is uncertain
//! may be: if the write was made, it is the right one; if it was not, what it recorded is either there still, which is
//! found (nothing is left to undo), or was replaced by a live writer, whose value a later write recorded, or is not what the
//! migration wrote, and is left alone. A write that found the same value as a later one did was most likely never made: what
//! the two found is told by the writes before both.
//!
//! # Targets that did not exist before
//!
//! A copy into an empty place leaves no record, so a later pass that overwrites it cannot tell it from a live writer's value.
//! It does not need to: if the item has a baseline, a target that the baseline does not list did not exist before the
//! migration. It goes, whatever a pass found and overwrote there since; the journal still has that value.
//!
//! One race remains: a pass overwrote a preexisting target, a live writer removed the target alone, and two more passes
//! created and overwrote it. A rollback restores what the first of these two wrote.
//!
//! # What a repair overwrote
//!
//! `verify --repair` puts right what is not as the plan implies, and journals it like a pass, with the digest of what it
//! wrote. What it found is nothing that the migration began with: of a path that a pass has written, it is passed over. It
//! counts where no pass has written the path: there it was the tool's first write. So it is with a target that was there
//! before the migration and that the passes kept, equal or as diverged; of those a digest of the value is recorded, which
//! tells it from what has come in its place since.
//!
//! # Digests
//!
//! The digest is exact where a value was overwritten, and of every change that skips, because the write's condition held it
//! to the value that was read. So a live writer's value can be distinguished from that of a write whose outcome is unknown.
//! For any other move in place it is the digest of the value that was read: if the value changed between read and write, and
//! the path is overwritten in a later pass, a rollback leaves that value at the new path. No value is lost.

use std::collections::{BTreeMap, BTreeSet};

use super::digest::Digest;
use super::pre_image::{PreImage, PriorValue};
use crate::item::{Path, Value};

/// Which write a pre-image is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Of a pass of `run`.
    Run,
    /// Of `verify --repair`.
    Repair,
}

/// What the recorded history of an item is looked up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// To decide: every record is proven first, and an item whose record cannot be read is not written.
    ToDecide,
    /// To report what the phase leaves different from before the migration. Only preexisting targets matter. Damage to the
    /// file does not stop the phase; what cannot be known is reported as unknown.
    ToReport,
}

/// What is recorded about one item: its baseline and its journal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ItemHistory {
    /// Preexisting targets, with digests of their values.
    preexisting: BTreeMap<Path, Digest>,
    /// By path, newest first.
    journal: BTreeMap<Path, Vec<(By, PreImage)>>,
    /// The item has no baseline, or it is unknown whether it has one.
    without_baseline: bool,
    /// Why the record cannot be read.
    unreadable: Option<String>,
    /// Targets that were equal to their source in the baseline, recorded after dual writes began.
    equal: BTreeSet<Path>,
}

impl ItemHistory {
    pub(super) const NOTHING: ItemHistory = ItemHistory {
        preexisting: BTreeMap::new(),
        journal: BTreeMap::new(),
        without_baseline: false,
        unreadable: None,
        equal: BTreeSet::new(),
    };

    /// Preexisting targets, with digests of their values, and the pre-images whose write was not
    /// refused, newest first.
    pub fn new(
        preexisting: impl IntoIterator<Item = (Path, Digest)>,
        newest_first: impl IntoIterator<Item = (By, PreImage)>,
    ) -> ItemHistory {
        let mut journal: BTreeMap<Path, Vec<(By, PreImage)>> = BTreeMap::new();
        for (by, pre) in newest_first {
            journal.entry(pre.path.clone()).or_default().push((by, pre));
        }
        let preexisting = preexisting.into_iter().collect();
        ItemHistory { preexisting, journal, ..ItemHistory::NOTHING }
    }

    /// The record of an item that cannot be read, for this reason: nothing is decided by it, and the item stays as it is.
    pub fn unreadable(why: impl Into<String>) -> ItemHistory {
        ItemHistory { unreadable: Some(why.into()), ..ItemHistory::NOTHING }
    }

    /// Why the record cannot be read, if it cannot.
    pub fn why_unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// The same, with targets that were equal to their source in the baseline, recorded after dual writes began.
    #[must_use]
    pub fn with_equal(self, equal: impl IntoIterator<Item = Path>) -> ItemHistory {
        ItemHistory { equal: equal.into_iter().collect(), ..self }
    }

    /// Whether nobody can tell a target that is equal to its source from one that existed before dual writes.
    pub(super) fn may_be_older(&self, target: &Path) -> bool {
        self.without_baseline || self.equal.contains(target)
    }

    /// The same, for a table whose baseline is incomplete: a target that it does not list may have existed all the same.
    #[must_use]
    pub fn without_baseline(self) -> ItemHistory {
        ItemHistory { without_baseline: true, ..self }
    }

    pub(super) fn has_baseline(&self) -> bool {
        !self.without_baseline
    }

    /// Whether this target existed before the migration.
    pub fn is_preexisting(&self, target: &Path) -> bool {
        self.preexisting.contains_key(target)
    }

    /// Whether this target still has the value that it had before the migration. A change that skips counts it as done.
    ///
    /// An application that writes that very value again is not told from one that wrote nothing.
    pub fn is_preexisting_value(&self, target: &Path, now: &Value) -> bool {
        self.preexisting.get(target).is_some_and(|before| *before == Digest::of(now))
    }

    /// What was at this path before the migration wrote it; none if no write of it is recorded. For paths whose every write is
    /// recorded.
    pub(super) fn prior(&self, path: &Path) -> Option<&PriorValue> {
        self.newest_foreign(path, Some(By::Run)).or_else(|| self.newest_foreign(path, None))
    }

    /// The same for the target of a copy, whose value is now `now`. A pass that creates the target records nothing.
    /// Also `None` if nothing existed before the migration, or if the earlier value is back.
    pub(super) fn prior_of_copy(&self, target: &Path, now: Option<&Value>) -> Option<&PriorValue> {
        if !self.without_baseline && !self.is_preexisting(target) {
            return None;
        }
        self.newest_foreign(target, Some(By::Run)).or_else(|| {
            let before = self.preexisting.get(target)?;
            let is_it = |value: &Value| Digest::of(value) == *before;
            if now.is_some_and(is_it) {
                return None;
            }
            let mut rows = self.journal.get(target)?.iter().map(|(_, row)| &row.prior);
            let found = rows.find(|prior| matches!(prior, PriorValue::Value(value) if is_it(value)));
            found.or_else(|| self.newest_foreign(target, None))
        })
    }

    /// Whether this value, which is at a path now, is what the tool has put there.
    pub fn is_ours(&self, path: &Path, now: &Value) -> bool {
        self.journal.get(path).is_some_and(|rows| is_written_by(Some(Digest::of(now)), rows))
    }

    /// The newest that the tool did not write itself.
    fn newest_foreign(&self, path: &Path, by: Option<By>) -> Option<&PriorValue> {
        let rows = self.journal.get(path)?;
        let own = |at: usize| is_written_by(rows[at].1.found(), &rows[at + 1..]);
        let counts = |at: &usize| by.is_none_or(|by| rows[*at].0 == by) && !own(*at);
        (0..rows.len()).find(counts).map(|at| &rows[at].1.prior)
    }

    /// Whether the migration has made a value here, or a map, where there was nothing.
    pub(super) fn made(&self, path: &Path) -> bool {
        self.journal.get(path).is_some_and(|rows| rows.iter().any(|(_, row)| row.prior == PriorValue::Nothing))
    }
}

/// Whether a value of this digest is what the newest of these writes that was made had put there. One that found the same
/// value is passed over: it was not made.
fn is_written_by(found: Option<Digest>, earlier: &[(By, PreImage)]) -> bool {
    let Some(found) = found else { return false };
    let made = earlier.iter().find(|(_, row)| row.wrote == Some(found) || row.found() != Some(found));
    made.is_some_and(|(_, row)| row.wrote == Some(found))
}

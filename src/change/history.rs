//! The history of an item, which a rollback uses to decide. It consists of the journal (values that writes destroyed,
//! and paths that were empty) and the baseline (preexisting targets).
//!
//! # Which pre-image to restore
//!
//! A path can have several pre-images: from several passes, from a write that was planned again after a lost reply, or
//! from a write that was killed in flight and may never have happened. Neither the oldest nor the newest is always
//! right:
//!
//! - Not the oldest. A pass recorded `x0` and died before it sent its write. A live writer wrote `x1`. The next pass
//!   recorded `x1` and overwrote it. The application last had `x1` there, but the oldest pre-image would restore `x0`.
//! - Not the newest. A pass overwrote `x0` with the old attribute's value `v`. An application that knows only the old
//!   attribute changed it. Another pass recorded `v`, which the tool itself had written, and overwrote it. The newest
//!   pre-image would restore `v`, which no application ever wrote there.
//!
//! So the right one is the newest pre-image that the tool did not write itself. For every write that moves or copies,
//! the journal keeps the digest of the written value next to the pre-image ([`PreImage::wrote`]). If a pre-image equals
//! the value that the recorded write before it wrote, the value is the tool's own, and the pre-image before it counts.
//! A constant is never its own pre-image, because a write that would change nothing is not sent.
//!
//! Pre-images of refused writes are not considered. Pre-images of writes with an unknown outcome are. If such a write
//! was made, its pre-image is the right one. If it was not made, there are three cases. The recorded value is still
//! there: the rollback sees that, and nothing is left to undo. A live writer replaced it, and a later write recorded
//! the live writer's value. Or the current value is not one that the migration wrote, and the rollback leaves it alone.
//! If a write found the same value as a later write, it was most likely never made. The writes before both then tell
//! where that value came from.
//!
//! # Targets that did not exist before
//!
//! A copy into an empty place leaves no record, so a later pass that overwrites the copy cannot tell it from a live
//! writer's value. It does not need to. If the item has a baseline, a target that the baseline does not list did not
//! exist before the migration. A rollback removes it, even if a pass found and overwrote a value there since. The
//! journal still has that value.
//!
//! One race remains. A pass overwrote a preexisting target, a live writer removed only the target, and two more passes
//! created and overwrote it. A rollback then restores the value that the first of these two passes wrote.
//!
//! # Values that a repair overwrote
//!
//! `verify --repair` fixes values that differ from what the plan implies. It journals each fix like a pass, with the
//! digest of the written value. If a pass has written the path, the value that the repair found is not from before the
//! migration, so a rollback ignores it. If no pass has written the path, the repair was the tool's first write there,
//! and its pre-image counts. This is the case for a preexisting target that the passes kept, equal or diverged. The
//! baseline has a digest of its value, which distinguishes it from a value that replaced it later.
//!
//! # Digests
//!
//! The digest is exact for overwritten values and for every change that skips, because the write's condition pinned the
//! value that was read. So a live writer's value can be distinguished from the value of a write with an unknown
//! outcome. For any other in-place move, it is the digest of the value that was read. If the value changed between read
//! and write, and a later pass overwrites the path, a rollback leaves that value at the new path. No value is lost.

use std::collections::{BTreeMap, BTreeSet};

use super::digest::Digest;
use super::pre_image::{PreImage, PriorValue};
use crate::item::{Path, Value};

/// Which kind of write a pre-image belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A pass of `run`.
    Run,
    /// `verify --repair`.
    Repair,
}

/// Why the recorded history of an item is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// To decide. Every record is checked first, and an item whose record cannot be read is not written.
    ToDecide,
    /// To report what the phase leaves different from before the migration. Only preexisting targets matter. Damage to
    /// the file does not stop the phase; facts that cannot be read are reported as unknown.
    ToReport,
}

/// The recorded history of one item: its baseline and its journal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ItemHistory {
    /// Preexisting targets, with digests of their values.
    preexisting: BTreeMap<Path, Digest>,
    /// Journal entries by path, newest first.
    journal: BTreeMap<Path, Vec<(By, PreImage)>>,
    /// Whether the item has no baseline, or may have none.
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

    /// Creates a history from preexisting targets, with digests of their values, and from the pre-images whose write
    /// was not refused, newest first.
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

    /// The history of an item whose record cannot be read for this reason. Nothing is decided from it, and the item
    /// stays as it is.
    pub fn unreadable(why: impl Into<String>) -> ItemHistory {
        ItemHistory { unreadable: Some(why.into()), ..ItemHistory::NOTHING }
    }

    /// Why the record cannot be read, if it cannot.
    pub fn why_unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// The same history, with targets that were equal to their source in the baseline, recorded after dual writes
    /// began.
    #[must_use]
    pub fn with_equal(self, equal: impl IntoIterator<Item = Path>) -> ItemHistory {
        ItemHistory { equal: equal.into_iter().collect(), ..self }
    }

    /// Whether this target may be older than dual writes, although it is equal to its source.
    pub(super) fn may_be_older(&self, target: &Path) -> bool {
        self.without_baseline || self.equal.contains(target)
    }

    /// The same history for a table whose baseline is incomplete. A target that the baseline does not list may have
    /// existed anyway.
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
    /// If an application writes the same value again, it looks like one that wrote nothing.
    pub fn is_preexisting_value(&self, target: &Path, now: &Value) -> bool {
        self.preexisting.get(target).is_some_and(|before| *before == Digest::of(now))
    }

    /// What was at this path before the migration wrote it, or `None` if no write of it is recorded. Valid only for
    /// paths whose every write is recorded.
    pub(super) fn prior(&self, path: &Path) -> Option<&PriorValue> {
        self.newest_foreign(path, Some(By::Run)).or_else(|| self.newest_foreign(path, None))
    }

    /// The same for the target of a copy, whose current value is `now`. A pass that creates the target records nothing.
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

    /// Whether the tool wrote this value, which is now at the path.
    pub fn is_ours(&self, path: &Path, now: &Value) -> bool {
        self.journal.get(path).is_some_and(|rows| is_written_by(Some(Digest::of(now)), rows))
    }

    /// The newest pre-image that the tool did not write itself.
    fn newest_foreign(&self, path: &Path, by: Option<By>) -> Option<&PriorValue> {
        let rows = self.journal.get(path)?;
        let own = |at: usize| is_written_by(rows[at].1.found(), &rows[at + 1..]);
        let counts = |at: &usize| by.is_none_or(|by| rows[*at].0 == by) && !own(*at);
        (0..rows.len()).find(counts).map(|at| &rows[at].1.prior)
    }

    /// Whether the migration has created a value or a map at this path, which was empty before.
    pub(super) fn made(&self, path: &Path) -> bool {
        self.journal.get(path).is_some_and(|rows| rows.iter().any(|(_, row)| row.prior == PriorValue::Nothing))
    }
}

/// Whether the newest of these writes that took effect wrote a value with this digest. A write that found the same value
/// did not take effect, so it does not count.
fn is_written_by(found: Option<Digest>, earlier: &[(By, PreImage)]) -> bool {
    let Some(found) = found else { return false };
    let made = earlier.iter().find(|(_, row)| row.wrote == Some(found) || row.found() != Some(found));
    made.is_some_and(|(_, row)| row.wrote == Some(found))
}

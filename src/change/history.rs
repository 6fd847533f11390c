//! The recorded history of an item. A rollback uses this history to decide which values to restore. The history
//! consists of the journal and the baseline. The journal records values that writes destroyed, and paths that had no
//! value before a write. The baseline records preexisting targets.
//!
//! # Which pre-image to restore
//!
//! A path can have several pre-images. They can come from several passes, or from a write that was planned a second
//! time after a lost reply. They can also come from a write that was in flight when the process was killed. Such a
//! write may never have arrived. In some cases the oldest pre-image is wrong, and in some cases the newest:
//!
//! - The oldest can be wrong. A pass recorded `x0` and died before it sent its write. A live writer wrote `x1`. The
//!   next pass recorded `x1` and overwrote it. The application's last value was `x1`, but the oldest pre-image would
//!   restore `x0`.
//! - The newest can be wrong. A pass overwrote `x0` with the old attribute's value `v`. An application that knows only
//!   the old attribute changed that attribute. Another pass recorded `v`, which the tool itself had written, and
//!   overwrote it. The newest pre-image would restore `v`, which no application ever wrote to the new attribute.
//!
//! The right pre-image is therefore the newest one whose value the tool did not write itself. For every write that
//! moves or copies, the journal keeps the digest of the written value next to the pre-image
//! ([`PreImage::written_digest`]). If a pre-image equals the value that the previous recorded write wrote, the tool
//! itself wrote that value, and a rollback uses the previous pre-image instead. The pre-image of a write that sets a
//! constant is never the constant itself, because a write that would change nothing is not sent.
//!
//! A rollback ignores the pre-image of a refused write. A rollback considers the pre-image of a write with an unknown
//! outcome. If the write with the unknown outcome took effect, its pre-image is the right one. If it did not take
//! effect, there are three cases. First, the recorded value may still be there. The rollback detects this and has
//! nothing to undo. Second, a live writer may have replaced the recorded value. A later write has then recorded the
//! live writer's value. Third, the current value may be one that the migration did not write. The rollback does not
//! change this value. If two recorded writes found the same value, the earlier write most likely did not take effect.
//! In this case the records before these two writes show who wrote the value.
//!
//! # Targets that did not exist before
//!
//! Every other write to a path without a value has an entry in the journal ([`PriorValue::Nothing`]): each write of an
//! in-place plan, and each constant or computed value. A rollback undoes such a write only if the path still has the
//! value that the migration wrote. If a later pass overwrote a live writer's value there, the rollback restores it.
//!
//! There is one exception, because its entries would cost as much space as all others together. In a plan with
//! `expand-contract`, a move or copy to a path without a value has no entry, unless an undo could not decide without it:
//! the plan selects items, the change has a `where` or uses `skip`, or an item may need several writes. Such an entry
//! is not necessary. Applications write both attributes, so the old attribute has the value of each target that an
//! application wrote. If the item has a baseline, a target that the baseline does not list did not exist before the
//! migration, and a rollback removes it. This is right even if a later pass found and overwrote a different value there:
//! an application that wrote only the old attribute had made the target outdated. The journal still has that value.
//!
//! One race remains. A pass overwrites a preexisting target. A live writer then removes only the target. The next pass
//! creates the target again, and another pass overwrites it. A rollback then restores the value that the recreated
//! target had, not the preexisting value.
//!
//! # Values that a repair overwrote
//!
//! `verify --repair` fixes values that differ from what the plan implies. Like a pass, a repair records each fix in the
//! journal, with the digest of the written value. If a pass wrote the path before the repair, the value that the repair
//! found did not exist before the migration. A rollback ignores that value. If no pass wrote the path, the repair was
//! the tool's first write to it, and a rollback uses the pre-image of the repair. This happens if the passes left a
//! preexisting target unchanged, because its value was equal to the source's value or had diverged. The baseline has a
//! digest of the preexisting value, so the rollback detects whether a different value has replaced the preexisting
//! value since.
//!
//! # Stable attributes
//!
//! A plan can name attributes that no writer ever changes. If a selection reads such an attribute, the journal records
//! its digest, either with the pre-images of the item's first write or with the item's baseline. If the value differs
//! later, somebody broke the promise. The current selection then does not show what the migration did, so only a record
//! of a write allows a change of the item.
//!
//! # Digests
//!
//! The journal has the exact digest of the written value in two cases: the write overwrote a value, or its change uses
//! `skip`. In these cases the write's condition pinned the value that was read, so the tool can distinguish a live
//! writer's value from the value of a write with an unknown outcome. For every other in-place move, the journal has the
//! digest of the value that was read, even though the write may have moved a newer value. If a later pass then
//! overwrites the value at the new path, a rollback leaves the newer value there. No value is lost.

use std::collections::{BTreeMap, BTreeSet};

use super::digest::{Digest, ValueDigests};
use super::pre_image::{ItemMark, PreImage, PriorValue};
use super::recorded_puts::{PutRecord, RecordedPuts};
use crate::item::{Item, Path, Value};

/// The kind of command that recorded a pre-image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreImageOrigin {
    /// A pass of `run`.
    Run,
    /// A repair by `verify --repair`.
    Repair,
    /// A rollback.
    Rollback,
}

/// The purpose of looking up an item's recorded history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryLookup {
    /// To decide what the item needs. The records are checked first. An item whose record cannot be read is not
    /// written.
    ForDecision,
    /// To report the paths whose state after the phase differs from their state before the migration, and to find
    /// stable attributes that have changed. If the state file is damaged, the phase continues. It reports unreadable
    /// facts as unknown, and checks only the stable attributes that have a readable record.
    ForReport,
    /// To find the writes of an item that a killed process may not have completed. The history contains only those
    /// records of `run` that are newer than the last complete run in which the item was not a failure. As with
    /// `ForReport`, unreadable records are left out.
    ForUnfinishedWrites,
}

/// The record of an item that this migration deleted, or of a derived item that it put.
#[derive(Debug, Clone, PartialEq)]
pub struct Deletion {
    /// The item before the delete, or the derived item, as the newest record contains it.
    pub image: Item,
    /// Whether DynamoDB confirmed the delete. If not, another writer may have deleted the item.
    pub is_confirmed: bool,
    /// Whether a rollback has undone the delete or the put since.
    pub undone: Undone,
    /// The puts, if the records are about a derived item.
    pub puts: PutRecord,
    /// The item that a rollback removed, if it differed from the record.
    pub removed: Option<Item>,
}

/// Whether a rollback has undone a delete or a put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Undone {
    /// No rollback has tried to undo it.
    #[default]
    No,
    /// A rollback may have sent the write, but recorded no reply.
    Unknown,
    /// The deleted item existed again, or the derived item was gone. Every later change comes from an application.
    Yes,
}

impl Deletion {
    /// Returns whether the decision about the item depends on whether the item exists in the table.
    pub fn needs_read(&self) -> bool {
        match self.undone {
            Undone::No => !self.is_confirmed,
            Undone::Unknown => true,
            Undone::Yes => false,
        }
    }
}

/// The recorded history of one item: its baseline and its journal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ItemHistory {
    /// Preexisting targets, with digests of their values.
    preexisting: BTreeMap<Path, Digest>,
    /// Journal entries by path, newest first.
    journal: BTreeMap<Path, Vec<(PreImageOrigin, PreImage)>>,
    /// Whether the item's baseline may be missing.
    without_baseline: bool,
    /// Whether an earlier version of this program, which did not record every copy in place, may have written the item.
    without_creations: bool,
    /// Why the record cannot be read. `None` if it can be read.
    unreadable: Option<String>,
    /// Targets that were equal to their source when the baseline was recorded (after the start of dual writes).
    equal_targets: BTreeSet<Path>,
    /// The last delete of the item.
    deletion: Option<Deletion>,
}

impl ItemHistory {
    pub(super) const EMPTY: ItemHistory = ItemHistory {
        preexisting: BTreeMap::new(),
        journal: BTreeMap::new(),
        without_baseline: false,
        without_creations: false,
        unreadable: None,
        equal_targets: BTreeSet::new(),
        deletion: None,
    };

    /// Creates a history from preexisting targets, with digests of their values, and from pre-images, newest first. The
    /// caller must leave out the pre-images of refused writes.
    pub fn new(
        preexisting: impl IntoIterator<Item = (Path, Digest)>,
        newest_first: impl IntoIterator<Item = (PreImageOrigin, PreImage)>,
    ) -> ItemHistory {
        let mut journal: BTreeMap<Path, Vec<(PreImageOrigin, PreImage)>> = BTreeMap::new();
        let mut deletion: Option<Deletion> = None;
        let mut is_confirmed = false;
        let mut undone = Undone::No;
        let mut removed = None;
        let mut puts = RecordedPuts::default();
        for (origin, pre) in newest_first {
            if origin != PreImageOrigin::Rollback || matches!(pre.prior, PriorValue::Mark(_)) {
                puts.add(&pre.prior);
            }
            match pre.prior {
                PriorValue::Item(image) if origin == PreImageOrigin::Rollback => {
                    // An item that an earlier rollback removed belongs to an earlier put.
                    if deletion.is_none() {
                        removed.get_or_insert(image);
                    }
                }
                // The newest item is the one that the last delete removed. Its confirmation, if any, is newer.
                PriorValue::Item(image) => {
                    deletion.get_or_insert_with(|| Deletion {
                        image,
                        is_confirmed,
                        undone,
                        puts: PutRecord::default(),
                        removed: removed.take(),
                    });
                }
                // Marks that are older than the newest item belong to an earlier delete.
                PriorValue::Mark(_) if deletion.is_some() => {}
                PriorValue::Mark(ItemMark::Deleted | ItemMark::DeletedChanged) => is_confirmed = true,
                PriorValue::Mark(ItemMark::PutBack) => undone = Undone::Yes,
                PriorValue::Mark(ItemMark::PuttingBack) => {
                    undone = if undone == Undone::Yes { undone } else { Undone::Unknown };
                }
                PriorValue::Value(_) | PriorValue::Nothing | PriorValue::SameAsSource | PriorValue::Leftover(_) => {
                    journal.entry(pre.path.clone()).or_default().push((origin, pre));
                }
            }
        }
        let deletion = deletion.map(|deletion| Deletion { puts: puts.record(), ..deletion });
        let preexisting = preexisting.into_iter().collect();
        ItemHistory { preexisting, journal, deletion, ..ItemHistory::EMPTY }
    }

    /// Creates the history of an item whose record cannot be read. `why` is the reason. If a phase's decisions depend
    /// on the history, the phase leaves the item unchanged. Any other phase reports the facts in the record as unknown.
    pub fn unreadable(why: impl Into<String>) -> ItemHistory {
        ItemHistory { unreadable: Some(why.into()), ..ItemHistory::EMPTY }
    }

    /// Returns why the record cannot be read, or `None` if it can be read.
    pub fn unreadable_reason(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// Returns the same history with these targets. They were equal to their sources when the baseline was recorded
    /// (after the start of dual writes).
    #[must_use]
    pub fn with_equal_targets(self, equal_targets: impl IntoIterator<Item = Path>) -> ItemHistory {
        ItemHistory { equal_targets: equal_targets.into_iter().collect(), ..self }
    }

    /// Returns whether this target may have existed before dual writes began, even though it is equal to its source.
    pub(super) fn may_be_preexisting(&self, target: &Path) -> bool {
        self.without_baseline || self.equal_targets.contains(target)
    }

    /// Returns the same history, marked to show that the table's baseline is incomplete. With this mark, a target may
    /// have existed before the migration even if the baseline does not list it.
    #[must_use]
    pub fn without_baseline(self) -> ItemHistory {
        ItemHistory { without_baseline: true, ..self }
    }

    /// Returns the same history, marked to show that an earlier version of this program may have written the item. That
    /// version did not record a copy in place to a path without a value.
    #[must_use]
    pub fn without_creations(self) -> ItemHistory {
        ItemHistory { without_creations: true, ..self }
    }

    /// Returns whether nothing is recorded about the item.
    pub fn is_empty(&self) -> bool {
        let has_values = !(self.preexisting.is_empty() && self.journal.is_empty() && self.equal_targets.is_empty());
        !has_values && self.unreadable.is_none() && self.deletion.is_none()
    }

    /// Returns the last recorded delete of the item.
    pub fn deletion(&self) -> Option<&Deletion> {
        self.deletion.as_ref()
    }

    pub(super) fn has_baseline(&self) -> bool {
        !self.without_baseline
    }

    /// Returns whether the journal has a record of every copy in place that this migration made.
    pub(super) fn has_creations(&self) -> bool {
        !self.without_creations
    }

    /// Returns whether this target existed before the migration.
    pub fn is_preexisting(&self, target: &Path) -> bool {
        self.preexisting.contains_key(target)
    }

    /// Returns whether this target still has the value that it had before the migration. A change with `skip` counts
    /// such a target as done.
    ///
    /// The tool cannot detect that an application wrote the same value again.
    pub fn is_preexisting_value(&self, target: &Path, now: &Value) -> bool {
        self.preexisting.get(target).is_some_and(|before| *before == Digest::from_value(now))
    }

    /// Returns the path's state before the migration wrote to it, or `None` if no write to the path is recorded. The
    /// result is valid only if every write to the path is recorded.
    pub(super) fn prior(&self, path: &Path) -> Option<&PriorValue> {
        self.newest_foreign(path, Some(PreImageOrigin::Run)).or_else(|| self.newest_foreign(path, None))
    }

    /// Returns the path's state before each recorded write to it, newest first.
    pub(super) fn priors(&self, path: &Path) -> impl Iterator<Item = &PriorValue> {
        self.journal.get(path).into_iter().flatten().map(|(_, row)| &row.prior)
    }

    /// Returns whether the path has no recorded write, or still has the state that the newest recorded write found.
    pub(super) fn is_as_found(&self, path: &Path, item: &Item) -> bool {
        match (self.priors(path).next(), path.get(item)) {
            (None, _) | (Some(PriorValue::Nothing), None) => true,
            (Some(PriorValue::Value(before)), Some(now)) => before == now,
            (
                Some(
                    PriorValue::Nothing
                    | PriorValue::Value(_)
                    | PriorValue::SameAsSource
                    | PriorValue::Leftover(_)
                    | PriorValue::Item(_)
                    | PriorValue::Mark(_),
                ),
                _,
            ) => false,
        }
    }

    /// Returns the last state of the path that the tool did not write itself. For a value that is converted in place,
    /// this is the application's last value, even if a repair found it.
    pub(super) fn last_foreign(&self, path: &Path) -> Option<&PriorValue> {
        self.newest_foreign(path, None)
    }

    /// Compares the last value that the tool did not write itself with the values that older recorded writes found.
    /// Returns whether any of these values differs. If the older write that found a different value took effect, a live
    /// writer may have derived the last value from the tool's value. Such a list or map may contain elements that the
    /// tool changed, and may lack values that the tool removed.
    pub(super) fn last_foreign_may_be_mixed(&self, path: &Path) -> bool {
        let Some(rows) = self.journal.get(path) else { return false };
        let Some(at) = newest_foreign_row(rows, None) else { return false };
        let last = rows[at].1.found();
        let found_another = |row: &PreImage| row.written_digest.is_some() && row.found().first() != last.first();
        rows[at + 1..].iter().any(|(_, row)| found_another(row))
    }

    /// Returns the state of a copy's target before the migration. `now` is the target's current value. Returns `None`
    /// if the baseline shows that the target did not exist before the migration, because there is then no value to
    /// restore. Also returns `None` if the target has its earlier value again.
    pub(super) fn prior_of_copy(&self, target: &Path, now: Option<&Value>) -> Option<&PriorValue> {
        if !self.without_baseline && !self.is_preexisting(target) {
            return None;
        }
        self.newest_foreign(target, Some(PreImageOrigin::Run)).or_else(|| {
            let before = self.preexisting.get(target)?;
            let is_it = |value: &Value| Digest::from_value(value) == *before;
            if now.is_some_and(is_it) {
                return None;
            }
            let mut rows = self.journal.get(target)?.iter().map(|(_, row)| &row.prior);
            let found = rows.find(|prior| matches!(prior, PriorValue::Value(value) if is_it(value)));
            found.or_else(|| self.newest_foreign(target, None))
        })
    }

    /// Returns whether the tool wrote `now`, the current value at the path.
    pub fn is_own_value(&self, path: &Path, now: &Value) -> bool {
        let digests = ValueDigests::from_value(now).both();
        self.journal.get(path).is_some_and(|rows| is_written_by(&digests, rows))
    }

    /// Returns whether a recorded write of the tool wrote this value to the path, even if a later write is recorded.
    /// Use it only for reports: if a program answers differently each time, a late write of a killed process may have
    /// arrived after the later write was recorded.
    pub(super) fn has_written(&self, path: &Path, value: &Value) -> bool {
        let digests = ValueDigests::from_value(value);
        let wrote_it = |row: &PreImage| row.written_digest.is_some_and(|written| digests.contains(written));
        self.journal.get(path).is_some_and(|rows| rows.iter().any(|(_, row)| wrote_it(row)))
    }

    /// Returns whether a repair wrote the item.
    pub(super) fn has_repairs(&self) -> bool {
        self.journal.values().flatten().any(|(origin, _)| *origin == PreImageOrigin::Repair)
    }

    /// Returns the values that repairs replaced at this path, newest first. Omits a value if the records show that the
    /// tool wrote it or that the item had it before the migration.
    pub(super) fn repaired_over(&self, path: &Path) -> impl Iterator<Item = &Value> {
        let rows = self.journal.get(path).map_or(&[][..], Vec::as_slice);
        let found = self.newest_foreign(path, Some(PreImageOrigin::Run));
        // An application had removed the value that the item had before the migration, so no rollback restores it.
        let is_created = matches!(found, Some(PriorValue::Nothing));
        let before = found.and_then(PriorValue::value);
        let is_foreign = move |at: usize, value: &Value| {
            let is_before = before == Some(value) || (!is_created && self.is_preexisting_value(path, value));
            !is_before && !is_written_by(&rows[at].1.found(), &rows[at + 1..])
        };
        let repaired = rows.iter().enumerate().filter(|(_, (origin, _))| *origin == PreImageOrigin::Repair);
        let replaced = repaired.filter_map(|(at, (_, row))| Some((at, row.prior.value()?)));
        replaced.filter(move |(at, value)| is_foreign(*at, value)).map(|(_, value)| value)
    }

    /// Returns the newest pre-image whose value the tool did not write itself.
    fn newest_foreign(&self, path: &Path, origin: Option<PreImageOrigin>) -> Option<&PriorValue> {
        let rows = self.journal.get(path)?;
        newest_foreign_row(rows, origin).map(|at| &rows[at].1.prior)
    }

    /// Returns the first of these stable attributes whose value differs from its record. An attribute without a record
    /// counts as unchanged. If there are several records, the oldest counts, because it is from the first write or from
    /// the baseline.
    pub fn changed_stable<'p>(&self, stable: &'p [Path], item: &Item) -> Option<&'p Path> {
        let is_record = |row: &&(PreImageOrigin, PreImage)| row.1.prior == PriorValue::SameAsSource;
        stable.iter().find(|path| {
            let oldest = self.journal.get(*path).and_then(|rows| rows.iter().rev().find(is_record));
            let recorded = oldest.and_then(|(_, row)| row.written_digest);
            recorded.is_some_and(|recorded| recorded != Digest::of_stable(path.get(item)))
        })
    }

    /// Returns whether the migration created a map at this path because the path had no value or a NULL. Changes write
    /// only members of such a map, never the map itself.
    pub(super) fn map_was_created(&self, map: &Path) -> bool {
        self.was_created(map) || self.map_replaced_null(map)
    }

    /// Returns whether the map that the migration created at this path replaced a NULL.
    pub(super) fn map_replaced_null(&self, map: &Path) -> bool {
        self.prior(map) == Some(&PriorValue::Value(Value::Null))
    }

    /// Returns whether this path had no value, and the migration created a value or a map there.
    pub(super) fn was_created(&self, path: &Path) -> bool {
        self.journal.get(path).is_some_and(|rows| rows.iter().any(|(_, row)| row.prior == PriorValue::Nothing))
    }

    /// Returns whether a record shows that the migration created a value at this target, or that `run` overwrote a
    /// value there. A value that a repair recorded is no proof, because the repair may only have removed this value.
    pub(super) fn has_write_of(&self, target: &Path) -> bool {
        let overwrote = |(origin, row): &(PreImageOrigin, PreImage)| {
            *origin == PreImageOrigin::Run && matches!(row.prior, PriorValue::Value(_))
        };
        self.was_created(target) || self.journal.get(target).is_some_and(|rows| rows.iter().any(overwrote))
    }
}

/// Returns the position of the newest pre-image whose value the tool did not write itself. `rows` are newest first.
fn newest_foreign_row(rows: &[(PreImageOrigin, PreImage)], origin: Option<PreImageOrigin>) -> Option<usize> {
    let own = |at: usize| is_written_by(&rows[at].1.found(), &rows[at + 1..]);
    let counts = |at: &usize| origin.is_none_or(|origin| rows[*at].0 == origin) && !own(*at);
    (0..rows.len()).find(counts)
}

/// Returns whether the newest write in `earlier` that took effect wrote a value with one of the digests `found`. A
/// write that found the same value did not take effect, so it is ignored.
fn is_written_by(found: &[Digest], earlier: &[(PreImageOrigin, PreImage)]) -> bool {
    let Some(first) = found.first() else { return false };
    let wrote_it = |row: &PreImage| row.written_digest.is_some_and(|written| found.contains(&written));
    let last_write = earlier.iter().find(|(_, row)| wrote_it(row) || row.found().first() != Some(first));
    last_write.is_some_and(|(_, row)| wrote_it(row))
}

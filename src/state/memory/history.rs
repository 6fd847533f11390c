//! Stores the recorded history of items, which consists of the journal of pre-images and the baseline.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use async_trait::async_trait;

use super::super::{
    AffectedItems, BaselinePage, CrashPoint, DeleteCounts, DeletedItem, DeletedItemsQuery, FailureRecord,
    FilledTargets, History, JournaledWrite, PreImageId, PreImageRecord, PreImageRow, RowStatus, RunId, RunStatus,
    SegmentStatus, SessionId, StoreError, phase, rules,
};
use super::{ByItem, CrashPoints, JournalRow, MemoryState, PageUnderWay, StateTables, pre_image_id};
use crate::change::{
    BaselinePair, Digest, HistoryLookup, ItemHistory, ItemMark, Leftover, Outcome, PreImage, PreImageOrigin,
    PriorValue, ValueDigests,
};
use crate::item::{ItemKey, Path, Value};

#[async_trait]
impl History for MemoryState {
    async fn append_pre_images(
        &self,
        session: SessionId,
        rows: Vec<PreImageRow>,
    ) -> Result<Vec<PreImageId>, StoreError> {
        self.call_at(crash_points(&rows), |tables, now| {
            rules::check_epoch(tables.run(session.run)?, session)?;
            Ok(rows.into_iter().map(|row| tables.append(session.run, row, now)).collect())
        })
        .await
    }

    async fn mark_refused(&self, session: SessionId, ids: Vec<PreImageId>) -> Result<(), StoreError> {
        self.call(|tables, _| {
            rules::check_epoch(tables.run(session.run)?, session)?;
            tables.check_pre_images(&ids)?;
            tables.mark_refused(&ids);
            Ok(())
        })
        .await
    }

    async fn history_of(&self, keys: Vec<ItemKey>, lookup: HistoryLookup) -> Result<Vec<ItemHistory>, StoreError> {
        self.call(|tables, _| {
            let of = |key: &ItemKey| match lookup {
                HistoryLookup::ForDecision => tables.history_of(key),
                HistoryLookup::ForReport => {
                    ItemHistory::new(tables.preexisting_targets(&key.to_text()), tables.journal_of(key))
                }
                HistoryLookup::ForUnfinishedWrites => {
                    let journal = tables.journal_since(key, tables.last_rollback().max(tables.last_completed(key)));
                    ItemHistory::new([], journal.into_iter().filter(|(origin, _)| *origin == PreImageOrigin::Run))
                }
            };
            Ok(keys.iter().map(of).collect())
        })
        .await
    }

    async fn pre_images(&self, key: ItemKey, path: Option<Path>) -> Result<Vec<PreImageRecord>, StoreError> {
        self.call(|tables, _| {
            let key = key.to_text();
            let rows = tables.item_journal(&key);
            let rows = rows.filter(|(_, row)| path.as_ref().is_none_or(|path| row.pre.path == *path));
            let record = |(id, row): (PreImageId, &JournalRow)| {
                Some(PreImageRecord {
                    write: JournaledWrite::Value,
                    id,
                    run: row.run,
                    key: row.key.clone(),
                    path: row.pre.path.clone(),
                    value: Some(stored_value(&row.pre.prior)?),
                    at: row.at.clone(),
                })
            };
            Ok(rows.filter_map(record).collect())
        })
        .await
    }

    async fn deleted_items(&self, query: DeletedItemsQuery) -> Result<Vec<DeletedItem>, StoreError> {
        self.call(|tables, _| {
            let since = tables.last_rollback();
            let is_valid = |row: &JournalRow| row.run > since && row.run < query.before && !row.refused;
            let is_item = |row: &JournalRow| is_valid(row) && matches!(row.pre.prior, PriorValue::Item(_));
            let is_put_back = |row: &JournalRow| is_valid(row) && row.pre.prior == PriorValue::Mark(ItemMark::PutBack);
            let rows = tables.journal.iter().take_while(|row| row.run < query.before).count();
            let bound = |part: u32| rows * part as usize / query.parts.max(1) as usize;
            let is_last = |at: usize| {
                let key = tables.journal[at].key.to_text();
                let later = tables.item_journal.get(&key).map(Vec::as_slice).unwrap_or_default();
                let mut later = later.iter().filter(|other| **other > at).map(|other| &tables.journal[*other]);
                !later.any(|row| is_item(row) || is_put_back(row))
            };
            let part = bound(query.part)..bound(query.part + 1);
            let listed = part.filter(|at| is_item(&tables.journal[*at]) && is_last(*at));
            let rest = listed.filter(|at| query.after.is_none_or(|after| pre_image_id(*at) > after));
            let item = |at: usize| DeletedItem { id: pre_image_id(at), key: Some(tables.journal[at].key.clone()) };
            Ok(rest.take(query.limit as usize).map(item).collect())
        })
        .await
    }

    async fn purge_journal(&self) -> Result<u64, StoreError> {
        self.call(|tables, _| {
            let has_value = |row: &&JournalRow| matches!(row.pre.prior, PriorValue::Value(_) | PriorValue::Item(_));
            let values = tables.journal.iter().filter(has_value).count() as u64;
            // Keep the rows, but delete their contents, so that no id is assigned twice.
            for row in &mut tables.journal {
                row.pre.prior = PriorValue::SameAsSource;
                row.refused = true;
            }
            Ok(values)
        })
        .await
    }

    async fn pre_image_count(&self, run: RunId) -> Result<u64, StoreError> {
        self.call(|tables, _| {
            let destroys = |row: &&JournalRow| row.run == run && !row.refused && stored_value(&row.pre.prior).is_some();
            Ok(tables.journal.iter().filter(destroys).count() as u64)
        })
        .await
    }

    async fn delete_counts(&self, run: RunId) -> Result<DeleteCounts, StoreError> {
        self.call(|tables, _| {
            let mut is_confirmed = BTreeMap::new();
            for row in tables.journal.iter().filter(|row| row.run == run && !row.refused) {
                match &row.pre.prior {
                    PriorValue::Item(_) => drop(is_confirmed.insert(row.key.to_text(), false)),
                    PriorValue::Mark(ItemMark::Deleted | ItemMark::DeletedChanged) => {
                        is_confirmed.insert(row.key.to_text(), true);
                    }
                    PriorValue::Value(_)
                    | PriorValue::Nothing
                    | PriorValue::SameAsSource
                    | PriorValue::Mark(ItemMark::PuttingBack | ItemMark::PutBack)
                    | PriorValue::Leftover(_) => {}
                }
            }
            let confirmed = is_confirmed.values().filter(|confirmed| **confirmed).count() as u64;
            Ok(DeleteCounts { confirmed, unconfirmed: is_confirmed.len() as u64 - confirmed })
        })
        .await
    }

    async fn leftovers(&self, run: RunId, leftover: Leftover, limit: u32) -> Result<AffectedItems, StoreError> {
        self.call(|tables, _| {
            tables.run(run)?;
            let left = |prior: &PriorValue, written_digest: Option<Digest>| match prior {
                PriorValue::Leftover(
                    stored @ (Leftover::Unknown | Leftover::RepairedOver | Leftover::DeleteReplyLost),
                ) => leftover == *stored,
                PriorValue::Leftover(Leftover::NewRemoved | Leftover::OldCreated) => {
                    matches!(leftover, Leftover::NewRemoved | Leftover::OldCreated)
                }
                PriorValue::SameAsSource => match leftover {
                    Leftover::NewRemoved | Leftover::OldCreated => written_digest.is_none(),
                    Leftover::Unknown => written_digest.is_some(),
                    Leftover::RepairedOver | Leftover::DeleteReplyLost => false,
                },
                PriorValue::Value(_) | PriorValue::Nothing | PriorValue::Item(_) | PriorValue::Mark(_) => false,
            };
            let is_left =
                |row: &&JournalRow| row.run == run && !row.refused && left(&row.pre.prior, row.pre.written_digest);
            let mut seen = BTreeSet::new();
            let rows = tables.journal.iter().filter(is_left);
            // List each path of an item once. The journal has one row for each attempt, because a write may be planned
            // again, or sent again after a kill.
            let first: Vec<(ItemKey, Path)> = rows
                .filter(|row| seen.insert((row.key.to_text(), row.pre.path.clone())))
                .map(|row| (row.key.clone(), row.pre.path.clone()))
                .collect();
            let count = first.iter().map(|(key, _)| key.to_text()).collect::<BTreeSet<_>>().len() as u64;
            Ok(AffectedItems {
                count,
                first: first.into_iter().take(limit as usize).collect(),
                pairs_unrecorded: false,
            })
        })
        .await
    }

    async fn record_baseline(&self, page: BaselinePage) -> Result<(), StoreError> {
        let points = match self.is_read_only(page.session) {
            true => (Some(CrashPoint::BaselineCompletion), None),
            false => (Some(CrashPoint::BaselineUnrecorded), Some(CrashPoint::BaselineRecorded)),
        };
        self.call_at(points, |tables, now| tables.record_baseline(page, now)).await
    }

    async fn items_under_way(&self, run: RunId, segment: u32) -> Result<HashSet<Digest>, StoreError> {
        self.call(|tables, _| {
            let pages = tables.pages_under_way.iter().filter(|page| page.run == run && page.segment == segment);
            Ok(pages.flat_map(|page| page.items.iter().copied()).collect())
        })
        .await
    }

    async fn is_first_pass(&self, run: RunId) -> Result<bool, StoreError> {
        self.call(|tables, _| Ok(!tables.is_baseline_complete_before(run))).await
    }

    async fn preexisting(&self, keys: Vec<ItemKey>) -> Result<Vec<ItemHistory>, StoreError> {
        self.call(|tables, _| {
            let of = |key: &ItemKey| ItemHistory::new(tables.preexisting_targets(&key.to_text()), []);
            Ok(keys.iter().map(of).collect())
        })
        .await
    }

    async fn baseline_complete(&self) -> Result<bool, StoreError> {
        self.call(|tables, _| Ok(tables.is_baseline_complete_before(RunId::from_number(i64::MAX)))).await
    }

    async fn unrestorable_targets(&self) -> Result<Option<u64>, StoreError> {
        self.call(|tables, _| Ok(tables.unrestorable_targets())).await
    }

    async fn preexisting_count(&self) -> Result<u64, StoreError> {
        self.call(|tables, _| Ok(tables.preexisting_after(tables.last_rollback()))).await
    }
}

/// Returns the crash points of a call that stores these rows.
fn crash_points(rows: &[PreImageRow]) -> CrashPoints {
    let has = |mark| rows.iter().any(|row| row.pre.prior == PriorValue::Mark(mark));
    if has(ItemMark::Deleted) || has(ItemMark::DeletedChanged) {
        (Some(CrashPoint::DeleteUnconfirmed), None)
    } else if has(ItemMark::PutBack) {
        (Some(CrashPoint::PutBackUnmarked), None)
    } else {
        (Some(CrashPoint::PriorValuesUnrecorded), Some(CrashPoint::PriorValuesRecorded))
    }
}

/// Returns the value that the journal stores for a pre-image. A whole item is stored as one value.
fn stored_value(prior: &PriorValue) -> Option<Value> {
    match prior {
        PriorValue::Value(value) => Some(value.clone()),
        PriorValue::Item(item) => Some(Value::M(item.clone())),
        PriorValue::Nothing | PriorValue::SameAsSource | PriorValue::Mark(_) | PriorValue::Leftover(_) => None,
    }
}

impl StateTables {
    fn append(&mut self, run: RunId, PreImageRow { key, pre }: PreImageRow, now: &str) -> PreImageId {
        let index = self.journal.len();
        self.item_journal.entry(key.to_text()).or_default().push(index);
        self.journal.push(JournalRow { run, key, pre, at: now.to_owned(), refused: false });
        pre_image_id(index)
    }

    /// Returns an item's journal rows, newest first, without the rows of refused writes.
    fn item_journal<'a>(&'a self, key: &str) -> impl Iterator<Item = (PreImageId, &'a JournalRow)> {
        let indexes = self.item_journal.get(key).map(Vec::as_slice).unwrap_or_default();
        let rows = indexes.iter().rev().map(|index| (pre_image_id(*index), &self.journal[*index]));
        rows.filter(|(_, row)| !row.refused)
    }

    /// Returns an item's recorded history from the expansion and from repairs. Omits records that a rollback has made
    /// obsolete.
    fn history_of(&self, key: &ItemKey) -> ItemHistory {
        let since = self.last_rollback();
        let text = key.to_text();
        let pairs = entries_of_item(&self.pairs, &text).filter(|(_, (run, _))| *run > since);
        let equal = pairs.filter(|(_, (_, kind))| *kind == BaselinePair::Equal).map(|(path, _)| path.clone());
        let targets = self.preexisting_targets(&text);
        let record = ItemHistory::new(targets, self.journal_of(key)).with_equal_targets(equal);
        if self.is_baseline_complete_before(RunId::from_number(i64::MAX)) { record } else { record.without_baseline() }
    }

    /// Returns an item's journal from the expansion and from repairs, newest first. Omits rows that a rollback has made
    /// obsolete.
    fn journal_of(&self, key: &ItemKey) -> Vec<(PreImageOrigin, PreImage)> {
        self.journal_since(key, self.last_rollback())
    }

    /// Returns the last complete run in which this item was not a failure. A failure that a retry has resolved does not
    /// count. Ignores a run that a read-only pass completed, because this pass wrote no items.
    fn last_completed(&self, key: &ItemKey) -> RunId {
        let was_left = |row: &FailureRecord| {
            row.status == RowStatus::Open || row.resolved_as.as_deref() == Some(rules::LATER_PASS)
        };
        let has_failed =
            |run: RunId| self.failures.iter().any(|row| row.run == run && row.key == *key && was_left(row));
        let complete = self
            .runs_of_phase(phase::EXPAND)
            .filter(|run| run.status == RunStatus::Complete && !run.looked_through && !has_failed(run.id));
        complete.map(|run| run.id).max().unwrap_or(RunId::NONE)
    }

    /// Like [`StateTables::journal_of`], but only with the rows of runs after `since`.
    fn journal_since(&self, key: &ItemKey, since: RunId) -> Vec<(PreImageOrigin, PreImage)> {
        let by = |row: &JournalRow| {
            if let PriorValue::Mark(ItemMark::PuttingBack | ItemMark::PutBack) = &row.pre.prior {
                return Some(PreImageOrigin::Run);
            }
            let is_item = matches!(row.pre.prior, PriorValue::Item(_));
            match self.run(row.run).ok()?.phase.as_str() {
                phase::EXPAND => Some(PreImageOrigin::Run),
                phase::VERIFY => Some(PreImageOrigin::Repair),
                phase::ROLLBACK if is_item => Some(PreImageOrigin::Rollback),
                _ => None,
            }
        };
        let text = key.to_text();
        let rows = self.item_journal(&text).filter(|(_, row)| row.run > since);
        rows.filter_map(|(_, row)| Some((by(row)?, row.pre.clone()))).collect()
    }

    fn preexisting_targets(&self, key: &str) -> Vec<(Path, Digest)> {
        let since = self.last_rollback();
        let targets = entries_of_item(&self.preexisting, key).filter(|(_, (run, _))| *run > since);
        targets.map(|(path, (_, digest))| (path.clone(), *digest)).collect()
    }

    fn record_baseline(&mut self, page: BaselinePage, now: &str) -> Result<(), StoreError> {
        let BaselinePage { session, segment, number, .. } = page;
        let run = self.run(session.run)?.clone();
        rules::check_session(&run, session)?;
        let since = self.last_rollback();
        for (key, targets) in page.preexisting {
            for (path, digest) in targets {
                record(&mut self.preexisting, key.to_text(), path, (run.id, digest), since);
            }
        }
        for FilledTargets { key, targets, refused } in page.filled {
            let key = key.to_text();
            for (path, value) in targets {
                if !self.may_have_written(&key, &path, &value, &refused, since) {
                    record(&mut self.preexisting, key.clone(), path, (run.id, value.text), since);
                }
            }
        }
        for (key, pairs) in page.pairs {
            for (path, kind) in pairs {
                record(&mut self.pairs, key.to_text(), path, (run.id, kind), since);
            }
        }
        for (key, attributes) in page.stable {
            for (path, digest) in attributes {
                let pre = PreImage { written_digest: Some(digest), ..PreImage::same_as_source(&path) };
                let is_record =
                    |row: &JournalRow| row.pre.path == path && row.pre.prior == pre.prior && row.run > since;
                if !self.item_journal(&key.to_text()).any(|(_, row)| is_record(row)) {
                    self.append(run.id, PreImageRow { key: key.clone(), pre }, now);
                }
            }
        }
        if !page.may_write.is_empty() {
            let items = page.may_write;
            self.pages_under_way.push(PageUnderWay {
                run: run.id,
                segment,
                session: run.sessions,
                page: number,
                items,
            });
        }
        Ok(())
    }

    /// Returns whether a write of this expansion may have stored a value with one of these digests at a path.
    fn may_have_written(
        &self,
        key: &str,
        path: &Path,
        value: &ValueDigests,
        refused: &[PreImageId],
        since: RunId,
    ) -> bool {
        self.item_journal(key).any(|(id, row)| {
            let of_path = row.pre.path == *path && row.run > since;
            let is_value = row.pre.written_digest.is_some_and(|written| value.contains(written));
            of_path && !refused.contains(&id) && is_value
        })
    }

    /// Returns the last run that undid an earlier expansion. Records of that run and of earlier runs are obsolete.
    fn last_rollback(&self) -> RunId {
        let Some(expansion) = self.current_run(phase::EXPAND).map(|run| run.id) else { return RunId::NONE };
        let rollbacks = self.runs_of_phase(phase::ROLLBACK).filter(|run| run.status == RunStatus::Complete);
        rollbacks.map(|run| run.id).filter(|id| *id < expansion).max().unwrap_or(RunId::NONE)
    }

    /// Returns whether an earlier pass of this expansion read every item of the table.
    fn is_baseline_complete_before(&self, before: RunId) -> bool {
        let since = self.last_rollback();
        let mut passes = self.runs_of_phase(phase::EXPAND).filter(|run| run.id > since && run.id < before);
        passes.any(|run| run.status == RunStatus::Complete || self.done(run.id) == run.total_segments)
    }

    fn done(&self, run: RunId) -> u32 {
        self.segments_of(run).filter(|(_, state)| state.status == SegmentStatus::Done).count() as u32
    }

    fn unrestorable_targets(&self) -> Option<u64> {
        let since = self.last_rollback();
        let complete = |before: RunId| {
            let mut passes = self.runs_of_phase(phase::EXPAND).filter(|run| run.id > since && run.id < before);
            passes.any(|run| run.status == RunStatus::Complete)
        };
        let has_written = |run: RunId| {
            self.segments_of(run).any(|(_, state)| state.counts.of(Outcome::Applied) > 0)
                || self.pages_under_way.iter().any(|page| page.run == run)
        };
        let mut passes = self.runs_of_phase(phase::EXPAND).filter(|run| run.id > since);
        let one = passes.find(|run| {
            let superseded = run.status == RunStatus::Superseded && !complete(run.id);
            superseded && run.total_segments > self.done(run.id) && has_written(run.id)
        })?;
        let unrestorable = self.preexisting_after(one.id);
        (unrestorable > 0).then_some(unrestorable)
    }

    fn preexisting_after(&self, run: RunId) -> u64 {
        self.preexisting.values().flat_map(BTreeMap::values).filter(|(of, _)| *of > run).count() as u64
    }
}

/// Records what a pass found at an item's path. Keeps an existing record, unless it is from before the last rollback.
fn record<T>(known: &mut ByItem<T>, key: String, path: Path, found: (RunId, T), since: RunId) {
    let entries = known.entry(key).or_default();
    if entries.get(&path).is_none_or(|(run, _)| *run <= since) {
        entries.insert(path, found);
    }
}

fn entries_of_item<'a, T>(known: &'a ByItem<T>, key: &str) -> impl Iterator<Item = (&'a Path, &'a (RunId, T))> {
    known.get(key).into_iter().flatten()
}

//! The journal, on which rollbacks depend. Each function runs inside a transaction that the caller commits.
//!
//! # Pre-images
//!
//! A pre-image records the state of a path before a write changes the path. This state is a value, no value, or the
//! same value as at the source ([`PriorValue`]). The pre-image is stored before the write is sent. A row of the journal
//! never changes, except for `refused`. If a path has several rows, `change/history.rs` decides which of them a
//! rollback uses.
//!
//! [`baseline`](super::baseline) describes the records of what existed before the migration.

use rusqlite::{Connection, Row, params};

use super::super::packed::{pack, unpack};
use super::super::{
    JournaledWrite, PreImageId, PreImageRecord, PreImageRow, RunId, SessionId, StoredFact, phase, rules,
};
use super::baseline::{baseline_complete, preexisting_targets};
use super::checksum::{self, PRE_IMAGE, check_row_checksum, damaged_row};
use super::error::StateFileError;
use super::events;
use super::read::{self, collect, key_from, last_rollback, parse_path};
use crate::change::{Digest, HistoryLookup, ItemHistory, ItemMark, Leftover, PreImage, PreImageOrigin, PriorValue};
use crate::item::{ItemKey, Path, Value};

/// The phase of the runs that record the pre-images of repairs.
const REPAIR_PHASE: &str = phase::VERIFY;

/// A rollback or a step back stores this text instead of a digest if it is unknown whether the item is back in its
/// state from before the migration.
const UNKNOWN: [u8; 8] = *b"unknown\0";

/// A rollback stores this text instead of a digest for a path at which a repair had replaced a value that the rollback
/// does not restore.
pub(super) const REPAIRED_OVER: [u8; 8] = *b"repaired";

/// A rollback stores this text instead of a digest for a derived item that is gone, if the reply to its delete was
/// lost.
pub(super) const REPLY_LOST: [u8; 8] = *b"no reply";

/// The row of a whole item has this text instead of a digest, and the item as a value of type M.
pub(super) const WHOLE_ITEM: [u8; 8] = *b"item\0\0\0\0";

/// The row that confirms a delete or a put has this text instead of a digest.
pub(super) const CONFIRMED: [u8; 8] = *b"accepted";

/// The row that confirms a delete has this text instead of a digest if the previous row is the removed item, which a
/// writer had changed.
pub(super) const CONFIRMED_CHANGED: [u8; 8] = *b"changed\0";

/// An earlier version of this program stored this text in both of these cases.
pub(super) const CONFIRMED_EARLIER: [u8; 8] = *b"deleted\0";

/// The row that a rollback stores before it restores an item has this text instead of a digest.
pub(super) const PUTTING_BACK: [u8; 8] = *b"putting\0";

/// The row that a rollback stores when an item exists in the table again has this text instead of a digest.
pub(super) const PUT_BACK: [u8; 8] = *b"put back";

/// Appends pre-images.
pub(super) fn append_pre_images(
    connection: &Connection,
    session: SessionId,
    rows: &[PreImageRow],
    now: &str,
) -> Result<Vec<PreImageId>, StateFileError> {
    let run = session.run;
    rules::check_epoch(&read::run(connection, run)?, session)?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO pre_images (run, key, path, kind, value, wrote, at, sum) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, item_checksum(?2, ?1, ?3, ?4, ?5, ?6, ?7, 0))",
    )?;
    rows.iter()
        .map(|PreImageRow { key, pre }| {
            let (kind, value) = match &pre.prior {
                PriorValue::Value(value) => ("value", Some(pack(value))),
                PriorValue::Item(item) => ("value", Some(pack(&Value::M(item.clone())))),
                PriorValue::Nothing => ("nothing", None),
                // Only rollbacks and steps back record `Leftover`. The rows of `Leftover` are only counted and listed.
                // `leftovers.rs` distinguishes them from rows of `SameAsSource` by their run.
                PriorValue::SameAsSource | PriorValue::Mark(_) | PriorValue::Leftover(_) => ("same", None),
            };
            let written_digest = match &pre.prior {
                PriorValue::Item(_) => Some(WHOLE_ITEM),
                PriorValue::Mark(ItemMark::Deleted) => Some(CONFIRMED),
                PriorValue::Mark(ItemMark::DeletedChanged) => Some(CONFIRMED_CHANGED),
                PriorValue::Mark(ItemMark::PuttingBack) => Some(PUTTING_BACK),
                PriorValue::Mark(ItemMark::PutBack) => Some(PUT_BACK),
                PriorValue::Leftover(Leftover::Unknown) => Some(UNKNOWN),
                PriorValue::Leftover(Leftover::RepairedOver) => Some(REPAIRED_OVER),
                PriorValue::Leftover(Leftover::DeleteReplyLost) => Some(REPLY_LOST),
                PriorValue::Value(_)
                | PriorValue::Nothing
                | PriorValue::SameAsSource
                | PriorValue::Leftover(Leftover::NewRemoved | Leftover::OldCreated) => {
                    pre.written_digest.map(|digest| digest.0)
                }
            };
            let id = statement.insert(params![
                run.0,
                key.to_text(),
                pre.path.to_string(),
                kind,
                value,
                written_digest,
                now
            ])?;
            Ok(PreImageId(id))
        })
        .collect()
}

/// Marks pre-images as refused because their writes were refused. Fails if this session is not the newest one of its
/// run.
pub(super) fn mark_refused_by_session(
    connection: &Connection,
    session: SessionId,
    ids: &[PreImageId],
) -> Result<(), StateFileError> {
    rules::check_epoch(&read::run(connection, session.run)?, session)?;
    mark_refused(connection, ids)
}

/// Marks pre-images as refused because their writes were refused. The caller must check the session first.
pub(super) fn mark_refused(connection: &Connection, ids: &[PreImageId]) -> Result<(), StateFileError> {
    let sql = "UPDATE pre_images SET refused = 1, sum = item_checksum(key, run, path, kind, value, wrote, at, 1) \
         WHERE id = ?1";
    for id in ids {
        let changed = connection.prepare_cached(sql)?.execute([id.0])?;
        if changed != 1 {
            return Err(StateFileError::Row(format!("there is no pre-image {}", id.0)));
        }
    }
    Ok(())
}

/// Returns an item's recorded values at `path`, or at all paths if `path` is `None`. The newest value comes first.
/// Omits values of refused writes.
pub(super) fn pre_images(
    connection: &Connection,
    key: &ItemKey,
    path: Option<&Path>,
) -> Result<Vec<PreImageRecord>, StateFileError> {
    let sql = "SELECT id, run, key, path, value, at FROM pre_images \
         WHERE key = ?1 AND refused = 0 AND kind = 'value' AND (?2 IS NULL OR path = ?2) ORDER BY id DESC";
    collect(connection, sql, params![key.to_text(), path.map(Path::to_string)], record_from)
}

/// Returns the number of pre-images of one run or of all runs. Does not count pre-images of refused writes.
pub(super) fn pre_image_count(connection: &Connection, run: Option<RunId>) -> Result<u64, StateFileError> {
    let sql = "SELECT coalesce(sum(n), 0) FROM tallies WHERE what = 1 AND (?1 IS NULL OR run = ?1)";
    Ok(connection.query_row(sql, [run.map(|run| run.0)], |row| row.get(0))?)
}

/// Returns the recorded history of these items, in the order of the keys. A history for a decision contains all records
/// of the expansion and of repairs. A history for a report contains only the readable ones. Omits records that a
/// rollback has made obsolete. A lookup for a report never fails.
pub(super) fn history_of(
    connection: &Connection,
    keys: &[ItemKey],
    lookup: HistoryLookup,
) -> Result<Vec<ItemHistory>, StateFileError> {
    match lookup {
        HistoryLookup::ForDecision => proven_history(connection, keys),
        HistoryLookup::ForReport => Ok(readable_history(connection, keys)),
        HistoryLookup::ForUnfinishedWrites => Ok(unfinished_writes(connection, keys)),
    }
}

/// Returns these items' histories. The first call on a connection verifies all checksums of the file.
fn proven_history(connection: &Connection, keys: &[ItemKey]) -> Result<Vec<ItemHistory>, StateFileError> {
    checksum::audit(connection)?;
    let since = last_rollback(connection)?;
    let baseline_complete = baseline_complete(connection)?;
    let has_creations = has_creations(connection, since)?;
    let of = |key: &ItemKey| match item_history(connection, key, since) {
        Ok(record) => {
            let record = if baseline_complete { record } else { record.without_baseline() };
            Ok(if has_creations { record } else { record.without_creations() })
        }
        // An unreadable record must not affect other items.
        Err(failed) => failed.into_row_reason().map(ItemHistory::unreadable),
    };
    keys.iter().map(of).collect()
}

/// Stores the fact that this `run` pass records each in-place copy.
pub(super) fn record_creations(connection: &Connection, run: RunId) -> Result<(), StateFileError> {
    events::set_fact(connection, StoredFact::Creations(run), "yes")
}

/// Returns whether every run of the expansion after the run `since` recorded its copies in place.
fn has_creations(connection: &Connection, since: i64) -> Result<bool, StateFileError> {
    let sql = "SELECT id FROM runs WHERE phase = ?1 AND id > ?2";
    let runs: Vec<i64> = collect(connection, sql, params![phase::EXPAND, since], |row| Ok(row.get(0)?))?;
    for run in runs {
        if events::fact(connection, StoredFact::Creations(RunId(run)))?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads what is readable. If an item's preexisting targets cannot be read, its history is unreadable. If only its
/// journal cannot be read, its history has no journal. The caller continues, and stops only if a later write to the
/// file fails. This function does not check the whole file, so its result lacks rows with a damaged key.
fn readable_history(connection: &Connection, keys: &[ItemKey]) -> Vec<ItemHistory> {
    let of = |key: &ItemKey| {
        let since = last_rollback(connection)?;
        let key = key.to_text();
        let before = preexisting_targets(connection, &key, since)?;
        Ok(ItemHistory::new(before, item_journal(connection, &key, since).unwrap_or_default()))
    };
    let unreadable = |failed: StateFileError| {
        ItemHistory::unreadable(failed.into_row_reason().unwrap_or_else(|_| "the state file is damaged".to_owned()))
    };
    keys.iter().map(|key| of(key).unwrap_or_else(unreadable)).collect()
}

/// Reads the writes of `run` that may be unfinished. If the journal of an item cannot be read, its history is empty.
fn unfinished_writes(connection: &Connection, keys: &[ItemKey]) -> Vec<ItemHistory> {
    let of = |key: &ItemKey| -> Result<ItemHistory, StateFileError> {
        let key = key.to_text();
        let since = last_rollback(connection)?.max(last_run_that_completed(connection, &key)?);
        let journal = item_journal(connection, &key, since)?;
        Ok(ItemHistory::new([], journal.into_iter().filter(|(origin, _)| *origin == PreImageOrigin::Run)))
    };
    keys.iter().map(|key| of(key).unwrap_or_default()).collect()
}

/// Returns the last complete run in which this item was not a failure, or 0 if there is no such run. A failure that a
/// retry has resolved does not count. Ignores a run that a read-only pass completed, because this pass wrote no items.
fn last_run_that_completed(connection: &Connection, key: &str) -> Result<i64, StateFileError> {
    let sql = "SELECT coalesce(max(id), 0) FROM runs \
         WHERE phase = ?1 AND status = 'complete' AND looked_through = 0 AND NOT EXISTS (SELECT 1 FROM failures \
         WHERE run = runs.id AND key = ?2 AND (failures.status = 'open' OR resolved_as = ?3))";
    Ok(connection.prepare_cached(sql)?.query_row(params![phase::EXPAND, key, rules::LATER_PASS], |row| row.get(0))?)
}

fn item_history(connection: &Connection, key: &ItemKey, since: i64) -> Result<ItemHistory, StateFileError> {
    let key = key.to_text();
    if checksum::is_doubtful(connection, &key)? {
        return Err(damaged_row());
    }
    let before = preexisting_targets(connection, &key, since)?;
    let journal = item_journal(connection, &key, since)?;
    let sql = "SELECT path FROM met_pairs WHERE key = ?1 AND run > ?2 AND kind = 'equal'";
    let equal: Vec<String> = collect(connection, sql, params![key, since], |row| Ok(row.get(0)?))?;
    // Ignore damaged pairs, because only reports use pairs.
    Ok(ItemHistory::new(before, journal).with_equal_targets(equal.iter().filter_map(|path| parse_path(path).ok())))
}

/// Reads the journal rows of an item, newest first. Refuses a row with a wrong checksum.
fn item_journal(
    connection: &Connection,
    key: &str,
    since: i64,
) -> Result<Vec<(PreImageOrigin, PreImage)>, StateFileError> {
    let rows = format!(
        "SELECT id, path, kind, value, wrote, (SELECT phase FROM runs WHERE runs.id = run) AS phase, sum IS {PRE_IMAGE} \
         FROM pre_images WHERE key = ?1 AND refused = 0 AND (phase IN (?2, ?3) OR kind = 'same' AND wrote IN (?5, ?6) \
         OR kind = 'value' AND wrote = ?7) \
         AND run > ?4 ORDER BY id DESC"
    );
    let relevant = params![key, phase::EXPAND, REPAIR_PHASE, since, PUTTING_BACK, PUT_BACK, WHOLE_ITEM];
    collect(connection, &rows, relevant, |row| {
        check_row_checksum(row, 6)?;
        let by = match row.get::<_, String>(5)?.as_str() {
            REPAIR_PHASE => PreImageOrigin::Repair,
            phase::ROLLBACK => PreImageOrigin::Rollback,
            _ => PreImageOrigin::Run,
        };
        Ok((by, pre_image_from(row)?))
    })
}

fn record_from(row: &Row<'_>) -> Result<PreImageRecord, StateFileError> {
    let id: i64 = row.get(0)?;
    Ok(PreImageRecord {
        id: PreImageId(id),
        run: RunId(row.get(1)?),
        key: key_from(row, 2)?,
        path: parse_path(&row.get::<_, String>(3)?)?,
        value: unpack(&row.get::<_, Vec<u8>>(4)?),
        at: row.get(5)?,
        write: JournaledWrite::Value,
    })
}

fn pre_image_from(row: &Row<'_>) -> Result<PreImage, StateFileError> {
    let id: i64 = row.get(0)?;
    let path = parse_path(&row.get::<_, String>(1)?)?;
    let wrote = row.get::<_, Option<[u8; 8]>>(4)?;
    let prior = match (row.get::<_, String>(2)?.as_str(), wrote) {
        ("value", Some(WHOLE_ITEM)) => {
            let Value::M(item) = value_from(row, 3, id)? else {
                return Err(StateFileError::Row(format!("pre-image {id} is not an item")));
            };
            PriorValue::Item(item)
        }
        ("same", Some(CONFIRMED | CONFIRMED_EARLIER)) => PriorValue::Mark(ItemMark::Deleted),
        ("same", Some(CONFIRMED_CHANGED)) => PriorValue::Mark(ItemMark::DeletedChanged),
        ("same", Some(PUTTING_BACK)) => PriorValue::Mark(ItemMark::PuttingBack),
        ("same", Some(PUT_BACK)) => PriorValue::Mark(ItemMark::PutBack),
        ("value", _) => PriorValue::Value(value_from(row, 3, id)?),
        ("nothing", _) => PriorValue::Nothing,
        ("same", _) => PriorValue::SameAsSource,
        _ => return Err(StateFileError::Row(format!("pre-image {id} has an unknown kind"))),
    };
    let is_mark = matches!(prior, PriorValue::Item(_) | PriorValue::Mark(_));
    Ok(PreImage { path, prior, written_digest: wrote.filter(|_| !is_mark).map(Digest) })
}

fn value_from(row: &Row<'_>, at: usize, id: i64) -> Result<Value, StateFileError> {
    let stored: Vec<u8> = row.get(at)?;
    unpack(&stored).ok_or_else(|| StateFileError::Row(format!("the value of pre-image {id} cannot be read")))
}

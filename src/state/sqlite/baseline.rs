//! The records of what existed before the migration first wrote an item. Rollbacks depend on them. Each function runs
//! inside a transaction that the caller commits.
//!
//! # What existed before
//!
//! A rollback removes new attributes, but keeps new attributes that existed before the migration. The two kinds can be
//! distinguished only until the migration writes the item, because afterwards the item has the new attribute in both
//! cases. So the first pass records the existing targets before the first write of each page. Together with these
//! targets, the first pass records digests of the items that it may write (`pages_under_way`).
//!
//! Abandoned pages, and the uncommitted pages of a killed process, are read again. When the items are read again, their
//! page may have different bounds and contain different items. The difference does not matter, because the digests show
//! for each single item whether it may have been written. If an item has a digest, its targets are not recorded again,
//! because the digest and the targets were stored in one transaction. If that transaction did not become durable, no
//! item of the page was written either.
//!
//! A page's commit deletes the page's digests, because the page will not be read again. The commit that ends a segment
//! also deletes the digests that killed sessions left, because the pages of these sessions may have had different
//! bounds. So the file contains one digest of eight bytes for each item that may have been written in an uncommitted
//! page.
//!
//! Later passes record nothing. The first pass has read every item that existed before the migration, and items that
//! were inserted later did not exist before the migration. Likewise, a new run (`--restart`) records nothing if the
//! earlier run is complete, or if a read-only pass has read the earlier run's remaining items
//! (`passes/baseline/completion.rs`). In any other case, it is unknown which items the earlier run has read. So the new
//! run records the existing targets, even if the superseded run may have written some of them. A rollback then keeps
//! some attributes that it should remove. [`unrestorable_targets`] counts these attributes. Without these records, a
//! rollback would remove attributes that it must keep.
//!
//! A rollback of a stopped first pass begins with a read-only pass. If applications have written both attributes but no
//! pass has begun, nothing is recorded. Each item then has a history [without a
//! baseline](ItemHistory::without_baseline).
//!
//! A live writer may change a target between the first read of the item and the migration's write. If the live writer
//! removes the target and the migration then writes it, the target still counts as preexisting. If the live writer
//! fills the target, the target does not count as preexisting. No value is lost, because a rollback removes the target
//! only in two cases: the target equals the old attribute, or the rollback has recorded the target's value.
//!
//! With `on_existing = "skip"`, a target that a live writer fills counts as preexisting, because such a change accepts
//! the target's value ([`FilledTargets`](super::super::FilledTargets)). But it is also possible that the migration
//! itself filled the target. This happens if the reply to a write was lost. It also happens if the server applied a
//! killed process's write after the next process had read the item. Before each write is sent, its pre-image is stored
//! together with a digest of the new value. So a value with this digest comes from the migration, unless the write is
//! known to have been refused. The digest of a computed value does not depend on how its numbers are written, so both
//! digests of the target's value are compared ([`ValueDigests`]).

use std::collections::HashSet;

use rusqlite::{Connection, params};

use super::super::{BaselinePage, PreImageId, RunId, RunRecord, phase, rules};
use super::checksum::{PRE_IMAGE, PREEXISTING, check_row_checksum};
use super::error::StateFileError;
use super::read::{self, collect, last_rollback, parse_path};
use crate::change::{Digest, ItemHistory, ValueDigests};
use crate::item::{ItemKey, Path};

/// Returns whether a pass has read every item. After such a pass, the baseline of every item is known.
pub(super) fn baseline_complete(connection: &Connection) -> Result<bool, StateFileError> {
    is_baseline_complete_before(connection, i64::MAX)
}

/// Returns whether a pass before this run has read every item.
fn is_baseline_complete_before(connection: &Connection, run: i64) -> Result<bool, StateFileError> {
    // The first term of the query is cheap, and is usually enough. The second term finds a stopped pass whose remaining
    // items a read-only pass has read.
    let sql = "SELECT EXISTS (SELECT 1 FROM runs WHERE phase = ?1 AND id > ?2 AND id < ?3 AND status = 'complete') \
         OR EXISTS (SELECT 1 FROM runs WHERE phase = ?1 AND id > ?2 AND id < ?3 AND total_segments = \
         (SELECT count(*) FROM segments WHERE run = runs.id AND segments.status = 'done'))";
    let since = last_rollback(connection)?;
    Ok(connection.prepare_cached(sql)?.query_row(params![phase::EXPAND, since, run], |row| row.get(0))?)
}

/// Returns the number of targets for which the records do not show whether they existed before the migration. Returns
/// `None` if there are no such targets.
///
/// Such targets exist only if a first pass wrote items, did not complete and was restarted. The second pass then found
/// new attributes that the first pass may have written.
pub(super) fn unrestorable_targets(connection: &Connection) -> Result<Option<u64>, StateFileError> {
    let sql = "SELECT coalesce(sum(n), 0) FROM tallies WHERE what = 2 AND run > (SELECT min(id) FROM runs AS one \
         WHERE phase = ?1 AND id > ?2 AND status = 'superseded' \
         AND NOT EXISTS (SELECT 1 FROM runs WHERE phase = ?1 AND status = 'complete' AND id > ?2 AND id < one.id) \
         AND total_segments > (SELECT count(*) FROM segments WHERE run = one.id AND status = 'done') \
         AND (EXISTS (SELECT 1 FROM segments WHERE run = one.id AND applied > 0) \
         OR EXISTS (SELECT 1 FROM pages_under_way WHERE run = one.id)))";
    let since = last_rollback(connection)?;
    let unrestorable: u64 = connection.query_row(sql, params![phase::EXPAND, since], |row| row.get(0))?;
    Ok((unrestorable > 0).then_some(unrestorable))
}

/// Returns the preexisting targets of these items, in the order of the keys. An unreadable record makes only its own
/// item's history unreadable.
pub(super) fn preexisting(connection: &Connection, keys: &[ItemKey]) -> Result<Vec<ItemHistory>, StateFileError> {
    let since = last_rollback(connection)?;
    let of = |key: &ItemKey| match preexisting_targets(connection, &key.to_text(), since) {
        Ok(targets) => Ok(ItemHistory::new(targets, [])),
        Err(failed) => failed.into_row_reason().map(ItemHistory::unreadable),
    };
    keys.iter().map(of).collect()
}

pub(super) fn preexisting_targets(
    connection: &Connection,
    key: &str,
    since: i64,
) -> Result<Vec<(Path, Digest)>, StateFileError> {
    let sql = format!("SELECT path, value, sum IS {PREEXISTING} FROM there_before WHERE key = ?1 AND run > ?2");
    collect(connection, &sql, params![key, since], |row| {
        check_row_checksum(row, 2)?;
        Ok((parse_path(&row.get::<_, String>(0)?)?, Digest(row.get(1)?)))
    })
}

/// Returns the number of preexisting targets.
pub(super) fn preexisting_count(connection: &Connection) -> Result<u64, StateFileError> {
    let since = last_rollback(connection)?;
    let sql = "SELECT coalesce(sum(n), 0) FROM tallies WHERE what = 2 AND run > ?1";
    Ok(connection.query_row(sql, [since], |row| row.get(0))?)
}

/// Returns whether no pass before this run has read every item of the table.
pub(super) fn is_first_pass(connection: &Connection, run: RunId) -> Result<bool, StateFileError> {
    Ok(!is_baseline_complete_before(connection, run.0)?)
}

/// Records the baseline of a page's items.
pub(super) fn record_baseline(connection: &Connection, page: &BaselinePage, now: &str) -> Result<(), StateFileError> {
    let run = read::run(connection, page.session.run)?;
    rules::check_session(&run, page.session)?;
    let since = last_rollback(connection)?;
    // A row from before a rollback does not belong to this expansion, so replace it. A row of this expansion comes from
    // the first run that read the item, so keep it.
    let mut statement = connection.prepare_cached(
        "INSERT INTO there_before (key, path, run, value) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (key, path) DO UPDATE SET run = excluded.run, value = excluded.value WHERE run <= ?5",
    )?;
    for (key, paths) in &page.preexisting {
        for (path, value) in paths {
            statement.execute(params![key.to_text(), path.to_string(), run.id.0, value.0, since])?;
        }
    }
    for filled in &page.filled {
        let key = filled.key.to_text();
        for (path, value) in &filled.targets {
            if !may_have_written(connection, &key, (path, value), &filled.refused, since)? {
                statement.execute(params![key, path.to_string(), run.id.0, value.text.0, since])?;
            }
        }
    }
    let mut statement = connection.prepare_cached(
        "INSERT INTO met_pairs (key, path, run, kind) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (key, path) DO UPDATE SET run = excluded.run, kind = excluded.kind WHERE run <= ?5",
    )?;
    for (key, pairs) in &page.pairs {
        for (path, kind) in pairs {
            statement.execute(params![key.to_text(), path.to_string(), run.id.0, kind.name(), since])?;
        }
    }
    let mut statement = connection.prepare_cached(
        "INSERT INTO pre_images (run, key, path, kind, wrote, at, sum) \
         SELECT ?1, ?2, ?3, 'same', ?4, ?5, item_checksum(?2, ?1, ?3, 'same', NULL, ?4, ?5, 0) WHERE NOT EXISTS \
         (SELECT 1 FROM pre_images WHERE key = ?2 AND path = ?3 AND kind = 'same' AND refused = 0 AND run > ?6)",
    )?;
    for (key, attributes) in &page.stable {
        for (path, value) in attributes {
            statement.execute(params![run.id.0, key.to_text(), path.to_string(), value.0, now, since])?;
        }
    }
    if !page.may_write.is_empty() {
        let items = page.may_write.iter().flat_map(|digest| digest.0).collect::<Vec<u8>>();
        connection
            .prepare_cached(
                "INSERT INTO pages_under_way (run, segment, session, page, items) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![run.id.0, page.segment, run.sessions, page.number, items])?;
    }
    Ok(())
}

/// Returns whether a write of this expansion may have stored a value with one of these digests at a path. Returns true
/// for a row with a wrong checksum, because any write may have stored that row.
fn may_have_written(
    connection: &Connection,
    key: &str,
    (path, value): (&Path, &ValueDigests),
    refused: &[PreImageId],
    since: i64,
) -> Result<bool, StateFileError> {
    let sql = format!(
        "SELECT id, wrote, sum IS {PRE_IMAGE} FROM pre_images WHERE key = ?1 AND path = ?2 AND refused = 0 AND run > ?3"
    );
    let rows = collect(connection, &sql, params![key, path.to_string(), since], |row| {
        let id = PreImageId(row.get(0)?);
        let is_value = row.get::<_, Option<[u8; 8]>>(1)?.is_some_and(|written| value.contains(Digest(written)));
        Ok(!refused.contains(&id) && (is_value || !row.get::<_, bool>(2)?))
    })?;
    Ok(rows.contains(&true))
}

/// Finds the items of a segment that the run may have written in uncommitted pages, and returns their digests.
pub(super) fn items_under_way(
    connection: &Connection,
    run: RunId,
    segment: u32,
) -> Result<HashSet<Digest>, StateFileError> {
    let sql = "SELECT items FROM pages_under_way WHERE run = ?1 AND segment = ?2";
    let pages = collect(connection, sql, params![run.0, segment], |row| Ok(row.get::<_, Vec<u8>>(0)?))?;
    Ok(pages.iter().flat_map(|items| items.as_chunks().0).map(|bytes| Digest(*bytes)).collect())
}

/// Deletes the digests of pages that are now committed.
pub(super) fn delete_pages_under_way(
    connection: &Connection,
    run: &RunRecord,
    segment: u32,
    last: u64,
    segment_ends: bool,
) -> Result<(), StateFileError> {
    connection
        .prepare_cached(
            "DELETE FROM pages_under_way WHERE run = ?1 AND segment = ?2 AND (?5 OR (session = ?3 AND page <= ?4))",
        )?
        .execute(params![run.id.0, segment, run.sessions, last, segment_ends])?;
    Ok(())
}

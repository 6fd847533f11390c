//! The list of deleted items, and the purge of the journal. Each function runs inside a transaction that the caller
//! commits, except [`erase_deleted`].
//!
//! A delete has two rows in the journal. The row of the item (`kind` is `value`, and `wrote` is `item`) contains the
//! whole item and is stored before the delete is sent. The row of the confirmation (`kind` is `same`, and `wrote` is
//! `deleted`) is stored after DynamoDB accepted the delete. A rollback adds two more rows of the kind `same`: `putting`
//! before it restores the item, and `put back` when the item exists in the table again. All these rows have the
//! partition key as their path, because no other write can change a key.

use rusqlite::{Connection, params};

use super::super::{DeleteCounts, DeletedItem, DeletedItemsQuery, PreImageId, RunId, StoreError, StoredFact};
use super::checksum::PRE_IMAGE;
use super::error::StateFileError;
use super::events;
use super::journal::{CONFIRMED, CONFIRMED_CHANGED, CONFIRMED_EARLIER, PUT_BACK, WHOLE_ITEM};
use super::read::{collect, key_from, last_rollback};

/// Stores the number of the journal's last row when a rollback begins.
pub(super) fn record_end(connection: &Connection, rollback: RunId) -> Result<(), StateFileError> {
    let end: i64 = connection.query_row("SELECT coalesce(max(id), 0) FROM pre_images", [], |row| row.get(0))?;
    events::set_fact(connection, StoredFact::JournalEnd(rollback), &end.to_string())
}

/// Returns the number of the last row that this rollback reads. The number never changes during the rollback, even if
/// rows are damaged meanwhile. If the run did not begin as a rollback, no number is stored. This function then returns
/// the last row of earlier runs.
fn end_of_list(connection: &Connection, before: RunId) -> Result<i64, StateFileError> {
    let recorded = events::fact(connection, StoredFact::JournalEnd(before))?;
    if let Some(end) = recorded.and_then(|end| end.parse().ok()) {
        return Ok(end);
    }
    let sql = format!("SELECT coalesce(max(id), 0) FROM pre_images WHERE run < ?1 OR sum IS NOT {PRE_IMAGE}");
    Ok(connection.query_row(&sql, [before.0], |row| row.get(0))?)
}

/// Returns a part of the list of items that may have been deleted and that no earlier rollback has restored. The parts
/// are ranges of row ids, up to the last row when the rollback began. During a rollback, no delete is recorded, and the
/// marks of this rollback are ignored. So the parts stay the same, and so does the list.
///
/// If a row becomes damaged during the rollback, the list also contains the damaged row. Another row of the same item
/// stays in the list, because the part with the damaged row may already be done. So the list can contain an item twice.
/// The item then fails both times.
pub(super) fn deleted_items(
    connection: &Connection,
    query: &DeletedItemsQuery,
) -> Result<Vec<DeletedItem>, StateFileError> {
    let since = last_rollback(connection)?;
    let before = query.before.0;
    // A damaged row may be the row of a deleted item, even if its columns name a different kind or run.
    let is_damaged = format!("sum IS NOT {PRE_IMAGE}");
    let is_earlier = "run > ?2 AND run < ?3";
    let is_valid_item = format!("{is_earlier} AND refused = 0 AND kind = 'value' AND wrote = ?1");
    let is_item = format!("({is_damaged} OR {is_valid_item})");
    let is_put_back = format!("{is_earlier} AND refused = 0 AND kind = 'same' AND wrote = ?7");
    let rows = end_of_list(connection, query.before)?;
    let (part, parts) = (i64::from(query.part), i64::from(query.parts.max(1)));
    let first = (rows * part / parts).max(query.after.map_or(0, PreImageId::number));
    let sql = format!(
        "SELECT id, key FROM pre_images AS one WHERE id > ?4 AND id <= ?5 AND {is_item} \
         AND NOT EXISTS (SELECT 1 FROM pre_images WHERE key = one.key AND id > one.id AND id <= ?8 \
         AND sum IS {PRE_IMAGE} AND ({is_valid_item} OR {is_put_back})) ORDER BY id LIMIT ?6"
    );
    let range = params![WHOLE_ITEM, since, before, first, rows * (part + 1) / parts, query.limit, PUT_BACK, rows];
    collect(connection, &sql, range, |row| {
        let key = match key_from(row, 1) {
            Ok(key) => Some(key),
            // A damaged key must not affect other items.
            Err(failed) => failed.into_row_reason().map(|_| None)?,
        };
        Ok(DeletedItem { id: PreImageId(row.get(0)?), key })
    })
}

/// Returns how many items this run deleted. Counts confirmed and unconfirmed deletes separately.
pub(super) fn delete_counts(connection: &Connection, run: RunId) -> Result<DeleteCounts, StateFileError> {
    // An item that was deleted twice counts once. Its last delete decides whether it counts as confirmed.
    let sql = "SELECT count(*), coalesce(sum(EXISTS (SELECT 1 FROM pre_images WHERE key = item AND id > last \
               AND run = ?1 AND kind = 'same' AND wrote IN (?3, ?4, ?5))), 0) \
               FROM (SELECT key AS item, max(id) AS last FROM pre_images \
               WHERE run = ?1 AND refused = 0 AND kind = 'value' AND wrote = ?2 GROUP BY key)";
    let marks = params![run.0, WHOLE_ITEM, CONFIRMED, CONFIRMED_CHANGED, CONFIRMED_EARLIER];
    Ok(connection.query_row(sql, marks, |row| {
        let (all, confirmed): (u64, u64) = (row.get(0)?, row.get(1)?);
        Ok(DeleteCounts { confirmed, unconfirmed: all - confirmed })
    })?)
}

/// Returns the number of derived items that the journal records. Each put has up to four rows, and a derived key can
/// have several puts. Reads all rows. Call this function only for a plan with `put`. For a plan that deletes items, it
/// would count the deleted items.
pub(super) fn derived_items(connection: &Connection) -> Result<u64, StateFileError> {
    let sql = "SELECT count(DISTINCT key) FROM pre_images WHERE refused = 0 AND kind = 'value' AND wrote = ?1";
    Ok(connection.query_row(sql, [WHOLE_ITEM], |row| row.get(0))?)
}

/// Deletes every pre-image. Returns the number of pre-images with a value. With `secure_delete`, SQLite overwrites
/// deleted rows with zeros.
pub(super) fn delete_pre_images(connection: &Connection) -> Result<u64, StateFileError> {
    let values = connection.query_row("SELECT count(*) FROM pre_images WHERE kind = 'value'", [], |row| row.get(0))?;
    connection.execute("DELETE FROM pre_images", [])?;
    connection.execute("UPDATE tallies SET n = 0, proof = (run * 8 + what) * 4294967296 WHERE what = 1", [])?;
    Ok(values)
}

/// Removes every trace of deleted rows from the file and from its log: earlier versions of rows in the file, and
/// earlier versions of pages in the log. Must not run inside a transaction.
pub(super) fn erase_deleted(connection: &Connection) -> Result<(), StateFileError> {
    connection.execute_batch("VACUUM")?;
    let is_blocked: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_blocked {
        let why = "another process is reading the state file, so the file's log may still contain values. The journal is \
                   purged from the file itself. Run the same command again when no other command reads the file";
        return Err(StoreError::Io(why.to_owned()).into());
    }
    Ok(())
}

//! Checksums of the rows on which rollbacks depend. If a bit of a row has flipped on the disk, the checksum shows this
//! before the row is used.
//!
//! SQLite detects damage to its own structure, but does not check the contents of rows. So a flipped bit in a row could
//! make a rollback skip an item or restore a wrong value. To prevent this, each row has a checksum of its columns:
//!
//! - In a row that belongs to one item (`pre_images`, `there_before`), the upper half of the checksum covers only the
//!   item's key. If the checksum does not match the row, the flipped bit may be in the key or in the checksum. So the
//!   records of two items are not trusted: the item whose key is in the row, and the item whose key matches the upper
//!   half of the checksum. The records of all other items can still be used.
//! - Every other row affects the whole file. If the checksum of such a row is wrong, the file is refused.
//!
//! Small tables are checked whenever a file is opened. Large tables are checked at that time only if the file is small.
//! Before the first item of a rollback, [`audit`] checks all tables and runs SQLite's full check, because a damaged
//! index would silently hide rows.

use std::sync::atomic::Ordering;

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use sha2::{Digest as _, Sha256};

use super::error::StateFileError;
use super::layout::{FIRST_CHECKED_LAYOUT, LAYOUT_VERSION};
use super::progress::{ProgressReporter, RowCounter};

/// The small tables whose rows affect the whole file. Each table is paired with the SQL expression for a row's
/// checksum.
const SMALL_TABLES: [(&str, &str); 4] = [
    ("identity", "checksum(id, migration, fingerprint, meaning, table_arn, table_id, created_at)"),
    (
        "runs",
        "checksum(id, phase, pass, total_segments, status, started_at, ended_at, sessions, open_session, lower_bound, \
         abandoned_pages, stop_reason, table_items_estimate, tool_version, looked_through, look_write_units, \
         look_read_units)",
    ),
    ("events", "checksum(id, event, behind)"),
    ("kept", "checksum(name, value)"),
];

/// The checksum of a row of `pages_under_way`. This table and `segments` are the large tables whose rows affect the
/// whole file. Their size grows with the number of segments.
const PAGES_UNDER_WAY: &str = "checksum(id, run, segment, session, page, items)";

/// The checksum of a segment's row.
pub(super) const SEGMENT: &str = "checksum(run, segment, status, start_key, pages, scanned, applied, already_applied, \
     nothing_to_do, skipped, gone, diverged, conflict, rejected, not_computable, write_units, read_units, \
     assumed_write_units, estimated_write_units, updated_at)";

/// The checksum of a segment's row in a file of layout 2. The checksums of all other tables are the same in both
/// layouts.
const SEGMENT_OF_LAYOUT_2: &str = "checksum(run, segment, status, start_key, pages, scanned, applied, already_applied, \
     nothing_to_do, skipped, gone, diverged, conflict, rejected, write_units, read_units, assumed_write_units, \
     estimated_write_units, updated_at)";

// The next five checksums protect rows on which no rollback depends. These rows are checked when they are read. A
// damaged row is ignored or listed as unreadable, without any other effect.

/// The checksum of an accepted finding.
pub(super) const ACCEPTED: &str = "checksum(run, finding, at)";

/// The checksum of a verification: its parameters and its report.
pub(super) const VERIFICATION: &str =
    "checksum(run, stage, truth, repair, flag_version, due, wanted, seed, run_segments, large, report, report_hash)";

/// The checksum of a failure's row.
pub(super) const FAILURE: &str =
    "checksum(id, run, key, segment, outcome, reason, attempts, first_at, last_at, status, resolved_as)";

/// The checksum of a diverged item's row.
pub(super) const DIVERGED: &str = "checksum(id, run, key, segment, paths, first_at, last_at, status, resolved_as)";

/// The checksum of a verification's counts of one segment.
pub(super) const SEGMENT_VERDICTS: &str =
    "checksum(run, segment, matching, missing, stale, unexpected, raced, repaired)";

/// The checksum of a journal row.
pub(super) const PRE_IMAGE: &str = "item_checksum(key, run, path, kind, value, wrote, at, refused)";

/// The checksum of a row of `there_before`: a target that existed before the migration.
pub(super) const PREEXISTING: &str = "item_checksum(key, path, run, value)";

/// The maximum number of damaged rows in one table of item rows. If a table has more damaged rows, the whole file
/// counts as damaged.
const MAX_DAMAGED_ROWS: usize = 1_000;

/// Registers the SQL functions that the layout's triggers and this module's queries call. Each call for an item's row
/// increments `rows`.
pub(super) fn register(connection: &Connection, rows: &RowCounter) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection
        .create_scalar_function("checksum", -1, flags, |row| Ok(i64::from_be_bytes(digest(row, 0..row.len()))))?;
    let rows = RowCounter::clone(rows);
    connection.create_scalar_function("item_checksum", -1, flags, move |row| {
        rows.fetch_add(1, Ordering::Relaxed);
        let [a, b, c, d, ..] = digest(row, 0..1);
        let [e, f, g, h, ..] = digest(row, 0..row.len());
        Ok(i64::from_be_bytes([a, b, c, d, e, f, g, h]))
    })
}

/// Returns the first eight bytes of the SHA-256 of these columns. The hash input includes each column's type and
/// length, so that different rows have different hash inputs.
fn digest(row: &Context<'_>, columns: std::ops::Range<usize>) -> [u8; 8] {
    let mut hash = Sha256::new();
    for column in columns {
        let mut put = |kind: u8, bytes: &[u8]| {
            hash.update([kind]);
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        match row.get_raw(column) {
            ValueRef::Null => put(0, &[]),
            ValueRef::Integer(n) => put(1, &n.to_be_bytes()),
            ValueRef::Real(n) => put(2, &n.to_be_bytes()),
            ValueRef::Text(text) => put(3, text),
            ValueRef::Blob(bytes) => put(4, bytes),
        }
    }
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hash.finalize().into();
    [a, b, c, d, e, f, g, h]
}

/// Refuses a file if a row that affects the whole file is damaged. Checks large tables only if `small` is true. The
/// connection sees a file of this layout, which must have checksums.
pub(super) fn refuse_damaged(connection: &Connection, layout: usize, small: bool) -> Result<(), StateFileError> {
    let segment = if layout < LAYOUT_VERSION { SEGMENT_OF_LAYOUT_2 } else { SEGMENT };
    let large_tables = [("segments", segment), ("pages_under_way", PAGES_UNDER_WAY)];
    for (table, sum) in SMALL_TABLES.iter().chain(large_tables.iter().filter(|_| small)) {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE sum IS NOT {sum})");
        if connection.query_row(&sql, [], |row| row.get(0))? {
            return Err(damaged(&format!("a row of its table `{table}` has a wrong checksum")));
        }
    }
    // The column `proof` of a tally repeats the other columns of the tally's row.
    let sql = "SELECT EXISTS (SELECT 1 FROM tallies WHERE proof IS NOT (run * 8 + what) * 4294967296 + n)";
    if connection.query_row(sql, [], |row| row.get(0))? {
        return Err(damaged("a row of its table `tallies` has a wrong checksum"));
    }
    Ok(())
}

/// Checks all rows on which rollbacks depend. Each connection checks them once, before the first item.
pub(super) fn audit(connection: &Connection) -> Result<(), StateFileError> {
    let done = "SELECT 1 FROM sqlite_temp_schema WHERE name = 'doubtful'";
    if connection.query_row(done, [], |_| Ok(())).optional()?.is_some() {
        return Ok(());
    }
    let rows = RowCounter::default();
    check_structure(connection, &rows)?;
    register(connection, &rows)?;
    let _progress =
        ProgressReporter::start("verifying the checksums of the state file", &rows, Some(item_rows(connection)?));
    // An owner has migrated the file, and a reader sees it through views, so both see the newest layout.
    refuse_damaged(connection, LAYOUT_VERSION, true)?;
    record_doubtful_items(connection)
}

/// Runs SQLite's full check, and refuses a file whose structure is damaged.
fn check_structure(connection: &Connection, rows: &RowCounter) -> Result<(), StateFileError> {
    let _progress = ProgressReporter::start("checking the structure of the state file", rows, None);
    let found: String = connection.query_row("PRAGMA main.integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    Err(damaged(&format!("SQLite's check says \"{}\"", found.escape_debug())))
}

/// Checks the rows of items. Stores the keys of the items whose records cannot be trusted.
fn record_doubtful_items(connection: &Connection) -> Result<(), StateFileError> {
    connection
        .execute_batch("CREATE TEMP TABLE damaged (key, sum); CREATE TEMP TABLE doubtful (half INTEGER PRIMARY KEY)")?;
    for (table, sum) in [("pre_images", PRE_IMAGE), ("there_before", PREEXISTING)] {
        let sql = format!("INSERT INTO damaged SELECT key, sum FROM {table} WHERE sum IS NOT {sum} LIMIT ?1");
        if connection.execute(&sql, [MAX_DAMAGED_ROWS + 1])? > MAX_DAMAGED_ROWS {
            return Err(damaged(&format!("more than {MAX_DAMAGED_ROWS} item records have wrong checksums")));
        }
    }
    // The flipped bit may be in the row or in the checksum. So trust neither the item whose key is in the row, nor the
    // item whose key matches the checksum.
    connection.execute_batch(
        "INSERT OR IGNORE INTO doubtful SELECT sum >> 32 FROM damaged UNION SELECT item_checksum(key) >> 32 FROM damaged",
    )?;
    Ok(())
}

/// Returns the number of item rows in a file that has tallies. Does not read the rows.
fn item_rows(connection: &Connection) -> Result<u64, StateFileError> {
    // Only a purge removes journal rows. Without a purge, the largest id is the number of these rows. After a purge, it
    // is an upper bound, which is enough for the progress display.
    let sql = "SELECT (SELECT coalesce(max(id), 0) FROM pre_images) + \
               (SELECT coalesce(sum(n), 0) FROM tallies WHERE what = 2)";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

/// Returns the number of item rows that change if a file of this layout is migrated to the newest layout. The migration
/// of layout 1 adds a checksum to each of them. Returns `None` for later layouts, because their migration changes no
/// item rows.
pub(super) fn rows_to_migrate(connection: &Connection, layout: usize) -> Result<Option<u64>, StateFileError> {
    if layout >= FIRST_CHECKED_LAYOUT {
        return Ok(None);
    }
    let sql = "SELECT (SELECT coalesce(max(id), 0) FROM pre_images) + (SELECT count(*) FROM there_before)";
    Ok(Some(connection.query_row(sql, [], |row| row.get(0))?))
}

/// Returns whether a record of this item may be damaged. Call [`audit`] first.
pub(super) fn is_doubtful(connection: &Connection, key: &str) -> Result<bool, StateFileError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM temp.doubtful WHERE half = item_checksum(?1) >> 32)";
    Ok(connection.prepare_cached(sql)?.query_row([key], |row| row.get(0))?)
}

/// Refuses a row with a wrong checksum. The column `at` is true if the checksum matches.
pub(super) fn refuse_damaged_row(row: &Row<'_>, at: usize) -> Result<(), StateFileError> {
    if row.get(at)? { Ok(()) } else { Err(StateFileError::Row("one of its rows has a wrong checksum".to_owned())) }
}

/// Creates the error for a damaged file. [`StateFileError::explain`] adds the path of the file.
fn damaged(what: &str) -> StateFileError {
    StateFileError::Damaged(what.to_owned())
}

/// Refuses a row with a wrong checksum. The column `at` is true if the checksum matches.
pub(super) fn check_row_checksum(row: &Row<'_>, at: usize) -> Result<(), StateFileError> {
    if row.get(at)? { Ok(()) } else { Err(damaged_row()) }
}

pub(super) fn damaged_row() -> StateFileError {
    StateFileError::Row("one of its rows has a wrong checksum".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::layout::{MIGRATIONS, migrate};
    use super::super::open::connect;
    use super::super::tests::copy_of_fixture;
    use super::*;

    /// The announced number of rows must equal the number of processed rows. Otherwise, the reported progress of a
    /// layout migration or of an audit would not end at 100 %.
    #[test]
    fn the_announced_number_of_rows_is_exact() {
        let (_dir, path) = copy_of_fixture(1);
        let connection = connect(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        let counted = |of: u64, work: &dyn Fn(&Connection)| {
            let rows = RowCounter::default();
            register(&connection, &rows).unwrap();
            work(&connection);
            assert!(of > 0);
            assert_eq!(rows.load(Ordering::Relaxed), of);
        };
        let rows = rows_to_migrate(&connection, 1).unwrap().unwrap();
        counted(rows, &|connection| migrate(connection, MIGRATIONS).unwrap());
        counted(item_rows(&connection).unwrap(), &|connection| record_doubtful_items(connection).unwrap());
    }
}

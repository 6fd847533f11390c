//! Checksums of the rows that a rollback depends on, so that a bit which flips on the disk is found and never obeyed.
//!
//! SQLite finds damage to its own structure. What a row holds it does not check, and a flipped bit there could make a
//! rollback pass over an item, or restore another value. So each row carries a checksum of its columns:
//!
//! - Of rows that belong to one item (`pre_images`, `there_before`), the upper half is of the key alone. Where the two halves
//!   disagree with the row, the item of either key has a record that cannot be trusted: that item fails, and no other.
//! - Every other row concerns the whole file, which is refused.
//!
//! Small tables are compared whenever a file is opened, the others when a file is small, and all of them before the first
//! item of a rollback ([`audit`]), together with SQLite's full check: of a damaged index a row would simply not be found.

use std::sync::atomic::Ordering;

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use sha2::{Digest as _, Sha256};

use super::error::Failed;
use super::progress::{Progress, Rows};

/// Tables that concern the whole file, and the checksum of their rows: of a few rows each.
const SMALL: [(&str, &str); 4] = [
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

/// Those whose rows grow with the segments of a run.
const LARGE: [(&str, &str); 2] =
    [("segments", SEGMENT), ("pages_under_way", "checksum(id, run, segment, session, page, items)")];

/// The checksum of a segment's row.
pub(super) const SEGMENT: &str = "checksum(run, segment, status, start_key, pages, scanned, applied, already_applied, \
     nothing_to_do, skipped, gone, diverged, conflict, rejected, write_units, read_units, assumed_write_units, \
     estimated_write_units, updated_at)";

// What no rollback depends on is compared when it is read, and refuses nothing else: a damaged row counts as not there, or
// is listed as unreadable.

/// The checksum of an accepted finding.
pub(super) const ACCEPTED: &str = "checksum(run, finding, at)";

/// The checksum of a verification: what it was asked, and its report.
pub(super) const VERIFICATION: &str =
    "checksum(run, stage, truth, repair, flag_version, due, wanted, seed, run_segments, large, report, report_hash)";

/// The checksum of a failure's row.
pub(super) const FAILURE: &str =
    "checksum(id, run, key, segment, outcome, reason, attempts, first_at, last_at, status, resolved_as)";

/// The checksum of a diverged item's row.
pub(super) const DIVERGED: &str = "checksum(id, run, key, segment, paths, first_at, last_at, status, resolved_as)";

/// The checksum of what a segment of a verification counted.
pub(super) const SEGMENT_VERDICTS: &str =
    "checksum(run, segment, matching, missing, stale, unexpected, raced, repaired)";

/// The checksum of a row of the journal.
pub(super) const PRE_IMAGE: &str = "item_checksum(key, run, path, kind, value, wrote, at, refused)";

/// The checksum of a row of `there_before`: a target that existed before the migration.
pub(super) const THERE_BEFORE: &str = "item_checksum(key, path, run, value)";

/// Damaged rows of one table that concern their items alone: of more, the file itself is damaged.
const MOST_DAMAGED: usize = 1_000;

/// Makes the functions known that the layout's triggers, and the queries here, call. From then on the rows of items that they
/// are called for are counted in `rows`.
pub(super) fn register(connection: &Connection, rows: &Rows) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection
        .create_scalar_function("checksum", -1, flags, |row| Ok(i64::from_be_bytes(digest(row, 0..row.len()))))?;
    let rows = Rows::clone(rows);
    connection.create_scalar_function("item_checksum", -1, flags, move |row| {
        rows.fetch_add(1, Ordering::Relaxed);
        let ([a, b, c, d, ..], [e, f, g, h, ..]) = (digest(row, 0..1), digest(row, 0..row.len()));
        Ok(i64::from_be_bytes([a, b, c, d, e, f, g, h]))
    })
}

/// The first bytes of the SHA-256 of some columns. Each is preceded by its type and length, so that no two rows are alike.
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

/// Refuses a file if a row that concerns the whole file is damaged. Compares the large tables only if the file is `small`.
pub(super) fn refuse_damaged(connection: &Connection, small: bool) -> Result<(), Failed> {
    for (table, sum) in SMALL.iter().chain(LARGE.iter().filter(|_| small)) {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE sum IS NOT {sum})");
        if connection.query_row(&sql, [], |row| row.get(0))? {
            return Err(damaged(&format!("a row of its table `{table}` has a wrong checksum")));
        }
    }
    // A tally holds its own row again.
    let sql = "SELECT EXISTS (SELECT 1 FROM tallies WHERE proof IS NOT (run * 8 + what) * 4294967296 + n)";
    if connection.query_row(sql, [], |row| row.get(0))? {
        return Err(damaged("a row of its table `tallies` has a wrong checksum"));
    }
    Ok(())
}

/// Compares everything that a rollback depends on, once for each connection: before the first item.
pub(super) fn audit(connection: &Connection) -> Result<(), Failed> {
    let done = "SELECT 1 FROM sqlite_temp_schema WHERE name = 'doubtful'";
    if connection.query_row(done, [], |_| Ok(())).optional()?.is_some() {
        return Ok(());
    }
    let rows = Rows::default();
    refuse_broken(connection, &rows)?;
    register(connection, &rows)?;
    let _tells = Progress::tell("verifying the checksums of the state file", &rows, Some(item_rows(connection)?));
    refuse_damaged(connection, true)?;
    note_doubtful(connection)
}

/// Refuses a file whose structure is damaged, by SQLite's full check.
fn refuse_broken(connection: &Connection, rows: &Rows) -> Result<(), Failed> {
    let _tells = Progress::tell("looking for damage in the structure of the state file", rows, None);
    let found: String = connection.query_row("PRAGMA main.integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    Err(damaged(&format!("SQLite's check says \"{}\"", found.escape_debug())))
}

/// Compares the rows of items, and keeps which items cannot be trusted.
fn note_doubtful(connection: &Connection) -> Result<(), Failed> {
    connection
        .execute_batch("CREATE TEMP TABLE damaged (key, sum); CREATE TEMP TABLE doubtful (half INTEGER PRIMARY KEY)")?;
    for (table, sum) in [("pre_images", PRE_IMAGE), ("there_before", THERE_BEFORE)] {
        let sql = format!("INSERT INTO damaged SELECT key, sum FROM {table} WHERE sum IS NOT {sum} LIMIT ?1");
        if connection.execute(&sql, [MOST_DAMAGED + 1])? > MOST_DAMAGED {
            return Err(damaged(&format!("more than {MOST_DAMAGED} item records have wrong checksums")));
        }
    }
    // The item that a row names, and the one that its checksum does: either may be the flipped one.
    connection.execute_batch(
        "INSERT OR IGNORE INTO doubtful SELECT sum >> 32 FROM damaged UNION SELECT item_checksum(key) >> 32 FROM damaged",
    )?;
    Ok(())
}

/// How many rows concern one item each: of layout 2 without reading them.
fn item_rows(connection: &Connection) -> Result<u64, Failed> {
    // Rows of the journal are never removed.
    let sql = "SELECT (SELECT coalesce(max(id), 0) FROM pre_images) + \
               (SELECT coalesce(sum(n), 0) FROM tallies WHERE what = 2)";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

/// How many rows of layout 1 get a checksum that is counted.
pub(super) fn rows_to_migrate(connection: &Connection) -> Result<u64, Failed> {
    let sql = "SELECT (SELECT coalesce(max(id), 0) FROM pre_images) + (SELECT count(*) FROM there_before)";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

/// Whether the record of this item is damaged. To be asked after [`audit`].
pub(super) fn is_doubtful(connection: &Connection, key: &str) -> Result<bool, Failed> {
    let sql = "SELECT EXISTS (SELECT 1 FROM temp.doubtful WHERE half = item_checksum(?1) >> 32)";
    Ok(connection.prepare_cached(sql)?.query_row([key], |row| row.get(0))?)
}

/// Refuses this one row if it does not have its checksum, by this column.
pub(super) fn refuse_damaged_row(row: &Row<'_>, at: usize) -> Result<(), Failed> {
    if row.get(at)? { Ok(()) } else { Err(Failed::Row("a row in it does not have its checksum".to_owned())) }
}

/// Completed with the file's name by [`Failed::explain`].
fn damaged(what: &str) -> Failed {
    Failed::Damaged(what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::layout::{MIGRATIONS, migrate};
    use super::super::open::connect;
    use super::super::tests::scratch;
    use super::*;

    /// Else the progress of a migration or of a comparison would stop short of its end.
    #[test]
    fn each_row_that_is_announced_is_counted() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/layout-1/in-place/state.db");
        let dir = scratch();
        let path = dir.path().join("s.db");
        std::fs::copy(fixture, &path).unwrap();
        let connection = connect(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        let counted = |of: u64, work: &dyn Fn(&Connection)| {
            let rows = Rows::default();
            register(&connection, &rows).unwrap();
            work(&connection);
            assert!(of > 0);
            assert_eq!(rows.load(Ordering::Relaxed), of);
        };
        counted(rows_to_migrate(&connection).unwrap(), &|connection| migrate(connection, MIGRATIONS).unwrap());
        counted(item_rows(&connection).unwrap(), &|connection| note_doubtful(connection).unwrap());
    }
}

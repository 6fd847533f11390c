//! Detects the version of a state file's layout, and migrates the file to the newest layout.

use std::path::Path;

use rusqlite::Connection;

use super::super::StoreError;
use super::error::StateFileError;

/// The number that identifies state files of this program in the header of a SQLite file (`BFL1`).
pub(super) const APPLICATION_ID: i32 = 0x4246_4C31;

/// The layouts, in order. A file's `user_version` is the number of layouts that were applied to the file.
pub(super) const MIGRATIONS: &[&str] =
    &[include_str!("schema.sql"), include_str!("schema_v2.sql"), include_str!("schema_v3.sql")];

/// For each older layout, in order: the SQL that creates its views. Through these views, a read-only connection sees a
/// file of the older layout as a file of the newest layout.
const VIEWS: &[&str] = &[include_str!("read_v1.sql"), include_str!("read_v2.sql")];

/// The newest layout, which this version writes.
pub(super) const LAYOUT_VERSION: usize = MIGRATIONS.len();

/// The first layout with checksums, and with a record of whether the file was closed.
pub(super) const FIRST_CHECKED_LAYOUT: usize = 2;

/// Refuses a file of a different program, and a file of a newer version of this program. Returns the version of the
/// file's layout.
pub(super) fn check_version(connection: &Connection, path: &Path, newest: usize) -> Result<usize, StoreError> {
    let read = |pragma: &str| -> Result<i32, StoreError> {
        connection
            .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
            .map_err(|e| StateFileError::from(e).explain(path, "reading its header"))
    };
    if read("application_id")? != APPLICATION_ID {
        return Err(foreign_program_error(path));
    }
    check_known_version(read("user_version")?, path, newest)
}

/// Returns the layout's version. Returns an error if this program does not know the version.
pub(super) fn check_known_version(version: i32, path: &Path, newest: usize) -> Result<usize, StoreError> {
    match usize::try_from(version) {
        Ok(version) if (1..=newest).contains(&version) => Ok(version),
        _ => Err(StoreError::Foreign(format!(
            "the state file {} has layout version {version}, but this version of backfill knows only versions 1 to {newest}. \
             Nothing was changed. Use the version of backfill that wrote it, or a newer one.",
            path.display()
        ))),
    }
}

pub(super) fn foreign_program_error(path: &Path) -> StoreError {
    StoreError::Foreign(format!(
        "{} is a SQLite database of another program, not a state file. It was not changed, and nothing was read from or \
         written to the table; name another file with --state.",
        path.display()
    ))
}

/// Migrates a file to the newest of these layouts, inside the caller's transaction. If the process is killed before the
/// commit, the file keeps its old layout.
pub(super) fn migrate(connection: &Connection, migrations: &[&str]) -> Result<(), StateFileError> {
    let version: usize = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for step in migrations.iter().skip(version) {
        connection.execute_batch(step)?;
    }
    if version < migrations.len() {
        connection.pragma_update(None, "user_version", migrations.len())?;
    }
    Ok(())
}

/// Creates the views through which a read-only connection sees a file of this version as a file of the newest layout.
pub(super) fn create_compatibility_views(connection: &Connection, version: usize) -> Result<(), StateFileError> {
    match VIEWS.get(version - 1) {
        Some(views) => Ok(connection.execute_batch(views)?),
        None => Ok(()),
    }
}

/// Returns the layout in which a read-only connection sees a file of this version. Through its views, the connection
/// sees the newest layout. For a file without checksums, returns the file's own version. The views of such a file
/// calculate the checksums from the rows, so a check of these checksums would prove nothing.
pub(super) fn seen_by_reader(version: usize) -> usize {
    if version < FIRST_CHECKED_LAYOUT { version } else { LAYOUT_VERSION }
}

#[cfg(test)]
mod tests {
    use rusqlite::OpenFlags;

    use super::super::open::{NOW, connect, open_owned};
    use super::super::tests::{copy_of_fixture, identity, scratch};
    use super::super::{StateFile, read};
    use super::*;

    fn newer_migrations() -> Vec<&'static str> {
        [MIGRATIONS, &["ALTER TABLE runs ADD COLUMN note TEXT; CREATE TABLE extra (a)"]].concat()
    }

    fn version(connection: &Connection) -> usize {
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_file_of_an_older_layout_is_upgraded_and_keeps_its_contents() {
        let dir = scratch();
        let owned = open_owned(&dir.path().join("s.db"), &identity(), NOW).unwrap();
        let connection = &owned.connection;
        assert_eq!(version(connection), LAYOUT_VERSION);
        migrate(connection, &newer_migrations()).unwrap();
        assert_eq!(version(connection), LAYOUT_VERSION + 1);
        connection.execute("INSERT INTO extra VALUES (1)", []).unwrap();
        assert_eq!(read::read_identity(connection).unwrap(), (identity(), NOW.to_owned()));
        // Migrating a second time changes nothing.
        migrate(connection, &newer_migrations()).unwrap();
        assert_eq!(connection.query_row("SELECT count(*) FROM extra", [], |r| r.get::<_, i64>(0)).unwrap(), 1);
    }

    #[test]
    fn a_failing_upgrade_changes_nothing() {
        let dir = scratch();
        let mut owned = open_owned(&dir.path().join("s.db"), &identity(), NOW).unwrap();
        let broken = [MIGRATIONS, &["CREATE TABLE extra (a)", "CREATE TABLE runs (a)"]].concat();
        let transaction = owned.connection.transaction().unwrap();
        assert!(migrate(&transaction, &broken).is_err());
        drop(transaction);
        assert_eq!(version(&owned.connection), LAYOUT_VERSION);
        assert!(owned.connection.prepare("SELECT * FROM extra").is_err());
    }

    /// A copy of the file and its log simulates a kill at the moment of the copy.
    #[test]
    fn a_migration_takes_effect_only_with_its_commit() {
        for layout in 1..LAYOUT_VERSION {
            let (dir, path) = copy_of_fixture(layout);
            let copy_as_if_killed = |name: &str| {
                let copy = dir.path().join(name);
                for suffix in ["", "-wal"] {
                    let from = super::super::siblings::sibling(&path, suffix);
                    let _ = std::fs::copy(from, super::super::siblings::sibling(&copy, suffix));
                }
                let summary = StateFile::open(&copy).unwrap().summary().unwrap();
                (summary.layout_version as usize, summary.pre_images, summary.runs)
            };
            let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
            // The cache is tiny, so that most uncommitted pages are in the log and not in memory.
            connection.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1").unwrap();
            let (found, pre_images, runs) = copy_as_if_killed("before");
            assert!(found == layout && pre_images > 0);
            let steps = MIGRATIONS[layout..].concat();
            for n in 1..=steps.matches(';').count() {
                let transaction = connection.transaction().unwrap();
                let statements: Vec<&str> = steps.split_inclusive(';').take(n).collect();
                // Ignore errors, because splitting at semicolons also splits triggers, and a part of a trigger is
                // invalid SQL.
                let _ = transaction.execute_batch(&statements.concat());
                if n % 16 == 0 || layout > 1 {
                    let killed = copy_as_if_killed(&format!("{n}"));
                    assert_eq!(killed, (layout, pre_images, runs.clone()), "after {n} statements");
                }
            }
            let transaction = connection.transaction().unwrap();
            migrate(&transaction, MIGRATIONS).unwrap();
            assert_eq!(copy_as_if_killed("not committed"), (layout, pre_images, runs.clone()));
            transaction.commit().unwrap();
            assert_eq!(copy_as_if_killed("committed"), (LAYOUT_VERSION, pre_images, runs));
        }
    }

    /// If a file is too large to be checked when it is opened, its segments are migrated without a check.
    #[test]
    fn a_migration_gives_no_damaged_segment_a_correct_checksum() {
        let sum = super::super::checksum::SEGMENT;
        for damage in ["sum = sum + 1", "applied = applied + 1", "scanned = 0, start_key = 'x', status = 'scanning'"] {
            let (_dir, path) = copy_of_fixture(2);
            let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
            let count = |condition: &str| -> u64 {
                let sql = format!("SELECT count(*) FROM segments WHERE {condition}");
                connection.query_row(&sql, [], |row| row.get(0)).unwrap()
            };
            let damaged = "(run, segment) = (SELECT min(run), max(segment) FROM segments)";
            let segments = count("1");
            assert_eq!(count(damaged), 1);
            // A flipped bit fires no trigger.
            let damage = format!(
                "DROP TRIGGER segments_changed; UPDATE segments SET {damage} WHERE {damaged}; \
                 CREATE TRIGGER segments_changed AFTER UPDATE ON segments BEGIN SELECT 1; END"
            );
            connection.execute_batch(&damage).unwrap();
            migrate(&connection, MIGRATIONS).unwrap();
            assert_eq!(count(&format!("sum IS {sum}")), segments - 1, "{damage}");
            assert_eq!(count(&format!("sum IS NOT {sum} AND {damaged}")), 1, "{damage}");
        }
    }

    /// The triggers of the newest layout keep the checksum of a segment correct, whichever column changes.
    #[test]
    fn every_change_of_a_segment_updates_its_checksum() {
        let (_dir, path) = copy_of_fixture(2);
        let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        migrate(&connection, MIGRATIONS).unwrap();
        let wrong = format!("SELECT count(*) FROM segments WHERE sum IS NOT {}", super::super::checksum::SEGMENT);
        let wrong = || connection.query_row(&wrong, [], |row| row.get::<_, u64>(0)).unwrap();
        assert_eq!(wrong(), 0);
        for outcome in crate::change::Outcome::ALL {
            let name = outcome.name();
            assert!(connection.execute(&format!("UPDATE segments SET {name} = {name} + 1"), []).unwrap() > 0);
            assert_eq!(wrong(), 0, "{name}");
        }
        connection.execute("DELETE FROM segments WHERE segment > 0", []).unwrap();
        let copy = "INSERT INTO segments SELECT run, segment + 1, status, start_key, pages, scanned, applied, \
             already_applied, nothing_to_do, gone, diverged, conflict, rejected, write_units, read_units, \
             assumed_write_units, estimated_write_units, updated_at, skipped, 0, not_computable + 7 FROM segments";
        assert!(connection.execute(copy, []).unwrap() > 0);
        assert_eq!(wrong(), 0);
    }

    #[test]
    fn a_newer_layout_is_refused_by_owner_and_reader() {
        let dir = scratch();
        let path = dir.path().join("s.db");
        let owned = open_owned(&path, &identity(), NOW).unwrap();
        migrate(&owned.connection, &newer_migrations()).unwrap();
        drop(owned);
        // In the first round, the log of a killed process is opened together with the file. In the second round, the
        // log has already been moved into the file.
        for _ in 0..2 {
            let before = std::fs::read(&path).unwrap();
            for error in [open_owned(&path, &identity(), NOW).err().unwrap(), StateFile::open(&path).err().unwrap()] {
                assert!(matches!(error, StoreError::Foreign(_)), "{error:?}");
                let text = error.to_string();
                let newer = format!("layout version {}", LAYOUT_VERSION + 1);
                assert!(text.contains(&newer) && text.contains("newer"), "{text}");
            }
            assert_eq!(std::fs::read(&path).unwrap(), before, "the file is unchanged");
            Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        }
    }
}

//! Detects the version of a state file's layout, and migrates the file to the newest layout.

use std::path::Path;

use rusqlite::Connection;

use super::super::StoreError;
use super::error::StateFileError;

/// The number that identifies state files of this program in the header of a SQLite file (`BFL1`).
pub(super) const APPLICATION_ID: i32 = 0x4246_4C31;

/// The layouts, in order. A file's `user_version` is the number of layouts that were applied to the file.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("schema.sql"), include_str!("schema_v2.sql")];

/// For each older layout, in order: the SQL that creates its views. Through these views, a read-only connection sees a
/// file of the older layout as a file of the newest layout.
const VIEWS: &[&str] = &[include_str!("read_v1.sql")];

/// The newest layout, which this version writes.
pub(super) const LAYOUT_VERSION: usize = MIGRATIONS.len();

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

#[cfg(test)]
mod tests {
    use super::super::open::{NOW, open_owned};
    use super::super::tests::{identity, scratch};
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
        assert_eq!(version(connection), 2);
        migrate(connection, &newer_migrations()).unwrap();
        assert_eq!(version(connection), 3);
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
        assert_eq!(version(&owned.connection), 2);
        assert!(owned.connection.prepare("SELECT * FROM extra").is_err());
    }

    /// A copy of the file and its log simulates a kill at the moment of the copy.
    #[test]
    fn a_migration_takes_effect_only_with_its_commit() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/layout-1/in-place/state.db");
        let dir = scratch();
        let path = dir.path().join("s.db");
        std::fs::copy(fixture, &path).unwrap();
        let copy_as_if_killed = |name: &str| {
            let copy = dir.path().join(name);
            for suffix in ["", "-wal"] {
                let from = super::super::siblings::sibling(&path, suffix);
                let _ = std::fs::copy(from, super::super::siblings::sibling(&copy, suffix));
            }
            let summary = StateFile::open(&copy).unwrap().summary().unwrap();
            (summary.layout_version, summary.pre_images, summary.runs)
        };
        let mut connection = super::super::open::connect(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        // The cache is tiny, so that most uncommitted pages are in the log and not in memory.
        connection.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1").unwrap();
        let (layout, pre_images, runs) = copy_as_if_killed("before");
        assert!(layout == 1 && pre_images > 0);
        for n in 1..=MIGRATIONS[1].matches(';').count() {
            let transaction = connection.transaction().unwrap();
            let statements: Vec<&str> = MIGRATIONS[1].split_inclusive(';').take(n).collect();
            // Ignore errors: splitting at semicolons also splits triggers, and a part of a trigger is invalid SQL.
            let _ = transaction.execute_batch(&statements.concat());
            if n % 16 == 0 {
                assert_eq!(copy_as_if_killed(&format!("{n}")), (1, pre_images, runs.clone()), "after {n} statements");
            }
        }
        let transaction = connection.transaction().unwrap();
        migrate(&transaction, MIGRATIONS).unwrap();
        assert_eq!(copy_as_if_killed("not committed"), (1, pre_images, runs.clone()));
        transaction.commit().unwrap();
        assert_eq!(copy_as_if_killed("committed"), (2, pre_images, runs));
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
                assert!(text.contains("layout version 3") && text.contains("newer"), "{text}");
            }
            assert_eq!(std::fs::read(&path).unwrap(), before, "the file is unchanged");
            Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        }
    }
}

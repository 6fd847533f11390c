//! The layouts of a state file: which one it has, and how it is brought to the newest.

use std::path::Path;

use rusqlite::Connection;

use super::super::StoreError;
use super::error::Failed;

/// Marks a SQLite file as ours (`BFL1`), in its header.
pub(super) const APPLICATION_ID: i32 = 0x4246_4C31;

/// The layouts, in order: `user_version` says how many of them a file has been through.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("schema.sql"), include_str!("schema_v2.sql")];

/// What shows a file of an older layout, by its version, as one of the newest to a connection that only reads.
const VIEWS: &[&str] = &[include_str!("read_v1.sql")];

/// The newest layout, which this version writes.
pub(super) const LAYOUT_VERSION: usize = MIGRATIONS.len();

/// Refuses a file of another program or of a newer version. Gives the file's version.
pub(super) fn check_version(connection: &Connection, path: &Path, newest: usize) -> Result<usize, StoreError> {
    let read = |pragma: &str| -> Result<i32, StoreError> {
        connection
            .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
            .map_err(|e| Failed::from(e).explain(path, "reading its header"))
    };
    if read("application_id")? != APPLICATION_ID {
        return Err(of_another_program(path));
    }
    known_version(read("user_version")?, path, newest)
}

/// The version as a number of layouts, if this program knows it.
pub(super) fn known_version(version: i32, path: &Path, newest: usize) -> Result<usize, StoreError> {
    match usize::try_from(version) {
        Ok(version) if (1..=newest).contains(&version) => Ok(version),
        _ => Err(StoreError::Foreign(format!(
            "the state file {} has layout version {version}, and this version of backfill knows versions 1 to {newest}. \
             Nothing was changed. Use the version of backfill that wrote it, or a newer one.",
            path.display()
        ))),
    }
}

pub(super) fn of_another_program(path: &Path) -> StoreError {
    StoreError::Foreign(format!(
        "{} is a SQLite database of another program, not a state file. It was not changed, and nothing was read from or \
         written to the table; name another file with --state.",
        path.display()
    ))
}

/// Brings a file to the newest of these layouts, inside a transaction of the caller's: a process that is killed before its
/// commit leaves the layout that was there.
pub(super) fn migrate(connection: &Connection, migrations: &[&str]) -> Result<(), Failed> {
    let version: usize = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for step in migrations.iter().skip(version) {
        connection.execute_batch(step)?;
    }
    if version < migrations.len() {
        connection.pragma_update(None, "user_version", migrations.len())?;
    }
    Ok(())
}

/// Shows a file of this version as one of the newest layout to a connection that only reads it.
pub(super) fn show_as_newest(connection: &Connection, version: usize) -> Result<(), Failed> {
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

    fn later() -> Vec<&'static str> {
        [MIGRATIONS, &["ALTER TABLE runs ADD COLUMN note TEXT; CREATE TABLE extra (a)"]].concat()
    }

    fn version(connection: &Connection) -> usize {
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_file_of_an_older_layout_is_brought_up_and_keeps_what_it_holds() {
        let dir = scratch();
        let owned = open_owned(&dir.path().join("s.db"), &identity(), NOW).unwrap();
        let connection = &owned.connection;
        assert_eq!(version(connection), 2);
        migrate(connection, &later()).unwrap();
        assert_eq!(version(connection), 3);
        connection.execute("INSERT INTO extra VALUES (1)", []).unwrap();
        assert_eq!(read::read_identity(connection).unwrap(), (identity(), NOW.to_owned()));
        // Once there, nothing is done twice.
        migrate(connection, &later()).unwrap();
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

    /// What a kill leaves at any moment is the file and its log as they are then.
    #[test]
    fn a_migration_is_in_its_commit_or_nowhere() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/layout-1/in-place/state.db");
        let dir = scratch();
        let path = dir.path().join("s.db");
        std::fs::copy(fixture, &path).unwrap();
        let killed_now = |name: &str| {
            let copy = dir.path().join(name);
            for suffix in ["", "-wal"] {
                let from = super::super::siblings::sibling(&path, suffix);
                let _ = std::fs::copy(from, super::super::siblings::sibling(&copy, suffix));
            }
            let summary = StateFile::open(&copy).unwrap().summary().unwrap();
            (summary.layout_version, summary.pre_images, summary.runs)
        };
        let mut connection = super::super::open::connect(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        // Hardly a page stays in memory, so that most of what is not committed is in the log.
        connection.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1").unwrap();
        let (layout, pre_images, runs) = killed_now("before");
        assert!(layout == 1 && pre_images > 0);
        for n in 1..=MIGRATIONS[1].matches(';').count() {
            let transaction = connection.transaction().unwrap();
            let so_far: Vec<&str> = MIGRATIONS[1].split_inclusive(';').take(n).collect();
            // Cut inside a trigger, it is no statement.
            let _ = transaction.execute_batch(&so_far.concat());
            if n % 16 == 0 {
                assert_eq!(killed_now(&format!("{n}")), (1, pre_images, runs.clone()), "after {n} statements");
            }
        }
        let transaction = connection.transaction().unwrap();
        migrate(&transaction, MIGRATIONS).unwrap();
        assert_eq!(killed_now("not committed"), (1, pre_images, runs.clone()));
        transaction.commit().unwrap();
        assert_eq!(killed_now("committed"), (2, pre_images, runs));
    }

    #[test]
    fn a_newer_layout_is_refused_by_owner_and_reader() {
        let dir = scratch();
        let path = dir.path().join("s.db");
        let owned = open_owned(&path, &identity(), NOW).unwrap();
        migrate(&owned.connection, &later()).unwrap();
        drop(owned);
        // First with the log of a process that was killed, then as one that was closed.
        for _ in 0..2 {
            let before = std::fs::read(&path).unwrap();
            for error in [open_owned(&path, &identity(), NOW).err().unwrap(), StateFile::open(&path).err().unwrap()] {
                assert!(matches!(error, StoreError::Foreign(_)), "{error:?}");
                let text = error.to_string();
                assert!(text.contains("layout version 3") && text.contains("newer"), "{text}");
            }
            assert_eq!(std::fs::read(&path).unwrap(), before, "it is left as it is");
            Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        }
    }
}

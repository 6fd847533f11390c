//! Making, opening and refusing state files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use super::super::StoreError;
use super::error::{Failed, WAY_OUT, io_error};
use super::lock::{Lock, open_private};
use super::records::Identity;
use super::thread::Owned;
use super::{events, read, spend, write};

/// Marks a SQLite file as ours (`BFL1`), in its header.
const APPLICATION_ID: i32 = 0x4246_4C31;

/// The layouts, in order: `user_version` says how many of them a file has been through.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];

/// The newest layout, which this version writes.
pub(super) const LAYOUT_VERSION: usize = MIGRATIONS.len();

/// How long SQLite waits for a lock that another program (a backup, a database browser) holds.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Files up to this size are checked page by page when opened; larger ones would take seconds, and SQLite still finds
/// a file that was cut short.
const CHECKED_BYTES: u64 = 64 * 1024 * 1024;

/// Takes the lock, makes the file if there is none, and checks that it is this identity's. A file in which nothing has
/// begun becomes it, and forgets what it knew of another one.
pub(super) fn open_owned(path: &Path, identity: &Identity, now: &str) -> Result<Owned, StoreError> {
    let path = resolve(path)?;
    if path.exists() {
        // Before a lock file is left beside it.
        refuse_what_is_no_file(&path)?;
    }
    let lock = Lock::take(&path, now)?;
    if !path.exists() {
        create(&path, identity, now)?;
    }
    let mut connection =
        connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|f| f.explain(&path, "opening it"))?;
    check_version(&connection, &path, LAYOUT_VERSION)?;
    let begun = events::has_begun(&connection).map_err(|f| f.explain(&path, "reading its runs"))?;
    let of_another = match check_identity(&connection, &path, identity) {
        Err(StoreError::Foreign(_)) if !begun => true,
        ours => ours.map(|()| false)?,
    };
    prepare(&mut connection, &path).map_err(|f| f.explain(&path, "opening it"))?;
    if !begun {
        // Somebody declined, or a process ended, before anything was done.
        begin_anew(&mut connection, identity, now, of_another).map_err(|f| f.explain(&path, "writing whose it is"))?;
    }
    Ok(Owned { connection, lock, path })
}

/// The file beside a state file whose name has this suffix.
pub(super) fn sibling(state: &Path, suffix: &str) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A connection with our waiting time; it changes nothing in the file.
pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, Failed> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Refuses what SQLite would misread or what is not ours, without touching it.
pub(super) fn refuse_what_is_no_file(path: &Path) -> Result<(), StoreError> {
    let file = path.display();
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Io(format!(
                "there is no state file {file}: no run has begun with this plan on this machine, or its state is \
                 elsewhere (--state). Nothing was done."
            )));
        }
        Err(e) => return Err(io_error(path, "look at the state file", &e)),
    };
    if meta.is_dir() {
        return Err(StoreError::Io(format!(
            "{file} is a directory, where the state file should be. Nothing was done; name a file with --state."
        )));
    }
    if !meta.is_file() {
        return Err(StoreError::Io(format!(
            "{file} is not a regular file, so it cannot keep state. Nothing was done; name a file with --state."
        )));
    }
    if meta.len() == 0 {
        return Err(StoreError::Corrupt(format!(
            "the state file {file} is empty: it was cut short, or something else made it. {WAY_OUT}."
        )));
    }
    Ok(())
}

/// Refuses a file of another program or of a newer version. Gives the file's version.
pub(super) fn check_version(connection: &Connection, path: &Path, newest: usize) -> Result<usize, StoreError> {
    let read = |pragma: &str| -> Result<i32, StoreError> {
        connection
            .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
            .map_err(|e| Failed::from(e).explain(path, "reading its header"))
    };
    if read("application_id")? != APPLICATION_ID {
        return Err(StoreError::Foreign(format!(
            "{} is a SQLite database of another program, not a state file. It was not changed, and nothing was read from \
             or written to the table; name another file with --state.",
            path.display()
        )));
    }
    let version = read("user_version")?;
    match usize::try_from(version) {
        Ok(version) if (1..=newest).contains(&version) => Ok(version),
        _ => Err(StoreError::Foreign(format!(
            "the state file {} has layout version {version}, and this version of backfill knows versions 1 to {newest}. \
             Nothing was changed. Use the version of backfill that wrote it, or a newer one.",
            path.display()
        ))),
    }
}

fn check_identity(connection: &Connection, path: &Path, ours: &Identity) -> Result<(), StoreError> {
    let (theirs, _) = read::read_identity(connection).map_err(|f| f.explain(path, "reading whose it is"))?;
    let file = path.display();
    if theirs.fingerprint != ours.fingerprint {
        return Err(StoreError::Foreign(format!(
            "the state file {file} belongs to another plan: the plan's meaning has changed, or --state names another \
             migration's file.\n  the state file: {} {} ({})\n  this plan:      {} {} ({})\nNothing was read from or \
             written to the table. Restore the plan to resume; to begin with the changed plan, give it another \
             [migration] name or another --state: the old file keeps its failures and pre-images.",
            theirs.migration,
            short(&theirs.fingerprint),
            theirs.meaning,
            ours.migration,
            short(&ours.fingerprint),
            ours.meaning
        )));
    }
    if theirs.table_arn != ours.table_arn {
        return Err(StoreError::Foreign(format!(
            "the state file {file} belongs to another table:\n  the state file: {}\n  this table:     {}\nNothing was \
             read from or written to it. Check account, region and endpoint; to run the plan on this table as well, use \
             another --state.",
            theirs.table_arn, ours.table_arn
        )));
    }
    match (&theirs.table_id, &ours.table_id) {
        (Some(theirs), Some(ours)) if theirs != ours => Err(StoreError::Foreign(format!(
            "the table was deleted and created anew since the state file {file} was made: its TableId was {theirs} and \
             is now {ours}. Nothing was read from or written to it, because the checkpoints say nothing about the new \
             table. To begin on it, move the state file away or use another --state."
        ))),
        _ => Ok(()),
    }
}

/// Enough of a fingerprint to tell two apart.
fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}

/// Where the file really is, so that two names of one file share one lock. Makes the directories on the way.
fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    match fs::canonicalize(path) {
        Ok(path) => return Ok(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(io_error(path, "look at the state file", &e)),
    }
    if fs::symlink_metadata(path).is_ok() {
        return Err(StoreError::Io(format!(
            "{} is a symbolic link to a file that does not exist. Nothing was done; restore the file, or name another \
             with --state.",
            path.display()
        )));
    }
    let Some(name) = path.file_name() else {
        return Err(StoreError::Io(format!(
            "{:?} does not name a file. Nothing was done; name one with --state.",
            path.as_os_str()
        )));
    };
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(parent).map_err(|e| io_error(parent, "create the directory of the state file", &e))?;
    let parent = fs::canonicalize(parent).map_err(|e| io_error(parent, "look at the directory", &e))?;
    Ok(parent.join(name))
}

/// Makes a new state file in full under another name, then renames it: there is never half of one under its own.
fn create(path: &Path, identity: &Identity, now: &str) -> Result<(), StoreError> {
    let log = sibling(path, "-wal");
    if fs::metadata(&log).is_ok_and(|m| m.len() > 0) {
        return Err(StoreError::Corrupt(format!(
            "the state file {} is gone but its log {} is there. Nothing was done: the log holds checkpoints that were not \
             yet moved into the file. Put the file back beside it, or move the log away to begin anew.",
            path.display(),
            log.display()
        )));
    }
    let new = sibling(path, ".new");
    for leftover in [log, sibling(path, "-shm"), new.clone(), sibling(&new, "-journal")] {
        match fs::remove_file(&leftover) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error(&leftover, "remove", &e)),
            _ => {}
        }
    }
    open_private(OpenOptions::new().write(true).create_new(true), &new)
        .map_err(|e| io_error(path, "create the state file", &e))?;
    fill(&new, identity, now).map_err(|f| f.explain(&new, "creating it"))?;
    fs::rename(&new, path).map_err(|e| io_error(path, "create the state file", &e))?;
    match path.parent() {
        Some(parent) => File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(|e| io_error(parent, "make the new state file durable in", &e)),
        None => Ok(()),
    }
}

fn fill(new: &Path, identity: &Identity, now: &str) -> Result<(), Failed> {
    let mut connection = connect(new, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    migrate(&mut connection, MIGRATIONS)?;
    write_identity(&connection, identity, now)?;
    connection.close().map_err(|(_, e)| e.into())
}

/// The file becomes this identity's: what is on record was of another one, or is this one's.
fn begin_anew(connection: &mut Connection, identity: &Identity, now: &str, of_another: bool) -> Result<(), Failed> {
    let transaction = connection.transaction()?;
    if of_another {
        events::forget(&transaction)?;
    }
    write_identity(&transaction, identity, now)?;
    Ok(transaction.commit()?)
}

fn write_identity(connection: &Connection, identity: &Identity, now: &str) -> Result<(), Failed> {
    connection.execute(
        "INSERT OR REPLACE INTO identity (id, migration, fingerprint, meaning, table_arn, table_id, created_at) \
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
        params![identity.migration, identity.fingerprint, identity.meaning, identity.table_arn, identity.table_id, now],
    )?;
    Ok(())
}

/// Sets the connection up for writing, brings the file to this version's layout and notes sessions that were killed.
fn prepare(connection: &mut Connection, path: &Path) -> Result<(), Failed> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Failed::Store(StoreError::Io(format!(
            "the file system of {} cannot share memory between processes (a network disk?), which the state file needs. \
             Nothing was done; name a file on a local disk with --state.",
            path.display()
        ))));
    }
    // A checkpoint that was answered survives a power cut. On macOS that takes fullfsync; elsewhere it has no effect.
    connection.execute_batch(
        // 512 KB of pages are kept in memory: the journal grows with the table, and the system caches the file anyway.
        "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON; PRAGMA foreign_keys = ON; \
         PRAGMA cache_size = -512;",
    )?;
    if fs::metadata(path).is_ok_and(|m| m.len() <= CHECKED_BYTES) {
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Err(Failed::Store(StoreError::Corrupt(format!(
                "the state file {} is damaged: SQLite's check says \"{}\". {WAY_OUT}.",
                path.display(),
                found.escape_debug()
            ))));
        }
    }
    migrate(connection, MIGRATIONS)?;
    write::note_killed_sessions(connection)?;
    spend::note_lost_slices(connection)
}

/// Brings a file to the newest of these layouts, in one transaction.
fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), Failed> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: usize = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for step in migrations.iter().skip(version) {
        transaction.execute_batch(step)?;
    }
    if version < migrations.len() {
        transaction.pragma_update(None, "user_version", migrations.len())?;
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{identity, scratch};
    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";
    const LATER: [&str; 2] = [MIGRATIONS[0], "ALTER TABLE runs ADD COLUMN note TEXT; CREATE TABLE extra (a)"];

    fn version(connection: &Connection) -> usize {
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_file_of_an_older_layout_is_brought_up_and_keeps_what_it_holds() {
        let dir = scratch();
        let mut owned = open_owned(&dir.path().join("s.db"), &identity(), NOW).unwrap();
        let connection = &mut owned.connection;
        assert_eq!(version(connection), 1);
        migrate(connection, &LATER).unwrap();
        assert_eq!(version(connection), 2);
        connection.execute("INSERT INTO extra VALUES (1)", []).unwrap();
        assert_eq!(read::read_identity(connection).unwrap(), (identity(), NOW.to_owned()));
        // Once there, nothing is done twice.
        migrate(connection, &LATER).unwrap();
        assert_eq!(connection.query_row("SELECT count(*) FROM extra", [], |r| r.get::<_, i64>(0)).unwrap(), 1);
    }

    #[test]
    fn a_failing_upgrade_changes_nothing() {
        let dir = scratch();
        let mut owned = open_owned(&dir.path().join("s.db"), &identity(), NOW).unwrap();
        let broken = [MIGRATIONS[0], "CREATE TABLE extra (a)", "CREATE TABLE runs (a)"];
        assert!(migrate(&mut owned.connection, &broken).is_err());
        assert_eq!(version(&owned.connection), 1);
        assert!(owned.connection.prepare("SELECT * FROM extra").is_err());
    }

    #[test]
    fn a_newer_layout_is_refused_by_owner_and_reader() {
        let dir = scratch();
        let path = dir.path().join("s.db");
        let mut owned = open_owned(&path, &identity(), NOW).unwrap();
        migrate(&mut owned.connection, &LATER).unwrap();
        drop(owned);
        for error in [
            open_owned(&path, &identity(), NOW).err().unwrap(),
            crate::checkpoint::store::StateFile::open(&path).err().unwrap(),
        ] {
            assert!(matches!(error, StoreError::Foreign(_)), "{error:?}");
            assert!(error.to_string().contains("layout version 2") && error.to_string().contains("newer"), "{error}");
        }
    }

    #[test]
    fn another_programs_database_is_refused_and_left_alone() {
        let dir = scratch();
        let path = dir.path().join("theirs.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
        let before = fs::read(&path).unwrap();
        let error = open_owned(&path, &identity(), NOW).err().unwrap();
        assert!(matches!(&error, StoreError::Foreign(text) if text.contains("another program")), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn every_page_of_a_small_file_is_checked() {
        let dir = scratch();
        let path = dir.path().join("s.db");
        drop(open_owned(&path, &identity(), NOW).unwrap());
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 64].fill(0xAA);
        fs::write(&path, bytes).unwrap();
        let error = open_owned(&path, &identity(), NOW).err().unwrap();
        assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    }
}

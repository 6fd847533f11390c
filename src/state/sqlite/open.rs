//! Creates, opens and refuses state files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::super::{Identity, StoreError};
use super::error::{StateFileError, io_error};
use super::layout::{APPLICATION_ID, FIRST_CHECKED_LAYOUT, LAYOUT_VERSION, MIGRATIONS, check_version, migrate};
use super::lock::{CommitCount, Lock, open_private};
use super::owned::{OwnedFile, commit_count};
use super::progress::{ProgressReporter, RowCounter};
use super::siblings::{has_log, refuse_foreign_file, refuse_foreign_siblings, sibling};
use super::{checksum, events, read, spend, write};
use crate::machine::Random;

/// The maximum time that SQLite waits while a different program (a backup, a database browser) locks the file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A file of up to this size is checked page by page when it is opened. Checking a larger file would take seconds.
/// SQLite detects a truncated file without this check.
const MAX_FULLY_CHECKED_BYTES: u64 = 64 * 1024 * 1024;

/// The number of prepared statements that a connection keeps. A pass uses about 30 different statements for each page.
/// With the default of 16, each page would prepare them again.
const CACHED_STATEMENTS: usize = 64;

/// Returns whether neither a file nor a link exists at this path.
pub(in crate::state) async fn is_absent(path: &Path) -> bool {
    let metadata = tokio::fs::symlink_metadata(path).await;
    metadata.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Takes the lock, creates the file if necessary, migrates the file to the newest layout, and checks the file's
/// identity. If the file's migration has not begun, the file gets this identity. Events of a different identity are
/// then deleted. If the file is refused, it stays unchanged, including its layout.
pub(super) fn open_owned(path: &Path, identity: &Identity, now: &str) -> Result<OwnedFile, StoreError> {
    let path = resolve(path)?;
    if path.exists() {
        // Check the file before taking the lock, so that no lock file is created next to a foreign file.
        refuse_foreign_file(&path)?;
    } else {
        refuse_log_without_file(&path)?;
    }
    refuse_foreign_siblings(&path)?;
    let mut lock = Lock::acquire(&path, now)?;
    if !path.exists() {
        create(&path, identity, now)?;
    }
    let mut connection =
        connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|failed| failed.explain(&path, "opening it"))?;
    let version = check_version(&connection, &path, LAYOUT_VERSION)?;
    let opening = |failed: StateFileError| failed.explain(&path, "opening it");
    let small = fs::metadata(&path).is_ok_and(|meta| meta.len() <= MAX_FULLY_CHECKED_BYTES);
    refuse_damaged(&connection, &path, version, small, || lock.recorded_commits()).map_err(opening)?;
    let _progress = report_migration(&connection, version).map_err(opening)?;
    claim_file(&mut connection, &path, identity, now)?;
    prepare(&mut connection, &mut lock, &path).map_err(opening)?;
    Ok(OwnedFile { connection, lock, path })
}

/// Refuses a file in two cases: pages or rows that affect the whole file are damaged, or the file's log is missing or
/// incomplete. The connection sees a file of this layout. `recorded_commits` returns the number of commits that the
/// last owner left.
pub(super) fn refuse_damaged(
    connection: &Connection,
    path: &Path,
    layout: usize,
    small: bool,
    recorded_commits: impl Fn() -> Option<CommitCount>,
) -> Result<(), StateFileError> {
    if small {
        let found: String = connection.query_row("PRAGMA main.quick_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Err(StateFileError::Damaged(format!("SQLite's check says \"{}\"", found.escape_debug())));
        }
    }
    if layout < FIRST_CHECKED_LAYOUT {
        return Ok(());
    }
    checksum::refuse_damaged(connection, layout, small)?;
    if has_lost_commits(connection, path, recorded_commits)? {
        return Err(StateFileError::Damaged(format!(
            "it was not closed properly, and its log {}, which contains the latest changes, is missing, empty or \
             truncated. Restore the log next to the file",
            sibling(path, "-wal").display()
        )));
    }
    Ok(())
}

/// Returns whether a file that was not closed properly lacks commits. Without its log, a file may still have all
/// commits, because a different program may have moved the log into the file. This function checks twice, because a
/// process may open or close the file between the reads of the lock file and the state file.
fn has_lost_commits(
    connection: &Connection,
    path: &Path,
    recorded_commits: impl Fn() -> Option<CommitCount>,
) -> Result<bool, StateFileError> {
    for _ in 0..2 {
        // Read the lock file before the state file, because the owner updates the lock file after a commit.
        let recorded_commits = recorded_commits();
        let (in_use, mark, commits): (bool, i64, i64) =
            connection.query_row("SELECT in_use, mark, commits FROM file", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let has_all_commits = recorded_commits
            .filter(|recorded_commits| recorded_commits.mark == mark)
            .map(|recorded_commits| recorded_commits.commits <= commits);
        if !in_use || has_all_commits.unwrap_or_else(|| has_log(path)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// If the file has an older layout, begins to report the progress of the layout migration. For layout 1, the progress
/// is the number of item rows that already have a checksum. Dropping the result ends the reports.
fn report_migration(connection: &Connection, version: usize) -> Result<Option<ProgressReporter>, StateFileError> {
    if version == LAYOUT_VERSION {
        return Ok(None);
    }
    let rows = RowCounter::default();
    let total = checksum::rows_to_migrate(connection, version)?;
    checksum::register(connection, &rows)?;
    Ok(Some(ProgressReporter::start("migrating the state file to the newest layout", &rows, total)))
}

/// Migrates the file to the newest layout and checks the file's identity, in one transaction. If the file is refused or
/// the process dies, nothing changes.
fn claim_file(connection: &mut Connection, path: &Path, identity: &Identity, now: &str) -> Result<(), StoreError> {
    let explain = |doing: &'static str| move |failed: StateFileError| failed.explain(path, doing);
    let failed = explain("migrating it to the newest layout");
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|error| failed(error.into()))?;
    migrate(&transaction, MIGRATIONS).map_err(&failed)?;
    let begun = events::has_begun(&transaction).map_err(explain("reading its runs"))?;
    let checked = check_identity(&transaction, path, identity);
    let belongs_to_another = !begun && matches!(checked, Err(StoreError::Foreign(_)));
    if !belongs_to_another {
        checked?;
    }
    if !begun {
        // The file's migration has not begun, because an earlier process only created the file. For example, the
        // operator did not confirm the command.
        reset_identity(&transaction, identity, now, belongs_to_another).map_err(explain("writing its identity"))?;
    }
    transaction.commit().map_err(|error| failed(error.into()))
}

/// Opens a connection with this program's timeout and SQL functions. Opening and closing the connection changes nothing
/// in the file, and leaves an existing log in place. Only [`OwnedFile::close`] removes the log.
pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StateFileError> {
    let had_log = has_log(path);
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, had_log)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    checksum::register(&connection, &RowCounter::default())?;
    Ok(connection)
}

pub(super) fn check_identity(connection: &Connection, path: &Path, ours: &Identity) -> Result<(), StoreError> {
    let (theirs, _) = read::read_identity(connection).map_err(|f| f.explain(path, "reading its identity"))?;
    let file = path.display();
    if theirs.fingerprint != ours.fingerprint {
        return Err(StoreError::Foreign(format!(
            "the state file {file} belongs to another plan: the plan's meaning has changed, a file of keys or of an `exec` \
             program has changed, a custom change has another version, a `--set` argument differs, or --state names another \
             migration's file.\n  \
             the state file: {} {} ({})\n  this plan:      {} {} ({})\nNothing was read from or written to the table. \
             To resume or to roll back, restore the plan and the versions of its custom changes. To start with the changed \
             plan, first roll back with the old plan, then give the changed plan another [migration] name and another flag \
             key. The old file keeps its failures and pre-images. If --state names the wrong file, pass the right one.",
            theirs.migration,
            short_fingerprint(&theirs.fingerprint),
            theirs.meaning,
            ours.migration,
            short_fingerprint(&ours.fingerprint),
            ours.meaning
        )));
    }
    if theirs.table_arn != ours.table_arn {
        return Err(StoreError::Foreign(format!(
            "the state file {file} belongs to another table:\n  the state file: {}\n  this table:     {}\nNothing was \
             read from or written to the table. Check account, region and endpoint. To run the plan on this table as well, \
             use another --state.",
            theirs.table_arn, ours.table_arn
        )));
    }
    match (&theirs.table_id, &ours.table_id) {
        (Some(theirs), Some(ours)) if theirs != ours => Err(StoreError::Foreign(format!(
            "a table was deleted and recreated since the state file {file} was created: the TableId was {theirs} and is \
             now {ours}. Nothing was read from or written to it, because the checkpoints say nothing about the new table. \
             To start on the new table, move the state file away or use another --state."
        ))),
        _ => Ok(()),
    }
}

/// Returns a prefix of a fingerprint. The prefix is long enough to distinguish the fingerprint from others.
fn short_fingerprint(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}

/// Returns the file's canonical path, so that different paths to one file lead to the same lock. Creates missing
/// directories.
fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    match fs::canonicalize(path) {
        Ok(path) => return Ok(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(io_error(path, "inspect the state file", &e)),
    }
    if fs::symlink_metadata(path).is_ok() {
        return Err(StoreError::Io(format!(
            "{} is a symbolic link to a file that does not exist. Nothing was done. Restore the file, or name another with \
             --state.",
            path.display()
        )));
    }
    let Some(name) = path.file_name() else {
        return Err(StoreError::Io(format!(
            "{:?} does not name a file. Nothing was done. Name a file with --state.",
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
    let parent = fs::canonicalize(parent).map_err(|e| io_error(parent, "inspect the directory", &e))?;
    Ok(parent.join(name))
}

/// Refuses a log whose state file is missing. The log may contain checkpoints. If a new state file were created, these
/// checkpoints would be lost.
fn refuse_log_without_file(path: &Path) -> Result<(), StoreError> {
    let log = sibling(path, "-wal");
    if !has_log(path) {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!(
        "the state file {} is gone, but its log {} exists. Nothing was done, because the log has checkpoints that were not \
         yet moved into the file. Restore the file beside the log, move the log away to start over, or name another file \
         with --state.",
        path.display(),
        log.display()
    )))
}

/// Creates a complete state file under a temporary name, and then renames it. So a partial file never has the final
/// name. A different program may create a file under the final name in the meantime. If the file system supports hard
/// links, that file is not overwritten.
fn create(path: &Path, identity: &Identity, now: &str) -> Result<(), StoreError> {
    let new = sibling(path, &format!(".new-{}-{:08x}", process::id(), Random::from_entropy().number() >> 32));
    open_private(OpenOptions::new().write(true).create_new(true), &new)
        .map_err(|e| io_error(path, "create the state file", &e))?;
    let created = initialize(&new, identity, now)
        .map_err(|failed| failed.explain(&new, "creating it"))
        .and_then(|()| name(&new, path).map_err(|e| io_error(path, "create the state file", &e)));
    if created.is_err() {
        // Remove the new file, because this process has created it. If the removal fails, a small file remains.
        let _ = fs::remove_file(&new);
    }
    created?;
    match path.parent() {
        Some(parent) => File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(|e| io_error(parent, "make the new state file durable in", &e)),
        None => Ok(()),
    }
}

/// Renames the new file to its final name. If a file with that name exists and the file system supports hard links,
/// fails.
fn name(new: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(new, path) {
        Ok(()) => fs::remove_file(new),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(e),
        // The file system does not support hard links. The rename overwrites an existing file.
        Err(_) => fs::rename(new, path),
    }
}

fn initialize(new: &Path, identity: &Identity, now: &str) -> Result<(), StateFileError> {
    let mut connection = connect(new, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    let transaction = connection.transaction()?;
    migrate(&transaction, MIGRATIONS)?;
    write_identity(&transaction, identity, now)?;
    transaction.commit()?;
    // Switch to WAL before the rename, so that the file never has a rollback journal under its final name. A read-only
    // process could not apply such a journal. Opening the file checks whether the file system supports WAL.
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.close().map_err(|(_, e)| e.into())
}

/// Assigns the file to this identity. If the file belonged to a different identity (`belongs_to_another`), deletes that
/// identity's events.
fn reset_identity(
    connection: &Connection,
    identity: &Identity,
    now: &str,
    belongs_to_another: bool,
) -> Result<(), StateFileError> {
    if belongs_to_another {
        events::forget(connection)?;
    }
    write_identity(connection, identity, now)
}

fn write_identity(connection: &Connection, identity: &Identity, now: &str) -> Result<(), StateFileError> {
    connection.execute(
        "INSERT OR REPLACE INTO identity (id, migration, fingerprint, meaning, table_arn, table_id, created_at) \
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
        params![identity.migration, identity.fingerprint, identity.meaning, identity.table_arn, identity.table_id, now],
    )?;
    Ok(())
}

/// Configures the connection for writing, marks the file as in use, and closes the sessions of killed processes.
fn prepare(connection: &mut Connection, lock: &mut Lock, path: &Path) -> Result<(), StateFileError> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StateFileError::Store(StoreError::Io(format!(
            "the file system of {} cannot share memory between processes (a network disk?), but the state file needs this. \
             Nothing was done. Name a file on a local disk with --state.",
            path.display()
        ))));
    }
    // With these settings, an acknowledged checkpoint survives a power cut. On macOS, this requires fullfsync. On other
    // systems, fullfsync has no effect.
    connection.execute_batch(
        // Cache 8 MB of pages in memory. The cache has room for the inner pages of the journal's index, and for the
        // pages that one group of commits changes. The journal grows with the table, so a larger cache would not hold
        // it either, and the operating system caches the file anyway.
        "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON; PRAGMA foreign_keys = ON; \
         PRAGMA cache_size = -8192;",
    )?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Write the number of commits to the lock file before the next commit. A process may be killed after this line, and
    // a different program may then move the log into the file. In this case, the number shows that the file contains
    // every commit.
    lock.write_commit_count_durably(commit_count(connection)?);
    // Also increment the number of commits, so that this session has a log even if the previous session was killed and
    // left `in_use` at 1. SQLite would not write an unchanged row to the log.
    connection.execute("UPDATE file SET in_use = 1, commits = commits + 1", [])?;
    // Move `in_use` from the log into the file itself. If a reader blocks this checkpoint, the value stays in the log.
    // If the log is then lost, so is the value.
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    write::close_killed_sessions(connection)?;
    spend::count_lost_slices_as_spent(connection)
}

#[cfg(test)]
pub(super) const NOW: &str = "2026-01-01T00:00:00Z";

#[cfg(test)]
mod tests {
    use super::super::tests::{identity, scratch};
    use super::*;

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

    /// A process may have the file open before its first commit, for example while it waits for a confirmation.
    #[test]
    fn a_process_that_dies_before_its_first_commit_leaves_a_file_that_opens() {
        let dir = scratch();
        let path = dir.path().join("s.db");
        open_owned(&path, &identity(), NOW).unwrap().close();
        drop(open_owned(&path, &identity(), NOW).unwrap());
        assert!(has_log(&path));
        // Move the log into the file, as a database browser does.
        Connection::open(&path).unwrap().execute_batch("SELECT count(*) FROM runs").unwrap();
        assert!(!has_log(&path));
        open_owned(&path, &identity(), NOW).unwrap().close();
    }

    #[test]
    fn every_page_of_a_small_file_is_checked() {
        let dir = scratch();
        let path = dir.path().join("s.db");
        open_owned(&path, &identity(), NOW).unwrap().close();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 64].fill(0xAA);
        fs::write(&path, bytes).unwrap();
        let error = open_owned(&path, &identity(), NOW).err().unwrap();
        assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    }
}

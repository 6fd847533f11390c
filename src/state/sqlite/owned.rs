//! The connection and the lock of a state file, from the time when this process opens the file until it closes the
//! file.

use std::path::PathBuf;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Row};

use super::error::StateFileError;
use super::lock::{CommitCount, Lock};

/// An open state file that this process owns.
pub(super) struct OwnedFile {
    pub(super) connection: Connection,
    pub(super) lock: Lock,
    pub(super) path: PathBuf,
}

impl OwnedFile {
    /// Marks the file as not in use, moves the log into the file, closes the file, and then releases the lock.
    pub(super) fn close(self) {
        let OwnedFile { connection, lock, .. } = self;
        let marked = connection.execute("UPDATE file SET in_use = 0", []);
        // Ignore a failure, because the log already contains every change durably. If a reader blocks the checkpoint or
        // the disk is full, the log stays.
        let moved = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        let closed = marked.is_ok() && moved.is_ok();
        if closed {
            // Make SQLite remove the empty log.
            let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        }
        // Close the connection before the lock is released, even after an error.
        drop(connection);
        if closed {
            lock.mark_closed();
        }
    }
}

/// Adds one to the number of commits, and returns the new number. Call this function inside the transaction that will
/// be committed.
pub(super) fn increment_commit_count(connection: &Connection) -> Result<CommitCount, StateFileError> {
    let sql = "UPDATE file SET commits = commits + 1 RETURNING mark, commits";
    Ok(connection.prepare_cached(sql)?.query_row([], commit_count_from)?)
}

pub(super) fn commit_count(connection: &Connection) -> Result<CommitCount, StateFileError> {
    Ok(connection.query_row("SELECT mark, commits FROM file", [], commit_count_from)?)
}

fn commit_count_from(row: &Row<'_>) -> rusqlite::Result<CommitCount> {
    Ok(CommitCount { mark: row.get(0)?, commits: row.get(1)? })
}

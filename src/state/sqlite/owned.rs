//! The connection and the lock of a state file that this process owns, from open to close.

use std::path::PathBuf;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Row};

use super::error::Failed;
use super::lock::{Committed, Lock};

/// An open state file that this process owns.
pub(super) struct Owned {
    pub(super) connection: Connection,
    pub(super) lock: Lock,
    pub(super) path: PathBuf,
}

impl Owned {
    /// Marks the file as not in use, moves the log into the file, closes the file, and then releases the lock.
    pub(super) fn close(self) {
        let Owned { connection, lock, .. } = self;
        let marked = connection.execute("UPDATE file SET in_use = 0", []);
        // Ignore a failure: the log already has everything durably, and it stays if a reader blocks the checkpoint or
        // the disk is full.
        let moved = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        let closed = marked.is_ok() && moved.is_ok();
        if closed {
            // Lets SQLite remove the empty log.
            let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        }
        // Close the connection before the lock is released, even after an error.
        drop(connection);
        if closed {
            lock.closed();
        }
    }
}

/// Adds one to the number of commits and returns the new number. Call this function inside the transaction that will be
/// committed.
pub(super) fn count_commit(connection: &Connection) -> Result<Committed, Failed> {
    let sql = "UPDATE file SET commits = commits + 1 RETURNING mark, commits";
    Ok(connection.prepare_cached(sql)?.query_row([], committed_from)?)
}

pub(super) fn committed(connection: &Connection) -> Result<Committed, Failed> {
    Ok(connection.query_row("SELECT mark, commits FROM file", [], committed_from)?)
}

fn committed_from(row: &Row<'_>) -> rusqlite::Result<Committed> {
    Ok(Committed { mark: row.get(0)?, commits: row.get(1)? })
}

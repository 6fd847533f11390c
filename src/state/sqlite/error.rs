//! Errors of SQLite and of the disk, as messages for the operator.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use super::super::{StoreError, TransitionError};

/// Why a piece of work inside a transaction did not succeed.
#[derive(Debug)]
pub(super) enum Failed {
    /// SQLite.
    Sql(rusqlite::Error),
    /// A stored row contradicts itself or another one; the text says which.
    Row(String),
    /// The file lost or changed something by itself; the text says what.
    Damaged(String),
    /// An error whose text is final.
    Store(StoreError),
}

impl Failed {
    /// Whether the file, the disk or SQLite is at fault, so that nothing more may be stored by this process. Everything
    /// else concerns one request only.
    pub(super) fn is_fatal(&self) -> bool {
        match self {
            Failed::Sql(error) => error.sqlite_error_code().is_some_and(|c| c != ErrorCode::ConstraintViolation),
            Failed::Row(_) | Failed::Damaged(_) | Failed::Store(_) => false,
        }
    }

    /// Why one row cannot be read, if nothing else failed.
    pub(super) fn of_a_row(self) -> Result<String, Failed> {
        match self {
            Failed::Row(what) => Ok(what),
            // A conversion failed. Its text may quote what is stored, which can be people's data.
            Failed::Sql(error) if error.sqlite_error_code().is_none() => {
                Ok("a column holds something that it never should".to_owned())
            }
            Failed::Sql(_) | Failed::Damaged(_) | Failed::Store(_) => Err(self),
        }
    }

    /// The error for the operator. `doing` completes "while …".
    pub(super) fn explain(self, path: &Path, doing: &str) -> StoreError {
        match self {
            Failed::Store(error) => error,
            Failed::Row(what) => contradiction(path, &what),
            Failed::Damaged(what) => damaged_file(path, &what),
            Failed::Sql(error) => explain_sql(&error, path, doing),
        }
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Failed {
        Failed::Sql(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Failed {
        Failed::Store(error)
    }
}

impl From<TransitionError> for Failed {
    fn from(error: TransitionError) -> Failed {
        Failed::Store(error.into())
    }
}

/// Part of every error about a file that cannot be used: what was not done, and what to do.
pub(super) const WAY_OUT: &str = "Nothing was written to it or to the table. Restore the file from a copy, or move it \
     away (together with its -wal file) or name another with --state to start a new migration state; a new run is safe, \
     because items that are already changed are recognised, but it knows no start keys, failures or pre-images of the \
     old one";

/// An I/O error while a file or directory is made ready.
pub(super) fn io_error(path: &Path, doing: &str, error: &io::Error) -> StoreError {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "give this user the right to it, or name a place where it may write with --state"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or name another disk with --state"
        }
        _ => "correct the path, or name another with --state",
    };
    StoreError::Io(format!(
        "cannot {doing} {}: {error}. Nothing was read from or written to the table; {advice}.",
        path.display()
    ))
}

pub(super) fn contradiction(path: &Path, what: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "the state file {} contradicts itself: {what}. What was asked of it was not done. Restore the file from a copy, \
         or start anew with --restart (or another --state): items that are already changed are recognised.",
        path.display()
    ))
}

fn damaged_file(path: &Path, what: &str) -> StoreError {
    StoreError::Corrupt(format!("the state file {} is damaged: {what}. {WAY_OUT}.", path.display()))
}

fn explain_sql(error: &rusqlite::Error, path: &Path, doing: &str) -> StoreError {
    let file = path.display();
    let Some(code) = error.sqlite_error_code() else {
        // A conversion failed. Its text may quote what is stored, which can be people's data.
        return contradiction(path, &format!("while {doing}, a column held something that it never should"));
    };
    let said = match error {
        rusqlite::Error::SqliteFailure(inner, Some(text)) => format!("{text} (SQLite code {})", inner.extended_code),
        other => other.to_string(),
    };
    match code {
        ErrorCode::NotADatabase => {
            StoreError::Corrupt(format!("{file} is not a state file: SQLite says \"{said}\". {WAY_OUT}."))
        }
        ErrorCode::DatabaseCorrupt => StoreError::Corrupt(format!(
            "the state file {file} is damaged or cut short: while {doing}, SQLite said \"{said}\". {WAY_OUT}."
        )),
        ErrorCode::ConstraintViolation | ErrorCode::Unknown => contradiction(path, &format!("while {doing}: {said}")),
        ErrorCode::DiskFull => StoreError::Io(format!(
            "the disk is full: while {doing}, the state file {file} could not grow ({said}). What was being stored is \
             not stored, and nothing more will be; free some space and start the same command again: it resumes from \
             the last checkpoint."
        )),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Io(format!(
            "another program holds the state file {file}: while {doing}, SQLite said \"{said}\". What was being stored \
             is not stored; close that program (a database browser, a backup) and start the same command again."
        )),
        _ => StoreError::Io(format!(
            "the state file {file} could not be used: while {doing}, SQLite said \"{said}\". What was being done is not \
             stored, and nothing more will be; see to the disk, the directory and their permissions, then start the \
             same command again: it resumes from the last checkpoint."
        )),
    }
}

//! Converts errors of SQLite and of the disk to messages for operators.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use super::super::{StoreError, TransitionError};

/// The reason why the work inside a transaction failed.
#[derive(Debug)]
pub(super) enum StateFileError {
    /// SQLite failed.
    Sql(rusqlite::Error),
    /// A stored row contradicts itself or another row. The text describes the problem.
    Row(String),
    /// The file is damaged. The text describes the damage.
    Damaged(String),
    /// An error that already has a complete message. The message is printed unchanged.
    Store(StoreError),
}

impl StateFileError {
    /// Returns whether the disk or SQLite failed. After such a failure, the process must not store anything more. Every
    /// other error affects only one request.
    pub(super) fn is_fatal(&self) -> bool {
        match self {
            StateFileError::Sql(error) => {
                error.sqlite_error_code().is_some_and(|c| c != ErrorCode::ConstraintViolation)
            }
            StateFileError::Row(_) | StateFileError::Damaged(_) | StateFileError::Store(_) => false,
        }
    }

    /// If this error affects only one row, returns the reason why that row cannot be read. Otherwise, returns the
    /// error.
    pub(super) fn into_row_reason(self) -> Result<String, StateFileError> {
        match self {
            StateFileError::Row(what) => Ok(what),
            // A conversion failed. The error's text may quote the stored value, which can be private data.
            StateFileError::Sql(error) if error.sqlite_error_code().is_none() => {
                Ok("a column has an invalid value".to_owned())
            }
            StateFileError::Sql(_) | StateFileError::Damaged(_) | StateFileError::Store(_) => Err(self),
        }
    }

    /// Creates the error for the operator. `doing` is the text that follows "while" in the message.
    pub(super) fn explain(self, path: &Path, doing: &str) -> StoreError {
        match self {
            StateFileError::Store(error) => error,
            StateFileError::Row(what) => contradiction_error(path, &what),
            StateFileError::Damaged(what) => damaged_file_error(path, &what),
            StateFileError::Sql(error) => explain_sql(&error, path, doing),
        }
    }
}

impl From<rusqlite::Error> for StateFileError {
    fn from(error: rusqlite::Error) -> StateFileError {
        StateFileError::Sql(error)
    }
}

impl From<StoreError> for StateFileError {
    fn from(error: StoreError) -> StateFileError {
        StateFileError::Store(error)
    }
}

impl From<TransitionError> for StateFileError {
    fn from(error: TransitionError) -> StateFileError {
        StateFileError::Store(error.into())
    }
}

/// The last part of an error message about a state file that is damaged, empty, or not a state file. This part says
/// that nothing was written, and what the operator can do next.
pub(super) const REMEDY: &str = "Nothing was written to the file or to the table. Restore the file from a copy. Or start a \
     new migration state: move the file away (together with its -wal file), or name another file with --state. A new run is \
     safe, because it recognises items that are already changed, but it does not know the start keys, failures or pre-images \
     of the old state";

/// Creates the error for the operator if a file or directory could not be used. `doing` is the text that follows
/// "cannot" in the message.
pub(super) fn io_error(path: &Path, doing: &str, error: &io::Error) -> StoreError {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "give this user access to it, or use --state to name a place where this user may write"
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

pub(super) fn contradiction_error(path: &Path, what: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "the state file {} contradicts itself: {what}. The request was not carried out. Restore the file from a copy, or \
         start over with --restart (or another --state): items that are already changed are recognised.",
        path.display()
    ))
}

fn damaged_file_error(path: &Path, what: &str) -> StoreError {
    StoreError::Corrupt(format!("the state file {} is damaged: {what}. {REMEDY}.", path.display()))
}

fn explain_sql(error: &rusqlite::Error, path: &Path, doing: &str) -> StoreError {
    let file = path.display();
    let Some(code) = error.sqlite_error_code() else {
        // A conversion failed. The error's text may quote the stored value, which can be private data.
        return contradiction_error(path, &format!("while {doing}, a column had an invalid value"));
    };
    let sqlite_message = match error {
        rusqlite::Error::SqliteFailure(inner, Some(text)) => format!("{text} (SQLite code {})", inner.extended_code),
        other => other.to_string(),
    };
    match code {
        ErrorCode::NotADatabase => {
            StoreError::Corrupt(format!("{file} is not a state file: SQLite says \"{sqlite_message}\". {REMEDY}."))
        }
        ErrorCode::DatabaseCorrupt => StoreError::Corrupt(format!(
            "the state file {file} is damaged or truncated: while {doing}, SQLite said \"{sqlite_message}\". {REMEDY}."
        )),
        ErrorCode::ConstraintViolation | ErrorCode::Unknown => {
            contradiction_error(path, &format!("while {doing}: {sqlite_message}"))
        }
        ErrorCode::DiskFull => StoreError::Io(format!(
            "the disk is full: while {doing}, the state file {file} could not grow ({sqlite_message}). The current change was not \
             stored, and this process stores nothing more. Free some space and run the same command again: it resumes from \
             the last checkpoint."
        )),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Io(format!(
            "another program holds the state file {file}: while {doing}, SQLite said \"{sqlite_message}\". The current change was not \
             stored. Close that program (a database browser, a backup) and run the same command again."
        )),
        _ => StoreError::Io(format!(
            "the state file {file} could not be used: while {doing}, SQLite said \"{sqlite_message}\". The current change was not \
             stored, and this process stores nothing more. Check the disk, the directory and their permissions, then run the \
             same command again: it resumes from the last checkpoint."
        )),
    }
}

//! Why a state cannot be kept or read.

use super::TransitionError;

/// Why the state could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum StoreError {
    /// Another process owns the state file.
    #[error("{0}")]
    Locked(String),
    /// The state file is of another plan, another table, another version, or not ours.
    #[error("{0}")]
    Foreign(String),
    /// The file cannot be read, or what is in it contradicts itself.
    #[error("{0}")]
    Corrupt(String),
    /// The disk, the directory or SQLite failed.
    #[error("{0}")]
    Io(String),
    /// The disk or SQLite failed while this process was storing, so it stores nothing more. What was committed before
    /// stays, and a later process resumes from it.
    #[error("{0}")]
    Broken(String),
    /// What was asked does not fit where the runs stand; nothing was changed. The text says what to ask instead.
    #[error("{0}")]
    Refused(String),
    /// A later session of the run has begun, or a later run has superseded it, so the caller's session may no longer change
    /// anything. Nothing was stored. The caller must stop; the later session continues from what is committed.
    #[error("{0}")]
    Fenced(String),
    /// Progress would have moved in a way that it never may.
    #[error("the checkpoint was refused, and nothing of it was stored: {0}")]
    Transition(#[from] TransitionError),
}

//! Errors of the stores.

use super::TransitionError;

/// The reason why a request to a store failed.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum StoreError {
    /// A different process owns the state file.
    #[error("{0}")]
    Locked(String),
    /// The state file belongs to a different plan, table or program, or to a newer version of this program.
    #[error("{0}")]
    Foreign(String),
    /// The state file is damaged, or parts of its contents contradict each other.
    #[error("{0}")]
    Corrupt(String),
    /// The disk, the directory or SQLite failed.
    #[error("{0}")]
    Io(String),
    /// The disk or SQLite failed during a write, so this process stores nothing more. Earlier commits stay durable, and
    /// a later process resumes from them.
    #[error("{0}")]
    Broken(String),
    /// The current state of the runs does not allow the request. Nothing was changed. The message names the reason.
    #[error("{0}")]
    Refused(String),
    /// A later session of the run has begun, so the caller's session must no longer change the run. Nothing was stored.
    /// The caller must stop. The later session continues from the last commit.
    #[error("{0}")]
    Fenced(String),
    /// The event is not valid for the stored progress.
    #[error("the checkpoint was refused, and nothing of it was stored: {0}")]
    Transition(#[from] TransitionError),
}

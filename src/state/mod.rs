//! Durable progress: the states of segments, the transitions between these states, and the traits for storing them.
//!
//! Progress changes only through [`SegmentState::next`]. A run advances its segments with this function. A store uses
//! the same function to check a stored state that it reads.
//!
//! | port | stores |
//! | --- | --- |
//! | [`Runs`] | runs and their sessions; failures and diverged items |
//! | [`Checkpoints`] | the progress of segments |
//! | [`History`] | the journal of pre-images, and the baseline |
//! | [`SpendLedger`] | what runs have spent and reserved |
//! | [`Verifications`] | the parameters, counts and mismatches of verifications; their reports |
//! | [`Events`] | the events of the migration, and a few facts |
//!
//! [`State`] gives access to all of these traits. Code that does not own the state reads it through [`StateReader`].
//! Modules outside this one use only these traits, [`open`] and [`read`]. `sqlite/` stores a state in one file.
//! [`memory`] keeps a state in memory, for tests. A new store must implement the traits and pass the conformance suite
//! (`tests/state/`).
//!
//! Every call that changes a run's stored data, or the stored data of the run's items, takes the [`SessionId`] of the
//! calling session. If a later session has begun, every store refuses the call and changes nothing. So a process that
//! has lost a run can neither advance the run nor change the recorded history. `rules.rs` makes this decision, like all
//! other decisions, for all stores. Events and facts ([`Events`]) belong to the migration, not to a run. Only the
//! process that owns the state writes them.

mod checkpoints;
mod crash_point;
mod error;
mod events;
mod history;
mod ids;
mod packed;
mod progress;
mod reader;
mod records;
mod rules;
mod runs;
mod spend;
mod spend_ledger;
mod store;
mod verdict;
mod verifications;

pub mod memory;
pub mod sqlite;

use std::path::Path;
use std::sync::Arc;

pub use crate::cost::Spend;
pub use checkpoints::Checkpoints;
pub use crash_point::CrashPoint;
pub use error::StoreError;
pub use events::Events;
pub use history::History;
pub use ids::{Cursor, PreImageId, RunId, SessionId};
pub use packed::reject_if_unreadable;
pub use progress::{Counts, RunStatus, SegmentEvent, SegmentState, SegmentStatus, TransitionError};
pub use reader::{HistoryReader, StateReader};
pub use records::{
    AffectedItems, BaselinePage, BeginMode, Commit, DeleteCounts, DeletedItem, DeletedItemsQuery, DivergedGroup,
    DivergedItem, DivergedRecord, EventRecord, Failure, FailureGroup, FailureRecord, FilledTargets, Identity,
    JournaledWrite, ListQuery, LockHolder, MAX_MISMATCHES, MigrationRecord, Mismatch, NewRun, NewVerification,
    OpenWork, PreImageRecord, PreImageRow, RecordLimits, RowStatus, RunDetails, RunProgress, RunRecord, RunSession,
    SampleDraw, SegmentCell, SegmentTotals, SpendRecord, StateSummary, StoredFact, StoredReport, UnreadableRow,
    VerificationParameters, VerificationRecord, VerifiedPages, WorkGroups,
};
pub use runs::Runs;
pub use spend::{Reservation, SpendState};
pub use spend_ledger::SpendLedger;
pub use store::{State, StateStore};
pub use verdict::{TableStage, Verdict, VerdictCounts};
pub use verifications::Verifications;

/// Opens the state file of a migration for this plan and table. Creates the file if it does not exist. New directories
/// get mode 0700, and new files get mode 0600. `clock` returns the current time in its stored form. This call blocks.
/// If a different process holds the file's lock, the call waits for up to 0.2 s.
///
/// If a process died without ending its session, this call closes the session. The session's run becomes `Stopped`, and
/// the run's counts become a lower bound (`lower_bound`). Capacity that the session had reserved counts as spent.
///
/// # Errors
///
/// Returns [`StoreError::Locked`] if a different process owns the file. The message names that process. Returns
/// [`StoreError::Foreign`] if the file belongs to a different plan, table or program, or to a newer version of this
/// program. Returns [`StoreError::Corrupt`] if the file is damaged. Returns [`StoreError::Io`] if the disk, the
/// directory or SQLite failed. If the call fails, an existing file stays unchanged.
pub fn open(path: &Path, identity: &Identity, clock: fn() -> String) -> Result<State, StoreError> {
    Ok(State::new(sqlite::SqliteStore::open(path, identity, clock)?))
}

/// Returns whether no state exists at this path. If the path cannot be read, returns false, so that the caller opens
/// the state and [`open`] reports the error.
pub async fn is_absent(path: &Path) -> bool {
    sqlite::is_absent(path).await
}

/// Opens a state file for reading, without a lock. The file may belong to any plan. [`StateReader::identity`] returns
/// the plan to which the file belongs.
///
/// # Errors
///
/// Returns [`StoreError::Io`] if the file does not exist or cannot be read. Returns [`StoreError::Foreign`] if the file
/// belongs to a different program, or to a newer version of this program. Returns [`StoreError::Corrupt`] if the file
/// is damaged.
pub fn read(path: &Path) -> Result<Arc<dyn StateReader>, StoreError> {
    Ok(Arc::new(sqlite::SqliteReader::open(path)?))
}

/// Creates an empty state in memory.
#[cfg(test)]
pub(crate) fn in_memory() -> State {
    State::new(memory::MemoryState::new(Arc::new(|| "2026-01-01T00:00:00Z".to_owned())))
}

/// Damages one row of a state file's journal.
#[cfg(test)]
pub(crate) fn damage_journal(path: &std::path::Path, damages_key: bool) {
    sqlite::damage_journal(path, damages_key);
}

/// Damages the first or the last mark of a rollback in the journal of a closed state file.
#[cfg(test)]
pub(crate) fn damage_mark(path: &std::path::Path, last: bool) {
    sqlite::damage_mark(path, last);
}

/// Returns a state in memory, and a function that kills its owner and returns the state of the next owner.
#[cfg(test)]
pub(crate) fn in_memory_with_crashes() -> (State, impl FnMut() -> State) {
    let mut memory = memory::MemoryState::new(Arc::new(|| "2026-01-01T00:00:00Z".to_owned()));
    let first = State::new(memory.clone());
    let crash = move || {
        memory = memory.crash();
        State::new(memory.clone())
    };
    (first, crash)
}

/// The names under which phases are stored.
pub mod phase {
    /// The phase of `run`.
    pub const EXPAND: &str = "expand";
    /// The phase of `contract`.
    pub const CONTRACT: &str = "contract";
    /// The phase that derives the old attribute from the new attribute. A `rollback` or a `cutover --back` begins with
    /// this phase if old values may be stale.
    pub const OLD_EQUAL_NEW: &str = "rollback:old-equal-new";
    /// The phase of a `rollback` that undoes the expansion. Once this phase is complete, a new expansion ignores the
    /// earlier history.
    pub const ROLLBACK: &str = "rollback";
    /// The phase of `verify`.
    pub const VERIFY: &str = "verify";
    /// All of these names.
    pub const ALL: [&str; 5] = [EXPAND, CONTRACT, OLD_EQUAL_NEW, ROLLBACK, VERIFY];
}

//! Durable progress: the state of a segment, its transitions, and the ports that store it.
//!
//! Progress changes only through [`SegmentState::next`], both live and when a stored state is read back.
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
//! [`State`] offers all of them. [`StateReader`] gives read-only access to code that does not own the state. The rest
//! of the program uses only the ports, [`open`] and [`read`]. `sqlite/` stores a state in one file; [`memory`] keeps it
//! in memory, for tests. A new store must implement the ports and pass the conformance suite (`tests/state/`).
//!
//! Every call that changes stored data of a run or of its items takes the [`SessionId`] of the calling session. If a
//! later session has begun, every store refuses the call and changes nothing. So a process that has lost a run can
//! neither advance the run nor change the recorded history. The rules in `rules.rs` decide this and everything else for
//! all stores. Events and facts ([`Events`]) belong to the migration and not to a run; only the process that owns the
//! state writes them.

mod checkpoints;
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
pub use error::StoreError;
pub use events::Events;
pub use history::History;
pub use ids::{Cursor, PreImageId, RunId, SessionId};
pub use packed::only_if_kept;
pub use progress::{Counts, RunStatus, SegmentEvent, SegmentState, SegmentStatus, TransitionError};
pub use reader::{Records, StateReader};
pub use records::{
    Asked, BaselinePage, Begin, Commit, DivergedItem, DivergedRecord, Drawn, EventRecord, Failure, FailureRecord,
    Filled, Holder, Identity, KeptFact, ListQuery, Listed, MAX_MISMATCHES, Mismatch, NewRun, NewVerification, OpenWork,
    PreImageRecord, PreImageRow, RowStatus, RunProgress, RunRecord, SegmentTotals, Session, SpendRecord, StateSummary,
    StoredReport, Unreadable, VerificationRecord, VerifiedPages,
};
pub use runs::Runs;
pub use spend::{Reservation, SpendState};
pub use spend_ledger::SpendLedger;
pub use store::{State, StateStore};
pub use verdict::{Stage, Verdict, VerdictCounts};
pub use verifications::Verifications;

/// Opens the state of a migration in a file, or creates it, for this plan and table. Directories get mode 0700, files
/// 0600. `clock` returns the timestamps that are stored. This call blocks, for up to 0.2 s if another process has the
///       file's lock.
///
/// If a process died without ending its session, this call closes that session: its run becomes `Stopped`, the run's
/// counts become a lower bound (`lower_bound`), and capacity that the session had reserved counts as spent.
///
/// # Errors
///
/// [`StoreError::Locked`] if another process owns the file; the message names it. [`StoreError::Foreign`] if the file
/// belongs to another plan, table or program, or to a newer version. [`StoreError::Corrupt`] if it is damaged.
/// [`StoreError::Io`] if the disk, the directory or SQLite failed. None of these errors changes an existing file.
pub fn open(path: &Path, identity: &Identity, clock: fn() -> String) -> Result<State, StoreError> {
    Ok(State::new(sqlite::Store::open(path, identity, clock)?))
}

/// Whether no state exists at this path. False if the path cannot be read; opening the state then reports why.
pub async fn is_absent(path: &Path) -> bool {
    sqlite::is_absent(path).await
}

/// Opens a state file for reading, without a lock. The file may belong to any plan; [`StateReader::identity`] returns
/// the plan.
///
/// # Errors
///
/// [`StoreError::Io`] if the file does not exist or cannot be read. [`StoreError::Foreign`] if it belongs to another
/// program or a newer version. [`StoreError::Corrupt`] if it is damaged.
pub fn read(path: &Path) -> Result<Arc<dyn StateReader>, StoreError> {
    Ok(Arc::new(sqlite::Reader::open(path)?))
}

/// An empty state in memory.
#[cfg(test)]
pub(crate) fn of_a_test() -> State {
    State::new(memory::MemoryState::new(Arc::new(|| "2026-01-01T00:00:00Z".to_owned())))
}

/// The stored names of phases.
pub mod phase {
    /// The phase of `run`.
    pub const EXPAND: &str = "expand";
    /// The phase of `contract`.
    pub const CONTRACT: &str = "contract";
    /// The first phase of a `rollback`. It exists only if applications have written only the new attribute.
    pub const OLD_EQUAL_NEW: &str = "rollback:old-equal-new";
    /// The phase of a `rollback` that undoes the expansion. After it is complete, a new expansion ignores the earlier
    /// history.
    pub const ROLLBACK: &str = "rollback";
    /// The phase of `verify`.
    pub const VERIFY: &str = "verify";
}

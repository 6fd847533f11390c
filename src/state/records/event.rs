//! Events of a migration, and facts. Each fact is stored under a name.

use std::borrow::Cow;

use super::super::RunId;

/// The names of [`StoredFact::PaceHistory`] begin with this text. The number of the run follows.
const PACE_HISTORY: &str = "pace_history:";

/// An event of the migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// The event, as JSON.
    pub event: String,
    /// The id of the newest run at the time when the event was appended. Runs with larger ids began after the event.
    pub newest_run: RunId,
}

/// A fact, which the state stores by name in addition to the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum StoredFact {
    /// The location of the cutover flag when the migration began.
    FlagLocation,
    /// The owner's name in the lease, as it was when a process with this state file last took the lease.
    LeaseOwner,
    /// The content of the cutover flag when a command with this state file last read the flag.
    LastFlag,
    /// The budgets of the current run, or of the last run if no run is active.
    Budgets,
    /// The speed of the current pass, or of the last pass if no pass is active.
    Pace,
    /// The time that each run has spent in each activity.
    ActivityClocks,
    /// What operators have set with `ctl`.
    Steering,
    /// The time at which the operator purged the journal. From then on, a rollback is impossible.
    JournalPurged,
    /// The SHA-256 of the files of the plan's programs.
    Programs,
    /// The pace of this run over time.
    PaceHistory(RunId),
    /// The number of the journal's last row when this rollback began. The rollback divides the rows up to this row into
    /// parts.
    JournalEnd(RunId),
    /// This run records every copy in place. An earlier version of this program did not record a copy in place to a path
    /// without a value, and did not store this fact.
    Creations(RunId),
}

impl StoredFact {
    /// Returns the name under which the fact is stored.
    pub fn name(self) -> Cow<'static, str> {
        let name = match self {
            StoredFact::FlagLocation => "flag_place",
            StoredFact::LeaseOwner => "lease_owner",
            StoredFact::LastFlag => "flag_seen",
            StoredFact::Budgets => "budgets",
            StoredFact::Pace => "pace",
            StoredFact::ActivityClocks => "activity_clocks",
            StoredFact::Steering => "steering",
            StoredFact::JournalPurged => "journal_purged",
            StoredFact::Programs => "programs",
            StoredFact::PaceHistory(run) => return format!("{PACE_HISTORY}{run}").into(),
            StoredFact::JournalEnd(run) => return format!("journal_end_{run}").into(),
            StoredFact::Creations(run) => return format!("creations_{run}").into(),
        };
        name.into()
    }

    /// Returns the run if this is the name of a [`StoredFact::PaceHistory`].
    pub(in crate::state) fn history_run(name: &str) -> Option<RunId> {
        name.strip_prefix(PACE_HISTORY)?.parse().ok().map(RunId)
    }
}

//! Events of a migration, and facts that are stored by name.

use super::super::RunId;

/// An event of the migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// The event, as JSON.
    pub event: String,
    /// The newest run when the event was appended. Runs with larger ids began after the event.
    pub newest_run: RunId,
}

/// A fact that the state stores by name, in addition to the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum StoredFact {
    /// The location of the flag when the migration began.
    FlagLocation,
    /// The owner name with which a process that used this state file last took the lease.
    LeaseOwner,
    /// The content of the flag when a command that used this state file last read it.
    LastFlag,
    /// The budgets of the current or last run.
    Budgets,
    /// The speed of the current or last pass.
    Pace,
}

impl StoredFact {
    /// The name under which the fact is stored.
    pub fn name(self) -> &'static str {
        match self {
            StoredFact::FlagLocation => "flag_place",
            StoredFact::LeaseOwner => "lease_owner",
            StoredFact::LastFlag => "flag_seen",
            StoredFact::Budgets => "budgets",
            StoredFact::Pace => "pace",
        }
    }
}

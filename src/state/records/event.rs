//! Events of a migration, and facts that are stored by name.

use super::super::RunId;

/// An event of the migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// The event, as JSON.
    pub event: String,
    /// The newest run when the event was appended. Runs with larger ids began after the event.
    pub behind: RunId,
}

/// A fact that the state stores by name, in addition to the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum KeptFact {
    /// The location of the flag when the migration began.
    FlagPlace,
    /// The owner name with which a process that used this state file last took the lease.
    LeaseOwner,
    /// The content of the flag when a command that used this state file last read it.
    FlagSeen,
    /// The budgets of the current or last run.
    Budgets,
    /// The speed of the current or last pass.
    Pace,
}

impl KeptFact {
    /// The name under which the fact is stored.
    pub fn name(self) -> &'static str {
        match self {
            KeptFact::FlagPlace => "flag_place",
            KeptFact::LeaseOwner => "lease_owner",
            KeptFact::FlagSeen => "flag_seen",
            KeptFact::Budgets => "budgets",
            KeptFact::Pace => "pace",
        }
    }
}

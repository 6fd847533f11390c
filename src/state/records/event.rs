//! The history of a migration, and the few facts beside it.

use super::super::RunId;

/// A line of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// The event, as JSON.
    pub event: String,
    /// The newest run when it was appended: runs with larger numbers began after it.
    pub behind: RunId,
}

/// A fact that is kept beside the history, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum KeptFact {
    /// Where the flag was when the migration began.
    FlagPlace,
    /// Who took the lease last, of all that had this file.
    LeaseOwner,
    /// The flag, as a command of this file saw it last.
    FlagSeen,
    /// The budgets of the run that works now, or worked last.
    Budgets,
    /// How fast the pass is that works now, or worked last.
    Pace,
}

impl KeptFact {
    /// The name, as it is stored.
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

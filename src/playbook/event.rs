//! The events of a migration. Each event is one line of the append-only history.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Fact, Kind, Override, Phase, Scope};
use crate::cutover::{Flag, FlagChange};

/// One line of the history: a JSON object with `at`, `actor`, `type` and the fields of that type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// When the event happened.
    pub at: Timestamp,
    /// Who ran the command: user and host.
    pub actor: String,
    /// The state of the flag when the event happened. `None` if the plan has no flag, or if a version without marks
    /// recorded the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<Mark>,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// The part of the flag's state that is stored with an event. Marks are only compared for equality, so nobody has to
/// compare the clocks of two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The flag's version.
    pub version: u64,
    /// The flag's `dual_since`: when dual writes began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dual_since: Option<Timestamp>,
}

impl Mark {
    /// The mark that records this state of the flag.
    pub fn of(flag: &Flag) -> Mark {
        Mark { version: flag.version, dual_since: flag.dual_since }
    }
}

/// What happened to the migration. The serialized names are stored in state files, so they must not change.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum What {
    /// The preflight found no blocking problem, or the operator accepted every blocking problem.
    PreflightAccepted {
        /// The kind of the plan.
        kind: Kind,
        /// The names of the findings that the operator accepted.
        accepted: Vec<String>,
    },
    /// A phase begins its pass over the table. A resumed phase does not record this event again.
    PhaseBegun {
        /// The phase.
        phase: Phase,
    },
    /// A phase covered the whole table. A verification ends with [`What::Verified`] instead.
    PhaseComplete {
        /// The phase.
        phase: Phase,
        /// Number of items that the phase read. `None` if the reads were not strongly consistent, or if an earlier
        /// version did not record the number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scanned: Option<u64>,
    },
    /// A verification completed its comparison. The verification began with a `phase_begun` event.
    Verified {
        /// How much of the table was compared.
        scope: Scope,
        /// Whether mismatches were repaired.
        repair: bool,
        /// Number of items that differ, without the repaired items. For a sampled verification with repair, the
        /// repaired items count too, because items outside the sample were not repaired.
        mismatches: u64,
        /// Fingerprint of the plan.
        plan: String,
        /// Hash of the report.
        hash: String,
        /// Number of items that were compared. `None` if an earlier version did not record the number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compared: Option<u64>,
    },
    /// The command is about to change the flag. A later read of the flag shows whether the change took effect.
    FlagIntended {
        /// The intended change of the flag.
        #[serde(with = "Change")]
        change: FlagChange,
        /// The flag's version before the change.
        version: u64,
        /// The operator's `--force` reason, if the gate was closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forced: Option<String>,
    },
    /// The flag was read after an intended change.
    FlagSeen {
        /// The version that was read.
        version: u64,
        /// Whether this version results from the intended change. If not, somebody else changed the flag.
        ours: bool,
    },
    /// The operator stated a fact that a flag would have proven.
    FactStated {
        /// The fact.
        #[serde(flatten)]
        fact: Fact,
        /// The operator's `--force` reason, if the gate was closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forced: Option<String>,
    },
    /// For a plan without a flag: a full verification has shown that every old value equals its new value again.
    OldIsFresh,
    /// The operator overrides an obstacle.
    #[serde(rename = "went_past")]
    Overridden(Override),
    /// Rollback has begun; the migration cannot move forward any more.
    RollbackBegun {
        /// The operator's `--force` reason, if there was an obstacle.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forced: Option<String>,
    },
}

/// The names of [`FlagChange`] in the state file.
#[derive(Serialize, Deserialize)]
#[serde(remote = "FlagChange", rename_all = "snake_case")]
enum Change {
    DualWrite,
    ReadNew(u8),
    WriteNew,
    Contract,
    DualWriteAgain,
    OldIsFresh,
    ReadOld { accept_stale: bool },
    WriteOld,
}

//! What can happen to a migration: the events that are the lines of its append-only history.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Fact, Kind, Override, Phase, Scope};
use crate::cutover::{Flag, FlagChange};

/// One line of the history: a JSON object with `at`, `actor`, `type` and the fields of that type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// Who ran the command.
    pub actor: String,
    /// The state of the flag at that time; `None` if the plan has no flag, or if the history began before marks existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<Mark>,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// The part of the flag's state that is stored with an event. It is only compared for equality, so nobody has to compare
/// times from two hosts' clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The flag's version.
    pub version: u64,
    /// The flag's `dual_since`: when dual writes began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dual_since: Option<Timestamp>,
}

impl Mark {
    /// The mark of this flag.
    pub fn of(flag: &Flag) -> Mark {
        Mark { version: flag.version, dual_since: flag.dual_since }
    }
}

/// What happened. The serialized names are stored in state files and must not change.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum What {
    /// Preflight found nothing that stops the migration, or the operator accepted it.
    PreflightAccepted {
        /// The kind of the plan.
        kind: Kind,
        /// What the operator accepted by name.
        accepted: Vec<String>,
    },
    /// A phase begins its pass over the table. Resuming it does not begin it again.
    PhaseBegun {
        /// The phase.
        phase: Phase,
    },
    /// A phase covered the whole table. A verification ends with [`What::Verified`] instead.
    PhaseComplete {
        /// The phase.
        phase: Phase,
        /// Items that it read; `None` if its reads were not strongly consistent, or if nobody recorded the number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scanned: Option<u64>,
    },
    /// A verification compared everything it set out to compare. It began with the `phase_begun` event of its phase.
    Verified {
        /// How much was compared.
        scope: Scope,
        /// Whether mismatches were repaired.
        repair: bool,
        /// Items that differ, without those that were repaired. For a sample with repair, all items that differed, because
        /// the part of the table outside the sample was not repaired.
        mismatches: u64,
        /// Fingerprint of the plan.
        plan: String,
        /// Hash of the report.
        hash: String,
        /// Items that were compared; `None` if nobody recorded the number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compared: Option<u64>,
    },
    /// The flag is about to change. Whether it did is decided by reading it.
    FlagIntended {
        /// The change.
        #[serde(with = "Change")]
        change: FlagChange,
        /// The flag's version before the change.
        version: u64,
        /// If the gate was closed: the reason given to proceed anyway.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forced: Option<String>,
    },
    /// The flag was read after an intended change.
    FlagSeen {
        /// The version that was read.
        version: u64,
        /// Whether this is the intended change and not somebody else's.
        ours: bool,
    },
    /// The operator stated what a flag would have proven.
    FactStated {
        /// The fact.
        #[serde(flatten)]
        fact: Fact,
        /// As in [`What::FlagIntended`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forced: Option<String>,
    },
    /// Without a flag: a full verification has shown that every old value equals its new one again.
    OldIsFresh,
    /// The operator overrides an obstacle.
    #[serde(rename = "went_past")]
    Overridden(Override),
    /// Rollback has begun; the migration cannot move forward any more.
    RollbackBegun {
        /// If there was an obstacle: the reason given to proceed anyway.
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

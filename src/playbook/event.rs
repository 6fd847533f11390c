//! What can happen to a migration: the lines of its append-only history.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Fact, Kind, Override, Phase, Scope};
use crate::cutover::{Flag, FlagChange};

/// One line of the history: a JSON object with `at`, `actor`, `type` and what the type brings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// Who ran the command.
    pub actor: String,
    /// The state of the flag then; `None` if the plan has no flag, and in histories that began without marks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<Mark>,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What of the flag is remembered with an event, so that nobody has to compare times of two hosts' clocks: it is only ever
/// compared for equality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The version.
    pub version: u64,
    /// Since when both are written, as the flag says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dual_since: Option<Timestamp>,
}

impl Mark {
    /// Of this flag.
    pub fn of(flag: &Flag) -> Mark {
        Mark { version: flag.version, dual_since: flag.dual_since }
    }
}

/// What happened. The names are those of the state file, and stay.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum What {
    /// Preflight found nothing that stops the migration, or the operator accepted it.
    PreflightAccepted {
        /// The kind of the plan.
        kind: Kind,
        /// What was accepted by name.
        accepted: Vec<String>,
    },
    /// A phase begins to go over the table. A resumed one does not begin again.
    PhaseBegun {
        /// Which.
        phase: Phase,
    },
    /// It went over the whole table. A verification ends with [`What::Verified`] instead.
    PhaseComplete {
        /// Which.
        phase: Phase,
        /// Items that it read, strongly consistently; none where it did not read so, or where nobody has recorded it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scanned: Option<u64>,
    },
    /// A verification went over all that it meant to; its beginning is that of its `phase_begun`.
    Verified {
        /// How much was compared.
        scope: Scope,
        /// Whether mismatches were repaired.
        repair: bool,
        /// Items that differ, less those that were repaired; of a sample, all that were found to, because what it has not
        /// met is as it was.
        mismatches: u64,
        /// Fingerprint of the plan.
        plan: String,
        /// Hash of the report.
        hash: String,
        /// Items that were compared; none where nobody has recorded it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compared: Option<u64>,
    },
    /// The flag is about to be changed. Whether it was is decided by reading it.
    FlagIntended {
        /// How.
        #[serde(with = "Change")]
        change: FlagChange,
        /// Its version before.
        version: u64,
        /// The gate was closed, and this was the reason to go on all the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forced: Option<String>,
    },
    /// The flag was read after an intended change.
    FlagSeen {
        /// Its version.
        version: u64,
        /// Whether it is the intended change that was seen, and not somebody else's.
        ours: bool,
    },
    /// The operator stated what a flag would have proven.
    FactStated {
        /// What.
        #[serde(flatten)]
        fact: Fact,
        /// As for the flag.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forced: Option<String>,
    },
    /// Without a flag: a full verification has shown that every old value equals the new one again.
    OldIsFresh,
    /// Something stood in the way, and the operator overrides it.
    #[serde(rename = "went_past")]
    Overridden(Override),
    /// Nothing goes forward from here.
    RollbackBegun {
        /// Something stood in its way, and this was the reason to go on all the same.
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

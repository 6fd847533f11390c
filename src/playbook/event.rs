//! The events of a migration. Each event is a line in the history, which is append-only.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Fact, Override, Phase, PlanKind, VerifyScope};
use crate::cutover::{Flag, FlagChange};

/// One line of the history. It is a JSON object with `at`, `actor`, `type` and the fields of that type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// The time at which the event happened.
    pub at: Timestamp,
    /// The user and the host that ran the command.
    pub actor: String,
    /// The mark of the flag's state when the event happened. `None` if the plan has no flag, or if the event comes from
    /// an earlier version, which did not store marks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<Mark>,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// The part of the flag's state that is stored with an event. Rules only test whether two marks are equal, so they need
/// not compare the clocks of two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The flag's version.
    pub version: u64,
    /// The flag's `dual_since`: the time at which dual writes began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dual_since: Option<Timestamp>,
}

impl Mark {
    /// Returns the mark for this state of the flag.
    pub fn from_flag(flag: &Flag) -> Mark {
        Mark { version: flag.version, dual_since: flag.dual_since }
    }
}

/// The content of an event. The serialized names are stored in state files, so they must not change.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventBody {
    /// The preflight found no blocking problems, or the operator accepted all of them.
    PreflightAccepted {
        /// The kind of the plan.
        kind: PlanKind,
        /// The names of the findings that the operator accepted.
        accepted: Vec<String>,
    },
    /// A phase began its pass over the table. A resumed phase does not record this event again.
    PhaseBegun {
        /// The phase.
        phase: Phase,
    },
    /// A backup of the table is complete, before a phase that destroys or overwrites values.
    BackedUp {
        /// The phase.
        phase: Phase,
        /// The backup's ARN.
        arn: String,
    },
    /// A pass covered the whole table, so its phase is complete. For a verification, [`EventBody::Verified`] is
    /// recorded instead.
    PhaseComplete {
        /// The phase.
        phase: Phase,
        /// Number of items that the phase read. `None` if the reads were not strongly consistent, or if the event comes
        /// from an earlier version, which did not record this number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scanned: Option<u64>,
    },
    /// A verification completed its comparison. An earlier `phase_begun` event records when it began.
    Verified {
        /// The part of the table that was compared.
        scope: VerifyScope,
        /// Whether mismatches were repaired.
        repair: bool,
        /// Number of items that differ. A full verification does not count the items that it repaired. A sampled
        /// verification counts repaired items too, because it did not repair similar mismatches outside its sample.
        mismatches: u64,
        /// Fingerprint of the plan.
        plan: String,
        /// Hash of the report.
        hash: String,
        /// Number of items that a full verification read, or that a sample compared. `None` if the event comes from an
        /// earlier version, which did not record this number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compared: Option<u64>,
    },
    /// The command is about to change the flag. Whether the change took effect is known only after a later read of the
    /// flag.
    FlagIntended {
        /// The intended change of the flag.
        #[serde(with = "FlagChangeDef")]
        change: FlagChange,
        /// The flag's version before the change.
        version: u64,
        /// The operator's `--force` reason, if the gate was closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forced: Option<String>,
    },
    /// The command read the flag after an intended change.
    FlagSeen {
        /// The version that was read.
        version: u64,
        /// Whether the intended change produced this version. Otherwise, somebody else changed the flag.
        ours: bool,
    },
    /// The operator stated a fact that a flag could have proven.
    FactStated {
        /// The fact.
        #[serde(flatten)]
        fact: Fact,
        /// The operator's `--force` reason, if the gate was closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forced: Option<String>,
    },
    /// A full verification has shown that every old value now equals its new value. Recorded only for a plan without a
    /// flag.
    OldIsFresh,
    /// The operator overrode an obstacle.
    #[serde(rename = "went_past")]
    Overridden(Override),
    /// The rollback has begun, so the migration can no longer move forward.
    RollbackBegun {
        /// The operator's `--force` reason, if there was an obstacle.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forced: Option<String>,
    },
}

/// The form in which a [`FlagChange`] is stored in the state file.
#[derive(Serialize, Deserialize)]
#[serde(remote = "FlagChange", rename_all = "snake_case")]
enum FlagChangeDef {
    DualWrite,
    ReadNew(u8),
    WriteNew,
    Contract,
    DualWriteAgain,
    OldIsFresh,
    ReadOld { accept_stale: bool },
    WriteOld,
}

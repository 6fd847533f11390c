//! The obstacles that can block a command until the operator overrides them with `--force`, and the stored form of an
//! override.
//!
//! The state file identifies an obstacle by an id that never changes. The obstacle's message is for people. The message
//! may change, because overrides do not depend on it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::figure::count;

/// A condition that blocks a command until the operator gives a reason to override it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// The flag's item was removed.
    FlagRemoved {
        /// The last known version of the flag. If somebody also removes the recreated flag, the version is different,
        /// so the second removal is another obstacle.
        version: u64,
    },
    /// The flag says that contract has begun, but this state file did not begin it.
    ForeignContract,
    /// A rollback would leave the new attribute on some items, because no record shows whether the attribute existed
    /// before the migration.
    UnsureTargets {
        /// Number of items.
        items: u64,
    },
    /// After new-only writes, some old values of the plan might not be recoverable.
    OneWay,
    /// The old and new values of some items still differ after the old-from-new pass.
    ItemsUnequal {
        /// Number of items.
        items: u64,
    },
    /// During a rollback, some items could not be changed.
    ItemsFailed {
        /// Number of items.
        items: u64,
    },
    /// A verification compared no item, and the run read no item, so the table is empty.
    EmptyTable,
    /// An obstacle that another version of the tool stored, and that this version does not know. Its override does not
    /// cover any obstacle, but [`Obstacle::items_left`] still includes the number of items of this override.
    Unrecognized {
        /// Number of items in the stored override.
        items: u64,
    },
}

/// An obstacle that was overridden.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "StoredOverride", into = "StoredOverride")]
pub struct Override {
    /// The obstacle.
    pub obstacle: Obstacle,
    /// The reason the operator gave.
    pub reason: String,
}

impl Obstacle {
    /// Returns the obstacle's stored name, which never changes.
    pub fn id(self) -> &'static str {
        match self {
            Obstacle::FlagRemoved { .. } => "flag_removed",
            Obstacle::ForeignContract => "foreign_contract",
            Obstacle::UnsureTargets { .. } => "unsure_targets",
            Obstacle::OneWay => "one_way",
            Obstacle::ItemsUnequal { .. } => "items_unequal",
            Obstacle::ItemsFailed { .. } => "items_failed",
            Obstacle::EmptyTable => "empty_table",
            Obstacle::Unrecognized { .. } => "unrecognized",
        }
    }

    /// Returns whether an override of this obstacle also covers `other`. Returns true if `other` is the same obstacle
    /// and affects no more items than this one.
    pub fn covers(self, other: Obstacle) -> bool {
        match (self, other) {
            (Obstacle::FlagRemoved { version }, Obstacle::FlagRemoved { version: now }) => version == now,
            (Obstacle::UnsureTargets { items }, Obstacle::UnsureTargets { items: now })
            | (Obstacle::ItemsUnequal { items }, Obstacle::ItemsUnequal { items: now })
            | (Obstacle::ItemsFailed { items }, Obstacle::ItemsFailed { items: now }) => items >= now,
            (Obstacle::ForeignContract, Obstacle::ForeignContract)
            | (Obstacle::OneWay, Obstacle::OneWay)
            | (Obstacle::EmptyTable, Obstacle::EmptyTable) => true,
            (
                Obstacle::FlagRemoved { .. }
                | Obstacle::ForeignContract
                | Obstacle::UnsureTargets { .. }
                | Obstacle::OneWay
                | Obstacle::ItemsUnequal { .. }
                | Obstacle::ItemsFailed { .. }
                | Obstacle::EmptyTable
                | Obstacle::Unrecognized { .. },
                _,
            ) => false,
        }
    }

    /// Returns the number of items that a rollback or `cutover --back` may leave unequal once this obstacle is
    /// overridden.
    pub fn items_left(self) -> u64 {
        match self {
            Obstacle::ItemsUnequal { items } | Obstacle::ItemsFailed { items } | Obstacle::Unrecognized { items } => {
                items
            }
            Obstacle::FlagRemoved { .. }
            | Obstacle::ForeignContract
            | Obstacle::UnsureTargets { .. }
            | Obstacle::EmptyTable
            | Obstacle::OneWay => 0,
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::FlagRemoved { version } => {
                write!(f, "the plan names a flag, but its item is missing (the last version was {version})")
            }
            Obstacle::ForeignContract => f.write_str(
                "the flag says that the old attribute is being removed, but this state file did not begin that",
            ),
            Obstacle::UnsureTargets { items } => write!(
                f,
                "a rollback could not restore everything: a run that had written items was started over with \
                 --restart before it had read every item. {} already had the new attribute when the next run read \
                 them. Either the first run wrote it or it existed before the migration, so a rollback leaves those items as \
                 they are",
                count(*items, "item", "items")
            ),
            Obstacle::OneWay => f.write_str("once applications write only new values, a rollback might fail"),
            Obstacle::ItemsUnequal { items } => {
                let items = count(*items, "item still differs", "items still differ");
                write!(f, "{items} after the rollback copied the new values to the old attribute")
            }
            Obstacle::ItemsFailed { items } => {
                let items = count(*items, "item", "items");
                write!(f, "{items} could not be changed during the rollback, and will stay unchanged")
            }
            Obstacle::EmptyTable => {
                f.write_str("the verification compared no item, and the run read no item, so the table is empty")
            }
            Obstacle::Unrecognized { .. } => f.write_str("an obstacle that another version of backfill recorded"),
        }
    }
}

/// The stored form of an override. It contains the obstacle's id and fields. Versions before ids existed stored the
/// obstacle's message instead (`why`).
#[derive(Serialize, Deserialize)]
struct StoredOverride {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    obstacle: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    items: Option<u64>,
    reason: String,
}

impl From<Override> for StoredOverride {
    fn from(Override { obstacle, reason }: Override) -> StoredOverride {
        let (version, items) = match obstacle {
            Obstacle::FlagRemoved { version } => (Some(version), None),
            Obstacle::UnsureTargets { items }
            | Obstacle::ItemsUnequal { items }
            | Obstacle::ItemsFailed { items }
            | Obstacle::Unrecognized { items } => (None, Some(items)),
            Obstacle::ForeignContract | Obstacle::OneWay | Obstacle::EmptyTable => (None, None),
        };
        StoredOverride { obstacle: Some(obstacle.id().to_owned()), why: None, version, items, reason }
    }
}

impl From<StoredOverride> for Override {
    fn from(StoredOverride { obstacle, why, version, items, reason }: StoredOverride) -> Override {
        let items = items.unwrap_or(0);
        let unrecognized = Obstacle::Unrecognized { items };
        let obstacle = match (obstacle.as_deref(), why.as_deref()) {
            (Some(id), _) => {
                let version = version.unwrap_or(0);
                let all = [
                    Obstacle::FlagRemoved { version },
                    Obstacle::ForeignContract,
                    Obstacle::UnsureTargets { items },
                    Obstacle::OneWay,
                    Obstacle::ItemsUnequal { items },
                    Obstacle::ItemsFailed { items },
                    Obstacle::EmptyTable,
                ];
                all.into_iter().find(|obstacle| obstacle.id() == id).unwrap_or(unrecognized)
            }
            (None, Some(sentence)) => from_sentence(sentence).unwrap_or(unrecognized),
            (None, None) => unrecognized,
        };
        Override { obstacle, reason }
    }
}

/// Returns the obstacle for a message that was stored before ids existed. Current versions do not store messages, so do
/// not add any here.
fn from_sentence(sentence: &str) -> Option<Obstacle> {
    const FLAG: &str = "the plan names a flag, and there is none: its item is missing. It was last seen as [version ";
    const CONTRACT: &str =
        "the flag says that the old attribute is being removed, and this state file has not led there";
    const UNSURE: (&str, &str) =
        ("a rollback could not put everything back, so nothing goes forward: ", " The new attribute of ");
    const ONE_WAY: &str = "once new values alone are written, a rollback may not succeed: ";
    let number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
    if let Some(rest) = sentence.strip_prefix(FLAG) {
        return Some(Obstacle::FlagRemoved { version: number(rest)? });
    }
    if sentence.starts_with(CONTRACT) {
        return Some(Obstacle::ForeignContract);
    }
    if let Some(rest) = sentence.strip_prefix(UNSURE.0) {
        return Some(Obstacle::UnsureTargets { items: number(rest.split_once(UNSURE.1)?.1)? });
    }
    if sentence.starts_with(ONE_WAY) {
        return Some(Obstacle::OneWay);
    }
    let items = number(sentence)?;
    match sentence.trim_start_matches(|c: char| c.is_ascii_digit()) {
        " items differ although old was made equal new" => Some(Obstacle::ItemsUnequal { items }),
        " items could not be changed on the way back, and stay as they are" => Some(Obstacle::ItemsFailed { items }),
        _ => None,
    }
}

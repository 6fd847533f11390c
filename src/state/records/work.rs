//! Failures and diverged items. An open failure or diverged item needs the operator's attention.

use serde::{Serialize, Serializer};

use super::super::{Cursor, RunId};
use crate::change::Outcome;
use crate::item::{ItemKey, Path};

/// Whether a failure or a diverged item is open or resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowStatus {
    /// The failure or diverged item is still open.
    Open,
    /// A retry, a later pass or a verification has resolved the failure or diverged item.
    Resolved,
}

/// An unreadable row of a list. The other rows of the list can still be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRow {
    /// The row's position in its list, for [`ListQuery::after`].
    pub id: Cursor,
    /// The reason why the row cannot be read. The reason does not contain the row's contents.
    pub why: String,
}

/// A stored failure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailureRecord {
    /// The record's position in its list, for [`ListQuery::after`].
    pub id: Cursor,
    /// The run in which the item failed.
    pub run: RunId,
    /// The key of the item.
    #[serde(serialize_with = "key_json")]
    pub key: ItemKey,
    /// The segment of the item.
    pub segment: u32,
    /// The outcome of the last failed attempt: `Conflict`, `Rejected` or `NotComputable`.
    #[serde(serialize_with = "outcome_name")]
    pub outcome: Outcome,
    /// The reason why the item failed. The reason contains no attribute values.
    pub reason: String,
    /// Number of failed attempts, including retries.
    pub attempts: u32,
    /// The time at which the item failed for the first time.
    pub first_at: String,
    /// The time of the last attempt.
    pub last_at: String,
    /// Whether the record is still open.
    pub status: RowStatus,
    /// How the failure was resolved: the name of an outcome, or `later_pass`. `None` while the failure is open.
    pub resolved_as: Option<String>,
}

/// A stored diverged item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DivergedRecord {
    /// The record's position in its list, for [`ListQuery::after`].
    pub id: Cursor,
    /// The run that found the item to be diverged.
    pub run: RunId,
    /// The key of the item.
    #[serde(serialize_with = "key_json")]
    pub key: ItemKey,
    /// The segment of the item.
    pub segment: u32,
    /// The targets whose values differ. For a source of a derived item: the attributes in which the derived item differs.
    #[serde(serialize_with = "path_texts")]
    pub paths: Vec<Path>,
    /// The key of the derived item that differs. `None` if the item itself differs, or if an earlier version of this
    /// program recorded the item.
    #[serde(serialize_with = "optional_key_json")]
    pub derived: Option<ItemKey>,
    /// The time at which a run first found the item to be diverged.
    pub first_at: String,
    /// The time at which a run last found the item to be diverged.
    pub last_at: String,
    /// Whether the record is still open.
    pub status: RowStatus,
    /// How the diverged item was resolved: the name of an outcome, `later_pass`, or `verified` if a verification found
    /// the item's attributes equal. `None` while the item is open.
    pub resolved_as: Option<String>,
}

/// The number of items with open work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenWork {
    /// Number of items with a failure that is still open.
    pub failures: u64,
    /// Number of diverged items that are still open.
    pub diverged: u64,
}

/// Selects entries of a list of failures, diverged items or pre-images. The entries are in the order in which they were
/// first recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListQuery {
    /// If set, list only records of this run. If `None`, list the records of all runs.
    pub run: Option<RunId>,
    /// Whether to list only open records.
    pub open_only: bool,
    /// The list begins after this position.
    pub after: Cursor,
    /// The maximum number of entries.
    pub limit: u32,
}

fn outcome_name<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.name())
}

fn key_json<S: Serializer>(key: &ItemKey, serializer: S) -> Result<S::Ok, S::Error> {
    crate::item::item_to_json(key.attributes()).serialize(serializer)
}

fn optional_key_json<S: Serializer>(key: &Option<ItemKey>, serializer: S) -> Result<S::Ok, S::Error> {
    key.as_ref().map(|key| crate::item::item_to_json(key.attributes())).serialize(serializer)
}

fn path_texts<S: Serializer>(paths: &[Path], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(Path::to_string))
}

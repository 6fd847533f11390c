//! Failures and diverged items, which are open work for an operator.

use serde::{Serialize, Serializer};

use super::super::{Cursor, RunId};
use crate::change::Outcome;
use crate::item::{ItemKey, Path};

/// Whether a failure or a diverged item is still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowStatus {
    /// The failure or diverged item is still open.
    Open,
    /// A retry, a later pass or a verification resolved the failure or diverged item.
    Resolved,
}

/// A row of a list that cannot be read. The other rows of the list can still be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRow {
    /// The position of the record in its list, for [`ListQuery::after`].
    pub id: Cursor,
    /// The reason why the row cannot be read, without the stored contents.
    pub why: String,
}

/// A stored failure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailureRecord {
    /// The position of the record in its list, for [`ListQuery::after`].
    pub id: Cursor,
    /// The run in which the item failed.
    pub run: RunId,
    /// The key of the item.
    #[serde(serialize_with = "key_json")]
    pub key: ItemKey,
    /// The segment of the item.
    pub segment: u32,
    /// The outcome of the last failed attempt: `Conflict` or `Rejected`.
    #[serde(serialize_with = "outcome_name")]
    pub outcome: Outcome,
    /// The reason for the failure, without attribute values.
    pub reason: String,
    /// Number of failed attempts, including retries.
    pub attempts: u32,
    /// The time at which the item failed for the first time.
    pub first_at: String,
    /// The time of the last attempt.
    pub last_at: String,
    /// Whether the record is still open.
    pub status: RowStatus,
    /// The resolution of the failure: the name of an outcome, or `later_pass`; `None` while the failure is open.
    pub resolved_as: Option<String>,
}

/// A stored diverged item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DivergedRecord {
    /// The position of the record in its list, for [`ListQuery::after`].
    pub id: Cursor,
    /// The run that found the diverged item.
    pub run: RunId,
    /// The key of the item.
    #[serde(serialize_with = "key_json")]
    pub key: ItemKey,
    /// The segment of the item.
    pub segment: u32,
    /// The targets with a different value.
    #[serde(serialize_with = "path_texts")]
    pub paths: Vec<Path>,
    /// The time at which the item was found to be diverged for the first time.
    pub first_at: String,
    /// The time at which the item was found to be diverged for the last time.
    pub last_at: String,
    /// Whether the record is still open.
    pub status: RowStatus,
    /// The resolution of the diverged item: the name of an outcome, `later_pass`, or `verified` if a verification found
    /// its attributes equal; `None` while the item is open.
    pub resolved_as: Option<String>,
}

/// The number of items that are still open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenWork {
    /// Number of items with an open failure.
    pub failures: u64,
    /// Number of open diverged items.
    pub diverged: u64,
}

/// Selects the failures, diverged items or values of a list. The list has the order in which they were first recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListQuery {
    /// If set, list only records of this run. If `None`, list the records of all runs.
    pub run: Option<RunId>,
    /// Whether to list only open records.
    pub open_only: bool,
    /// The position after which the list begins.
    pub after: Cursor,
    /// The maximum number of rows.
    pub limit: u32,
}

fn outcome_name<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.name())
}

fn key_json<S: Serializer>(key: &ItemKey, serializer: S) -> Result<S::Ok, S::Error> {
    crate::item::item_to_json(key.attributes()).serialize(serializer)
}

fn path_texts<S: Serializer>(paths: &[Path], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(Path::to_string))
}

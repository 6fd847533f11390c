//! Failures and diverged items: the work that is left for an operator.

use serde::{Serialize, Serializer};

use super::super::{Cursor, RunId};
use crate::change::Outcome;
use crate::item::{ItemKey, Path};

/// Whether a failure or a diverged item is still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowStatus {
    /// Still open.
    Open,
    /// A retry, a later pass or a verification resolved it.
    Resolved,
}

/// A row of a list that cannot be read. It hides no other row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its place in the list, for [`ListQuery::after`].
    pub id: Cursor,
    /// Why, without what is stored.
    pub why: String,
}

/// A failure as stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailureRecord {
    /// Its place in the list, for [`ListQuery::after`].
    pub id: Cursor,
    /// The run that met it.
    pub run: RunId,
    /// The item.
    #[serde(serialize_with = "key_json")]
    pub key: ItemKey,
    /// The segment it was read in.
    pub segment: u32,
    /// `Conflict` or `Rejected`: how the last attempt that failed ended.
    #[serde(serialize_with = "outcome_name")]
    pub outcome: Outcome,
    /// Why, without attribute values.
    pub reason: String,
    /// Attempts that failed: the run's, and each retry.
    pub attempts: u32,
    /// When it failed first.
    pub first_at: String,
    /// When it was last tried.
    pub last_at: String,
    /// Whether it is still open.
    pub status: RowStatus,
    /// How it was resolved: an outcome's name, or `later_pass`.
    pub resolved_as: Option<String>,
}

/// A diverged item as stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DivergedRecord {
    /// Its place in the list, for [`ListQuery::after`].
    pub id: Cursor,
    /// The run that met it.
    pub run: RunId,
    /// The item.
    #[serde(serialize_with = "key_json")]
    pub key: ItemKey,
    /// The segment it was read in.
    pub segment: u32,
    /// The targets that hold something else.
    #[serde(serialize_with = "path_texts")]
    pub paths: Vec<Path>,
    /// When it was found first.
    pub first_at: String,
    /// When it was found last.
    pub last_at: String,
    /// Whether it is still open.
    pub status: RowStatus,
    /// How it was resolved: an outcome's name, `later_pass`, or `verified` if a verification found it equal.
    pub resolved_as: Option<String>,
}

/// The number of items that are still open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenWork {
    /// Items with an open failure.
    pub failures: u64,
    /// Diverged items that are not resolved.
    pub diverged: u64,
}

/// Which failures, diverged items or values to list, in the order they were first met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListQuery {
    /// Of this run only; `None` means of every run.
    pub run: Option<RunId>,
    /// Only those that are still open.
    pub open_only: bool,
    /// Only records behind this place.
    pub after: Cursor,
    /// Rows at most.
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

//! What a state file holds, as plain structs.

use std::path::PathBuf;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::super::{Counts, PreImageId, RunId, RunStatus, Spend, SpendState};
use super::lock::Holder;
use crate::change::Outcome;
use crate::cost::UnitPrices;
use crate::dynamodb::TableDescription;
use crate::item::{ItemKey, Path, Value};
use crate::plan::Plan;

/// Whose state a file keeps. A file is used only by the plan and the table that it was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The migration's name.
    pub migration: String,
    /// The plan's fingerprint.
    pub fingerprint: String,
    /// ARN of the table.
    pub table_arn: String,
    /// The table's unique id, where the engine has one: a recreated table has another.
    pub table_id: Option<String>,
    /// What the plan means, for people: shown when a file turns out to be of another plan.
    pub meaning: String,
}

impl Identity {
    /// That of a plan on a table.
    pub fn of(plan: &Plan, table: &TableDescription) -> Identity {
        Identity {
            migration: plan.name.clone(),
            fingerprint: plan.fingerprint().to_string(),
            table_arn: table.arn.clone(),
            table_id: table.id.clone(),
            meaning: plan.meaning(),
        }
    }

    /// Whether a file of this identity is one of the other: the same plan on the same table.
    pub fn is_of(&self, ours: &Identity) -> bool {
        let recreated = matches!((&self.table_id, &ours.table_id), (Some(theirs), Some(ours)) if theirs != ours);
        self.fingerprint == ours.fingerprint && self.table_arn == ours.table_arn && !recreated
    }
}

/// How a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Resume the unfinished run of the phase, or begin its first one. Refused when the last run is complete.
    ResumeOrNew,
    /// Begin anew; an unfinished run is superseded, and stays on record.
    Restart,
    /// Resume the unfinished run of the phase for a look at what it has not read, without writing. From here on its
    /// checkpoints say what was looked at, so that nothing but another look resumes it.
    Look,
    /// Make another pass, or resume one. Refused unless the last run is complete, or another pass itself.
    Again,
}

/// What a new run is made with; of no effect on a run that is resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// `expand`, or a later phase. Each phase has its own runs.
    pub phase: String,
    /// `TotalSegments`, from 1 to 1,000,000: fixed for the life of the run.
    pub total_segments: u32,
    /// Version of the tool.
    pub tool_version: String,
    /// How many items DynamoDB says the table has.
    pub table_items_estimate: Option<u64>,
}

/// A run whose session has begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// The run as it is now stored: `Running`.
    pub run: RunRecord,
    /// Whether it continues from checkpoints; otherwise it is new.
    pub resumed: bool,
}

/// A run as stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRecord {
    /// Its name in this file.
    #[serde(serialize_with = "run_id")]
    pub id: RunId,
    /// `expand`, or a later phase.
    pub phase: String,
    /// 1 for the first pass over the table, 2 for the first `--again`, ….
    pub pass: u32,
    /// `TotalSegments`.
    pub total_segments: u32,
    /// Where it stands.
    #[serde(serialize_with = "status_name")]
    pub status: RunStatus,
    /// When it was created.
    pub started_at: String,
    /// When its last session ended; none while one is open, and after one was killed.
    pub ended_at: Option<String>,
    /// Processes that worked on it.
    pub sessions: u32,
    /// Whether a session is open: a process works on it, or died while it did.
    pub open_session: bool,
    /// Whether pages were given up or a session was killed between a write and its checkpoint: such items count as
    /// already applied when they are read again, so `applied` is to be labelled "at least".
    pub lower_bound: bool,
    /// Pages that were begun and given up at the ends of its sessions.
    pub abandoned_pages: u64,
    /// Why its last session ended.
    pub stop_reason: Option<String>,
    /// How many items DynamoDB said the table had, when the run was created.
    pub table_items_estimate: Option<u64>,
    /// Version of the tool that created it.
    pub tool_version: String,
    /// Whether pages were only looked at since it was stopped, and not written ([`Begin::Look`]).
    pub looked_through: bool,
    /// What it had spent when that began.
    #[serde(skip)]
    pub look_from: Spend,
}

impl RunRecord {
    /// Whether it was begun and is not over.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.status, RunStatus::Running | RunStatus::Stopped)
    }

    /// Whether it can be resumed: what was only looked at would be passed over.
    pub fn can_be_resumed(&self) -> bool {
        self.is_unfinished() && !self.looked_through
    }
}

/// All segments of a run, added up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SegmentTotals {
    /// Segments without a committed page.
    pub pending: u32,
    /// Segments with some.
    pub scanning: u32,
    /// Segments with all.
    pub done: u32,
    /// Pages committed.
    pub pages: u64,
    /// What they counted.
    #[serde(serialize_with = "counts_map")]
    pub counts: Counts,
    /// When the last of them was committed.
    pub last_commit_at: Option<String>,
}

/// What a run has spent over all its sessions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpendRecord {
    /// In capacity units.
    pub state: SpendState,
    /// What they cost, as its last session counted; none where no session has begun to.
    pub prices: Option<UnitPrices>,
}

impl SpendRecord {
    /// US dollars, by estimate.
    pub fn dollars(&self) -> Option<f64> {
        self.prices.map(|prices| prices.dollars(self.state.spent))
    }
}

impl Serialize for SpendRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let SpendState { spent, slice, lost, .. } = self.state;
        let mut map = serializer.serialize_map(None)?;
        for (what, Spend { write, read }) in [("", spent), ("reserved_", slice), ("lost_", lost)] {
            map.serialize_entry(&format!("{what}write_units"), &write)?;
            map.serialize_entry(&format!("{what}read_units"), &read)?;
        }
        map.serialize_entry("estimated_usd", &self.dollars())?;
        map.serialize_entry("price_basis", &self.prices.map(|prices| prices.basis.name()))?;
        map.end()
    }
}

/// Whether a failure or a diverged item still waits for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowStatus {
    /// It does.
    Open,
    /// It was settled by a retry or a later pass.
    Resolved,
}

/// A row of a list that cannot be read. It hides no other row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its place in the list, for [`ListQuery::after`].
    pub id: i64,
    /// Why, without what is stored.
    pub why: String,
}

/// A failure as stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailureRecord {
    /// Its place in the list, for [`ListQuery::after`].
    pub id: i64,
    /// The run that met it.
    #[serde(serialize_with = "run_id")]
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
    /// How it was settled: an outcome's name, or `later_pass`.
    pub resolved_as: Option<String>,
}

/// A diverged item as stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DivergedRecord {
    /// Its place in the list, for [`ListQuery::after`].
    pub id: i64,
    /// The run that met it.
    #[serde(serialize_with = "run_id")]
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
    /// How it was settled: an outcome's name, `later_pass`, or `verified` where a verification saw it equal.
    pub resolved_as: Option<String>,
}

/// Items that wait for somebody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenWork {
    /// Items with an open failure.
    pub failures: u64,
    /// Items that are diverged and not settled.
    pub diverged: u64,
}

/// Which failures, diverged items or values to list, in the order they were first met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListQuery {
    /// Of this run only; none means of every run.
    pub run: Option<RunId>,
    /// Only those that still wait for somebody.
    pub open_only: bool,
    /// Only rows behind this `id`; 0 begins at the first.
    pub after: i64,
    /// Rows at most.
    pub limit: u32,
}

/// A pre-image as stored. It holds a value of the table, which is printed only for who asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct PreImageRecord {
    /// Its name; later ones are larger.
    pub id: PreImageId,
    /// The run that destroyed the value.
    pub run: RunId,
    /// The item.
    pub key: ItemKey,
    /// Where the value was.
    pub path: Path,
    /// The value; none where what is stored cannot be read.
    pub value: Option<Value>,
    /// When it was recorded.
    pub at: String,
}

/// A run and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunProgress {
    /// The run.
    pub run: RunRecord,
    /// Its segments.
    pub totals: SegmentTotals,
    /// What it has spent.
    pub spend: SpendRecord,
    /// Findings of the preflight that were accepted for it.
    pub accepted: Vec<String>,
    /// Its session is open but no process holds the file: the process died, and the run can be resumed.
    pub died: bool,
}

/// Everything that `status` tells of a state file, read in one transaction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateSummary {
    /// The file.
    pub path: PathBuf,
    /// Version of its layout.
    pub layout_version: u32,
    /// Whose it is.
    pub identity: Identity,
    /// When it was made.
    pub created_at: String,
    /// Every run, oldest first.
    pub runs: Vec<RunRecord>,
    /// The newest run.
    pub current: Option<RunProgress>,
    /// Items with an open failure, over all runs.
    pub open_failures: u64,
    /// Items that are diverged and not settled, over all runs.
    pub open_diverged: u64,
    /// Pre-images on record whose write was not refused.
    pub pre_images: u64,
    /// Who works on it now.
    pub holder: Option<Holder>,
}

fn run_id<S: Serializer>(id: &RunId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(id.0)
}

fn status_name<S: Serializer>(status: &RunStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.name())
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

fn counts_map<S: Serializer>(counts: &Counts, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("scanned", &counts.scanned)?;
    for outcome in Outcome::ALL {
        map.serialize_entry(outcome.name(), &counts.of(outcome))?;
    }
    map.serialize_entry("write_units", &counts.write_units)?;
    map.serialize_entry("read_units", &counts.read_units)?;
    map.serialize_entry("assumed_write_units", &counts.assumed_write_units)?;
    map.serialize_entry("estimated_write_units", &counts.estimated_write_units)?;
    map.end()
}

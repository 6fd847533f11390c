//! Runs: how they begin, and their stored records.

use std::fmt;
use std::path::PathBuf;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::super::{Counts, RunId, RunStatus, SessionId, Spend};
use super::{Identity, SpendRecord};
use crate::change::Outcome;
use crate::outside::OutsideText;

/// How a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Resume the unfinished run of the phase, or begin its first one. Refused when the last run is complete.
    ResumeOrNew,
    /// Begin a new run. An unfinished run is superseded, and stays recorded.
    Restart,
    /// Resume the unfinished run of the phase to read its remaining pages without writing. From then on its checkpoints
    /// show only what was read, so only another look can resume it.
    Look,
    /// Make another pass, or resume one. Refused unless the last run is complete, or another pass itself.
    Again,
}

/// Parameters of a new run. They have no effect on a resumed run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// `expand`, or a later phase. Each phase has its own runs.
    pub phase: String,
    /// `TotalSegments`, from 1 to 1,000,000. It never changes during the run.
    pub total_segments: u32,
    /// Version of the tool.
    pub tool_version: String,
    /// The number of items in the table according to `DescribeTable`.
    pub table_items_estimate: Option<u64>,
}

/// A run whose session has begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// The stored run, now with status `Running`.
    pub run: RunRecord,
    /// Whether it continues from checkpoints; otherwise it is new.
    pub resumed: bool,
}

/// A stored run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRecord {
    /// Its name in this state.
    pub id: RunId,
    /// `expand`, or a later phase.
    pub phase: String,
    /// 1 for the first pass over the table, 2 for the first `--again`, ….
    pub pass: u32,
    /// `TotalSegments`.
    pub total_segments: u32,
    /// Its status.
    #[serde(serialize_with = "status_name")]
    pub status: RunStatus,
    /// When it was created.
    pub started_at: String,
    /// When its last session ended; `None` while a session is open, and after a session was killed.
    pub ended_at: Option<String>,
    /// Number of sessions so far, which is the epoch of the newest session ([`SessionId`]).
    pub sessions: u32,
    /// Whether a session is open: a process works on the run, or died while working on it.
    pub open_session: bool,
    /// Whether pages were abandoned, or a session was killed between a write and its checkpoint. Items of such pages
    /// count as already applied when they are read again, so reports label `applied` with "at least".
    pub lower_bound: bool,
    /// Number of pages that its sessions began and then abandoned when they ended.
    pub abandoned_pages: u64,
    /// Why its last session ended.
    pub stop_reason: Option<String>,
    /// The number of items in the table when the run was created, by DynamoDB's count.
    pub table_items_estimate: Option<u64>,
    /// Version of the tool that created it.
    pub tool_version: String,
    /// Whether pages were read without writing after the run stopped ([`Begin::Look`]).
    pub looked_through: bool,
    /// What the run had spent when that look began.
    #[serde(skip)]
    pub look_from: Spend,
}

impl RunRecord {
    /// The newest session of the run, open or not.
    pub fn session(&self) -> SessionId {
        SessionId { run: self.id, epoch: u64::from(self.sessions) }
    }

    /// Whether it is neither complete nor superseded.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.status, RunStatus::Running | RunStatus::Stopped)
    }

    /// Whether it can be resumed. After a look it cannot, because it would skip the pages that were read but not written.
    pub fn can_be_resumed(&self) -> bool {
        self.is_unfinished() && !self.looked_through
    }
}

/// All segments of a run, added up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SegmentTotals {
    /// Number of segments without a committed page.
    pub pending: u32,
    /// Number of segments with some committed pages.
    pub scanning: u32,
    /// Number of segments with all pages committed.
    pub done: u32,
    /// Number of committed pages.
    pub pages: u64,
    /// The counts of the committed pages.
    #[serde(serialize_with = "counts_map")]
    pub counts: Counts,
    /// When the last page was committed.
    pub last_commit_at: Option<String>,
}

/// A run and its progress.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunProgress {
    /// The run.
    pub run: RunRecord,
    /// Its segments.
    pub totals: SegmentTotals,
    /// What it has spent.
    pub spend: SpendRecord,
    /// Preflight findings that were accepted for it.
    pub accepted: Vec<String>,
    /// Whether its session is open although no process holds the file: the process died, and the run can be resumed.
    pub died: bool,
}

/// Everything that `status` shows of a state file, read in one transaction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateSummary {
    /// The path of the file.
    pub path: PathBuf,
    /// Version of its layout.
    pub layout_version: u32,
    /// The plan and the table that it belongs to.
    pub identity: Identity,
    /// When it was created.
    pub created_at: String,
    /// Every run, oldest first.
    pub runs: Vec<RunRecord>,
    /// The newest run.
    pub current: Option<RunProgress>,
    /// Number of items with an open failure, over all runs.
    pub open_failures: u64,
    /// Number of open diverged items, over all runs.
    pub open_diverged: u64,
    /// Number of recorded pre-images whose write was not refused.
    pub pre_images: u64,
    /// The process that owns the file now.
    pub holder: Option<Holder>,
}

/// The process that owns a state file according to its lock file. A field is `None` if it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Holder {
    /// Process id.
    pub pid: Option<u32>,
    /// Host name.
    pub host: Option<OutsideText>,
    /// When it took the lock.
    pub since: Option<OutsideText>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("an unnamed process")?,
        }
        let known = |text: &Option<OutsideText>| text.clone().unwrap_or_else(|| "(unknown)".into());
        write!(f, " on host {}, since {}", known(&self.host), known(&self.since))
    }
}
fn status_name<S: Serializer>(status: &RunStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.name())
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

//! Runs: how they begin, and what is stored of them.

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
    /// Resume the unfinished run of the phase for a look at what it has not read, without writing. From here on its
    /// checkpoints say what was looked at, so that nothing but another look resumes it.
    Look,
    /// Make another pass, or resume one. Refused unless the last run is complete, or another pass itself.
    Again,
}

/// What a new run is created with. It has no effect on a run that is resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// `expand`, or a later phase. Each phase has its own runs.
    pub phase: String,
    /// `TotalSegments`, from 1 to 1,000,000: fixed for the life of the run.
    pub total_segments: u32,
    /// Version of the tool.
    pub tool_version: String,
    /// The table's number of items, as DynamoDB describes it.
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
    /// Its name in this state.
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
    /// When its last session ended; `None` while one is open, and after one was killed.
    pub ended_at: Option<String>,
    /// Sessions that have begun: the epoch of the newest one ([`SessionId`]).
    pub sessions: u32,
    /// Whether a session is open: a process works on the run, or died while it did.
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
    /// The newest session of the run, open or not.
    pub fn session(&self) -> SessionId {
        SessionId { run: self.id, epoch: u64::from(self.sessions) }
    }

    /// Whether it is neither complete nor superseded.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.status, RunStatus::Running | RunStatus::Stopped)
    }

    /// Whether it can be resumed. After a look it cannot: the pages that were only looked at would be skipped.
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

/// Everything that `status` shows of a state file, read in one transaction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateSummary {
    /// The file.
    pub path: PathBuf,
    /// Version of its layout.
    pub layout_version: u32,
    /// The plan and the table that it belongs to.
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
    /// Recorded pre-images whose write was not refused.
    pub pre_images: u64,
    /// The process that owns it now.
    pub holder: Option<Holder>,
}

/// The process that owns a state file, by its lock file. A field is `None` if it cannot be read.
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

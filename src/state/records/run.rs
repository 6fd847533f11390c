//! Runs: how they begin, and their stored records.

use std::fmt;
use std::path::PathBuf;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::super::{Counts, RunId, RunStatus, SessionId, Spend};
use super::{Identity, SpendRecord};
use crate::change::Outcome;
use crate::outside::UntrustedText;

/// The ways to begin a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeginMode {
    /// Resume the unfinished run of the phase, or begin its first one. Refused if the last run is complete.
    ResumeOrNew,
    /// Begin a new run. An unfinished run is superseded, and stays recorded.
    Restart,
    /// Resume the unfinished run of the phase to read its remaining pages without writing (a look). Afterwards, the
    /// run's checkpoints no longer prove that a page was written. So the run can be resumed only by a further look.
    ReadOnly,
    /// Begin an additional pass (`--again`), or resume it. Refused unless the last run is complete or is itself an
    /// additional pass.
    Again,
}

/// Parameters of a new run. A resumed run ignores them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// The name of the phase, for example `expand`. Each phase has its own runs.
    pub phase: String,
    /// `TotalSegments` of the scan, from 1 to 1,000,000. This number never changes during the run.
    pub total_segments: u32,
    /// Version of this program.
    pub tool_version: String,
    /// The number of items in the table according to `DescribeTable`.
    pub table_items_estimate: Option<u64>,
}

/// A run whose session has begun.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSession {
    /// The stored run, now with status `Running`.
    pub run: RunRecord,
    /// Whether the run continues from checkpoints. If the value is false, the run is new.
    pub resumed: bool,
}

/// A stored run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRecord {
    /// The id of the run.
    pub id: RunId,
    /// The name of the phase, for example `expand`.
    pub phase: String,
    /// The number of the pass over the table: 1 before the first `--again`, 2 for the first `--again`, and so on.
    pub pass: u32,
    /// `TotalSegments` of the scan.
    pub total_segments: u32,
    /// The status of the run.
    #[serde(serialize_with = "status_name")]
    pub status: RunStatus,
    /// The time of creation.
    pub started_at: String,
    /// When the last session of the run ended. `None` while a session is open, and if the last session was killed.
    pub ended_at: Option<String>,
    /// Number of sessions of the run up to now. This number equals the epoch of the newest session ([`SessionId`]).
    pub sessions: u32,
    /// Whether a session is open. A process is working on the run, or died while it was working on the run.
    pub open_session: bool,
    /// Whether the number of applied items is a lower bound, because pages were abandoned or a session was killed. When
    /// the pages of such a session are read again, items that it wrote count as already applied. So reports label
    /// `applied` with "at least".
    pub lower_bound: bool,
    /// Number of pages that sessions of the run began but did not finish.
    pub abandoned_pages: u64,
    /// The reason why the last session of the run ended.
    pub stop_reason: Option<String>,
    /// The number of items in the table when the run was created, according to `DescribeTable`.
    pub table_items_estimate: Option<u64>,
    /// Version of the program that created the run.
    pub tool_version: String,
    /// Whether a look has read pages of the run without writing them ([`BeginMode::ReadOnly`]).
    pub looked_through: bool,
    /// The spend of the run when a look began ([`BeginMode::ReadOnly`]). Zero if no look has begun.
    #[serde(skip)]
    pub spend_before_read_only: Spend,
}

impl RunRecord {
    /// The newest session of the run, open or not.
    pub fn session(&self) -> SessionId {
        SessionId { run: self.id, epoch: u64::from(self.sessions) }
    }

    /// Whether the run is neither complete nor superseded.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.status, RunStatus::Running | RunStatus::Stopped)
    }

    /// Whether the run can be resumed. After a look it cannot, because it would skip pages that the look has read but
    /// not written.
    pub fn can_be_resumed(&self) -> bool {
        self.is_unfinished() && !self.looked_through
    }
}

/// The totals over all segments of a run.
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
    /// The time of the last commit of a page.
    pub last_commit_at: Option<String>,
}

/// A run and its progress.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunProgress {
    /// The run.
    pub run: RunRecord,
    /// The totals over the segments of the run.
    pub totals: SegmentTotals,
    /// The spend of the run.
    pub spend: SpendRecord,
    /// The preflight findings that were accepted for the run.
    pub accepted: Vec<String>,
    /// Whether the process of the run has died: the run has an open session, but no process owns the file. A run whose
    /// process has died can be resumed.
    pub died: bool,
}

/// The data of a state file that `status` shows, read in one transaction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateSummary {
    /// The path of the state file.
    pub path: PathBuf,
    /// Version of the file's layout.
    pub layout_version: u32,
    /// The plan and the table that the file belongs to.
    pub identity: Identity,
    /// The time of creation.
    pub created_at: String,
    /// All runs, oldest first.
    pub runs: Vec<RunRecord>,
    /// The newest run.
    pub current: Option<RunProgress>,
    /// Number of items with an open failure, over all runs.
    pub open_failures: u64,
    /// Number of open diverged items, over all runs.
    pub open_diverged: u64,
    /// Number of recorded pre-images, without those of refused writes.
    pub pre_images: u64,
    /// The process that currently owns the file; `None` if no process owns the file.
    pub holder: Option<LockHolder>,
}

/// The process that owns a state file according to its lock file. A field is `None` if it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LockHolder {
    /// Process id.
    pub pid: Option<u32>,
    /// Host name.
    pub host: Option<UntrustedText>,
    /// The time at which the process took the lock.
    pub since: Option<UntrustedText>,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("an unnamed process")?,
        }
        let or_unknown = |text: &Option<UntrustedText>| text.clone().unwrap_or_else(|| "(unknown)".into());
        write!(f, " on host {}, since {}", or_unknown(&self.host), or_unknown(&self.since))
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

//! Runs: the ways to begin a run, and the stored records of runs.

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
    /// Resume the phase's unfinished run. If there is no such run, begin a new run. The store refuses this mode if the
    /// last run is complete, or if a read-only pass has read pages of the unfinished run.
    ResumeOrNew,
    /// Begin a new run. An unfinished run becomes superseded, but its record stays.
    Restart,
    /// Resume the phase's unfinished run as a read-only pass, which reads the remaining pages without writing.
    /// Afterwards, the run's checkpoints no longer prove that the committed pages were written. So only another
    /// read-only pass can resume the run.
    ReadOnly,
    /// If the last run is an additional pass that can be resumed, resume that pass. If the last run is complete, begin
    /// an additional pass (`--again`). In all other cases, the store refuses this mode.
    Again,
}

/// Parameters of a new run. A resumed run ignores them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// The phase's name, for example `expand`. Each phase has its own runs.
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
    /// The stored run. Its status is now `Running`.
    pub run: RunRecord,
    /// Whether the run continues from checkpoints. If the value is false, the run is new.
    pub resumed: bool,
}

/// A stored run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRecord {
    /// The id of the run.
    pub id: RunId,
    /// The phase's name, for example `expand`.
    pub phase: String,
    /// The number of the run's pass over the table: 1 before the first `--again`, 2 for the first `--again`, and so on.
    pub pass: u32,
    /// `TotalSegments` of the scan.
    pub total_segments: u32,
    /// The status of the run.
    #[serde(serialize_with = "status_name")]
    pub status: RunStatus,
    /// The time at which the run was created.
    pub started_at: String,
    /// The time at which the last session of the run ended. `None` while a session is open, or if the last session was
    /// killed.
    pub ended_at: Option<String>,
    /// Number of sessions that the run has had so far. This number equals the epoch of the newest session
    /// ([`SessionId`]).
    pub sessions: u32,
    /// Whether a session is open. If a session is open, a process is working on the run, or died while working on it.
    pub open_session: bool,
    /// Whether the number of applied items is only a lower bound. This is the case if pages were abandoned, a session
    /// was killed or a reply was lost. When a later session reads these pages again, the items that the earlier session
    /// wrote count as already applied. So reports show the number of applied items with "at least".
    pub lower_bound: bool,
    /// Number of pages that the run's sessions began but did not finish.
    pub abandoned_pages: u64,
    /// The reason why the run's last session ended.
    pub stop_reason: Option<String>,
    /// The number of items in the table when the run was created, according to `DescribeTable`.
    pub table_items_estimate: Option<u64>,
    /// Version of the program that created the run.
    pub tool_version: String,
    /// Whether a read-only pass has read pages of the run ([`BeginMode::ReadOnly`]).
    pub looked_through: bool,
    /// The run's spend at the start of the first read-only pass ([`BeginMode::ReadOnly`]). Zero if no read-only pass
    /// has begun.
    #[serde(skip)]
    pub spend_before_read_only: Spend,
}

impl RunRecord {
    /// Returns the newest session of the run, open or not.
    pub fn session(&self) -> SessionId {
        SessionId { run: self.id, epoch: u64::from(self.sessions) }
    }

    /// Returns whether the run is neither complete nor superseded.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.status, RunStatus::Running | RunStatus::Stopped)
    }

    /// Returns whether the run can be resumed. After a read-only pass, the run cannot be resumed, because it would skip
    /// pages that this pass has read but not written.
    pub fn can_be_resumed(&self) -> bool {
        self.is_unfinished() && !self.looked_through
    }
}

/// The totals over all segments of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SegmentTotals {
    /// Number of segments that have no committed page.
    pub pending: u32,
    /// Number of segments that have committed pages but are not done.
    pub scanning: u32,
    /// Number of segments whose pages are all committed.
    pub done: u32,
    /// Number of committed pages.
    pub pages: u64,
    /// The counts of the committed pages.
    #[serde(serialize_with = "counts_map")]
    pub counts: Counts,
    /// The time at which a page was last committed.
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
    /// The preflight findings that the operator accepted for the run.
    pub accepted: Vec<String>,
    /// Whether the run's process has died. This is so if the run has an open session and no process owns the state
    /// file. A run whose process has died can be resumed.
    pub died: bool,
}

/// The data that `status` shows about a state file, read in one transaction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateSummary {
    /// The path of the state file.
    pub path: PathBuf,
    /// The version of the state file's layout.
    pub layout_version: u32,
    /// The plan and the table to which the file belongs.
    pub identity: Identity,
    /// The time at which the file was created.
    pub created_at: String,
    /// All runs, oldest first.
    pub runs: Vec<RunRecord>,
    /// The newest run.
    pub current: Option<RunProgress>,
    /// Number of items with an open failure, over all runs.
    pub open_failures: u64,
    /// Number of open diverged items, over all runs.
    pub open_diverged: u64,
    /// Number of recorded pre-images. Does not count pre-images of refused writes.
    pub pre_images: u64,
    /// The process that currently owns the file; `None` if no process owns the file.
    pub holder: Option<LockHolder>,
}

/// The process that owns a state file, according to the file's lock file. A field is `None` if the lock file does not
/// show its value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LockHolder {
    /// The process's id.
    pub pid: Option<u32>,
    /// The host's name.
    pub host: Option<UntrustedText>,
    /// The time at which this process took the lock.
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

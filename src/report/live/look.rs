//! Reads the state file and the plan file, and makes the page from them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::stamp::Stamp;
use crate::clock::{Clock, to_text};
use crate::command_line::CommandLine;
use crate::migration::DriverError;
use crate::plan::Plan;
use crate::playbook::MigrationStage;
use crate::report::html::LIVE_TIME_MARK;
use crate::report::{MigrationReport, ReportSource};
use crate::state;

/// The files are read after this time even if they have not changed, because some sentences depend on the time. One
/// example is whether the next step is already possible.
const REREAD: Duration = Duration::from_secs(30);

/// Reads the plan file as it is now, or explains why it cannot be read.
pub type PlanReader = Box<dyn Fn() -> Result<Plan, String> + Send + Sync>;

/// The sources of a live page's figures.
pub struct LiveSource {
    /// The plan file. Only its time of change is read here; `plan` reads the file.
    pub plan_path: PathBuf,
    /// Reads the plan file.
    pub plan: PlanReader,
    /// The state file.
    pub state: PathBuf,
    /// The command line of this migration.
    pub commands: CommandLine,
    /// Whether the page shows item keys.
    pub show_keys: bool,
    /// The clock.
    pub clock: Clock,
}

impl fmt::Debug for LiveSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveSource").field("state", &self.state).finish_non_exhaustive()
    }
}

/// The page, without the time of its figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// The part before the time.
    head: Bytes,
    /// The part after the time.
    tail: Bytes,
    /// Identifies the content. Two pages with the same figures have the same name, even in two processes.
    pub(super) name: String,
}

/// The content of the files at one time.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// The page. It is an older page if a file could not be read.
    pub(super) page: Arc<Page>,
    /// The time at which the figures of the page were current.
    pub(super) at: Timestamp,
    /// Why the page is not current; `None` if it is current. The page shows this text, so it contains no file names.
    pub(super) trouble: Option<&'static str>,
}

/// The facts about the first page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstPage {
    /// The size of the page, in bytes.
    pub bytes: usize,
    /// The stage of the migration.
    pub stage: MigrationStage,
}

/// Looks at the files repeatedly.
pub(super) struct Looker {
    source: LiveSource,
    plan: Plan,
    plan_stamp: Stamp,
    /// When the plan file was read.
    plan_read: SystemTime,
    plan_trouble: Option<&'static str>,
    read: LastRead,
    last: Look,
}

/// The last successful reading of the state file.
struct LastRead {
    stamp: Stamp,
    at: SystemTime,
    /// Whether a process held the state file. In this case, the next look reads the file again, because the death of a
    /// process changes no file.
    held: bool,
}

impl Page {
    pub(super) fn new(html: String) -> Page {
        // The template escapes every value, so only the template itself can contain the mark.
        let (head, tail) = html.split_once(LIVE_TIME_MARK).unwrap_or((&html, ""));
        let name = Sha256::digest(html.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Page { head: Bytes::copy_from_slice(head.as_bytes()), tail: Bytes::copy_from_slice(tail.as_bytes()), name }
    }

    /// Returns the parts of the page. All clients share the memory of these parts.
    pub(super) fn parts(&self, at: Timestamp) -> [Bytes; 3] {
        let (time, name) = (to_text(at), &self.name);
        let time = format!("<time id=\"live-time\" datetime=\"{time}\" data-page=\"{name}\">{time}</time>");
        [self.head.clone(), Bytes::from(time), self.tail.clone()]
    }
}

impl Looker {
    /// Reads the files for the first time.
    pub(super) async fn begin(source: LiveSource, plan: Plan) -> Result<(Looker, FirstPage), DriverError> {
        let plan_stamp = source.plan_stamp();
        let at = (source.clock)();
        let (read, page, stage) = source.read(&plan, at).await?;
        let first = FirstPage { bytes: page.parts(at).iter().map(Bytes::len).sum(), stage };
        let last = Look { page: Arc::new(page), at, trouble: None };
        // The caller read the plan at an earlier time, so the first look reads it again.
        let plan_read = SystemTime::UNIX_EPOCH;
        Ok((Looker { source, plan, plan_stamp, plan_read, plan_trouble: None, read, last }, first))
    }

    /// Returns the first look, or the newest one.
    pub(super) fn last(&self) -> Look {
        self.last.clone()
    }

    /// Looks at the files. Reads them only if they might have changed. Blocks the thread while it reads.
    pub(super) async fn look(&mut self) -> Look {
        let at = (self.source.clock)();
        let plan_changed = self.read_plan();
        if !plan_changed && self.is_current() {
            self.last = Look { at, trouble: self.plan_trouble, page: Arc::clone(&self.last.page) };
            return self.last();
        }
        match self.source.read(&self.plan, at).await {
            Ok((read, page, _)) => {
                self.read = read;
                let page = if page == *self.last.page { Arc::clone(&self.last.page) } else { Arc::new(page) };
                self.last = Look { page, at, trouble: self.plan_trouble };
            }
            Err(error) => {
                let trouble =
                    "The state file cannot be read. The terminal of `backfill report --serve` shows the reason.";
                if self.last.trouble != Some(trouble) {
                    tracing::warn!("the page shows older figures, because the state file cannot be read: {error}");
                }
                self.last.trouble = Some(trouble);
            }
        }
        self.last()
    }

    /// Reads the plan file if it has changed. An invalid plan does not replace the last valid plan, because an operator
    /// might still be editing the file.
    fn read_plan(&mut self) -> bool {
        let stamp = self.source.plan_stamp();
        if stamp == self.plan_stamp && stamp.is_settled(self.plan_read) && self.plan_trouble.is_none() {
            return false;
        }
        self.plan_stamp = stamp;
        self.plan_read = SystemTime::now();
        match (self.source.plan)() {
            Ok(plan) => {
                self.plan = plan;
                self.plan_trouble = None;
                true
            }
            Err(error) => {
                if self.plan_trouble.is_none() {
                    tracing::warn!("the page uses the last valid plan, because the plan file cannot be used: {error}");
                }
                self.plan_trouble =
                    Some("The plan file is not valid at the moment. The page uses the last valid plan.");
                false
            }
        }
    }

    /// Returns whether reading the state file again would give the same result.
    fn is_current(&self) -> bool {
        let LastRead { stamp, at, held } = &self.read;
        let is_recent = SystemTime::now().duration_since(*at).is_ok_and(|age| age < REREAD);
        !held && is_recent && self.last.trouble.is_none() && stamp.is_settled(*at) && *stamp == self.source.stamp()
    }
}

impl LiveSource {
    async fn read(&self, plan: &Plan, now: Timestamp) -> Result<(LastRead, Page, MigrationStage), DriverError> {
        // Take the stamp first, so that a change during the reading causes another reading.
        let (stamp, at) = (self.stamp(), SystemTime::now());
        // Open the file each time, because somebody might have replaced it with a copy.
        let file = state::read(&self.state)?;
        let source = ReportSource { plan, commands: &self.commands, now, show_keys: self.show_keys };
        let facts = MigrationReport::gather(file.as_ref(), source).await?;
        let html = facts.live_html().map_err(|_| unformatted())?;
        let held = facts.summary.holder.is_some();
        Ok((LastRead { stamp, at, held }, Page::new(html), facts.stage))
    }

    fn stamp(&self) -> Stamp {
        Stamp::of(&[self.state.clone(), with_suffix(&self.state, "-wal")])
    }

    fn plan_stamp(&self) -> Stamp {
        Stamp::of(std::slice::from_ref(&self.plan_path))
    }
}

fn unformatted() -> DriverError {
    DriverError::Store(state::StoreError::Io("the report could not be formatted".to_owned()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_named_by_its_figures_and_contains_their_time() {
        let page = Page::new(format!("<p>before {LIVE_TIME_MARK} after</p>"));
        let other = Page::new(format!("<p>before {LIVE_TIME_MARK} afterwards</p>"));
        assert_ne!(page.name, other.name);
        let at: Timestamp = "2026-11-30T12:01:05Z".parse().unwrap();
        let html: Vec<u8> = page.parts(at).concat();
        let name = &page.name;
        let expected = format!(
            "<p>before <time id=\"live-time\" datetime=\"2026-11-30T12:01:05Z\" data-page=\"{name}\">2026-11-30T12:01:05Z</time> \
             after</p>"
        );
        assert_eq!(String::from_utf8(html).unwrap(), expected);
    }
}

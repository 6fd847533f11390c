//! What the view shows. This module is pure: it only combines the figures in the state file with the figures from the
//! process.

use backfill::internals::change::Outcome;
use backfill::internals::state::{RunDetails, StateSummary};
use backfill::internals::steering::Settings;
use backfill::internals::telemetry::heat::HeatCell;
use backfill::internals::telemetry::{
    Activity, ActivityChange, EtaFigures, LiveFigures, RangeFigures, RateFigures, SpendFigures, Worker, forecast,
};
use jiff::Timestamp;
use serde_json::Value as Json;

/// The known facts about the migration.
#[derive(Debug, Default)]
pub(super) struct WatchData {
    /// The figures of the state file; `None` until it is read for the first time.
    pub file: Option<FileFigures>,
    /// The error of the last attempt to read the state file.
    pub file_error: Option<String>,
    /// The path of the state file while there is no file at this path.
    pub absent_file: Option<String>,
    /// The process that works on the migration.
    pub process: Process,
}

/// The process that works on the migration, according to `ctl`.
#[derive(Debug, Default)]
pub(super) enum Process {
    /// Nobody has answered yet.
    #[default]
    Unknown,
    /// No process works on the migration.
    None,
    /// A process works on the migration, but no pass is running.
    BetweenPasses(String),
    /// A pass is running.
    Pass(Box<LiveFigures>),
    /// The process cannot be reached.
    Unreachable(String),
}

impl Process {
    /// Reads the answer of `ctl status`.
    pub(super) fn from_reply(is_live: bool, text: &str, state: &Json) -> Process {
        if !is_live {
            return Process::None;
        }
        match state.get("pass") {
            Some(Json::Null) => Process::BetweenPasses(text.to_owned()),
            Some(pass) => match serde_json::from_value(pass.clone()) {
                Ok(figures) => Process::Pass(figures),
                Err(_) => Process::Unreachable("the process is another version of backfill".to_owned()),
            },
            None => Process::Unreachable("the process is another version of backfill".to_owned()),
        }
    }
}

/// The figures of the state file.
#[derive(Debug)]
pub(super) struct FileFigures {
    /// The name of the migration.
    pub migration: String,
    /// The ARN or the name of the table.
    pub table: String,
    /// The stage of the migration.
    pub stage: &'static str,
    /// The next command; `None` if a process works on the migration, or if the migration is over.
    pub next: Option<String>,
    /// Whether the state file belongs to the current version of the plan file.
    pub same_plan: bool,
    /// The newest run.
    pub run: Option<RunFigures>,
    /// The process that holds the state file.
    pub worker: Option<WorkerFigures>,
    /// What operators have set with `ctl`.
    pub settings: Settings,
    /// The last steps and commands, oldest first.
    pub steps: Vec<(Timestamp, String)>,
}

/// The newest run.
#[derive(Debug)]
pub(super) struct RunFigures {
    /// The run, its phase and its pass: `run 3 (expand)`.
    pub name: String,
    /// Its status.
    pub status: &'static str,
    /// Whether the run is unfinished: neither complete nor superseded.
    pub is_unfinished: bool,
    /// Whether its process died.
    pub died: bool,
    /// Why its last session ended.
    pub stop_reason: Option<String>,
    /// Number of segments in progress.
    pub scanning: u64,
    /// The segments.
    pub cells: Vec<HeatCell>,
    /// The committed figures.
    pub committed: LiveFigures,
}

/// The process that holds the state file, as the file describes it.
#[derive(Debug)]
pub(super) struct WorkerFigures {
    /// The process and its condition.
    pub description: String,
    /// What its pass is doing.
    pub current: Option<ActivityChange>,
}

impl WorkerFigures {
    /// Returns the figures of a worker.
    pub(super) fn new(worker: &Worker<'_>) -> WorkerFigures {
        WorkerFigures { description: worker.description(), current: worker.current() }
    }
}

impl RunFigures {
    /// Returns the figures of the newest run. `worker` is the process that holds the state file.
    pub(super) fn new(
        summary: &StateSummary,
        runs: &[RunDetails],
        worker: Option<&Worker<'_>>,
        now: Timestamp,
    ) -> Option<RunFigures> {
        let current = summary.current.as_ref()?;
        let run = &current.run;
        let cells = runs.iter().find(|details| details.progress.run.id == run.id).map(|details| &details.cells);
        let cells = cells.map(Vec::as_slice).unwrap_or_default();
        let totals = &current.totals;
        let (done, estimate) = (totals.counts.scanned, run.table_items_estimate.unwrap_or_default());
        let most = if run.is_unfinished() { 99 } else { 100 };
        let worker = worker.filter(|_| run.open_session);
        let (rates, eta) = (worker.and_then(Worker::rates), worker.and_then(Worker::eta));
        let activity = worker.and_then(Worker::current).unwrap_or(ActivityChange {
            since: now,
            state: Activity::Done,
            detail: String::new(),
        });
        let spent = current.spend.state.spent;
        let last = totals.last_commit_at.as_ref().and_then(|at| at.parse().ok()).unwrap_or(now);
        let range = |cell: &backfill::internals::state::SegmentCell| RangeFigures {
            first: cell.first,
            last: cell.last,
            done: cell.done.into(),
            items: cell.scanned,
        };
        let pass = if run.pass > 1 { format!(", pass {}", run.pass) } else { String::new() };
        Some(RunFigures {
            name: format!("run {} ({}{pass})", run.id, run.phase),
            status: run.status.name(),
            is_unfinished: run.is_unfinished(),
            died: current.died,
            stop_reason: run.stop_reason.clone().filter(|_| !run.open_session),
            scanning: totals.scanning.into(),
            cells: cells.iter().map(HeatCell::from).collect(),
            committed: LiveFigures {
                at: now,
                activity,
                seconds: Json::Null,
                hung: worker.map(Worker::hung).unwrap_or_default(),
                items: done,
                item_estimate: estimate,
                percent: (estimate > 0).then(|| (done * 100 / estimate).min(most)),
                rates: rates.map(|(items_per_s, wcu_per_s)| RateFigures { items_per_s, wcu_per_s, rcu_per_s: 0.0 }),
                average_items_per_s: None,
                eta: eta.map(EtaFigures::from),
                segments_done: totals.done.into(),
                total_segments: run.total_segments.into(),
                ranges: cells.iter().map(range).collect(),
                failures: totals.counts.failures(),
                conflicts: totals.counts.of(Outcome::Conflict),
                diverged: totals.counts.of(Outcome::Diverged),
                throttled: 0,
                failed_requests: 0,
                scopes: Vec::new(),
                waits: Vec::new(),
                hot_keys: Vec::new(),
                key_ranges: Vec::new(),
                spend: current.spend.dollars().map(|dollars| SpendFigures {
                    wcu: spent.write,
                    rcu: spent.read,
                    dollars,
                    forecast_dollars: forecast(dollars, done, estimate).filter(|_| run.is_unfinished()),
                    limits: Vec::new(),
                }),
                recent: Vec::new(),
                slowed_by: None,
                last_answer: last,
                last_commit: last,
            },
        })
    }
}

impl WatchData {
    /// Returns the figures of the pass: those from the process, or else those in the state file.
    pub(super) fn figures(&self) -> Option<&LiveFigures> {
        match &self.process {
            Process::Pass(live) => Some(live),
            Process::Unknown | Process::None | Process::BetweenPasses(_) | Process::Unreachable(_) => {
                self.file.as_ref()?.run.as_ref().map(|run| &run.committed)
            }
        }
    }

    /// Returns the live figures; `None` if no pass is running or the process cannot be reached.
    pub(super) fn live(&self) -> Option<&LiveFigures> {
        match &self.process {
            Process::Pass(live) => Some(live),
            Process::Unknown | Process::None | Process::BetweenPasses(_) | Process::Unreachable(_) => None,
        }
    }

    /// Returns whether the pass is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.figures().is_some_and(|figures| figures.activity.state == Activity::Paused)
    }

    /// Returns the segments, if possible from the state file, which describes them in more detail than the process.
    pub(super) fn cells(&self) -> Vec<HeatCell> {
        let run = self.file.as_ref().and_then(|file| file.run.as_ref());
        match (run, self.live()) {
            // The state file can still describe the previous run.
            (Some(run), Some(live)) if run.committed.total_segments != live.total_segments => {
                live.ranges.iter().map(HeatCell::from).collect()
            }
            (Some(run), _) => run.cells.clone(),
            (None, Some(live)) => live.ranges.iter().map(HeatCell::from).collect(),
            (None, None) => Vec::new(),
        }
    }
}

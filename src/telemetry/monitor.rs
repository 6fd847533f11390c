//! Watches a running pass. One task reads the live figures about once a second, determines the activity of the pass,
//! and publishes a view. The progress line, the metrics, the state file and the observer all use this view, so they
//! never disagree.

mod changes;
mod throttles;
mod view;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::activity::{Activity, ActivityClocks, CurrentActivity, Signals};
use super::watchdog::{HungRequests, Watchdog};
use super::{ActivityChange, Progress, ProgressMeter, Snapshot};
use crate::clock::{BootTime, Moment};
use crate::engine::{Allowance, AllowanceStatus, Job, PauseSwitch, SegmentRanges, Stopper, WorkWindow};
use crate::figure::{count, whole_duration};
use crate::machine::Machine;
use crate::plan::Access;
use crate::ratelimit::{NarrowStatus, ScopeStatus, Scopes};
use crate::state::{Counts, SegmentTotals};
use changes::ActivityChanges;
use throttles::RecentThrottles;
pub use view::{CapacityView, LastTimes};

/// The time between two readings of the figures.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// If the time between two readings is longer than expected by at least this time, the process did not run for a part
/// of it.
const SLEPT: Duration = Duration::from_secs(10);

/// The sources of the figures about a pass.
#[derive(Clone)]
pub struct ProgressSources {
    /// The live figures.
    pub progress: Arc<Progress>,
    /// The token buckets of every scope.
    pub scopes: Arc<Scopes>,
    /// The daily hours in which the run may work, and whether the run waits for them.
    pub work_window: Arc<WorkWindow>,
    /// The remaining capacity units and the remaining number of items within the run's limits.
    pub allowance: Arc<Allowance>,
    /// Whether an operator has paused the run.
    pub pause: PauseSwitch,
    /// Whether the run stops, and why.
    pub stop: Stopper,
    /// The clocks.
    pub machine: Machine,
    /// The time without an answer after which the pass counts as stalled.
    pub stall_after: Duration,
    /// The counts that were committed before this process began.
    pub counts_before: Counts,
    /// The progress of each range of segments before this process began.
    pub ranges_before: SegmentRanges,
    /// Number of segments that were done before this process began.
    pub segments_before: u64,
    /// Number of segments that the run has.
    pub total_segments: u64,
    /// Number of items in the table, according to DynamoDB.
    pub item_estimate: u64,
    /// The time that earlier sessions of the run spent in each activity.
    pub clocks_before: ActivityClocks,
}

impl Job {
    /// Returns the sources of the figures about this job.
    pub fn progress_sources(&self, total_segments: u32, before: Option<&SegmentTotals>) -> ProgressSources {
        ProgressSources {
            progress: Arc::clone(&self.progress),
            work_window: Arc::clone(&self.work_window),
            allowance: Arc::clone(&self.allowance),
            scopes: Arc::clone(&self.scopes),
            pause: self.pause.clone(),
            stop: self.stop.clone(),
            machine: self.machine.clone(),
            stall_after: self.plan.alerts.stall_after,
            counts_before: before.map_or_else(Counts::default, |t| t.counts.clone()),
            ranges_before: SegmentRanges::default(),
            segments_before: before.map_or(0, |t| u64::from(t.done)),
            total_segments: u64::from(total_segments),
            item_estimate: self.description.item_count,
            clocks_before: ActivityClocks::default(),
        }
    }
}

/// The state of a pass at one moment.
#[derive(Debug, Clone)]
pub struct PassView {
    /// The time of the view.
    pub at: Timestamp,
    /// What the pass is doing, and why.
    pub current: CurrentActivity,
    /// The time at which this activity began.
    pub since: Timestamp,
    /// The time that the run has spent in each activity, over all its sessions.
    pub clocks: ActivityClocks,
    /// The segments whose requests hang.
    pub hung: Vec<HungRequests>,
    /// The rate, the progress and the ETA.
    pub pace: ProgressMeter,
    /// The live figures of this session.
    pub figures: Snapshot,
    /// Number of segments done, over all sessions.
    pub segments_done: u64,
    /// Number of segments that the run has; 0 if the pass has no segments.
    pub total_segments: u64,
    /// The committed counts, over all sessions.
    pub totals: Counts,
    /// The progress of each range of segments, over all sessions.
    pub ranges: SegmentRanges,
    /// The budgets, rates and waits of this session.
    pub capacity: CapacityView,
    /// The spend, and the remaining part of each limit. `None` before the run begins to count.
    pub allowance: Option<AllowanceStatus>,
    /// The time of the last answer, and of the last commit.
    pub last: LastTimes,
    /// The last changes of the activity in this session, oldest first.
    pub recent: Vec<ActivityChange>,
    /// The current reason for lower budgets in all scopes; `None` if budgets are not lowered.
    pub slowdown: Option<String>,
}

/// A monitor that is running. It ends when this value is dropped.
pub struct RunningMonitor {
    view: watch::Receiver<Arc<PassView>>,
    ends: CancellationToken,
    task: AbortOnDropHandle<PassView>,
}

impl RunningMonitor {
    /// Starts to watch a pass.
    pub fn start(sources: ProgressSources) -> RunningMonitor {
        let mut monitor = Monitor::new(sources);
        let (publish, view) = watch::channel(Arc::new(monitor.look()));
        let ends = CancellationToken::new();
        let ended = ends.clone();
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(LOOK_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            tick.tick().await;
            while ended.run_until_cancelled(tick.tick()).await.is_some() {
                let _ = publish.send(Arc::new(monitor.look()));
            }
            let last = monitor.end();
            let _ = publish.send(Arc::new(last.clone()));
            last
        });
        RunningMonitor { view, ends, task: AbortOnDropHandle::new(task) }
    }

    /// Returns a receiver of the views. A new view arrives about every second.
    pub fn views(&self) -> watch::Receiver<Arc<PassView>> {
        self.view.clone()
    }

    /// Ends the monitor, because the pass has ended. Returns the last view.
    pub async fn end(self) -> Arc<PassView> {
        self.ends.cancel();
        match self.task.await {
            Ok(last) => Arc::new(last),
            // The task panicked. Its last published view is almost as new.
            Err(_) => Arc::clone(&self.view.borrow()),
        }
    }
}

/// Watches a pass. Call [`Monitor::look`] about once a second.
pub struct Monitor {
    sources: ProgressSources,
    pace: ProgressMeter,
    watchdog: Watchdog,
    clocks: ActivityClocks,
    began: Moment,
    looked: Moment,
    booted: Option<BootTime>,
    throttled: RecentThrottles,
    current: CurrentActivity,
    since: Timestamp,
    last: LastTimes,
    /// The number of answers, and the number of committed items and pages, at the last reading.
    seen: (u64, u64),
    changes: ActivityChanges,
}

impl Monitor {
    /// Creates a monitor for the pass of these sources.
    pub fn new(sources: ProgressSources) -> Monitor {
        let now = (sources.machine.moments)();
        Monitor {
            pace: ProgressMeter::new(sources.counts_before.scanned, sources.item_estimate),
            watchdog: Watchdog::new(sources.stall_after),
            clocks: sources.clocks_before.clone(),
            began: now,
            looked: now,
            booted: sources.machine.boot_time(),
            throttled: RecentThrottles::default(),
            current: CurrentActivity::new(Activity::Starting, ""),
            since: now.wall,
            last: LastTimes { answer: now.wall, commit: now.wall, looked: now.monotonic },
            seen: (0, 0),
            changes: ActivityChanges::default(),
            sources,
        }
    }

    /// Reads the figures, and returns the current view.
    pub fn look(&mut self) -> PassView {
        let now = (self.sources.machine.moments)();
        let passed = self.time_awake(now);
        let figures = self.sources.progress.snapshot();
        let elapsed = now.monotonic.saturating_duration_since(self.began.monotonic);
        self.pace.note(elapsed, figures.counts.scanned, figures.processed, figures.consumed());
        let scopes = self.sources.scopes.status();
        self.throttled.note(now, &figures, self.sources.scopes.throttles());
        let mut current = self.signals(now, &figures, &scopes).activity();
        let silence = self.watchdog.observe(passed, current.activity, figures.answers, &figures.segments);
        if silence.stalled {
            current = CurrentActivity::new(Activity::Stalled, stall_text(silence.unexplained, &silence.hung, &figures));
        }
        self.clocks.add(current.activity, passed);
        self.change_to(now, current);
        self.note_progress(now, &figures);
        let mut totals = self.sources.counts_before.clone();
        totals.add(&figures.counts);
        let mut ranges = figures.measures.ranges.clone();
        ranges.add_all(&self.sources.ranges_before);
        PassView {
            at: now.wall,
            current: self.current.clone(),
            since: self.since,
            clocks: self.clocks.clone(),
            hung: silence.hung,
            pace: self.pace.clone(),
            segments_done: self.sources.segments_before + figures.segments_done,
            total_segments: self.sources.total_segments,
            totals,
            ranges,
            capacity: CapacityView {
                scopes,
                narrow: self.sources.scopes.all_narrow_status().into(),
                key_ranges: self.sources.scopes.key_range_status(),
                hot_keys: self.sources.scopes.hot_keys(),
                index_names: self.sources.scopes.index_names(),
            },
            allowance: self.sources.allowance.status(),
            last: self.last,
            recent: self.changes.recent(),
            slowdown: self.sources.pause.slowdown(),
            figures,
        }
    }

    fn note_progress(&mut self, now: Moment, figures: &Snapshot) {
        self.last.looked = now.monotonic;
        let seen = (figures.answers, figures.pages + figures.counts.scanned);
        if seen.0 != self.seen.0 {
            self.last.answer = now.wall;
        }
        if seen.1 != self.seen.1 {
            self.last.commit = now.wall;
        }
        self.seen = seen;
    }

    /// Takes the last reading, after the pass has ended.
    fn end(mut self) -> PassView {
        let view = self.look();
        if self.sources.stop.is_stopping() {
            return view;
        }
        let current = CurrentActivity::new(Activity::Done, "");
        self.change_to(self.looked, current.clone());
        PassView { since: self.since, recent: self.changes.recent(), current, ..view }
    }

    /// Returns the time for which this process ran since the last reading. Adds the rest of the time since then to the
    /// clock of [`Activity::Asleep`].
    fn time_awake(&mut self, now: Moment) -> Duration {
        let booted = self.sources.machine.boot_time();
        let by_boot = match (&self.booted, &booted) {
            (Some(before), Some(now)) if before.boot == now.boot => now.since.saturating_sub(before.since),
            _ => Duration::ZERO,
        };
        let passed = now.monotonic.saturating_duration_since(self.looked.monotonic).max(by_boot);
        self.looked = now;
        self.booted = booted;
        if passed < LOOK_EVERY + SLEPT {
            return passed;
        }
        let asleep = passed - LOOK_EVERY;
        self.clocks.add(Activity::Asleep, asleep);
        tracing::warn!(
            r#type = "activity",
            activity = Activity::Asleep.name(),
            "this process did not run for {}: its machine slept, or a signal had stopped the process",
            whole_duration(asleep)
        );
        LOOK_EVERY
    }

    fn signals(&self, now: Moment, figures: &Snapshot, scopes: &[ScopeStatus]) -> Signals {
        let sources = &self.sources;
        let slowed: Vec<String> = scopes.iter().filter(|s| s.rate < s.budget).map(scope_rate).collect();
        let slowed = if slowed.is_empty() { String::new() } else { format!("slowed: {}", slowed.join(", ")) };
        let waits_for_slowed = scopes.iter().any(|scope| scope.rate < scope.budget && scope.waiting > 0);
        let throttled = (self.throttled.recently(now) || figures.throttle_backoffs > 0 || waits_for_slowed)
            .then(|| self.throttled.text(now, figures.throttled, &slowed));
        let backing_off = (figures.backing_off > 0).then(|| {
            let why = figures.last_error.as_deref().unwrap_or("unknown error");
            format!("{}: {why}", count(figures.backing_off, "request", "requests"))
        });
        let confirming = "the lease and the flag to be read again";
        let slowdown = sources.pause.slowdown();
        let mut budgets = awaited_budgets(sources, scopes).join(", and for ");
        if let Some(slowdown) = slowdown.as_ref().filter(|_| !budgets.is_empty()) {
            budgets += &format!("; {slowdown}");
        }
        let waiting = if figures.confirming > 0 { confirming.to_owned() } else { budgets };
        let by_budget = || scopes.iter().find(|scope| scope.budget <= 0.0).map(no_budget);
        let paused = sources.pause.paused().or_else(by_budget);
        let at_limit = (figures.without_slot > 0).then(|| "at the in-flight limit, waiting for DynamoDB".to_owned());
        let slowed = Some(slowed).filter(|text| !text.is_empty());
        let note: Vec<String> = at_limit.into_iter().chain(slowed).chain(slowdown).collect();
        Signals {
            ended: false,
            stopping: sources.stop.reason().map(ToString::to_string),
            paused,
            window: sources.work_window.waiting(),
            throttled,
            backing_off,
            waiting: Some(waiting).filter(|text| !text.is_empty()),
            answered: figures.answers > 0,
            note: note.join("; "),
        }
    }

    /// Records and logs a change of the activity.
    fn change_to(&mut self, now: Moment, current: CurrentActivity) {
        if self.current.activity != current.activity {
            self.since = now.wall;
            self.changes.note(now, self.current.activity, &current);
        }
        self.current = current;
    }
}

fn stall_text(unexplained: Duration, hung: &[HungRequests], figures: &Snapshot) -> String {
    let mut text = format!("no request was answered for {}", whole_duration(unexplained));
    for hung in hung.iter().take(3) {
        text += &format!("; {hung}");
    }
    if hung.len() > 3 {
        text += &format!("; and {} more", count(hung.len() as u64 - 3, "segment", "segments"));
    }
    if let Some(error) = figures.last_error.as_ref().filter(|_| figures.backing_off > 0) {
        text += &format!("; last error: {error}");
    }
    text
}

/// Returns the tool's own budgets for which requests wait, from the narrowest scope to the widest. If some requests
/// wait for the table and some for an index, the list contains only the index. A request that waits for an index uses
/// no capacity of the table.
fn awaited_budgets(sources: &ProgressSources, scopes: &[ScopeStatus]) -> Vec<String> {
    let narrow = sources.scopes.narrow_status().iter().map(narrow_rate).collect::<Vec<_>>();
    let named = scopes.iter().rev().find(|scope| scope.waiting > 0).map(scope_rate);
    let budgets = narrow.into_iter().chain(named).map(|scope| format!("the budget of {scope}"));
    budgets.chain(sources.allowance.waiting().map(str::to_owned)).collect()
}

/// Returns the text for a scope and its rate. If the scope is slowed, the text also contains the scope's budget: `index
/// by-email, 50 of 200 WCU/s`.
fn scope_rate(scope: &ScopeStatus) -> String {
    let of = if scope.rate < scope.budget { format!(" of {}", scope.budget.round()) } else { String::new() };
    format!("{}, {}{of} {}", scope_name(scope), scope.rate.round(), unit(scope.access))
}

fn no_budget(scope: &ScopeStatus) -> String {
    format!("the budget of {} is 0", scope_name(scope))
}

fn scope_name(scope: &ScopeStatus) -> String {
    match (scope.is_index, scope.access) {
        (true, _) => format!("index {}", scope.name),
        (false, Access::Write) => "the table's writes".to_owned(),
        (false, Access::Read) => "the table's reads".to_owned(),
    }
}

/// Returns the text for all narrow scopes of one kind, with the budget of a single one of these scopes: `a key range,
/// up to 250 WCU/s (3 requests)`. The text does not identify the scopes, because there can be many of them, and because
/// a key is private data.
fn narrow_rate(narrow: &NarrowStatus) -> String {
    let NarrowStatus { kind, access, budget, waiting, .. } = narrow;
    let requests = count(*waiting as u64, "request", "requests");
    format!("a {kind}, up to {} {} ({requests})", budget.round(), unit(*access))
}

fn unit(access: Access) -> &'static str {
    match access {
        Access::Write => "WCU/s",
        Access::Read => "RCU/s",
    }
}

#[cfg(test)]
pub(super) mod tests;

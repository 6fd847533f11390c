//! Shows the progress line. On a terminal, the line is a bar. If stderr is not a terminal, a log line is written every
//! ten seconds instead.

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Progress, ProgressMeter, Snapshot, number};
use crate::engine::{Allowance, Job, WorkWindow};
use crate::figure::{count, whole_duration};
use crate::outside::escaped;
use crate::plan::Access;
use crate::ratelimit::{NarrowStatus, ScopeStatus, Scopes};
use crate::state::SegmentTotals;

/// The time between two log lines if stderr is not a terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The time between two redraws of the bar.
const DRAW_EVERY: Duration = Duration::from_millis(250);

/// The data that the progress line shows.
pub struct ProgressSources {
    /// The live figures.
    pub progress: Arc<Progress>,
    /// The token buckets of every scope.
    pub scopes: Arc<Scopes>,
    /// The daily hours in which the run may work, and whether the run waits for them.
    pub work_window: Arc<WorkWindow>,
    /// The capacity units that the run may still spend, and the number of items that it may still read.
    pub allowance: Arc<Allowance>,
    /// Number of items that were committed before this process began.
    pub items_before: u64,
    /// Number of segments that were done before this process began.
    pub segments_before: u64,
    /// Number of segments that the run has.
    pub total_segments: u64,
    /// Number of items in the table, according to DynamoDB.
    pub item_estimate: u64,
}

impl Job {
    /// Returns the data that a progress line shows for this job.
    pub fn progress_sources(&self, total_segments: u32, before: Option<&SegmentTotals>) -> ProgressSources {
        ProgressSources {
            progress: Arc::clone(&self.progress),
            work_window: Arc::clone(&self.work_window),
            allowance: Arc::clone(&self.allowance),
            scopes: Arc::clone(&self.scopes),
            items_before: before.map_or(0, |t| t.counts.scanned),
            segments_before: before.map_or(0, |t| u64::from(t.done)),
            total_segments: u64::from(total_segments),
            item_estimate: self.description.item_count,
        }
    }
}

fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Hides the bar while `f` writes to stderr.
pub fn suspend<T>(f: impl FnOnce() -> T) -> T {
    bars().suspend(f)
}

/// A visible progress line. The line disappears when it is cleared or dropped.
pub struct ProgressLine(AbortOnDropHandle<()>);

impl ProgressLine {
    /// Shows the progress line until [`ProgressLine::clear`] is called or this value is dropped.
    pub fn show(progress_sources: ProgressSources) -> ProgressLine {
        ProgressLine(AbortOnDropHandle::new(tokio::spawn(show(progress_sources))))
    }

    /// Removes the line from the screen. Waits until the line is gone, so that later output is not mixed with it.
    pub async fn clear(self) {
        self.0.abort();
        // The task was aborted, so it always returns a cancellation error.
        let _ = self.0.await;
    }
}

async fn show(progress_sources: ProgressSources) {
    let terminal = std::io::stderr().is_terminal();
    let bar = terminal.then(|| bars().add(bar(&progress_sources)));
    // When the task is dropped, this value removes the bar from the screen.
    let _cleared = ClearOnDrop(bar.clone());
    let start = Instant::now();
    let mut pace = ProgressMeter::new(progress_sources.items_before, progress_sources.item_estimate);
    let mut tick = tokio::time::interval(if terminal { DRAW_EVERY } else { LOG_EVERY });
    tick.tick().await;
    let mut throttled_before = 0;
    loop {
        tick.tick().await;
        let now = progress_sources.progress.snapshot();
        pace.note(start.elapsed(), now.counts.scanned, now.counts.spend().write);
        let figures = figures(&progress_sources, &pace, &now);
        let eta_and_state = eta_and_state(&progress_sources, &pace, &now, now.throttled > throttled_before);
        throttled_before = now.throttled;
        match &bar {
            Some(bar) => {
                bar.set_position(pace.done());
                bar.set_prefix(escaped(&eta_and_state).to_string());
                bar.set_message(escaped(&figures).to_string());
            }
            None => tracing::info!("{figures} · {eta_and_state}"),
        }
    }
}

fn bar(progress_sources: &ProgressSources) -> ProgressBar {
    let (bar, template) = if progress_sources.item_estimate > 0 {
        (ProgressBar::new(progress_sources.item_estimate), "{bar:16} {msg}\n{prefix}")
    } else {
        (ProgressBar::new_spinner(), "{spinner} {msg}\n{prefix}")
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

struct ClearOnDrop(Option<ProgressBar>);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Returns the figures of the progress line: items, rate, write units and segments.
fn figures(progress_sources: &ProgressSources, pace: &ProgressMeter, now: &Snapshot) -> String {
    let percent = pace.percent().map_or_else(String::new, |p| format!(" (~{p} %)"));
    let (items, units) = pace.rates().unwrap_or((0.0, 0.0));
    // A retry of failures scans no segments.
    let segments = match progress_sources.total_segments {
        0 => String::new(),
        all => format!(" · {}/{all} segments", progress_sources.segments_before + now.segments_done),
    };
    format!(
        "{}{percent} · {}/s · {} WCU/s{segments}",
        count(pace.done(), "item", "items"),
        number(items.round() as u64),
        number(units.round() as u64),
    )
}

/// Returns the text with the ETA and with the reason that currently limits the speed.
fn eta_and_state(
    progress_sources: &ProgressSources,
    pace: &ProgressMeter,
    now: &Snapshot,
    throttled_just_now: bool,
) -> String {
    let eta = pace.eta().map_or_else(|| "ETA unknown".to_owned(), |eta| format!("ETA ~{}", whole_duration(eta)));
    format!("{eta} · {}", state(progress_sources, now, throttled_just_now))
}

/// Returns the text that states what currently limits the run: a pause by an operator, throttling by DynamoDB, or
/// something that the run waits for. If nothing limits the run, the text is `running`.
fn state(progress_sources: &ProgressSources, now: &Snapshot, throttled_just_now: bool) -> String {
    let scopes = progress_sources.scopes.status();
    if scopes.iter().any(|scope| scope.budget <= 0.0) {
        return "paused".into();
    }
    if let Some(waiting) = progress_sources.work_window.waiting() {
        return waiting;
    }
    if now.confirming > 0 {
        return "waiting for the lease and the flag to be read again".into();
    }
    let slowed: Vec<String> = scopes.iter().filter(|s| s.rate < s.budget).map(scope_rate).collect();
    let slowed = if slowed.is_empty() { String::new() } else { format!(", slowed: {}", slowed.join(", ")) };
    let awaited_budgets = awaited_budgets(progress_sources, &scopes);
    if throttled_just_now {
        format!("throttled by DynamoDB ({} so far){slowed}", count(now.throttled, "request", "requests"))
    } else if now.backing_off > 0 {
        let why = now.last_error.as_deref().unwrap_or("throttled");
        format!("backing off, {}: {why}{slowed}", count(now.backing_off, "request", "requests"))
    } else if !awaited_budgets.is_empty() {
        format!("waiting for {}", awaited_budgets.join(", and for "))
    } else if now.without_slot > 0 {
        format!("at the in-flight limit; waiting for DynamoDB{slowed}")
    } else {
        format!("running{slowed}")
    }
}

/// Returns the tool's own budgets that requests are waiting for, from narrow to wide. If some requests wait for the
/// table and some for an index, the list contains only the index, because a request that waits for an index has not yet
/// taken capacity of the table.
fn awaited_budgets(progress_sources: &ProgressSources, scopes: &[ScopeStatus]) -> Vec<String> {
    let narrow = progress_sources.scopes.narrow_status().iter().map(narrow_rate).collect::<Vec<_>>();
    let named = scopes.iter().rev().find(|scope| scope.waiting > 0).map(scope_rate);
    let budgets = narrow.into_iter().chain(named).map(|scope| format!("the budget of {scope}"));
    budgets.chain(progress_sources.allowance.waiting().map(str::to_owned)).collect()
}

/// Returns the text for a scope and its rate. If the scope is slowed, the text also contains the scope's budget: `index
/// by-email 50 of 200 WCU/s`.
fn scope_rate(scope: &ScopeStatus) -> String {
    let (unit, what) = unit_and_noun(scope.access);
    let name = if scope.is_index { format!("index {}", scope.name) } else { format!("the table's {what}") };
    let of = if scope.rate < scope.budget { format!(" of {}", scope.budget.round()) } else { String::new() };
    format!("{name}, {}{of} {unit}", scope.rate.round())
}

/// Returns the text for all narrow scopes of one kind, with the budget of a single one of these scopes: `a key range,
/// up to 250 WCU/s (3 requests)`. The text does not identify the scopes, because there can be many of them, and because
/// a key is private data.
fn narrow_rate(narrow: &NarrowStatus) -> String {
    let NarrowStatus { kind, access, budget, waiting } = narrow;
    let requests = if *waiting == 1 { "request" } else { "requests" };
    format!("a {kind}, up to {} {} ({} {requests})", budget.round(), unit_and_noun(*access).0, number(*waiting as u64))
}

fn unit_and_noun(access: Access) -> (&'static str, &'static str) {
    match access {
        Access::Write => ("WCU/s", "writes"),
        Access::Read => ("RCU/s", "reads"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::WriteCost;
    use crate::clock;
    use crate::cost::UnitPrices;
    use crate::dynamodb::TableDescription;
    use crate::item::{PartitionHash, Value};
    use crate::plan::{PlanLimits, Prices};
    use crate::ratelimit::{Budget, Budgets, Feedback};

    /// Creates progress sources with four budgets, for the table, a key range, a partition key and an index. The
    /// budgets are in write units per second.
    fn progress_sources([table, range, key, index]: [f64; 4]) -> ProgressSources {
        let limits = PlanLimits {
            max_failures: 0,
            max_wcu: None,
            max_cost_usd: None,
            max_items: None,
            deadline: None,
            window: None,
        };
        let both = |units| Budget { write: units, read: units };
        let budgets = Budgets {
            table: both(table),
            per_key_range: both(range),
            per_partition_key: both(key),
            indexes: vec![Some(index)],
        };
        let prices = UnitPrices::for_table(&TableDescription::for_tests(), &Prices::default());
        ProgressSources {
            progress: Arc::default(),
            scopes: Scopes::new(&budgets, &["by-email".to_owned()], Feedback::default()),
            work_window: WorkWindow::new(&limits, clock::wall_clock()),
            allowance: Allowance::new(&limits, budgets.table, prices),
            items_before: 0,
            segments_before: 0,
            total_segments: 1,
            item_estimate: 0,
        }
    }

    /// Returns the state text while three writes wait. Each of them needs more capacity than is available. Two of the
    /// writes have the same partition key.
    async fn state_text(budgets: [f64; 4]) -> String {
        let progress_sources = progress_sources(budgets);
        let now = progress_sources.progress.snapshot();
        assert_eq!(state(&progress_sources, &now, false), "running");
        let range = progress_sources.scopes.key_range();
        let write = |key: &str| {
            let scopes = Arc::clone(&progress_sources.scopes);
            let range = Arc::clone(&range);
            let key = PartitionHash::from_value(&Value::S(key.to_owned()));
            tokio::spawn(async move {
                let cost = WriteCost { table: 60.0, indexes: vec![(0, 60.0)] };
                scopes.acquire_keys(Access::Write, &[(key, cost.table)]).await;
                scopes.acquire_narrow_write(&range, &cost).await;
                scopes.table(Access::Write).acquire(cost.table).await;
            })
        };
        let writes = ["P#1", "P#1", "P#2"].map(write);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let state_text = state(&progress_sources, &now, false);
        for write in writes {
            write.abort();
            let _ = write.await;
        }
        assert_eq!(state(&progress_sources, &now, false), "running", "no request may still be waiting");
        state_text
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_names_the_scope_but_no_key() {
        const WIDE: f64 = 1e6;
        for (budgets, what) in [
            ([WIDE, WIDE, WIDE, WIDE], "running"),
            ([10.0, WIDE, WIDE, WIDE], "waiting for the budget of the table's writes, 10 WCU/s"),
            ([10.0, WIDE, WIDE, 20.0], "waiting for the budget of index by-email, 20 WCU/s"),
            ([WIDE, 10.0, WIDE, WIDE], "waiting for the budget of a key range, up to 10 WCU/s (2 requests)"),
            ([WIDE, WIDE, 10.0, WIDE], "waiting for the budget of a partition key, up to 10 WCU/s (1 request)"),
            (
                [20.0, WIDE, 10.0, WIDE],
                "waiting for the budget of a partition key, up to 10 WCU/s (1 request), and for the budget of the \
                 table's writes, 20 WCU/s",
            ),
        ] {
            assert_eq!(state_text(budgets).await, what);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reads_wait_for_narrow_scopes_as_well() {
        for (range, key, kind) in [(10.0, 1e6, "key range"), (1e6, 10.0, "partition key")] {
            let progress_sources = progress_sources([1e6, range, key, 1e6]);
            let of = progress_sources.scopes.key_range();
            let key = Some(PartitionHash::from_value(&Value::S("P#1".to_owned())));
            progress_sources.scopes.read(&of, key, 60.0).await;
            let waits = tokio::time::timeout(Duration::from_secs(1), progress_sources.scopes.read(&of, key, 60.0));
            let looks = async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                state(&progress_sources, &progress_sources.progress.snapshot(), false)
            };
            let (waited, state_text) = tokio::join!(waits, looks);
            assert!(waited.is_err(), "the read must wait for capacity");
            assert_eq!(state_text, format!("waiting for the budget of a {kind}, up to 10 RCU/s (1 request)"));
        }
    }
}

//! Describes the table repeatedly during a run.
//!
//! Auto scaling, an operator or a deployment may change the table's capacity or its indexes, or replace the table. Some
//! budgets depend on the table's capacity: default budgets, and budgets that the plan states as a percentage. If the
//! capacity falls, these budgets are lowered immediately. If the capacity rises, these budgets are raised in steps. A
//! new index gets its own bucket, and is from then on included in the cost of writes. The run stops if the table is
//! gone or was replaced, or if it is neither ACTIVE nor UPDATING.
//!
//! A failed attempt to describe the table does not stop the run. If the table or the connection has a problem, the
//! run's own requests fail too, and their errors decide whether the run stops. No budget rises until the next
//! description. After a few failures in a row, the budgets that follow the table are halved. The next description
//! raises them again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::segments::{SegmentChoice, auto_segments};
use super::slowdown::{Slowdown, lowered};
use super::stored_budgets::{CurrentBudgets, StoredBudgets};
use crate::backoff::Backoff;
use crate::change::Indexes;
use crate::clock;
use crate::dynamodb::{Describe, Directive, FatalKind, TableDescription, TableError};
use crate::engine::stop::{StopReason, Stopper};
use crate::host;
use crate::item::Units;
use crate::machine::Machine;
use crate::plan::{Access, Capacity, ScanOptions};
use crate::ratelimit::{
    Bucket, Budget, BudgetTracker, Budgets, RAISE_STEPS, ResolvedBudgets, STALE_DESCRIPTION_FACTOR, Scope, ScopeBudget,
    Scopes, sink_reads,
};
use crate::state::{Events, RunId, StoreError, StoredFact};

/// The interval between two descriptions of the table. Auto scaling raises capacity after two minutes of high use and
/// lowers it after fifteen (developer guide, "DynamoDB metrics and dimensions"). So more frequent descriptions would
/// show hardly any additional changes. If a budget is too high until the next description, throttles slow the run down.
pub const DESCRIBE_INTERVAL: Duration = Duration::from_secs(120);

/// The interval between two descriptions is divided into this number of equal parts. A raise takes one step in each
/// part. So a raise ends well before the next description.
const TICKS: u32 = 2 * RAISE_STEPS;

/// After this number of failed attempts in a row, the budgets that follow the table are halved. By then there has been
/// no description for six minutes, and auto scaling may have removed capacity.
const FAILURES_BEFORE_HALVING: u32 = 3;

/// The interval divided by this number is the time limit of an attempt, including its retries.
const TIMEOUT_DIVISOR: u32 = 4;

/// The longest time for which an urgent job waits for an overdue description. An overdue description is read before a
/// pass sends its first request, because the table may have been replaced. DynamoDB usually answers within this time.
/// Even a throttled or hanging DescribeTable delays the job by no more than this time.
const URGENT_DESCRIBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The table to watch, and everything that depends on the table's description.
pub(crate) struct WatchedTable {
    /// The table.
    pub(crate) table: Arc<dyn Describe>,
    /// The table's description when the job began.
    pub(crate) description: TableDescription,
    /// The token buckets whose budgets are changed.
    pub(crate) scopes: Arc<Scopes>,
    /// The bucket for reads of single items from the sink. `None` if source and sink are the same table.
    pub(crate) sink_reads: Option<Arc<Bucket>>,
    /// The indexes that are included in the cost of writes.
    pub(crate) indexes: Indexes,
    /// The plan's `[capacity]`, from which the budgets are recalculated.
    pub(crate) capacity: Capacity,
    /// Whether `capacity` never changes, because an operator steers another table.
    pub(crate) has_fixed_capacity: bool,
    /// The plan's `[scan]`, which determines the number of lanes.
    pub(crate) scan: ScanOptions,
    /// Whether the job waits only briefly for an overdue description.
    pub(crate) urgent: bool,
    /// The job's clocks, and the source of the jitter in the backoff.
    pub(crate) machine: Machine,
    /// The watch of the table that gets derived items. `None` if it is the same table.
    pub(crate) other: Option<Arc<TableWatch>>,
}

/// Describes the table of one job repeatedly, and adjusts the job's budgets.
pub struct TableWatch {
    table: Arc<dyn Describe>,
    scan: ScanOptions,
    scopes: Arc<Scopes>,
    sink_reads: Option<Arc<Bucket>>,
    indexes: Indexes,
    interval: Duration,
    /// Whether the job waits only [`URGENT_DESCRIBE_TIMEOUT`] for an overdue description.
    urgent: bool,
    /// The job's clocks, and the source of the jitter in the backoff.
    machine: Machine,
    has_fixed_capacity: bool,
    /// The watch of the table that gets derived items.
    other: Option<Arc<TableWatch>>,
    state: Mutex<WatchState>,
    published: watch::Sender<CurrentBudgets>,
    /// The task that stores the budgets in the state file.
    storing_task: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// The last description of the table, and the budgets that follow from it.
struct WatchState {
    description: TableDescription,
    tracker: BudgetTracker,
    /// The time at which the next description is due.
    due: Instant,
    /// Number of failed attempts since the last description.
    failed: u32,
    /// The part of the budgets that the run may use; `None` if it may use the full budgets.
    slowdown: Option<Slowdown>,
}

impl WatchState {
    /// Returns the budgets that the run is currently allowed to use.
    fn budgets(&self) -> Vec<ScopeBudget> {
        lowered(self.tracker.now(), self.slowdown.as_ref())
    }
}

impl TableWatch {
    /// Creates a watch that starts with these budgets and with a description that was read at `described`.
    pub(crate) fn new(
        of: WatchedTable,
        resolved: &ResolvedBudgets,
        described: Instant,
        interval: Duration,
    ) -> Arc<TableWatch> {
        let WatchedTable { table, description, scopes, sink_reads, indexes, capacity, scan, urgent, machine, .. } = of;
        let (has_fixed_capacity, other) = (of.has_fixed_capacity, of.other);
        let tracker = BudgetTracker::new(capacity, resolved);
        let due = described + interval;
        Arc::new(TableWatch {
            table,
            scan,
            scopes,
            sink_reads,
            indexes,
            interval,
            urgent,
            machine,
            has_fixed_capacity,
            other,
            state: Mutex::new(WatchState { description, tracker, due, failed: 0, slowdown: None }),
            published: watch::Sender::new(CurrentBudgets {
                scopes: resolved.scopes.clone(),
                ..CurrentBudgets::default()
            }),
            storing_task: Mutex::default(),
        })
    }

    /// Returns a receiver of the current budgets. The receiver is notified when a budget or the number of failed
    /// descriptions changes.
    pub fn current_budgets(&self) -> watch::Receiver<CurrentBudgets> {
        self.published.subscribe()
    }

    /// Starts to store a run's budgets in its state file, so that `status` can show them. When this function returns,
    /// the current budgets are durable.
    pub(crate) async fn start_storing(&self, events: Arc<dyn Events>, run: RunId) -> Result<(), StoreError> {
        let mut current_budgets = self.current_budgets();
        let mut of_other =
            self.other.as_ref().map(|other| (other.state().description.name.clone(), other.current_budgets()));
        let machine = self.machine.clone();
        let text = move |mut now: CurrentBudgets, other: &mut Option<(String, watch::Receiver<CurrentBudgets>)>| {
            if let Some((name, budgets)) = other {
                now.add_other(name, &budgets.borrow_and_update());
            }
            StoredBudgets::new(run, clock::to_text(machine.now()), now).to_json().to_string()
        };
        let now = text(current_budgets.borrow_and_update().clone(), &mut of_other);
        events.set_fact(StoredFact::Budgets, now).await?;
        let storing = tokio::spawn(async move {
            while any_changed(&mut current_budgets, of_other.as_mut().map(|(_, budgets)| budgets)).await {
                let now = text(current_budgets.borrow_and_update().clone(), &mut of_other);
                if let Err(error) = events.set_fact(StoredFact::Budgets, now).await {
                    // If the store fails, the next commit fails too and stops the run. So a warning is enough here.
                    tracing::warn!("the budgets could not be stored for `status`: {error}");
                }
            }
        });
        *self.storing_task() = Some(AbortOnDropHandle::new(storing));
        Ok(())
    }

    /// Stops storing the budgets.
    pub(crate) fn stop_storing(&self) {
        self.storing_task().take();
    }

    /// Replaces the plan's `[capacity]`. If its read rate or its write rate has changed, the new budgets for that kind
    /// of access apply immediately, even to waiting requests. A budget above the table's capacity is lowered. All other
    /// budgets stay unchanged. Returns the current budgets.
    pub(crate) fn set_capacity(&self, capacity: &Capacity) -> Vec<ScopeBudget> {
        let mut state = self.state();
        if self.has_fixed_capacity {
            return state.budgets();
        }
        let description = state.description.clone();
        let is_stale = state.failed >= FAILURES_BEFORE_HALVING;
        state.tracker.steer(capacity, &description, is_stale);
        let budgets = state.budgets();
        drop(state);
        self.apply();
        budgets
    }

    /// Lowers all budgets as this slowdown states. `None` ends the slowdown. The change applies immediately, even to
    /// waiting requests. Budgets that change later are lowered in the same way.
    pub(crate) fn set_slowdown(&self, slowdown: Option<Slowdown>) {
        if let Some(other) = &self.other {
            other.set_slowdown(slowdown.clone());
        }
        self.state().slowdown = slowdown;
        self.apply();
    }

    /// Returns the number of segments and lanes that a run would use for this table if it began now. If the budgets
    /// have risen since the run began, more lanes are useful.
    pub(crate) fn lanes(&self) -> SegmentChoice {
        let state = self.state();
        auto_segments(&self.scan, &state.description, &budgets(&state.tracker)).within(host::max_connections())
    }

    /// Describes the table repeatedly until the handle is dropped. If a description is overdue, for example after a
    /// long wait between two passes, this function reads it before it returns. An urgent job waits only briefly for an
    /// overdue description.
    pub(crate) async fn watch(self: &Arc<Self>, stop: &Stopper) -> Vec<AbortOnDropHandle<()>> {
        let watches = [Some(self), self.other.as_ref()].into_iter().flatten();
        join_all(watches.map(|watch| watch.watch_table(stop))).await
    }

    async fn watch_table(self: &Arc<Self>, stop: &Stopper) -> AbortOnDropHandle<()> {
        let waits = if self.urgent { URGENT_DESCRIBE_TIMEOUT } else { Duration::MAX };
        // If the description does not arrive in time, the task below requests it again. The job sends its own requests
        // meanwhile.
        let _ = timeout(waits, self.describe_if_due(stop)).await;
        let me = Arc::clone(self);
        let stop = stop.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            me.describe_if_due(&stop).await;
            while !stop.is_stopping() {
                tokio::time::sleep(me.interval / TICKS).await;
                if me.state().tracker.raise() {
                    me.apply();
                }
                me.describe_if_due(&stop).await;
            }
        }))
    }

    async fn describe_if_due(&self, stop: &Stopper) {
        if Instant::now() < self.state().due {
            return;
        }
        // DescribeTable changes nothing, so a call can be abandoned without waiting for its answer.
        let Ok(described) = stop.unless_stopping(self.describe()).await else { return };
        self.state().due = Instant::now() + self.interval;
        match described {
            Ok(now) => {
                let why = replacement_reason(&self.state().description, &now);
                match why {
                    Some(why) => stop.stop(StopReason::TableChanged(why)),
                    None => self.follow(now),
                }
            }
            Err(TableError::Fatal { kind: kind @ FatalKind::TableMissing, message }) => {
                stop.stop(StopReason::Fatal { kind, message });
            }
            Err(error) => self.handle_failed_description(&error),
        }
    }

    /// Describes the table. Retries temporary errors for a quarter of the interval.
    async fn describe(&self) -> Result<TableDescription, TableError> {
        let deadline = Instant::now() + self.interval / TIMEOUT_DIVISOR;
        let backoff = Backoff { base: self.interval / 100, cap: self.interval / 10 };
        let mut failed = 0;
        loop {
            let attempt = tokio::time::timeout_at(deadline, self.table.describe()).await;
            let message = || "DescribeTable was not answered in time".to_owned();
            let described =
                attempt.unwrap_or_else(|_| Err(TableError::Transient { message: message(), ambiguous: false }));
            failed += 1;
            let again = Instant::now() + backoff.wait(failed, self.machine.random.fraction());
            match described {
                Err(error) if error.directive() == Directive::Retry && again < deadline => {
                    tokio::time::sleep_until(again).await;
                }
                answer => return answer,
            }
        }
    }

    fn follow(&self, now: TableDescription) {
        let mut state = self.state();
        if state.failed > 0 {
            tracing::info!("the table was described again after {} failed attempts", state.failed);
        }
        state.failed = 0;
        for budget in state.tracker.follow(&now) {
            tracing::info!("the budget of the {} follows the table: {budget}", of(&budget));
        }
        warn_of_replicas(&state.description, &now);
        self.lower_sink_reads(sink_reads(&now));
        let schemas: Vec<_> = now.indexes.iter().map(|index| index.schema.clone()).collect();
        state.description = now;
        drop(state);
        // Create the bucket of a new index before write costs include that index.
        self.apply();
        let (new, gone) = self.indexes.follow(&schemas);
        new.iter().for_each(|name| {
            tracing::info!("index {name} is new or has changed: the cost of writes includes it from now on")
        });
        gone.iter().for_each(|name| tracing::info!("index {name} is gone: the cost of writes no longer includes it"));
    }

    fn handle_failed_description(&self, error: &TableError) {
        let mut state = self.state();
        state.failed += 1;
        tracing::warn!(
            "the table could not be described (attempts failed in a row: {}), so no budget rises: {error}",
            state.failed
        );
        if state.failed == FAILURES_BEFORE_HALVING {
            state.tracker.slow_down();
            self.lower_sink_reads(sink_reads(&state.description).map(|units| units * STALE_DESCRIPTION_FACTOR));
            tracing::warn!("budgets that follow the table are halved until it can be described again");
        } else {
            state.tracker.stop_raises();
        }
        drop(state);
        self.apply();
    }

    /// If the sink is a separate table, lowers the budget for reads of single items from it. A run needs only a few of
    /// these reads, so the budget is never raised during a run.
    fn lower_sink_reads(&self, units: Option<Units>) {
        if let (Some(bucket), Some(units)) = (&self.sink_reads, units) {
            bucket.set_budget(units.min(bucket.budget()));
        }
    }

    /// Applies the budgets, and notifies receivers if they have changed.
    fn apply(&self) {
        let state = self.state();
        let scopes = state.budgets();
        let failed_descriptions = state.failed;
        self.published.send_if_modified(|published| {
            let mut changed = false;
            for budget in &scopes {
                let before = published
                    .scopes
                    .iter()
                    .find(|published| published.scope == budget.scope && published.access == budget.access);
                // Do not set a budget that has not changed. Otherwise a rate that is recovering from a throttle would
                // start over.
                if before.is_none_or(|before| before.units != budget.units) {
                    self.scopes.set_budget(&budget.scope, budget.access, budget.units);
                    changed = true;
                }
            }
            // The reason for a budget can change without its rate: somebody may set the plan's rate with `ctl rate`.
            let modified = published.scopes != scopes || published.failed_descriptions != failed_descriptions;
            let changes = published.changes + u64::from(changed);
            *published = CurrentBudgets { scopes, changes, failed_descriptions };
            modified
        });
    }

    fn storing_task(&self) -> MutexGuard<'_, Option<AbortOnDropHandle<()>>> {
        self.storing_task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, WatchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until one of the budgets changes. Returns false if those of the plan's table can change no more.
async fn any_changed(
    budgets: &mut watch::Receiver<CurrentBudgets>,
    other: Option<&mut watch::Receiver<CurrentBudgets>>,
) -> bool {
    let Some(other) = other else { return budgets.changed().await.is_ok() };
    tokio::select! {
        changed = budgets.changed() => changed.is_ok(),
        changed = other.changed() => changed.is_ok(),
    }
}

/// Returns the reason why a run must not continue on this table, or `None` if it may continue.
fn replacement_reason(before: &TableDescription, now: &TableDescription) -> Option<String> {
    table_replacement_reason(before, now).or_else(|| table_replacement_reason(before.written(), now.written()))
}

fn table_replacement_reason(before: &TableDescription, now: &TableDescription) -> Option<String> {
    let arn = &now.arn;
    if !matches!(now.status.as_str(), "ACTIVE" | "UPDATING") {
        return Some(format!("table {arn} is {}, neither ACTIVE nor UPDATING", now.status));
    }
    if let (Some(old), Some(new)) = (&before.id, &now.id)
        && old != new
    {
        return Some(format!("table {arn} was replaced by a table of the same name (TableId {old} is now {new})"));
    }
    (before.key != now.key).then(|| format!("table {arn} was replaced by a table of the same name with another key"))
}

/// Warns about new replicas, because the checks before the run could not report them.
fn warn_of_replicas(before: &TableDescription, now: &TableDescription) {
    let before = &before.written().features.replicas;
    let new = now.written().features.replicas.iter().filter(|replica| !before.contains(replica));
    new.for_each(|replica| {
        tracing::warn!(
            "the table has a new replica in {replica}: the last writer wins between regions, and each write is \
             charged in both regions"
        );
    });
}

fn of(budget: &ScopeBudget) -> String {
    let kind = match budget.access {
        Access::Write => "writes",
        Access::Read => "reads",
    };
    match &budget.scope {
        Scope::Table => format!("table's {kind}"),
        Scope::Index(name) => format!("index {name}"),
        narrow @ (Scope::KeyRange | Scope::PartitionKey) => format!("{kind} of one {narrow}"),
    }
}

/// Converts the current budgets to [`Budgets`]. Leaves out indexes, because they do not affect the number of lanes.
fn budgets(tracker: &BudgetTracker) -> Budgets {
    let of = |scope: &Scope, access| {
        let found = tracker.now().find(|budget| budget.scope == *scope && budget.access == access);
        found.map_or(0.0, |budget| budget.units)
    };
    let both = |scope: Scope| -> Budget {
        let units = |access| -> Units { of(&scope, access) };
        Budget { write: units(Access::Write), read: units(Access::Read) }
    };
    Budgets {
        table: both(Scope::Table),
        per_key_range: both(Scope::KeyRange),
        per_partition_key: both(Scope::PartitionKey),
        indexes: Vec::new(),
    }
}

#[cfg(test)]
mod tests;

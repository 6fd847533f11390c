//! Describes the table repeatedly during a run.
//!
//! Auto scaling, an operator or a deployment may change the table's capacity or its indexes, or replace the table. Some
//! budgets depend on the table's capacity: default budgets, and budgets that the plan states as a percentage. If the
//! capacity falls, these budgets are lowered immediately. If the capacity rises, these budgets are raised in steps. A
//! new index gets its own bucket, and the cost of writes then includes the index. The run stops if the table is gone,
//! was replaced, or is neither ACTIVE nor UPDATING.
//!
//! A failed attempt to describe the table does not stop the run. If the table or the connection has a problem, the
//! run's own requests fail too, and their errors decide whether the run stops. But no budget rises without a
//! description. After a few failures in a row, the budgets that follow the table are halved. The next description
//! raises these budgets again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::kept_budgets::{Followed, KeptBudgets};
use super::segments::{SegmentChoice, auto_segments};
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
    Bucket, Budget, Budgets, Following, RAISE_STEPS, Resolved, Scope, ScopeBudget, Scopes, WITHOUT_DESCRIPTION,
    sink_reads,
};
use crate::state::{Events, KeptFact, RunId, StoreError};

/// The interval between two descriptions of the table. Auto scaling raises capacity after two minutes of high use and
/// lowers it after fifteen (developer guide, "DynamoDB metrics and dimensions"), so more frequent descriptions would
/// show hardly any additional changes. Until the next description, throttles slow the run down if a budget is too high.
pub const LOOK_EVERY: Duration = Duration::from_secs(120);

/// The interval is divided into this number of equal parts. In each part, a raise takes one step. So a raise of a
/// budget ends well before the next description.
const TICKS: u32 = 2 * RAISE_STEPS;

/// After this number of failed attempts in a row, the budgets that follow the table are halved. By then there has been
/// no description for six minutes, and auto scaling may have removed capacity.
const FAILED_LOOKS: u32 = 3;

/// An attempt with all its retries may take up to the interval divided by this number.
const PATIENCE: u32 = 4;

/// The longest time for which an urgent job waits for an overdue description. An overdue description is read before the
/// first request of a pass, because the table may have been replaced. DynamoDB usually answers within this time. If
/// DescribeTable is throttled or hangs, the job is delayed by no more than this time.
const URGENT_FIRST_LOOK: Duration = Duration::from_secs(2);

/// The table to watch, and everything that depends on its description.
pub(crate) struct WatchedTable {
    /// The table.
    pub(crate) table: Arc<dyn Describe>,
    /// The table's description at the beginning.
    pub(crate) description: TableDescription,
    /// The token buckets whose budgets are changed.
    pub(crate) scopes: Arc<Scopes>,
    /// The bucket for reads of single items from the sink. `None` if source and sink are the same table.
    pub(crate) sink_reads: Option<Arc<Bucket>>,
    /// The indexes that the cost of writes includes.
    pub(crate) indexes: Indexes,
    /// The plan's `[capacity]`, from which the budgets are calculated again.
    pub(crate) capacity: Capacity,
    /// The plan's `[scan]`, which determines the number of lanes.
    pub(crate) scan: ScanOptions,
    /// Whether the job waits only briefly for an overdue description.
    pub(crate) urgent: bool,
    /// The clocks of the job, and the source of the jitter in the backoff.
    pub(crate) machine: Machine,
}

/// Describes the table of one job repeatedly, and adjusts the job's budgets.
pub struct TableWatch {
    table: Arc<dyn Describe>,
    scan: ScanOptions,
    scopes: Arc<Scopes>,
    sink_reads: Option<Arc<Bucket>>,
    indexes: Indexes,
    every: Duration,
    /// Whether the job waits only [`URGENT_FIRST_LOOK`] for an overdue description.
    urgent: bool,
    /// The clocks of the job, and the source of the jitter in the backoff.
    machine: Machine,
    state: Mutex<State>,
    told: watch::Sender<Followed>,
    /// The task that stores the budgets in the state file.
    keeper: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// The last description of the table, and the budgets that follow from it.
struct State {
    description: TableDescription,
    following: Following,
    /// The time of the next description.
    due: Instant,
    /// Number of failed attempts since the last description.
    failed: u32,
}

impl TableWatch {
    /// Creates a watch that starts with these budgets and with a description that was read at `described`.
    pub(crate) fn new(of: WatchedTable, resolved: &Resolved, described: Instant, every: Duration) -> Arc<TableWatch> {
        let WatchedTable { table, description, scopes, sink_reads, indexes, capacity, scan, urgent, machine } = of;
        let following = Following::new(capacity, resolved);
        let due = described + every;
        Arc::new(TableWatch {
            table,
            scan,
            scopes,
            sink_reads,
            indexes,
            every,
            urgent,
            machine,
            state: Mutex::new(State { description, following, due, failed: 0 }),
            told: watch::Sender::new(Followed { scopes: resolved.scopes.clone(), ..Followed::default() }),
            keeper: Mutex::default(),
        })
    }

    /// The current budgets. The receiver is notified when a budget changes.
    pub fn followed(&self) -> watch::Receiver<Followed> {
        self.told.subscribe()
    }

    /// From now on, stores the budgets of a run in its state file, so that `status` can show them. When this function
    /// returns, the current budgets are durable.
    pub(crate) async fn keep_in(&self, events: Arc<dyn Events>, run: RunId) -> Result<(), StoreError> {
        let mut followed = self.followed();
        let machine = self.machine.clone();
        let text = move |now: &Followed| {
            KeptBudgets::new(run, clock::to_text(machine.now()), now.clone()).to_json().to_string()
        };
        let now = text(&followed.borrow_and_update());
        events.keep(KeptFact::Budgets, now).await?;
        let keeping = tokio::spawn(async move {
            while followed.changed().await.is_ok() {
                let now = text(&followed.borrow_and_update());
                if let Err(error) = events.keep(KeptFact::Budgets, now).await {
                    // If the store fails, the next commit fails too and stops the run. So a warning is enough here.
                    tracing::warn!("the budgets could not be stored for `status`: {error}");
                }
            }
        });
        *self.keeper() = Some(AbortOnDropHandle::new(keeping));
        Ok(())
    }

    /// Stops storing the budgets.
    pub(crate) fn keep_no_longer(&self) {
        self.keeper().take();
    }

    /// The number of segments and lanes that a new run would use for this table now. If the budgets have risen, more
    /// lanes than at the beginning of the run are useful.
    pub(crate) fn lanes(&self) -> SegmentChoice {
        let state = self.state();
        auto_segments(&self.scan, &state.description, &budgets(&state.following)).within(host::connections())
    }

    /// Describes the table repeatedly until the handle is dropped. If a description is overdue, for example after a
    /// long wait between two passes, it is read before this function returns. An urgent job waits only briefly for it.
    pub(crate) async fn watch(self: &Arc<Self>, stop: &Stopper) -> AbortOnDropHandle<()> {
        let waits = if self.urgent { URGENT_FIRST_LOOK } else { Duration::MAX };
        // If the description does not arrive in time, the task below requests it again. The job sends its own requests
        // meanwhile.
        let _ = timeout(waits, self.look_if_due(stop)).await;
        let me = Arc::clone(self);
        let stop = stop.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            me.look_if_due(&stop).await;
            while !stop.is_stopping() {
                tokio::time::sleep(me.every / TICKS).await;
                if me.state().following.raise() {
                    me.apply();
                }
                me.look_if_due(&stop).await;
            }
        }))
    }

    async fn look_if_due(&self, stop: &Stopper) {
        if Instant::now() < self.state().due {
            return;
        }
        // DescribeTable changes nothing, so a call can be given up without waiting for its answer.
        let Ok(described) = stop.unless_stopping(self.describe()).await else { return };
        self.state().due = Instant::now() + self.every;
        match described {
            Ok(now) => {
                let why = replaced(&self.state().description, &now);
                match why {
                    Some(why) => stop.stop(StopReason::TableChanged(why)),
                    None => self.follow(now),
                }
            }
            Err(TableError::Fatal { kind: kind @ FatalKind::TableMissing, message }) => {
                stop.stop(StopReason::Fatal { kind, message });
            }
            Err(error) => self.go_without(&error),
        }
    }

    /// Describes the table. Retries temporary errors for a quarter of the interval.
    async fn describe(&self) -> Result<TableDescription, TableError> {
        let ends = Instant::now() + self.every / PATIENCE;
        let backoff = Backoff { base: self.every / 100, cap: self.every / 10 };
        let mut failed = 0;
        loop {
            let attempt = tokio::time::timeout_at(ends, self.table.describe()).await;
            let message = || "DescribeTable was not answered in time".to_owned();
            let described =
                attempt.unwrap_or_else(|_| Err(TableError::Transient { message: message(), ambiguous: false }));
            failed += 1;
            let again = Instant::now() + backoff.wait(failed, self.machine.random.fraction());
            match described {
                Err(error) if error.directive() == Directive::Retry && again < ends => {
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
        for budget in state.following.follow(&now) {
            tracing::info!("the budget of the {} follows the table: {budget}", of(&budget));
        }
        warn_of_replicas(&state.description, &now);
        self.lower_sink_reads(sink_reads(&now));
        let schemas: Vec<_> = now.indexes.iter().map(|index| index.schema.clone()).collect();
        state.description = now;
        drop(state);
        // A new index needs its bucket before the cost of a write includes it.
        self.apply();
        let (new, gone) = self.indexes.follow(&schemas);
        new.iter().for_each(|name| {
            tracing::info!("index {name} is new or has changed: the cost of writes includes it from now on")
        });
        gone.iter().for_each(|name| tracing::info!("index {name} is gone: the cost of writes no longer includes it"));
    }

    fn go_without(&self, error: &TableError) {
        let mut state = self.state();
        state.failed += 1;
        tracing::warn!(
            "the table could not be described (attempts failed in a row: {}), so no budget rises: {error}",
            state.failed
        );
        if state.failed == FAILED_LOOKS {
            state.following.slow_down();
            self.lower_sink_reads(sink_reads(&state.description).map(|units| units * WITHOUT_DESCRIPTION));
            tracing::warn!("budgets that follow the table are halved until it can be described again");
        } else {
            state.following.hold();
        }
        drop(state);
        self.apply();
    }

    /// Lowers the budget for reads of single items from a sink that is not the source. A run needs only a few of these
    /// reads, so their budget is never raised during a run.
    fn lower_sink_reads(&self, units: Option<Units>) {
        if let (Some(bucket), Some(units)) = (&self.sink_reads, units) {
            bucket.set_budget(units.min(bucket.budget()));
        }
    }

    /// Applies the budgets, and notifies receivers if they have changed.
    fn apply(&self) {
        let state = self.state();
        let scopes = state.following.now().cloned().collect::<Vec<_>>();
        let failed_looks = state.failed;
        self.told.send_if_modified(|told| {
            let mut changed = false;
            for budget in &scopes {
                let before = told.scopes.iter().find(|told| told.scope == budget.scope && told.access == budget.access);
                // Do not set a budget that has not changed. Otherwise a rate that is recovering from a throttle would
                // start over.
                if before.is_none_or(|before| before.units != budget.units) {
                    self.scopes.set_budget(&budget.scope, budget.access, budget.units);
                    changed = true;
                }
            }
            let modified = changed || told.failed_looks != failed_looks;
            let changes = told.changes + u64::from(changed);
            *told = Followed { scopes, changes, failed_looks };
            modified
        });
    }

    fn keeper(&self) -> MutexGuard<'_, Option<AbortOnDropHandle<()>>> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason why a run must not continue on this table. `None` if it may continue.
fn replaced(before: &TableDescription, now: &TableDescription) -> Option<String> {
    one_replaced(before, now).or_else(|| one_replaced(before.written(), now.written()))
}

fn one_replaced(before: &TableDescription, now: &TableDescription) -> Option<String> {
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

/// Warns about new replicas, because the operator did not know about them when the run started.
fn warn_of_replicas(before: &TableDescription, now: &TableDescription) {
    let before = &before.written().features.replicas;
    let new = now.written().features.replicas.iter().filter(|replica| !before.contains(replica));
    new.for_each(|replica| {
        tracing::warn!(
            "the table has a new replica in {replica}: between regions the last writer wins, and each write is charged \
             in both"
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

/// Converts the current budgets to [`Budgets`]. Indexes are left out, because they do not affect the number of lanes.
fn budgets(following: &Following) -> Budgets {
    let of = |scope: &Scope, access| {
        let found = following.now().find(|budget| budget.scope == *scope && budget.access == access);
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

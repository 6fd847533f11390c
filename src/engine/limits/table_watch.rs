//! Looks at the table's description again and again while a run lasts.
//!
//! Auto scaling, an operator or a deployment may change the table's capacity, its indexes, or replace the table. Budgets that
//! are a share of the table, and defaults, follow: down at once, up in steps. A new index gets its bucket, and writes are
//! priced for it. A table that is gone, replaced, or neither ACTIVE nor UPDATING stops the run.
//!
//! A look that fails stops nothing: requests meet the same trouble, and they decide. But nothing rises without a
//! description, and after a few failures in a row the budgets that follow the table go at half until one comes.

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
use crate::ratelimit::{Budget, Budgets, Following, RAISE_STEPS, Resolved, Scope, ScopeBudget, Scopes};
use crate::state::{Events, KeptFact, RunId, StoreError};

/// The table is described this often. Auto scaling raises capacity after two minutes of high use and lowers it after fifteen
/// (developer guide, "DynamoDB metrics and dimensions"), so looking more often would see little more; and until the next
/// look a budget that is too high is slowed by throttles.
pub const LOOK_EVERY: Duration = Duration::from_secs(120);

/// Steps of a raise are this part of a look's interval apart, so that a raise ends well before the next look.
const TICKS: u32 = 2 * RAISE_STEPS;

/// After this many failed looks in a row, budgets that follow the table are halved: six minutes without a description,
/// in which auto scaling may have taken away what it had added.
const FAILED_LOOKS: u32 = 3;

/// A look is tried for at most this part of its interval, retries included, before it counts as failed.
const PATIENCE: u32 = 4;

/// A look that is due comes before the first request of a pass: the table may have been replaced since it was described.
/// An urgent job waits at most this long for it. That is enough for an answer, and too short for throttles or a request
/// that hangs to delay the job.
const URGENT_FIRST_LOOK: Duration = Duration::from_secs(2);

/// The table that is watched, and what follows its description.
pub(crate) struct WatchedTable {
    /// The table.
    pub(crate) table: Arc<dyn Describe>,
    /// Its description at the beginning.
    pub(crate) description: TableDescription,
    /// The token buckets that the budgets are set in.
    pub(crate) scopes: Arc<Scopes>,
    /// The indexes that writes are priced for.
    pub(crate) indexes: Indexes,
    /// The plan's `[capacity]`, from which the budgets are resolved again.
    pub(crate) capacity: Capacity,
    /// The plan's `[scan]`, from which lanes follow.
    pub(crate) scan: ScanOptions,
    /// Whether the job waits only a short time for a look that is due.
    pub(crate) urgent: bool,
    /// The clocks of the job, and the jitter of its backoff.
    pub(crate) machine: Machine,
}

/// Follows the table of one job.
pub struct TableWatch {
    table: Arc<dyn Describe>,
    scan: ScanOptions,
    scopes: Arc<Scopes>,
    indexes: Indexes,
    every: Duration,
    /// Whether the job waits only [`URGENT_FIRST_LOOK`] for a look that is due.
    urgent: bool,
    /// The clocks of the job, and the jitter of its backoff.
    machine: Machine,
    state: Mutex<State>,
    told: watch::Sender<Followed>,
    /// Keeps the budgets in the state file.
    keeper: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// What is known of the table, and what follows from it.
struct State {
    description: TableDescription,
    following: Following,
    /// When the next look is due.
    due: Instant,
    /// Looks that have failed since the last description.
    failed: u32,
}

impl TableWatch {
    /// A watch that begins with these budgets, on a description of that moment.
    pub(crate) fn new(of: WatchedTable, resolved: &Resolved, described: Instant, every: Duration) -> Arc<TableWatch> {
        let WatchedTable { table, description, scopes, indexes, capacity, scan, urgent, machine } = of;
        let (following, due) = (Following::new(capacity, resolved), described + every);
        Arc::new(TableWatch {
            table,
            scan,
            scopes,
            indexes,
            every,
            urgent,
            machine,
            state: Mutex::new(State { description, following, due, failed: 0 }),
            told: watch::Sender::new(Followed { scopes: resolved.scopes.clone(), ..Followed::default() }),
            keeper: Mutex::default(),
        })
    }

    /// The budgets as they are now; the receiver is told of every change.
    pub fn followed(&self) -> watch::Receiver<Followed> {
        self.told.subscribe()
    }

    /// Keeps the budgets of a run in its state file from now on, for `status`. What they are now is durable when this returns.
    pub(crate) async fn keep_in(&self, events: Arc<dyn Events>, run: RunId) -> Result<(), StoreError> {
        let (mut followed, machine) = (self.followed(), self.machine.clone());
        let text = move |now: &Followed| {
            KeptBudgets::new(run, clock::to_text(machine.now()), now.clone()).to_json().to_string()
        };
        let now = text(&followed.borrow_and_update());
        events.keep(KeptFact::Budgets, now).await?;
        let keeping = tokio::spawn(async move {
            while followed.changed().await.is_ok() {
                let now = text(&followed.borrow_and_update());
                if let Err(error) = events.keep(KeptFact::Budgets, now).await {
                    // The next commit fails too, and stops the run.
                    tracing::warn!("the budgets could not be stored for `status`: {error}");
                }
            }
        });
        *self.keeper() = Some(AbortOnDropHandle::new(keeping));
        Ok(())
    }

    /// Keeps them no longer.
    pub(crate) fn keep_no_longer(&self) {
        self.keeper().take();
    }

    /// How a run of this table, as it is now, would be divided: more lanes may be worth it than when it began.
    pub(crate) fn lanes(&self) -> SegmentChoice {
        let state = self.state();
        auto_segments(&self.scan, &state.description, &budgets(&state.following)).within(host::connections())
    }

    /// Looks at once if a look is due, as after a long wait between two passes of a process. Then looks again and again
    /// until the handle is dropped. An urgent job waits only a short time for the first look.
    pub(crate) async fn watch(self: &Arc<Self>, stop: &Stopper) -> AbortOnDropHandle<()> {
        let waits = if self.urgent { URGENT_FIRST_LOOK } else { Duration::MAX };
        // A look that does not come in time is begun again beside the requests.
        let _ = timeout(waits, self.look_if_due(stop)).await;
        let (me, stop) = (Arc::clone(self), stop.clone());
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
        // A look changes nothing, so one that is given up is not waited for.
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

    /// One look; what is retried is tried again for a part of the interval.
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
        let schemas: Vec<_> = now.indexes.iter().map(|index| index.schema.clone()).collect();
        state.description = now;
        drop(state);
        // The bucket of a new index is there before a write is priced for it.
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
            "the table could not be described ({} times in a row), so no budget rises: {error}",
            state.failed
        );
        if state.failed == FAILED_LOOKS {
            state.following.slow_down();
            tracing::warn!("budgets that follow the table are halved until it can be described again");
        } else {
            state.following.hold();
        }
        drop(state);
        self.apply();
    }

    /// Puts the budgets into force, and tells of them if they have changed.
    fn apply(&self) {
        let state = self.state();
        let (scopes, failed_looks) = (state.following.now().cloned().collect::<Vec<_>>(), state.failed);
        self.told.send_if_modified(|told| {
            let mut changed = false;
            for budget in &scopes {
                let before = told.scopes.iter().find(|told| told.scope == budget.scope && told.access == budget.access);
                // What stays as it is stays untouched: a rate that recovers from a throttle would begin anew.
                if before.is_none_or(|before| before.units != budget.units) {
                    self.scopes.set_budget(&budget.scope, budget.access, budget.units);
                    changed = true;
                }
            }
            let (modified, changes) = (changed || told.failed_looks != failed_looks, told.changes + u64::from(changed));
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

/// Why a run does not go on with this table, if it does not.
fn replaced(before: &TableDescription, now: &TableDescription) -> Option<String> {
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

/// What the run was started for did not include them.
fn warn_of_replicas(before: &TableDescription, now: &TableDescription) {
    let new = now.features.replicas.iter().filter(|replica| !before.features.replicas.contains(replica));
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

/// The same as [`Budgets`]; indexes do not matter to the number of lanes.
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

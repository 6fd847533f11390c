//! One session of a run. A session starts from the run's checkpoints and lasts until the run ends or is stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::change::{Changes, Filter};
use crate::cost::UnitPrices;
use crate::cutover::Validity;
use crate::dynamodb::{Sink, Source, TableDescription, Tables};
use crate::engine::client::{OtherClient, RequestLimits, Requests};
use crate::engine::decisions::Decisions;
use crate::engine::limits::allowance::Allowance;
use crate::engine::limits::pause::PauseSwitch;
use crate::engine::limits::segments::{SegmentChoice, auto_segments};
use crate::engine::limits::table_watch::{DESCRIBE_INTERVAL, TableWatch, WatchedTable};
use crate::engine::limits::window::WorkWindow;
use crate::engine::other_table::OtherTableJob;
use crate::engine::progress::Progress;
use crate::engine::scan::read_settings::ReadSettings;
use crate::engine::scan::schedule::LocalScheduler;
use crate::engine::scan::survey::survey_item_limit;
use crate::engine::stop::{StopReason, Stopper};
use crate::engine::write::writer::Writer;
use crate::exec::{Pools, Programs};
use crate::host;
use crate::machine::Machine;
use crate::plan::{Plan, ScanOptions};
use crate::ratelimit::{Bucket, Budgets, Feedback, Scopes, index_reads, resolve_within, sink_reads};
use crate::state::{DeleteCounts, OpenWork, RunRecord, SegmentTotals, SpendRecord, State, StoreError};

/// The table, the plan, the limits and everything else that a session needs.
pub struct Job {
    /// The plan.
    pub plan: Plan,
    /// The plan's changes, prepared for this phase.
    pub changes: Arc<Changes>,
    /// The tables that the job reads from and writes to.
    pub tables: Tables,
    /// The table's description.
    pub description: TableDescription,
    /// The table that gets derived items. `None` if it is the table of their sources.
    pub other: Option<OtherTableJob>,
    /// The token buckets of every scope.
    pub scopes: Arc<Scopes>,
    /// The budget for reads of single items from the sink. `None` if the source and the sink are the same table.
    pub sink_reads: Option<Arc<Bucket>>,
    /// The budget for the scan of the global index through which the plan selects items. `None` if there is no such
    /// index.
    pub index_reads: Option<Arc<Bucket>>,
    /// The job's capacity budgets.
    pub budgets: Budgets,
    /// The capacity that the run may spend and the items that it may scan.
    pub allowance: Arc<Allowance>,
    /// The daily hours in which the run may work.
    pub work_window: Arc<WorkWindow>,
    /// Pauses the run.
    pub pause: PauseSwitch,
    /// Adjusts the budgets to the table's description during the run. `None` if the budgets do not come from the plan,
    /// because such budgets never change.
    pub table_watch: Option<Arc<TableWatch>>,
    /// The programs that compute values for the plan. `None` if the plan has no `exec`.
    pub programs: Option<Arc<dyn Programs>>,
    /// Stops the run.
    pub stop: Stopper,
    /// The run's clocks and source of randomness.
    pub machine: Machine,
    /// The live figures that the run updates.
    pub progress: Arc<Progress>,
    /// The conditions on the lease and on the flag. Both must be confirmed whenever the run sends a request.
    pub validities: Vec<Validity>,
    /// Whether the job waits only briefly if the table description is overdue before its first request.
    pub urgent: bool,
    /// The time at which the operator purged the journal. `None` if it was not purged.
    pub journal_purged_at: Option<String>,
}

/// The result of a session.
#[derive(Debug)]
pub struct SessionResult {
    /// The run record as it is currently stored.
    pub run: RunRecord,
    /// The status and the totals of the run's segments, over all sessions.
    pub totals: SegmentTotals,
    /// The run's spend, over all sessions.
    pub spend: SpendRecord,
    /// The number of requests of this session that DynamoDB throttled, by scope.
    pub throttles: Vec<(String, u64)>,
    /// The number of unusable replies in this session, by operation and flaw.
    pub unusable_replies: BTreeMap<String, u64>,
    /// The number of failures and diverged items that are still open.
    pub open: OpenWork,
    /// The number of items that the run has deleted, according to the journal. `None` if the plan deletes no items, if
    /// it keeps no journal, if the counts of the pages are already exact, or if the journal was purged.
    pub deletes: Option<DeleteCounts>,
    /// The reason why the session stopped before the run's end. `None` if the run is complete.
    pub stopped: Option<StopReason>,
}

impl Job {
    /// Creates a job within these budgets.
    pub fn new(
        plan: Plan,
        changes: Arc<Changes>,
        tables: Tables,
        description: TableDescription,
        budgets: &Budgets,
    ) -> Job {
        let indexes: Vec<String> = description.indexes.iter().map(|index| index.schema.name.clone()).collect();
        let other = OtherTableJob::new(&plan, &tables, &description);
        let prices = UnitPrices::for_table(&description, &plan.prices);
        let prices = other
            .as_ref()
            .map_or(prices, |other| prices.at_least(UnitPrices::for_table(&other.description, &plan.prices)));
        let sink_reads = sink_reads(&description);
        let index_reads = plan.index.as_ref().and_then(|index| index_reads(&description, &index.name));
        let machine = Machine::system();
        let programs = Pools::new(&plan.changes).map(|pools| Arc::new(pools) as Arc<dyn Programs>);
        let mut job = Job {
            programs,
            other,
            budgets: budgets.clone(),
            allowance: Allowance::new(&plan.limits, budgets.table, prices),
            work_window: WorkWindow::new(&plan.limits, machine.wall()),
            pause: PauseSwitch::default(),
            plan,
            changes,
            tables,
            description,
            scopes: Scopes::new(budgets, &indexes, Feedback::default()),
            sink_reads: sink_reads.map(|units| Arc::new(Bucket::new(units, Feedback::default()))),
            index_reads: index_reads.map(|units| Arc::new(Bucket::new(units, Feedback::default()))),
            stop: Stopper::default(),
            machine,
            progress: Arc::new(Progress::default()),
            validities: Vec::new(),
            urgent: false,
            journal_purged_at: None,
            table_watch: None,
        };
        job.watch_table(Instant::now(), DESCRIBE_INTERVAL);
        job
    }

    /// Replaces the job's clocks and its source of randomness. Call this method before [`Job::watch_table`].
    pub fn with_machine(self, machine: Machine) -> Job {
        Job { work_window: WorkWindow::new(&self.plan.limits, machine.wall()), machine, ..self }
    }

    /// Switches off the measurements that only displays need. Call this method before the job's first request.
    pub fn without_measures(self) -> Job {
        Job { progress: Arc::new(Progress::without_measures()), ..self }
    }

    /// Adjusts the budgets whenever the table's description changes. `described` is the time at which the current
    /// description was read. `interval` is the interval between two reads of the description.
    pub fn watch_table(&mut self, described: Instant, interval: Duration) {
        let from_plan = Some(resolve_within(&self.plan.capacity, &self.description));
        let from_plan = from_plan.filter(|resolved| resolved.budgets == self.budgets);
        self.table_watch = from_plan.map(|resolved| {
            let mut table = WatchedTable {
                table: Arc::new(self.tables.clone().without_derived()),
                description: self.description.clone(),
                scopes: Arc::clone(&self.scopes),
                sink_reads: self.sink_reads.clone(),
                indexes: self.changes.indexes().clone(),
                capacity: self.plan.capacity.clone(),
                // A rollback of derived items works on their own table, but an operator steers the plan's table.
                has_fixed_capacity: self.plan.other_table() == Some(&self.description.name),
                scan: self.plan.scan.clone(),
                urgent: self.urgent,
                machine: self.machine.clone(),
                other: None,
            };
            if let (Some(other), Some(changed)) = (&self.other, self.changes.other_table()) {
                table.other = Some(other.watch(changed.indexes(), &table, described, interval));
            }
            TableWatch::new(table, &resolved, described, interval)
        });
    }

    /// Allows the job to change items that are signed or encrypted on the client. Call this method only if the operator
    /// has explicitly accepted such changes.
    pub fn allow_encrypted_edits(&mut self) {
        self.changes = Arc::new(self.changes.as_ref().clone().with_encrypted_refused(false));
    }

    /// Returns the name of the table that gets the plan's derived items, if the job does not have this table.
    pub(crate) fn missing_table(&self) -> Option<&str> {
        // A rollback works on the other table itself.
        self.plan.other_table().filter(|name| self.other.is_none() && self.description.name != *name)
    }

    /// Creates the client that sends all requests of this job.
    pub fn requests(&self) -> Requests {
        let Tables { source, sink, .. } = self.tables.clone();
        let requests = self.requests_to(source, sink, &self.description, &self.scopes);
        let other = self.other.as_ref().map(|OtherTableJob { name, table, description, scopes, .. }| {
            // Only single items of the other table are read.
            let source = Arc::clone(&self.tables.source);
            let requests = self.requests_to(source, Arc::clone(&table.sink), description, scopes);
            let sources = self.description.written().name.as_str().into();
            OtherClient { name: Arc::clone(name), sources, requests: Box::new(requests.without_measured_units()) }
        });
        let requests = requests.with_sink_reads(self.sink_reads.clone()).with_other(other);
        requests.with_table_watch(self.table_watch.clone())
    }

    /// Creates a client for a table with this description, within its token buckets.
    fn requests_to(
        &self,
        source: Arc<dyn Source>,
        sink: Arc<dyn Sink>,
        description: &TableDescription,
        scopes: &Arc<Scopes>,
    ) -> Requests {
        let request_limits = RequestLimits {
            scopes: Arc::clone(scopes),
            allowance: Arc::clone(&self.allowance),
            work_window: Arc::clone(&self.work_window),
            pause: self.pause.clone(),
            retry: self.plan.retry.clone(),
            connections: host::max_connections(),
            random: self.machine.random.clone(),
        };
        let stop = self.stop.clone();
        let progress = Arc::clone(&self.progress);
        let requests = Requests::new(source, sink, description, request_limits, stop, progress);
        requests.with_validities(&self.validities)
    }

    /// Creates the client for the first pass of `run` and for its dry run. If the plan selects items through an index,
    /// the client reads the index. Every other pass reads the table, because an index may lack items.
    pub fn expand_requests(&self) -> Requests {
        match &self.tables.index {
            Some(index) => self.requests().with_index(Arc::clone(index), self.index_reads.clone()),
            None => self.requests(),
        }
    }

    /// Creates the client for the first pass of `run`. If DynamoDB can evaluate the plan's selection, a scan filter
    /// leaves out items that are not selected ([`scan_filter`]).
    pub(crate) fn first_pass_requests(&self) -> Requests {
        self.expand_requests().with_filter(scan_filter(&self.plan, &self.changes))
    }

    /// Returns the number of requests that DynamoDB throttled, by scope, on both tables if there are two.
    pub(crate) fn throttles(&self) -> Vec<(String, u64)> {
        let of_other = self.other.iter().flat_map(OtherTableJob::throttles);
        self.scopes.throttles().into_iter().chain(of_other).collect()
    }

    /// Returns the number of segments and lanes for a new run of this job. A resumed run keeps its segments.
    pub fn segments(&self) -> SegmentChoice {
        auto_segments(&self.plan.scan, &self.description, &self.budgets)
    }

    /// Returns whether this job's pass reads strongly consistently. This is necessary if the plan asks for it, if the
    /// plan lists keys, or if a later step relies on the pass's outcome "nothing to do". It is also necessary for the
    /// pass that records the baseline, because a stale page could lack a preexisting value. The tool would then assume
    /// that the migration wrote this value, and a rollback would remove it.
    pub fn reads_consistently(&self) -> bool {
        let reads_listed_items = self.plan.keys.is_some();
        let scan = &self.plan.scan;
        scan.consistent || reads_listed_items || self.changes.needs_consistent_reads() || self.changes.needs_baseline()
    }

    /// Returns the settings for a pass of this job that reads the table in this number of segments.
    pub fn read_settings(&self, total_segments: u32) -> ReadSettings {
        self.read_settings_with(total_segments, self.reads_consistently())
    }

    /// Returns the settings for a dry run or a sample of this job. Neither of them records a baseline. So they read
    /// strongly consistently only if the plan's `[scan]` or the changes require it.
    pub fn dry_run_read_settings(&self, total_segments: u32) -> ReadSettings {
        self.read_settings_with(total_segments, self.plan.scan.consistent || self.changes.needs_consistent_reads())
    }

    pub(crate) fn read_settings_with(&self, total_segments: u32, consistent: bool) -> ReadSettings {
        let table = &self.description;
        let choice = self.segments().within(host::max_connections());
        let scan = &ScanOptions { consistent, ..self.plan.scan.clone() };
        ReadSettings {
            active: choice.active,
            page_limit: scan.page_limit,
            consistent: scan.consistent,
            mean_item_bytes: table.size_bytes.checked_div(table.item_count),
            large: choice.large,
            // If `max_items` limits the run to a part of the table, a survey of all segments would not make the run
            // shorter.
            survey: match self.plan.limits.max_items {
                Some(_) => None,
                // In a file or an index, the first keys of a range say nothing about the rest of the range.
                None if self.plan.keys.is_some() || self.plan.index.is_some() => None,
                None => survey_item_limit(table, scan, total_segments, self.budgets.table),
            },
            ..ReadSettings::new(total_segments, &table.key.partition.name)
        }
    }

    /// Creates a writer that applies this job's changes for a run.
    pub fn writer(&self, store: &State, run: &RunRecord) -> Writer {
        Writer::new(self.decisions(), store.history(), run.session())
            .with_journal_purged(self.journal_purged_at.is_some())
    }

    /// Returns the decisions of this job: its changes and its programs.
    pub fn decisions(&self) -> Decisions {
        Decisions::new(Arc::clone(&self.changes), self.programs.clone())
    }

    /// Starts to count the run's spend. Spent capacity and scanned items of earlier sessions also count towards the
    /// limits.
    pub(crate) async fn begin_spend(&self, store: &State, run: &RunRecord) -> Result<(), StoreError> {
        let before = store.begin_spend(run.session(), self.allowance.prices()).await?;
        let scanned = store.totals(run.id).await?.counts.scanned;
        self.allowance.begin(store.spend_ledger(), run.session(), before, scanned);
        match &self.table_watch {
            Some(watch) => watch.start_storing(store.event_log(), run.id).await,
            None => Ok(()),
        }
    }

    /// Stops the run if a limit is used up or the deadline has passed. Call this method before anything is sent.
    pub(crate) fn stop_at_limits(&self) {
        if let Some(reason) = self.work_window.past_deadline().or_else(|| self.allowance.exhausted()) {
            self.stop.stop(reason);
        }
    }

    /// Makes the final spend durable, without unused reserved capacity. Call this method when no request is in flight.
    pub(crate) async fn end_spend(&self, store: &State, run: &RunRecord) -> Result<SpendRecord, StoreError> {
        self.table_watch.iter().for_each(|watch| watch.stop_storing());
        store.settle_spend(run.session(), self.allowance.end().await).await
    }
}

/// Returns the filter for the table scan of the first pass of `run`. Returns `None` if the pass needs every item, or if
/// DynamoDB cannot evaluate the plan's selection. `changes` are the changes of the expand pass.
///
/// A pass that records a baseline needs every item, because even an item that is not selected can have a target that
/// existed before the migration. Later passes of `run` and all other kinds of pass never filter, because later steps
/// rely on what they read. A dry run needs the sizes of all items for its forecast.
pub fn scan_filter(plan: &Plan, changes: &Changes) -> Option<Filter> {
    // A killed process may have written some parts of an item, and the item may have left the selection since then.
    let may_be_partly_written = plan.needs_split();
    let reads_all = plan.keys.is_some() || plan.index.is_some() || changes.needs_baseline() || may_be_partly_written;
    plan.select.as_ref().filter(|_| !reads_all)?.filter(changes.key())
}

/// Creates a scheduler for the unfinished segments.
pub(crate) async fn schedule(store: &State, run: &RunRecord) -> Result<LocalScheduler, StoreError> {
    let mut scheduler = LocalScheduler::new(run.total_segments).in_session(run.sessions);
    store.for_each_segment(run.id, &mut |segment, state| scheduler.restore(segment, state)).await?;
    Ok(scheduler)
}

//! Carries out a request: acquires permits, sends the request, retries with backoff, and decides when to give up.

mod admission;
mod derived;
mod failure;
mod lane;
mod read;
mod slots;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use admission::Admission;
pub(crate) use derived::OtherClient;
pub(crate) use failure::{Attempts, stop_reason};
pub use lane::Lane;

use crate::change::{Filter, GuardedWrite, WriteCost};
use crate::cutover::Validity;
use crate::dynamodb::retry::retry_request;
use crate::dynamodb::{Describe, Page, Sink, Source, TableDescription, TableError, WriteConsumption, WriteReply};
use crate::engine::in_flight::SegmentRequests;
use crate::engine::limits::allowance::Allowance;
use crate::engine::limits::pause::PauseSwitch;
use crate::engine::limits::table_watch::TableWatch;
use crate::engine::limits::window::WorkWindow;
use crate::engine::measure::Operation;
use crate::engine::progress::Progress;
use crate::engine::stop::Stopper;
use crate::item::{PartitionHash, Units, item_bytes};
use crate::machine::Random;
use crate::plan::{Access, Retry};
use crate::ratelimit::{Bucket, KeyRange, Scopes};
use crate::state::Spend;
use derived::ConsumedByTables;
use slots::Slots;

/// The limits that apply to a job's requests.
pub struct RequestLimits {
    /// The capacity that the requests may use per second.
    pub scopes: Arc<Scopes>,
    /// The capacity that the requests may use in total.
    pub allowance: Arc<Allowance>,
    /// The hours in which the requests may be sent.
    pub work_window: Arc<WorkWindow>,
    /// Pauses the requests.
    pub pause: PauseSwitch,
    /// How a failed request is retried, and for how long.
    pub retry: Retry,
    /// The number of connections that the requests may use at the same time.
    pub connections: usize,
    /// The source of the jitter in the backoff.
    pub random: Random,
}

/// A page of items.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadPage {
    /// The items. If the source yields only keys, the items with these keys.
    pub page: Page,
    /// Number of keys in the source that have no item. Always 0 if the source is a table.
    pub missing: u64,
    /// Number of items that DynamoDB left out of the page because the plan does not select them.
    pub left_out: u64,
}

impl ReadPage {
    /// Returns the number of scanned items. This number includes keys without an item, and items that DynamoDB left
    /// out.
    pub fn scanned(&self) -> u64 {
        self.page.items.len() as u64 + self.missing + self.left_out
    }
}

/// Sends every request of a run.
#[derive(Clone)]
pub struct Requests {
    source: Arc<dyn Source>,
    sink: Arc<dyn Sink>,
    /// The name of the partition key attribute.
    partition_key: Arc<str>,
    scopes: Arc<Scopes>,
    /// The token bucket for reads of single items from the sink. `None` if source and sink are the same table.
    sink_reads: Option<Arc<Bucket>>,
    /// The table that gets derived items. `None` if it is the table of their sources.
    other: Option<OtherClient>,
    /// Whether the measurements count the units of this client's reads.
    measures_units: bool,
    /// The token bucket for the scan of a global index. `None` if the source is not a global index.
    index_reads: Option<Arc<Bucket>>,
    /// The filter by which DynamoDB leaves items out of a scan's pages. `None` if no items are left out.
    filter: Option<Arc<Filter>>,
    /// Whether DynamoDB rejected the filter, so that the run reads without it.
    is_filter_rejected: Arc<AtomicBool>,
    range: Arc<KeyRange>,
    retry: Retry,
    random: Random,
    stop: Stopper,
    progress: Arc<Progress>,
    allowance: Arc<Allowance>,
    work_window: Arc<WorkWindow>,
    pause: PauseSwitch,
    /// The watch that describes the table repeatedly and adjusts the budgets. `None` if the budgets are fixed.
    table_watch: Option<Arc<TableWatch>>,
    /// The lease and the flag's value. Both must be valid whenever a request is sent.
    validities: Arc<[Validity]>,
    slots: Arc<Slots>,
    /// In a shared lane, a request holds this lock while it waits for a slot and for the table's units. So only one
    /// shared-lane request waits for them at a time, and requests of large lanes never wait behind a queue. The shared
    /// lanes use the capacity that the large lanes leave unused. This does not make the run longer, because the large
    /// lanes decide when the run ends.
    shared_lane_turn: Arc<Mutex<()>>,
    /// Whether the segment of these requests is in a large lane.
    large: Arc<AtomicBool>,
    /// Counts this segment's requests in flight.
    in_flight: Arc<SegmentRequests>,
    /// Whether DynamoDB has accepted any write, that is, applied the write or evaluated its condition.
    accepted: Arc<AtomicBool>,
}

/// The capacity that requests consumed, and the capacity that was estimated before they were sent. The consumption
/// comes from the replies. For a reply that does not report it, an assumed value is used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RequestSpend {
    pub(crate) read: Units,
    pub(crate) write: Units,
    /// Write units that are assumed for requests whose reply reports no consumption.
    pub(crate) assumed_write: Units,
    /// The write units that were estimated before the requests were sent. Includes only requests whose replies report
    /// their consumption.
    pub(crate) estimated_write: Units,
}

impl Requests {
    /// Creates a client for this source and this sink, within these limits. `description` is the table's description.
    /// The requests belong to no segment until [`Requests::in_segment`] is called.
    pub fn new(
        source: Arc<dyn Source>,
        sink: Arc<dyn Sink>,
        description: &TableDescription,
        request_limits: RequestLimits,
        stop: Stopper,
        progress: Arc<Progress>,
    ) -> Requests {
        let RequestLimits { scopes, allowance, work_window, pause, retry, connections, random } = request_limits;
        let slots = Arc::new(Slots::new(scopes.table(Access::Write).budget(), connections));
        let partition_key = description.key.partition.name.as_str().into();
        let range = scopes.key_range();
        let in_flight = progress.begin_segment(None);
        Requests {
            source,
            sink,
            partition_key,
            scopes,
            sink_reads: None,
            other: None,
            measures_units: true,
            index_reads: None,
            filter: None,
            is_filter_rejected: Arc::default(),
            range,
            retry,
            random,
            stop,
            progress,
            allowance,
            work_window,
            pause,
            table_watch: None,
            validities: Arc::default(),
            slots,
            shared_lane_turn: Arc::default(),
            large: Arc::default(),
            in_flight,
            accepted: Arc::default(),
        }
    }

    /// Returns the same client, except that it reads pages from this source instead of the table.
    pub(crate) fn with_source(self, source: Arc<dyn Source>) -> Requests {
        Requests { source, ..self }
    }

    /// Sets the budget for reads from the sink, for a job whose source and sink are different tables.
    pub(crate) fn with_sink_reads(self, sink_reads: Option<Arc<Bucket>>) -> Requests {
        Requests { sink_reads, ..self }
    }

    /// Reads this index instead of the source, within this budget. `None` as the budget means that the index has no
    /// capacity of its own.
    pub(crate) fn with_index(self, index: Arc<dyn Source>, index_reads: Option<Arc<Bucket>>) -> Requests {
        Requests { source: index, index_reads, ..self }
    }

    /// Lets DynamoDB leave out the items that this filter excludes.
    pub(crate) fn with_filter(self, filter: Option<Filter>) -> Requests {
        Requests { filter: filter.map(Arc::new), ..self }
    }

    /// Sets the watch, for a job whose budgets follow the table's description.
    pub(crate) fn with_table_watch(self, table_watch: Option<Arc<TableWatch>>) -> Requests {
        Requests { table_watch, ..self }
    }

    /// Returns the watch that describes the table repeatedly and adjusts the budgets, or `None` if the budgets are
    /// fixed.
    pub(crate) fn table_watch(&self) -> Option<&Arc<TableWatch>> {
        self.table_watch.as_ref()
    }

    /// Watches the clock and the table until the returned handles are dropped. The watching tasks can stop the run and
    /// change its budgets.
    pub(crate) async fn watch(&self) -> Vec<AbortOnDropHandle<()>> {
        let mut watchers = match &self.table_watch {
            Some(watch) => watch.watch(&self.stop).await,
            None => Vec::new(),
        };
        watchers.extend(self.work_window.watch(&self.stop));
        watchers
    }

    /// Returns the same client, but it sends requests only while all of `validities` are valid.
    pub fn with_validities(self, validities: &[Validity]) -> Requests {
        Requests { validities: validities.into(), ..self }
    }

    /// Returns the same client for a new segment, which gets its own key range.
    pub(crate) fn in_segment(&self, segment: u32) -> Requests {
        self.in_segment_with(segment, self.progress.begin_segment(Some(segment)))
    }

    /// Returns the same client for a new segment with this counter. Derived items go anywhere in the other table, but
    /// each segment has a key range there too, so that no segment uses the whole budget of that table.
    fn in_segment_with(&self, segment: u32, in_flight: Arc<SegmentRequests>) -> Requests {
        let other = self.other.as_ref().map(|OtherClient { name, sources, requests }| OtherClient {
            name: Arc::clone(name),
            sources: Arc::clone(sources),
            requests: Box::new(requests.in_segment_with(segment, Arc::clone(&in_flight))),
        });
        let range = self.scopes.segment_key_range(segment);
        Requests { range, large: Arc::default(), in_flight, other, ..self.clone() }
    }

    /// Tells the watchdog that the items of this page are now being processed.
    pub(crate) fn begin_page(&self, page: u64) {
        self.in_flight.begin_page(page);
    }

    /// Records that a request was answered, which counts as progress.
    fn answered(&self) {
        self.in_flight.answered();
        self.progress.answered();
    }

    /// Returns the kind of this segment's lane.
    pub(crate) fn lane(&self) -> Lane {
        if self.large.load(Ordering::Relaxed) { Lane::Large } else { Lane::Shared }
    }

    /// Moves the segment to this lane.
    pub(crate) fn move_to(&self, lane: Lane) {
        self.large.store(lane == Lane::Large, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) -> &Stopper {
        &self.stop
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(crate) fn allowance(&self) -> &Arc<Allowance> {
        &self.allowance
    }

    /// Returns whether DynamoDB has accepted a write of this job, in any segment. An accepted write proves that the
    /// plan is right for at least some items.
    pub(crate) fn has_accepted_write(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn max_chunk(&self) -> usize {
        self.sink.max_chunk().max(1)
    }

    /// Returns whether this write can be in the same request as other writes.
    pub(crate) fn can_share_request(&self, write: &GuardedWrite) -> bool {
        self.sink.can_share_request(write)
    }

    /// Returns whether one request with all these writes stays within the budgets.
    pub(crate) fn fit_burst<'w>(&self, writes: impl Iterator<Item = &'w GuardedWrite>) -> bool {
        self.scopes.fit_burst(&self.range, writes.map(|write| &write.cost))
    }

    /// Returns the capacity units per second that the segment may use now: the segment's rate or the table's rate,
    /// whichever is lower.
    pub(crate) fn rate(&self, access: Access) -> Units {
        self.table_rate(access).min(self.range.rate(access))
    }

    /// Returns the capacity units per second that the whole job is currently allowed to use.
    pub(crate) fn table_rate(&self, access: Access) -> Units {
        let own = self.scopes.table(access).rate();
        match (access, &self.other) {
            // Each write touches both tables.
            (Access::Write, Some(other)) => own.min(other.requests.table_rate(access)),
            (Access::Write | Access::Read, _) => own,
        }
    }

    /// Returns the hash of the changed item's partition key.
    pub(crate) fn hash_of(&self, write: &GuardedWrite) -> PartitionHash {
        write.key.partition_hash(&self.partition_key)
    }

    /// Sends an admitted chunk, without retries. After the chunk is sent, this function always waits for the replies.
    pub(crate) async fn write(
        &self,
        admission: Admission,
        chunk: &[&GuardedWrite],
    ) -> (Vec<Result<WriteReply, TableError>>, RequestSpend) {
        let Admission { mut grant, _slot, .. } = admission;
        grant.send();
        let in_flight = self.in_flight.send(Access::Write);
        let replies = self.progress.measures().timed(Operation::Update, self.sink.write(chunk)).await;
        drop(in_flight);
        if replies.iter().any(Result::is_ok) {
            self.answered();
        }
        let is_accepted = |reply: &Result<WriteReply, TableError>| match reply {
            Ok(WriteReply::Applied { .. } | WriteReply::ConditionFailed { .. } | WriteReply::DerivedExists { .. }) => {
                true
            }
            Ok(WriteReply::EndpointChecked { .. }) | Err(_) => false,
        };
        if replies.iter().any(is_accepted) {
            self.accepted.store(true, Ordering::Relaxed);
        }
        let mut spent = RequestSpend::default();
        for (write, reply) in chunk.iter().zip(&replies) {
            let consumed = match reply {
                Ok(WriteReply::Applied { consumed: Some(consumed), .. }) => self.reported(write, consumed, &mut spent),
                Ok(WriteReply::Applied { consumed: None, .. }) => ConsumedByTables::estimated(write),
                // A canceled transaction costs as much of the table's units as one that succeeds (developer guide,
                // "Amazon DynamoDB Transactions: How it works"). It writes nothing, so it uses no units of an index.
                Ok(WriteReply::ConditionFailed { .. } | WriteReply::DerivedExists { .. })
                    if write.derived_item().is_some() =>
                {
                    ConsumedByTables::estimated(write).without_indexes()
                }
                Ok(WriteReply::DerivedExists { .. }) => ConsumedByTables::estimated(write),
                // For a failed condition, DynamoDB charges the item's current size, but at least one unit. It charges
                // nothing for indexes.
                Ok(WriteReply::ConditionFailed { image } | WriteReply::EndpointChecked { image }) => {
                    let bytes = image.as_ref().map_or(0, item_bytes);
                    let own = WriteCost { table: crate::item::write_units(bytes, 0), indexes: Vec::new() };
                    ConsumedByTables { own, ..ConsumedByTables::default() }
                }
                Err(error) => {
                    self.handle_write_failure(write, error);
                    if error.is_ambiguous() { ConsumedByTables::estimated(write) } else { ConsumedByTables::default() }
                }
            };
            if !matches!(reply, Ok(WriteReply::Applied { consumed: Some(_), .. })) {
                spent.assumed_write += consumed.total();
            }
            if !matches!(reply, Err(TableError::Throttled { .. })) {
                self.reconcile(write, &consumed);
            }
        }
        grant.reconcile(Spend { write: spent.write + spent.assumed_write, read: 0.0 });
        (replies, spent)
    }

    /// Converts the consumption that a reply reports. Replaces each index name with the index's position in the list of
    /// known indexes.
    fn to_write_cost(&self, consumed: &WriteConsumption) -> WriteCost {
        let place = |name: &String| self.scopes.index_position(name);
        let indexes = consumed.indexes.iter().filter_map(|(name, units)| Some((place(name)?, *units))).collect();
        WriteCost { table: consumed.table, indexes }
    }
}

/// Describes the table before a job exists. Retries for up to `patience`. A job has its own source of randomness for
/// the jitter of its retries; this function creates a new one.
pub async fn describe(table: &dyn Describe, patience: Duration) -> Result<TableDescription, TableError> {
    retry_request(patience, &Random::from_entropy(), || table.describe()).await
}

#[cfg(test)]
mod tests;

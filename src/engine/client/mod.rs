//! One request until it is answered: permits before it is sent, retries with backoff, and the decision when to give up.

mod admission;
mod failure;
mod lane;
mod slots;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use admission::Admission;
pub(crate) use failure::{Attempts, stop_reason};
pub use lane::Lane;

use crate::change::{GuardedWrite, WriteCost};
use crate::cutover::Validity;
use crate::dynamodb::patience::ask;
use crate::dynamodb::{
    Consumed, Describe, Got, Page, PageRequest, Sink, Source, TableDescription, TableError, WriteReply,
};
use crate::engine::limits::allowance::Allowance;
use crate::engine::limits::table_watch::TableWatch;
use crate::engine::limits::window::WorkWindow;
use crate::engine::progress::Progress;
use crate::engine::stop::{Stopped, Stopper};
use crate::item::{Item, ItemKey, PartitionHash, Position, Units, read_units};
use crate::machine::Random;
use crate::plan::{Access, Retry};
use crate::ratelimit::{Bucket, KeyRange, Scopes};
use crate::state::Spend;
use failure::cost_of_failure;
use slots::Slots;

/// What bounds the requests of a job.
pub struct Bounds {
    /// The capacity they may take per second.
    pub scopes: Arc<Scopes>,
    /// The capacity they may take in total.
    pub allowance: Arc<Allowance>,
    /// When they may be sent.
    pub work_window: Arc<WorkWindow>,
    /// When and how long a failed request is retried.
    pub retry: Retry,
    /// Number of connections they may use at a time.
    pub connections: usize,
    /// Source of the jitter in their backoff.
    pub random: Random,
}

/// What every request of a run goes through.
#[derive(Clone)]
pub struct Requests {
    source: Arc<dyn Source>,
    sink: Arc<dyn Sink>,
    /// Name of the partition key attribute.
    partition_key: Arc<str>,
    scopes: Arc<Scopes>,
    /// What single items may be read at, if the sink is another table than the source.
    sink_reads: Option<Arc<Bucket>>,
    range: Arc<KeyRange>,
    retry: Retry,
    random: Random,
    stop: Stopper,
    progress: Arc<Progress>,
    allowance: Arc<Allowance>,
    work_window: Arc<WorkWindow>,
    /// Follows the table, if the job does.
    table_watch: Option<Arc<TableWatch>>,
    /// What must stay valid while anything is sent.
    validities: Arc<[Validity]>,
    slots: Arc<Slots>,
    /// A request in a shared lane holds this while it waits for a slot and the table. Only one at a time does so, which
    /// keeps large lanes from waiting behind a queue of them. Shared lanes get what the large lanes leave; the run does
    /// not end later because of that.
    behind_large: Arc<Mutex<()>>,
    /// Whether these requests' segment is in a large lane.
    large: Arc<AtomicBool>,
    /// Whether DynamoDB has accepted a write: it applied the write or evaluated its condition.
    accepted: Arc<AtomicBool>,
}

/// What a request consumed: what the reply stated, what is assumed if it stated nothing, and what was estimated before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) read: Units,
    pub(crate) write: Units,
    /// Assumed for requests whose reply states nothing.
    pub(crate) assumed_write: Units,
    /// The estimates, made before sending, of the requests whose replies state what they consumed.
    pub(crate) estimated_write: Units,
}

impl Requests {
    /// Requests to this source and this sink, within these bounds. `description` is the table's. They belong to no
    /// segment until [`Requests::in_segment`].
    pub fn new(
        source: Arc<dyn Source>,
        sink: Arc<dyn Sink>,
        description: &TableDescription,
        bounds: Bounds,
        stop: Stopper,
        progress: Arc<Progress>,
    ) -> Requests {
        let Bounds { scopes, allowance, work_window, retry, connections, random } = bounds;
        let slots = Arc::new(Slots::new(scopes.table(Access::Write).budget(), connections));
        let partition_key = description.key.partition.name.as_str().into();
        let range = scopes.key_range();
        Requests {
            source,
            sink,
            partition_key,
            scopes,
            sink_reads: None,
            range,
            retry,
            random,
            stop,
            progress,
            allowance,
            work_window,
            table_watch: None,
            validities: Arc::default(),
            slots,
            behind_large: Arc::default(),
            large: Arc::default(),
            accepted: Arc::default(),
        }
    }

    /// The same requests, with a budget for reads from a sink that is another table than the source.
    pub(crate) fn reading_sink_within(self, sink_reads: Option<Arc<Bucket>>) -> Requests {
        Requests { sink_reads, ..self }
    }

    /// The same requests for a job that follows its table.
    pub(crate) fn following(self, table_watch: Option<Arc<TableWatch>>) -> Requests {
        Requests { table_watch, ..self }
    }

    /// The watch over the table, if there is one.
    pub(crate) fn table_watch(&self) -> Option<&Arc<TableWatch>> {
        self.table_watch.as_ref()
    }

    /// Watches the clock and the table for as long as the handles live. The watches may stop the run and change its
    /// budgets.
    pub(crate) async fn watch(&self) -> [Option<AbortOnDropHandle<()>>; 2] {
        let of_table = match &self.table_watch {
            Some(watch) => Some(watch.watch(&self.stop).await),
            None => None,
        };
        [self.work_window.watch(&self.stop), of_table]
    }

    /// The same requests, sent only while all of these are valid.
    pub fn while_valid(self, validities: &[Validity]) -> Requests {
        Requests { validities: validities.into(), ..self }
    }

    /// The same requests, in a key range of their own.
    pub(crate) fn in_segment(&self) -> Requests {
        Requests { range: self.scopes.key_range(), large: Arc::default(), ..self.clone() }
    }

    /// The lane of these requests' segment.
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

    /// Whether DynamoDB has accepted a write of this job in any segment. If so, the plan is not wrong for every item.
    pub(crate) fn have_been_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn max_chunk(&self) -> usize {
        self.sink.max_chunk().max(1)
    }

    /// Capacity units per second that a segment may use now, limited by its own rate and by the table's.
    pub(crate) fn rate(&self, access: Access) -> Units {
        self.scopes.table(access).rate().min(self.range.rate(access))
    }

    /// The table's rate alone.
    pub(crate) fn table_rate(&self, access: Access) -> Units {
        self.scopes.table(access).rate()
    }

    /// Reads one page. `estimate` is its probable cost.
    pub(crate) async fn read_page(&self, request: &PageRequest, estimate: Units) -> Result<Page, Stopped> {
        // A page begins among the items of its start position's partition key. That key is charged only its share.
        let key = request.start.as_ref().map(|Position::Key(key)| key.partition_hash(&self.partition_key));
        let share = |page: &Page| {
            let of_key = |item: &&Item| item.get(&*self.partition_key).map(PartitionHash::of) == key;
            page.items.iter().filter(of_key).count() as f64 / page.items.len().max(1) as f64
        };
        let consumed = |page: &Page| page.units.map(|units| (units, units * share(page)));
        self.read(key, estimate, None, || self.source.read_page(request), consumed).await
    }

    /// Reads one item of the sink, strongly consistently. If that is another table, the read waits for both budgets: what the
    /// narrower scopes may take is known for the source only.
    pub(crate) async fn get(&self, key: &ItemKey) -> Result<Got, Stopped> {
        let hash = key.partition_hash(&self.partition_key);
        let consumed = |got: &Got| got.units.map(|units| (units, units));
        let sink = self.sink_reads.as_deref();
        self.read(Some(hash), read_units(4096, true), sink, || self.sink.get(key), consumed).await
    }

    async fn read<'a, T>(
        &'a self,
        key: Option<PartitionHash>,
        estimate: Units,
        sink: Option<&Bucket>,
        send: impl Fn() -> BoxFuture<'a, Result<T, TableError>>,
        consumed: impl Fn(&T) -> Option<(Units, Units)>,
    ) -> Result<T, Stopped> {
        let mut attempts = Attempts::default();
        loop {
            let since = Instant::now();
            let opening = self.pass().await?;
            let mut grant = self.allowance.read(estimate, &self.stop).await?;
            self.stop.unless_stopping(self.read_permits(key, estimate, sink)).await?;
            let closed_meanwhile = self.pass().await? != opening;
            attempts.waited(since.elapsed());
            if closed_meanwhile {
                // Start over, for the reason given at [`Requests::admit`].
                continue;
            }
            grant.send();
            let sent = send().await;
            let (units, of_key) = match &sent {
                Ok(reply) => consumed(reply).unwrap_or((estimate, estimate)),
                Err(error) => (cost_of_failure(error, estimate), cost_of_failure(error, estimate)),
            };
            if !matches!(sent, Err(TableError::Throttled { .. })) {
                self.scopes.settle_read(&self.range, key, estimate, units, of_key);
                sink.iter().for_each(|sink| sink.settle(estimate, units));
            }
            grant.settle(Spend { write: 0.0, read: units });
            match sent {
                Ok(reply) => return Ok(reply),
                Err(error) => {
                    self.note_read(key, sink, &error);
                    self.after_failure(&error, &mut attempts).await?;
                }
            }
        }
    }

    async fn read_permits(&self, key: Option<PartitionHash>, units: Units, sink: Option<&Bucket>) {
        self.scopes.read(&self.range, key, units).await;
        if let Some(sink) = sink {
            sink.acquire(units).await;
        }
    }

    /// Lets the scopes learn from a failed read. A throttle of another sink says nothing about the source.
    fn note_read(&self, key: Option<PartitionHash>, sink: Option<&Bucket>, error: &TableError) {
        if let (TableError::Throttled { .. }, Some(sink)) = (error, sink) {
            sink.throttled();
        } else {
            self.note(Access::Read, key, error);
        }
    }

    /// The hash of the partition key that a write goes to.
    pub(crate) fn hash_of(&self, write: &GuardedWrite) -> PartitionHash {
        write.key.partition_hash(&self.partition_key)
    }

    /// Sends an admitted chunk once. Once it is in flight, this always waits for its replies.
    pub(crate) async fn write(
        &self,
        admission: Admission,
        chunk: &[&GuardedWrite],
    ) -> (Vec<Result<WriteReply, TableError>>, Spent) {
        let Admission { mut grant, _slot, .. } = admission;
        grant.send();
        let replies = self.sink.write(chunk).await;
        if replies.iter().any(Result::is_ok) {
            self.accepted.store(true, Ordering::Relaxed);
        }
        let mut spent = Spent::default();
        for (write, reply) in chunk.iter().zip(&replies) {
            let key = self.hash_of(write);
            let consumed = match reply {
                Ok(WriteReply::Applied { consumed: Some(consumed) }) => {
                    spent.write += consumed.total();
                    // Compare with the estimate only what a reply states.
                    spent.estimated_write += write.cost.total();
                    self.by_place(consumed)
                }
                Ok(WriteReply::Applied { consumed: None }) => write.cost.clone(),
                // A failed condition is charged by the item's current size, at least one unit, and touches no index.
                Ok(WriteReply::ConditionFailed { image }) => {
                    let bytes = image.as_ref().map_or(0, crate::item::item_bytes);
                    WriteCost { table: crate::item::write_units(bytes, 0), indexes: Vec::new() }
                }
                Err(error) => {
                    self.note(Access::Write, Some(key), error);
                    if error.is_ambiguous() { write.cost.clone() } else { WriteCost::default() }
                }
            };
            if !matches!(reply, Ok(WriteReply::Applied { consumed: Some(_) })) {
                spent.assumed_write += consumed.total();
            }
            if !matches!(reply, Err(TableError::Throttled { .. })) {
                self.scopes.settle_write(&self.range, key, &write.cost, &consumed);
            }
        }
        grant.settle(Spend { write: spent.write + spent.assumed_write, read: 0.0 });
        (replies, spent)
    }

    /// Converts what a reply states by index name to index places.
    fn by_place(&self, consumed: &Consumed) -> WriteCost {
        let place = |name: &String| self.scopes.index_place(name);
        let indexes = consumed.indexes.iter().filter_map(|(name, units)| Some((place(name)?, *units))).collect();
        WriteCost { table: consumed.table, indexes }
    }
}

/// Describes the table before anything runs, with retries for up to `patience`. No job exists yet whose machine could
/// supply the jitter of the retries, so it uses a random sequence of its own.
pub async fn describe(table: &dyn Describe, patience: Duration) -> Result<TableDescription, TableError> {
    ask(patience, &Random::of_system(), || table.describe()).await
}

#[cfg(test)]
mod tests;

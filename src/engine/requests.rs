//! One request until it is answered: permits before, retry with backoff behind, and the decision when to give up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::allowance::{Allowance, Grant};
use super::gate::{Gate, Opening};
use super::lanes::Lane;
use super::slots::Slots;
use super::stop::{StopReason, Stopped, Stopper};
use super::table_watch::TableWatch;
use crate::change::{GuardedWrite, WriteCost};
use crate::checkpoint::Spend;
use crate::cutover::Validity;
use crate::item::{Item, ItemKey, PartitionHash, Units, read_units};
use crate::plan::{Access, Retry};
use crate::table::patience::ask;
use crate::table::{Consumed, Directive, Got, Page, ScanRequest, Table, TableDescription, TableError, WriteReply};
use crate::telemetry::Progress;
use crate::throttle::backoff::Backoff;
use crate::throttle::{KeyRange, Scopes};

/// What bounds the requests of a job.
pub struct Bounds {
    /// What they may take per second.
    pub scopes: Arc<Scopes>,
    /// What they may take in all.
    pub allowance: Arc<Allowance>,
    /// When they may be sent.
    pub gate: Arc<Gate>,
    /// How often one is sent again.
    pub retry: Retry,
    /// How many connections they may use at a time.
    pub connections: usize,
}

/// What every request of a run goes through.
#[derive(Clone)]
pub struct Requests {
    table: Arc<dyn Table>,
    /// Name of the attribute that is the partition key.
    partition_key: Arc<str>,
    scopes: Arc<Scopes>,
    range: Arc<KeyRange>,
    retry: Retry,
    stop: Stopper,
    progress: Arc<Progress>,
    allowance: Arc<Allowance>,
    gate: Arc<Gate>,
    /// Follows the table, where the job does.
    table_watch: Option<Arc<TableWatch>>,
    /// What must hold while anything is sent.
    validities: Arc<[Validity]>,
    slots: Arc<Slots>,
    /// Of the shared lanes, who holds this waits for a slot and the table: one at a time, so that a large lane never stands
    /// in a queue of theirs. They get what the large lanes leave, and the run ends no later for it.
    behind_large: Arc<Mutex<()>>,
    /// Whether its segment is in a large lane.
    large: Arc<AtomicBool>,
    /// Whether DynamoDB has accepted a write: it was applied, or its condition was evaluated.
    accepted: Arc<AtomicBool>,
}

/// How often a request was tried in vain, since when, and how much of that time we made it wait ourselves.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    pub(super) failed: u32,
    since: Option<Instant>,
    waited: Duration,
}

impl Attempts {
    /// Notes time that the request spent waiting for our own permits: no sign that it cannot succeed.
    pub(super) fn waited(&mut self, time: Duration) {
        if self.since.is_some() {
            self.waited += time;
        }
    }

    /// For how long the request has been failing.
    fn failing(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed().saturating_sub(self.waited))
    }
}

/// Leave to send a chunk of writes: permits of every scope that they touch, and a slot.
pub(super) struct Admission {
    grant: Grant,
    _slot: OwnedSemaphorePermit,
    /// How long it was waited for.
    pub(super) waited: Duration,
}

/// A time in which requests were let through without a break: permits are for the one in which they were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Passage {
    opening: Opening,
    holds: u64,
}

/// What a request consumed: what the server said, what is assumed where it said nothing, and what was estimated before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) read: Units,
    pub(super) write: Units,
    /// Of requests whose reply names nothing.
    pub(super) assumed_write: Units,
    /// What was estimated, before sending them, for the requests whose replies state what they consumed.
    pub(super) estimated_write: Units,
}

impl Requests {
    /// Requests to this table, within these bounds. They are of no segment until [`Requests::in_segment`].
    pub fn new(
        table: Arc<dyn Table>,
        description: &TableDescription,
        bounds: Bounds,
        stop: Stopper,
        progress: Arc<Progress>,
    ) -> Requests {
        let Bounds { scopes, allowance, gate, retry, connections } = bounds;
        let slots = Arc::new(Slots::new(scopes.table(Access::Write).budget(), connections));
        let partition_key = description.key.partition.name.as_str().into();
        let range = scopes.key_range();
        Requests {
            table,
            partition_key,
            scopes,
            range,
            retry,
            stop,
            progress,
            allowance,
            gate,
            table_watch: None,
            validities: Arc::default(),
            slots,
            behind_large: Arc::default(),
            large: Arc::default(),
            accepted: Arc::default(),
        }
    }

    /// The same, of a job that follows its table.
    pub(super) fn following(self, table_watch: Option<Arc<TableWatch>>) -> Requests {
        Requests { table_watch, ..self }
    }

    /// The watch over their table, if there is one.
    pub(super) fn table_watch(&self) -> Option<&Arc<TableWatch>> {
        self.table_watch.as_ref()
    }

    /// Watches the clock and the table for as long as the handles live: they may stop the run, and change its budgets.
    pub(super) async fn watch(&self) -> [Option<AbortOnDropHandle<()>>; 2] {
        let of_table = match &self.table_watch {
            Some(watch) => Some(watch.watch(&self.stop).await),
            None => None,
        };
        [self.gate.watch(&self.stop), of_table]
    }

    /// The same, sent only while all of these hold.
    pub fn while_valid(self, validities: &[Validity]) -> Requests {
        Requests { validities: validities.into(), ..self }
    }

    /// The same, in a key range of their own.
    pub(super) fn in_segment(&self) -> Requests {
        Requests { range: self.scopes.key_range(), large: Arc::default(), ..self.clone() }
    }

    /// The lane that their segment is in.
    pub(super) fn lane(&self) -> Lane {
        if self.large.load(Ordering::Relaxed) { Lane::Large } else { Lane::Shared }
    }

    /// Their segment is in this lane from now on.
    pub(super) fn move_to(&self, lane: Lane) {
        self.large.store(lane == Lane::Large, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) -> &Stopper {
        &self.stop
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) fn allowance(&self) -> &Arc<Allowance> {
        &self.allowance
    }

    /// Whether DynamoDB has accepted a write of this job, of whatever segment: the plan is not wrong for every item.
    pub(super) fn have_been_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(super) fn max_chunk(&self) -> usize {
        self.table.max_chunk().max(1)
    }

    /// Capacity units per second that a segment may use now, of its own and of the table's.
    pub(super) fn rate(&self, access: Access) -> Units {
        self.scopes.table(access).rate().min(self.range.rate(access))
    }

    /// The table's rate alone.
    pub(super) fn table_rate(&self, access: Access) -> Units {
        self.scopes.table(access).rate()
    }

    /// Reads one page; `estimate` is what it will probably cost.
    pub(super) async fn scan(&self, request: &ScanRequest, estimate: Units) -> Result<Page, Stopped> {
        // A page begins among the items of its start key's partition key.
        let key = request.start_key.as_ref().map(|key| key.partition_hash(&self.partition_key));
        let share = |page: &Page| {
            let of_key = |item: &&Item| item.get(&*self.partition_key).map(PartitionHash::of) == key;
            page.items.iter().filter(of_key).count() as f64 / page.items.len().max(1) as f64
        };
        let consumed = |page: &Page| page.units.map(|units| (units, units * share(page)));
        self.read(key, estimate, || self.table.scan(request), consumed).await
    }

    /// Reads one item, strongly consistently.
    pub(crate) async fn get(&self, key: &ItemKey) -> Result<Got, Stopped> {
        let hash = key.partition_hash(&self.partition_key);
        let consumed = |got: &Got| got.units.map(|units| (units, units));
        self.read(Some(hash), read_units(4096, true), || self.table.get(key), consumed).await
    }

    async fn read<'a, T>(
        &'a self,
        key: Option<PartitionHash>,
        estimate: Units,
        send: impl Fn() -> BoxFuture<'a, Result<T, TableError>>,
        consumed: impl Fn(&T) -> Option<(Units, Units)>,
    ) -> Result<T, Stopped> {
        let mut attempts = Attempts::default();
        loop {
            let since = Instant::now();
            let opening = self.pass().await?;
            let mut grant = self.allowance.read(estimate, &self.stop).await?;
            self.stop.unless_stopping(self.scopes.read(&self.range, key, estimate)).await?;
            let closed_meanwhile = self.pass().await? != opening;
            attempts.waited(since.elapsed());
            if closed_meanwhile {
                // As in [`Requests::admit`].
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
            }
            grant.settle(Spend { write: 0.0, read: units });
            match sent {
                Ok(reply) => return Ok(reply),
                Err(error) => {
                    self.note(Access::Read, key, &error);
                    self.after_failure(&error, &mut attempts).await?;
                }
            }
        }
    }

    /// The hash of the partition key that a write goes to.
    pub(super) fn hash_of(&self, write: &GuardedWrite) -> PartitionHash {
        write.key.partition_hash(&self.partition_key)
    }

    /// Takes the partition key's units of a write if they are there now; false, and nothing is taken, where they would have
    /// to be waited for, or where items of the key are waiting already.
    pub(super) fn try_key(&self, write: &GuardedWrite) -> bool {
        let key = self.hash_of(write);
        !self.range.is_set_aside(key) && self.scopes.try_key(Access::Write, key, write.cost.table)
    }

    /// The turn of a partition key whose items are set aside.
    pub(super) fn turn(&self, key: PartitionHash) -> Arc<Mutex<()>> {
        self.range.turn(key)
    }

    /// Waits for the partition keys' units of these writes. Given up when the run stops: nothing has been sent then. Safe
    /// to drop at any point: then nothing is taken.
    pub(super) async fn admit_keys(&self, chunk: &[&GuardedWrite]) -> Result<(), Stopped> {
        let wanted: Vec<_> = chunk.iter().map(|write| (self.hash_of(write), write.cost.table)).collect();
        self.stop.unless_stopping(self.scopes.keys(Access::Write, &wanted)).await
    }

    /// Waits until these writes may be sent: partition key, unless its units are `held` already, key range, indexes, a slot,
    /// and last the table. Given up when the run stops: nothing has been sent then.
    ///
    /// Permits are for the opening of the window in which they were taken: whoever the gate keeps takes them anew, else all
    /// that had waited would go at once when it opens. The old ones are not given back: meanwhile the buckets have filled by
    /// themselves, and each unit given back to a full one lets another request go at once.
    pub(super) async fn admit(&self, chunk: &[&GuardedWrite], held: bool) -> Result<Admission, Stopped> {
        let since = Instant::now();
        let mut held = held && !self.gate.is_closed();
        loop {
            let opening = self.pass().await?;
            if !std::mem::take(&mut held) {
                self.admit_keys(chunk).await?;
            }
            for write in chunk {
                self.stop.unless_stopping(self.scopes.narrow_write(&self.range, &write.cost)).await?;
            }
            let _turn = match self.lane() {
                Lane::Shared => Some(self.stop.unless_stopping(self.behind_large.lock()).await?),
                Lane::Large => None,
            };
            let budget = self.scopes.table(Access::Write).budget();
            let without_slot = self.progress.without_slot();
            let slot = self.stop.unless_stopping(self.slots.take(budget)).await?.ok_or(Stopped)?;
            drop(without_slot);
            // Looked at before the table's units are taken, so that none of them are wasted on a chunk that starts again.
            if self.pass().await? != opening {
                continue;
            }
            // A slice may have to be reserved first: nothing of the table is held meanwhile.
            let grant = self.allowance.write(chunk.iter().map(|write| write.cost.total()).sum(), &self.stop).await?;
            let units = chunk.iter().map(|write| write.cost.table).sum();
            self.stop.unless_stopping(self.scopes.table(Access::Write).acquire(units)).await?;
            if self.pass().await? == opening {
                return Ok(Admission { grant, _slot: slot, waited: since.elapsed() });
            }
        }
    }

    /// Sends an admitted chunk once. In flight, its replies are waited for whatever happens.
    pub(super) async fn write(
        &self,
        admission: Admission,
        chunk: &[&GuardedWrite],
    ) -> (Vec<Result<WriteReply, TableError>>, Spent) {
        let Admission { mut grant, _slot, .. } = admission;
        grant.send();
        let replies = self.table.write(chunk).await;
        if replies.iter().any(Result::is_ok) {
            self.accepted.store(true, Ordering::Relaxed);
        }
        let mut spent = Spent::default();
        for (write, reply) in chunk.iter().zip(&replies) {
            let key = self.hash_of(write);
            let consumed = match reply {
                Ok(WriteReply::Applied { consumed: Some(consumed) }) => {
                    spent.write += consumed.total();
                    // Only what a reply states can be held to what was estimated.
                    spent.estimated_write += write.cost.total();
                    self.by_place(consumed)
                }
                Ok(WriteReply::Applied { consumed: None }) => write.cost.clone(),
                // A failed condition is charged by the item as it is, at least one unit, and touches no index.
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

    /// What a reply names by index name, by the place of the index.
    fn by_place(&self, consumed: &Consumed) -> WriteCost {
        let place = |name: &String| self.scopes.index_place(name);
        let indexes = consumed.indexes.iter().filter_map(|(name, units)| Some((place(name)?, *units))).collect();
        WriteCost { table: consumed.table, indexes }
    }

    /// Waits until the window is open, and all holds that must.
    async fn pass(&self) -> Result<Passage, Stopped> {
        let all = async {
            let (mut opening, mut holds) = (self.gate.pass().await, 0);
            for validity in self.validities.iter() {
                if !validity.is_fresh() {
                    let _waiting = self.progress.confirming();
                    validity.fresh().await;
                    opening = self.gate.pass().await;
                }
                holds += validity.holds();
            }
            Passage { opening, holds }
        };
        self.stop.unless_stopping(all).await
    }

    /// Notes what each failed request tells: a throttle slows a scope, a reply that cannot be used is counted.
    fn note(&self, access: Access, key: Option<PartitionHash>, error: &TableError) {
        match error {
            TableError::Throttled { reasons, .. } => self.scopes.throttled(access, &self.range, key, reasons),
            TableError::UnusableReply { operation, flaw } => self.progress.reply_unusable(operation, flaw),
            TableError::Transient { .. } | TableError::Rejected { .. } | TableError::Fatal { .. } => {}
        }
    }

    /// What follows from a failed request: returns when it should be sent again, or gives up the run.
    pub(super) async fn after_failure(&self, error: &TableError, attempts: &mut Attempts) -> Result<(), Stopped> {
        match error {
            TableError::Throttled { .. } => self.progress.throttled(),
            other => self.progress.request_failed(&other.to_string()),
        }
        if error.directive() != Directive::Retry {
            self.stop.stop(stop_reason(error));
            return Err(Stopped);
        }
        attempts.since.get_or_insert_with(Instant::now);
        attempts.failed += 1;
        if attempts.failing() >= self.retry.give_up_after {
            let after = format!("{} s", attempts.failing().as_secs());
            self.stop.stop(StopReason::GaveUp { after, message: error.to_string() });
            return Err(Stopped);
        }
        let backoff = Backoff { base: self.retry.base, cap: self.retry.cap };
        let _backing_off = self.progress.backing_off();
        self.stop.unless_stopping(tokio::time::sleep(backoff.wait(attempts.failed, fastrand::f64()))).await
    }
}

/// The reason for which an error that is not retried stops a run.
pub(super) fn stop_reason(error: &TableError) -> StopReason {
    let kind = match error {
        TableError::Fatal { kind, .. } => *kind,
        _ => crate::table::FatalKind::Request,
    };
    StopReason::Fatal { kind, message: error.to_string() }
}

/// Capacity that a failed request is taken to have consumed: one that was throttled, refused or never sent nothing, one
/// without a reply all.
fn cost_of_failure(error: &TableError, estimate: Units) -> Units {
    if error.is_ambiguous() { estimate } else { 0.0 }
}

/// Describes the table before anything runs, retrying for a short while.
pub async fn describe(table: &dyn Table, patience: Duration) -> Result<TableDescription, TableError> {
    ask(patience, || table.describe()).await
}

#[cfg(test)]
mod tests;

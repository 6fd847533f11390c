//! A table in memory that follows DynamoDB's documented rules ([`rules`]). Tests use it in virtual time. The table
//! records the history of every item, and draws faults from a seed.
//!
//! A request takes time to reach the table, and its reply takes time to return. The table carries out each request in a
//! separate task. Each tool process is a future, and dropping that future simulates a kill. The killed process's
//! requests stay in flight, as they would after a real kill.

mod batch;
mod connection;
mod faults;
mod history;
mod index;
pub mod rules;
pub mod statement;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

pub use connection::MemoryConnection;
pub use faults::{FaultPlan, SimulatedFault};
pub use history::{Author, Charge, ChargedUnits, TableHistory, Version};
pub use index::{MemoryIndex, with_index};

use super::{
    BackupStatus, FilteredPage, GetReply, Page, PageRequest, TableDescription, TableError, ThrottlingReason,
    WriteConsumption, WriteReply,
};
use crate::change::{Filter, GuardedWrite};
use crate::item::{IndexSchema, Item, ItemKey, Position, item_bytes, read_units};
use faults::{FaultInjector, Request};
use history::ScanPosition;
use rules::{DerivedEffect, WriteEffect};

/// A page of a scan ends after this number of bytes (API reference, "Scan").
const PAGE_BYTES: usize = 1024 * 1024;

/// The duration of a slow reply. It is longer than any request's timeout.
const SLOW: Duration = Duration::from_secs(60);

/// A table with several users. Each tool process uses a [`MemoryConnection`], and the application changes items with
/// [`MemoryTable::change`].
#[derive(Debug, Clone)]
pub struct MemoryTable {
    inner: Arc<Mutex<Inner>>,
    description: Arc<TableDescription>,
    indexes: Arc<[IndexSchema]>,
    began: Instant,
    /// The shortest and the longest time that a request takes.
    latency: (Duration, Duration),
}

#[derive(Debug)]
struct Inner {
    history: TableHistory,
    faults: FaultInjector,
    /// The ARN and the status of each backup, oldest first.
    backups: Vec<(String, BackupStatus)>,
}

impl MemoryTable {
    /// Creates an empty table with this description. The table's time starts now.
    pub fn new(
        description: TableDescription,
        latency: (Duration, Duration),
        plan: FaultPlan,
        seed: u64,
    ) -> MemoryTable {
        let faults = FaultInjector::new(plan, seed);
        let inner = Inner { history: TableHistory::default(), faults, backups: Vec::new() };
        MemoryTable {
            inner: Arc::new(Mutex::new(inner)),
            indexes: description.indexes.iter().map(|index| index.schema.clone()).collect(),
            description: Arc::new(description),
            began: Instant::now(),
            latency,
        }
    }

    /// Connects one process of the tool to the table.
    pub fn connect(&self, process: u32) -> MemoryConnection {
        MemoryConnection { table: self.clone(), author: Author::Tool(process), other: None }
    }

    /// Calls `change` with the current item, and immediately replaces the item with the result. `None` stands for a
    /// missing item in the argument and in the result of `change`. Returns the item's previous state.
    pub fn change(
        &self,
        key: &ItemKey,
        author: Author,
        change: impl FnOnce(Option<&Item>) -> Option<Item>,
    ) -> Option<Item> {
        let place = self.place(key);
        let mut inner = self.inner();
        let before = inner.history.current(&place).cloned();
        let after = change(before.as_ref());
        if after != before {
            inner.history.put(place, key, self.began.elapsed(), author, after);
        }
        before
    }

    /// Calls `look` with the current history.
    pub fn history<T>(&self, look: impl FnOnce(&TableHistory) -> T) -> T {
        look(&self.inner().history)
    }

    /// Returns the ARNs of the table's backups, oldest first.
    pub fn backups(&self) -> Vec<String> {
        self.inner().backups.iter().map(|(arn, _)| arn.clone()).collect()
    }

    /// Returns how many times each kind of fault took effect.
    pub fn fired(&self) -> BTreeMap<SimulatedFault, u64> {
        self.inner().faults.counts()
    }

    /// Replaces the fault plan for all later requests.
    pub fn set_faults(&self, plan: FaultPlan) {
        self.inner().faults.plan = plan;
    }

    fn place(&self, key: &ItemKey) -> ScanPosition {
        ScanPosition::new(key, &self.description.key.partition.name)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for half a round trip, that is, until a request has reached the table or a reply has reached the client.
    async fn half_round_trip(&self) {
        let (least, most) = self.latency;
        let more = self.inner().faults.random_duration(most - least);
        sleep((least + more) / 2).await;
    }

    /// Sends a request. The table carries out the request by calling `at_table`, even if the sender's future is
    /// dropped.
    async fn send<T: Send + 'static>(
        &self,
        request: Request,
        operation: &'static str,
        at_table: impl FnOnce(&MemoryTable, Option<SimulatedFault>) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, TableError> {
        let fault = self.inner().faults.draw(request);
        let (reply, answer) = oneshot::channel();
        let table = self.clone();
        tokio::spawn(async move {
            table.half_round_trip().await;
            if let Some(fault) = fault
                && let Some(error) = table.injected_error(fault)
            {
                table.half_round_trip().await;
                return drop(reply.send(Err(error)));
            }
            if fault == Some(SimulatedFault::LateRequest) {
                let late = {
                    let mut inner = table.inner();
                    let most = inner.faults.plan.late;
                    inner.faults.random_duration(most)
                };
                drop(reply.send(Err(timed_out())));
                sleep(late).await;
                table.inner().faults.fired(SimulatedFault::LateRequest);
                return drop(at_table(&table, fault));
            }
            let result = at_table(&table, fault);
            table.half_round_trip().await;
            let result = match fault {
                Some(SimulatedFault::LostReply) => table.count_fault(SimulatedFault::LostReply, Err(timed_out())),
                Some(SimulatedFault::UnusableReply) => {
                    let error = TableError::UnusableReply { operation, flaw: "it is incomplete" };
                    table.count_fault(SimulatedFault::UnusableReply, Err(error))
                }
                Some(SimulatedFault::Slow) => {
                    table.inner().faults.fired(SimulatedFault::Slow);
                    sleep(SLOW).await;
                    result
                }
                Some(
                    SimulatedFault::Throttle
                    | SimulatedFault::ServerError
                    | SimulatedFault::LostRequest
                    | SimulatedFault::LateRequest
                    | SimulatedFault::NoImage
                    | SimulatedFault::StaleRead
                    | SimulatedFault::ShortPage
                    | SimulatedFault::EmptyPage,
                )
                | None => result,
            };
            drop(reply.send(result));
        });
        answer.await.unwrap_or_else(|_| Err(timed_out()))
    }

    fn count_fault<T>(&self, fault: SimulatedFault, result: T) -> T {
        self.inner().faults.fired(fault);
        result
    }

    /// Returns the error with which the table answers instead of carrying out the request. Returns `None` if the table
    /// carries out the request despite this fault.
    fn injected_error(&self, fault: SimulatedFault) -> Option<TableError> {
        let error = match fault {
            SimulatedFault::Throttle => TableError::Throttled {
                reasons: vec![ThrottlingReason {
                    reason: "TableWriteKeyRangeThroughputExceeded".into(),
                    resource: self.description.arn.clone(),
                }],
                message: "Throughput exceeds the current capacity of your table or index".into(),
            },
            SimulatedFault::ServerError => {
                TableError::Transient { message: "InternalServerError".into(), ambiguous: true }
            }
            SimulatedFault::LostRequest => timed_out(),
            SimulatedFault::LostReply
            | SimulatedFault::LateRequest
            | SimulatedFault::UnusableReply
            | SimulatedFault::NoImage
            | SimulatedFault::StaleRead
            | SimulatedFault::ShortPage
            | SimulatedFault::EmptyPage
            | SimulatedFault::Slow => return None,
        };
        Some(self.count_fault(fault, error))
    }

    fn page(
        &self,
        request: &PageRequest,
        filter: Option<&Filter>,
        sender: Sender,
        fault: Option<SimulatedFault>,
    ) -> FilteredPage {
        let mut guard = self.inner();
        let Inner { history, faults, .. } = &mut *guard;
        let now = self.began.elapsed();
        let segment = request.segment;
        let total = request.total_segments;
        let at = match fault {
            Some(SimulatedFault::StaleRead) => now.saturating_sub(faults.random_duration(faults.plan.stale)),
            _ => now,
        };
        if history.has_changed(segment, total, at) {
            faults.fired(SimulatedFault::StaleRead);
        }
        let after = request.start.as_ref().and_then(Position::key).map(|key| self.place(key));
        let limit = request.limit.map_or(usize::MAX, |limit| limit as usize);
        let short = if fault == Some(SimulatedFault::ShortPage) { faults.rng.usize(1..=5) } else { limit };
        let mut items = Vec::new();
        let mut last = None;
        let mut bytes = 0;
        let mut next = None;
        let mut left_out = 0;
        for (key, item) in history.segment(segment, total, after.as_ref(), at) {
            if items.len() + left_out >= limit.min(short) || bytes >= PAGE_BYTES {
                next = last.clone();
                break;
            }
            bytes += item_bytes(item);
            if filter.is_none_or(|filter| rules::includes(&filter.condition, item)) {
                items.push(if request.keys_only { key.attributes().clone() } else { item.clone() });
            } else {
                left_out += 1;
            }
            last = Some(key.clone());
        }
        if fault == Some(SimulatedFault::ShortPage) && next.is_some() && items.len() + left_out < limit {
            faults.fired(SimulatedFault::ShortPage);
        }
        // A page can announce another page even if no items are left (API reference, "Scan").
        if fault == Some(SimulatedFault::EmptyPage) && next.is_none() && last.is_some() {
            faults.fired(SimulatedFault::EmptyPage);
            next = last;
        }
        let units = read_units(bytes, request.consistent);
        history.charge(sender.sent, sender.author, ChargedUnits::Read(units));
        let page = Page { items, next: next.map(Position::Key), units: Some(units) };
        FilteredPage { page, left_out: left_out as u64 }
    }

    fn read(&self, key: &ItemKey, sender: Sender) -> GetReply {
        let place = self.place(key);
        let mut inner = self.inner();
        let item = inner.history.current(&place).cloned();
        let units = read_units(item.as_ref().map_or(0, item_bytes), true);
        inner.history.charge(sender.sent, sender.author, ChargedUnits::Read(units));
        GetReply { item, units: Some(units) }
    }

    fn write(
        &self,
        write: &GuardedWrite,
        other: Option<&MemoryTable>,
        sender: Sender,
        fault: Option<SimulatedFault>,
    ) -> Result<WriteReply, TableError> {
        if write.derived_item().is_some() {
            return self.transact(write, other, sender, fault);
        }
        let place = self.place(&write.key);
        let mut guard = self.inner();
        let Inner { history, faults, .. } = &mut *guard;
        let before = history.current(&place).cloned();
        let key = &self.description.key;
        let (after, applied) = match rules::effect(write, before.as_ref(), key, &self.indexes) {
            WriteEffect::Applied(after) => (after, true),
            WriteEffect::ConditionFailed => (before.clone(), false),
            WriteEffect::Rejected(why) => return Err(TableError::Rejected { message: why.to_owned() }),
        };
        let consumed = rules::consumed(before.as_ref(), after.as_ref(), key, &self.indexes);
        history.charge(sender.sent, sender.author, ChargedUnits::Write(write.key.clone(), consumed.clone()));
        if applied {
            history.put(place, &write.key, self.began.elapsed(), sender.author, after);
            let removed = before.filter(|_| write.deleted_item().is_some());
            return Ok(WriteReply::Applied { consumed: Some(consumed), removed });
        }
        if fault == Some(SimulatedFault::NoImage) && before.is_some() {
            faults.fired(SimulatedFault::NoImage);
            return Ok(WriteReply::ConditionFailed { image: None });
        }
        Ok(WriteReply::ConditionFailed { image: before })
    }
}

impl MemoryTable {
    /// Carries out a transaction that checks the item of the write and puts a derived item into `other`, or into this
    /// table if there is no other one.
    fn transact(
        &self,
        write: &GuardedWrite,
        other: Option<&MemoryTable>,
        sender: Sender,
        fault: Option<SimulatedFault>,
    ) -> Result<WriteReply, TableError> {
        let (Some(derived), Some(derived_key)) = (write.derived_item(), write.derived_key()) else {
            return Err(TableError::unsupported("TransactWriteItems"));
        };
        let other = match (write.other_table(), other) {
            (None, _) => None,
            (Some(name), Some(other)) if other.description.name == name => Some(other),
            (Some(_), _) => return Err(TableError::Rejected { message: "Requested resource not found".into() }),
        };
        // No other code locks two tables, so the order of the two locks does not matter.
        let mut ours = self.inner();
        let mut theirs = other.map(MemoryTable::inner);
        let target = other.unwrap_or(self);
        let place = target.place(derived_key);
        let source = ours.history.current(&self.place(&write.key)).cloned();
        let existing = theirs.as_ref().unwrap_or(&ours).history.current(&place).cloned();
        let effect = rules::derived_effect(write, source.as_ref(), existing.as_ref(), &target.indexes);
        let mut put = rules::consumed_by_put(derived, &target.description.key, &target.indexes);
        if !matches!(effect, Some(DerivedEffect::Put(_))) {
            // A canceled transaction writes to no index.
            put.indexes.clear();
        }
        let check = rules::consumed_by_check(source.as_ref());
        let consumed = match theirs {
            None => WriteConsumption { table: put.table + check, ..put },
            Some(_) => WriteConsumption { table: check, elsewhere: Some(Box::new(put)), ..WriteConsumption::default() },
        };
        if !matches!(effect, Some(DerivedEffect::Rejected(_))) {
            let (sent, author) = (sender.sent, sender.author);
            if let (Some(theirs), Some(put)) = (&mut theirs, &consumed.elsewhere) {
                theirs.history.charge(sent, author, ChargedUnits::Write(derived_key.clone(), (**put).clone()));
            }
            let own = WriteConsumption { elsewhere: None, ..consumed.clone() };
            ours.history.charge(sent, author, ChargedUnits::Write(write.key.clone(), own));
        }
        let mut without_image = |image: Option<Item>| {
            let is_lost = fault == Some(SimulatedFault::NoImage) && image.is_some();
            if is_lost {
                ours.faults.fired(SimulatedFault::NoImage);
            }
            image.filter(|_| !is_lost)
        };
        match effect {
            Some(DerivedEffect::Put(item)) => {
                let at = target.began.elapsed();
                let history = &mut theirs.as_mut().unwrap_or(&mut ours).history;
                history.put(place, derived_key, at, sender.author, Some(item));
                Ok(WriteReply::Applied { consumed: Some(consumed), removed: None })
            }
            Some(DerivedEffect::ConditionFailed) => Ok(WriteReply::ConditionFailed { image: without_image(source) }),
            Some(DerivedEffect::Exists) => Ok(WriteReply::DerivedExists { existing: without_image(existing) }),
            Some(DerivedEffect::Rejected(why)) => Err(TableError::Rejected { message: why.to_owned() }),
            None => Err(TableError::unsupported("TransactWriteItems")),
        }
    }
}

fn timed_out() -> TableError {
    TableError::Transient { message: "the request timed out".into(), ambiguous: true }
}

/// The sender of a request, and the time at which the request was sent, measured from the table's creation.
#[derive(Debug, Clone, Copy)]
struct Sender {
    author: Author,
    sent: Duration,
}

#[cfg(test)]
mod delete_tests;
#[cfg(test)]
mod tests;

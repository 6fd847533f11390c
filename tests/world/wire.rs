//! The connection between the tool and the table. It logs every request and reply. Before it sends a write, it checks
//! that the values that the write destroys are durable. It can also simulate a bug that a test plants in the tool.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use backfill::internals::change::{Action, Condition, GuardedWrite, Outcome, PriorValue};
use backfill::internals::dynamodb::memory::MemoryConnection;
use backfill::internals::dynamodb::{
    Describe, FilteredPage, GetReply, Page, PageRequest, Sink, Source, TableDescription, TableError, WriteReply,
};
use backfill::internals::expr::Filter;
use backfill::internals::item::{ItemKey, Position, Value};
use backfill::internals::keys_file::PreparedKeys;
use backfill::internals::state::memory::MemoryState;
use backfill::internals::state::{Checkpoints, Commit, Counts, CrashPoint, History, Runs, SegmentEvent, phase};
use tokio::time::Instant;

use super::kills::Killer;

/// A bug that a test plants in the tool. The simulation must find this bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlantedBug {
    /// A page is committed before its items are written.
    EarlyCheckpoint,
    /// Writes lack the condition that the item exists.
    NoExistenceCheck,
    /// Deletes do not pin the item's image, and their replies do not contain the removed item.
    UnguardedDelete,
    /// Deletes are never sent, but the tool treats them as accepted.
    LostDelete,
    /// The write that restores a deleted item overwrites an existing item.
    UnguardedRestore,
    /// A write's consumed units are counted twice.
    ReconciledTwice,
    /// A write is sent a second time without permits, as an SDK with its own retries would do.
    SentTwice,
    /// Writes do not pin the inputs of computed values, the inputs of the selection, and the targets.
    UnpinnedInputs,
    /// Writes do not raise the version.
    NoBump,
    /// Writes change an attribute that is not a target.
    ForeignAttribute,
    /// Writes of a list or map lack the condition that the container is unchanged since the read.
    UnguardedElements,
    /// A rollback restores a list or map, but its elements keep a member that the migration wrote.
    PartlyRestoredElements,
    /// Applications obey a cached flag for longer than the plan allows.
    OldCaches,
}

/// The records of a connection.
#[derive(Default)]
pub(crate) struct WireLog {
    /// All events, as text. `None` if no trace is requested, because writing a trace takes most of a seed's time.
    pub(crate) trace: Option<String>,
    pub(crate) violations: Vec<String>,
    /// The number of write requests.
    pub(crate) writes: u64,
    /// The write units that the replies to the tool reported.
    pub(crate) units: f64,
}

/// One process's connection to the table, which records all requests and replies.
pub(crate) struct Wire {
    pub(crate) connection: MemoryConnection,
    /// Where writes go: the connection, or a transport that sends them in batches through the connection.
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) process: u32,
    /// The state of this process. Calls through this handle need no virtual time.
    pub(crate) state: MemoryState,
    pub(crate) planted: Option<PlantedBug>,
    pub(crate) began: Instant,
    pub(crate) wire_log: Arc<Mutex<WireLog>>,
    pub(crate) killer: Arc<Killer>,
}

impl Wire {
    fn note(&self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.wire_log.lock().unwrap().trace {
            *trace += &format!("{:?} process {}: {}\n", self.began.elapsed(), self.process, what());
        }
    }

    fn violation(&self, what: String) {
        self.wire_log.lock().unwrap().violations.push(what);
    }

    /// Checks that every value that a write destroys is durable and readable before the write is sent.
    async fn check_journal(&self, write: &GuardedWrite) {
        for pre in &write.pre_images {
            let value = match &pre.prior {
                PriorValue::Value(value) => value.clone(),
                PriorValue::Item(item) => Value::M(item.clone()),
                PriorValue::Nothing | PriorValue::SameAsSource | PriorValue::Mark(_) | PriorValue::Leftover(_) => {
                    continue;
                }
            };
            // A process that no longer owns the state cannot read the journal, so its writes are not checked. Such a
            // process ends soon.
            let Ok(stored) = self.state.pre_images(write.record_key().clone(), Some(pre.path.clone())).await else {
                continue;
            };
            if !stored.iter().any(|record| record.value.as_ref() == Some(&value)) {
                self.violation(format!(
                    "a write to {} was sent before the values that it destroys were durable",
                    write.key
                ));
            }
        }
    }

    /// Sends writes that share a request. No bug is planted in a world with batches.
    async fn write_batch(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        for write in chunk {
            self.check_journal(write).await;
            self.note(|| format!("in a batch: {write:?}"));
        }
        self.wire_log.lock().unwrap().writes += chunk.len() as u64;
        let sent = self.sink.write(chunk).await;
        if sent.iter().any(|reply| matches!(reply, Ok(WriteReply::Applied { .. }))) {
            self.killer.pass(CrashPoint::WriteUnanswered).await;
        }
        self.note(|| format!("{sent:?}"));
        for reply in &sent {
            if let Ok(WriteReply::Applied { consumed: Some(consumed), .. }) = reply {
                self.wire_log.lock().unwrap().units += consumed.total();
            }
        }
        sent
    }

    /// Commits a page as if all its items were done.
    async fn commit_early(&self, request: &PageRequest, page: &Page) {
        let Ok(Some(run)) = self.state.current_run(phase::EXPAND).await else { return };
        let after = request.segment.checked_sub(1);
        let Ok(known) = self.state.segments_after(run.id, after, 1).await else { return };
        let pages = known.into_iter().find(|(segment, _)| *segment == request.segment).map_or(0, |(_, s)| s.pages);
        let mut counts = Counts::default();
        page.items.iter().for_each(|_| counts.count(Outcome::AlreadyApplied));
        let event = SegmentEvent::PagesDone { first: pages + 1, pages: 1, next: page.next.clone(), counts };
        let (failures, diverged, refused) = Default::default();
        let commit = Commit { session: run.session(), segment: request.segment, event, failures, diverged, refused };
        drop(self.state.commit(commit).await);
    }
}

/// If this action restores a list, adds to each element the member that the migration writes.
fn keep_currency(action: &mut Action) {
    let Action::SetValue { to, value: Value::L(list) } = action else { return };
    if to.root() == "lines" {
        for element in list {
            if let Value::M(members) = element {
                members.insert("cur".to_owned(), Value::S("EUR".to_owned()));
            }
        }
    }
}

#[async_trait]
impl Describe for Wire {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        self.connection.describe().await
    }
}

#[async_trait]
impl Source for Wire {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        self.note(|| format!("{request:?}"));
        let page = self.connection.read_page(request).await;
        self.note(|| format!("{page:?}"));
        if let (Some(PlantedBug::EarlyCheckpoint), Ok(page), false) = (self.planted, &page, request.keys_only) {
            self.commit_early(request, page).await;
        }
        page
    }

    async fn read_filtered_page(&self, request: &PageRequest, filter: &Filter) -> Result<FilteredPage, TableError> {
        self.note(|| format!("{request:?}"));
        let read = self.connection.read_filtered_page(request, filter).await;
        self.note(|| format!("{read:?}"));
        if let (Some(PlantedBug::EarlyCheckpoint), Ok(read)) = (self.planted, &read) {
            self.commit_early(request, &read.page).await;
        }
        read
    }
}

#[async_trait]
impl Sink for Wire {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        if chunk.len() > 1 {
            return self.write_batch(chunk).await;
        }
        let mut replies = Vec::new();
        for write in chunk {
            self.check_journal(write).await;
            self.wire_log.lock().unwrap().writes += 1;
            self.note(|| format!("{write:?}"));
            let mut write = GuardedWrite::clone(write);
            if self.planted == Some(PlantedBug::NoExistenceCheck) {
                write.conditions.retain(|condition| !matches!(condition, Condition::ItemExists(_)));
            }
            if self.planted == Some(PlantedBug::UnguardedDelete) && write.deleted_item().is_some() {
                write.conditions.retain(|condition| matches!(condition, Condition::ItemExists(_)));
            }
            if self.planted == Some(PlantedBug::UnguardedRestore) {
                write.conditions.retain(|condition| !matches!(condition, Condition::ItemMissing(_)));
            }
            let is_update = write.deleted_item().is_none() && write.created_item().is_none();
            if self.planted == Some(PlantedBug::UnpinnedInputs) && is_update {
                write.conditions.retain(|condition| matches!(condition, Condition::ItemExists(_)));
            }
            if self.planted == Some(PlantedBug::NoBump) {
                let raises = |action: &Action| matches!(action, Action::SetValue { to, .. } if to.root() == "version");
                write.actions.retain(|action| !raises(action));
            }
            if self.planted == Some(PlantedBug::ForeignAttribute) && is_update {
                write.actions.push(Action::SetValue { to: "n".parse().unwrap(), value: Value::S("tool".into()) });
            }
            if self.planted == Some(PlantedBug::UnguardedElements) {
                let is_lines =
                    |condition: &Condition| matches!(condition, Condition::Equals(path, _) if path.root() == "lines");
                write.conditions.retain(|condition| !is_lines(condition));
            }
            if self.planted == Some(PlantedBug::PartlyRestoredElements) && write.pre_images.is_empty() {
                write.actions.iter_mut().for_each(keep_currency);
            }
            if self.planted == Some(PlantedBug::LostDelete) && write.deleted_item().is_some() {
                replies.push(Ok(WriteReply::Applied { consumed: None, removed: None }));
                continue;
            }
            let mut sent = self.sink.write(&[&write]).await;
            if sent.iter().any(|reply| matches!(reply, Ok(WriteReply::Applied { .. }))) {
                self.killer.pass(CrashPoint::WriteUnanswered).await;
            }
            self.note(|| format!("{sent:?}"));
            if self.planted == Some(PlantedBug::SentTwice) {
                sent = self.connection.write(&[&write]).await;
            }
            for reply in &mut sent {
                let Ok(WriteReply::Applied { consumed: Some(consumed), removed }) = reply else { continue };
                if self.planted == Some(PlantedBug::UnguardedDelete) {
                    *removed = None;
                }
                self.wire_log.lock().unwrap().units += consumed.total();
                if self.planted == Some(PlantedBug::ReconciledTwice) {
                    consumed.table *= 2.0;
                }
            }
            replies.extend(sent);
        }
        replies
    }

    fn max_chunk(&self) -> usize {
        self.sink.max_chunk()
    }

    fn can_share_request(&self, write: &GuardedWrite) -> bool {
        self.sink.can_share_request(write)
    }

    async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError> {
        let got = self.connection.get(key).await;
        self.note(|| format!("get {key:?}: {got:?}"));
        got
    }
}

/// Reads the keys of a file. Unlike the tool's own source of keys, it reads the file on the simulation's only thread,
/// so that a seed always produces the same events.
pub(crate) struct ListedKeys(pub(crate) PreparedKeys);

#[async_trait]
impl Source for ListedKeys {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        let start = match &request.start {
            None => None,
            Some(Position::Offset(offset)) => Some(*offset),
            Some(Position::Key(_)) => return Err(TableError::foreign_position()),
        };
        let limit = request.limit.map_or(usize::MAX, |limit| limit as usize);
        let read = self.0.read(request.segment, request.total_segments, start, limit).unwrap();
        let items = read.keys.iter().map(|key| key.attributes().clone()).collect();
        Ok(Page { items, next: read.next.map(Position::Offset), units: Some(0.0) })
    }

    fn yields_keys(&self) -> bool {
        true
    }
}

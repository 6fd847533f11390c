//! Processes the items of a page: decides what to write, acquires permits, sends the guarded writes, and records the
//! outcomes.

mod chunk;
mod deleted;
mod derived;
mod item_outcomes;
mod notes;
mod parts;
mod put_back;
mod replan;
pub(crate) mod set_aside;

use std::sync::Arc;

use futures::future::join;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

pub use item_outcomes::{ItemOutcomes, PartialOutcome, RemainingWork};
pub(crate) use parts::SentParts;

use crate::change::{Changes, Decision, GuardedWrite, HistoryLookup, ItemHistory, Outcome, PreImage};
use crate::dynamodb::{Directive, FatalKind, TableError, WriteReply};
use crate::engine::client::Lane;
use crate::engine::client::{Attempts, RequestSpend, Requests, stop_reason};
use crate::engine::decisions::Decisions;
use crate::engine::stop::{StopReason, Stopped};
use crate::engine::write::outcome::PageOutcome as _;
use crate::item::{Item, ItemKey};
use crate::state::{History, PreImageId, PreImageRow, SessionId};
use chunk::ChunkBounds;
use item_outcomes::ItemResult;
use parts::End;
use set_aside::SetAsideItems;

/// Processes items until every item has an outcome. Every write is guarded against live writers.
#[derive(Clone)]
pub struct Writer {
    decisions: Decisions,
    history: Arc<dyn History>,
    session: SessionId,
    /// Whether this is the first pass over the items.
    is_first_pass: bool,
    /// Whether the operator purged the journal, so that no rollback is possible.
    is_journal_purged: bool,
    /// When the writer was created. No earlier process sends writes after this time.
    begun: Instant,
}

/// A write that has no outcome yet.
pub(crate) struct PendingWrite {
    pub(crate) write: GuardedWrite,
    /// The recorded pre-images of this write.
    journaled: Vec<PreImageId>,
    /// Whether an attempt of this write may have been applied even though no reply confirmed it.
    ambiguous: bool,
    /// Like `ambiguous`, but also true if an earlier planned write of the same item may have been applied.
    unclear: bool,
    replans: u32,
    attempts: Attempts,
    /// The recorded history of the item. It is empty in phases that do not need the history.
    record: Arc<ItemHistory>,
    /// The earlier writes of the item that were accepted.
    sent: SentParts,
}

impl PendingWrite {
    fn new(write: GuardedWrite, record: Arc<ItemHistory>) -> PendingWrite {
        let journaled = Vec::new();
        let attempts = Attempts::default();
        let sent = SentParts::default();
        PendingWrite { write, journaled, ambiguous: false, unclear: false, replans: 0, attempts, record, sent }
    }
}

impl Writer {
    /// Creates a writer that carries out these decisions in this session of a run.
    pub fn new(decisions: Decisions, history: Arc<dyn History>, session: SessionId) -> Writer {
        Writer { decisions, history, session, is_first_pass: false, is_journal_purged: false, begun: Instant::now() }
    }

    /// Sets whether the operator purged the journal. If so, the writer's messages do not promise a rollback.
    #[must_use]
    pub fn with_journal_purged(self, is_journal_purged: bool) -> Writer {
        Writer { is_journal_purged, ..self }
    }

    /// Returns whether this writer restores deleted items ([`Changes::restores_items`]).
    pub(crate) fn restores_items(&self) -> bool {
        self.changes().restores_items()
    }

    /// Marks pre-images as refused, because their writes were certainly not applied. If this mark cannot be stored,
    /// this does no harm, because the write then counts as possibly applied.
    pub(super) async fn mark_refused(&self, refused: Vec<PreImageId>) {
        if !refused.is_empty() {
            let _ = self.history.mark_refused(self.session, refused).await;
        }
    }

    /// Declares that this writer serves the first pass. A live writer may set a target before the pass writes the item.
    /// If the plan skips existing values, the value of this target counts as preexisting and is recorded.
    pub fn in_first_pass(self) -> Writer {
        Writer { is_first_pass: true, ..self }
    }

    /// Processes the items of a page. `requests` is the client of the page's segment. Items that have to wait for the
    /// units of their partition key are set aside, so that the other items can continue. The returned future processes
    /// the set-aside items. In a large lane, this function does not wait for the last writes of the page. Instead, the
    /// returned future also finishes the writes in progress. A segment in a large lane often determines when the run
    /// ends, so it must not wait between two pages.
    ///
    /// An `Err` means that the run is stopping and the page is abandoned. Even then, all requests that were in flight
    /// have been answered.
    pub async fn process(&self, items: Vec<Item>, requests: &Requests) -> Result<PartialOutcome, Stopped> {
        let mut outcomes = ItemOutcomes::default();
        let mut writes = Vec::new();
        self.decisions.check_repeatable(&items, requests)?;
        let records = self.history_of(&items, requests).await?;
        let known: Vec<(&Item, &ItemHistory)> = items.iter().zip(records.iter().map(Arc::as_ref)).collect();
        let decisions = match self.restores_items() {
            true => self.decide_put_backs(&known, requests, &mut outcomes).await?,
            false => {
                let (decisions, read) = self.decisions.of(&known, requests).await?;
                outcomes.add_spend(RequestSpend { read, ..RequestSpend::default() });
                decisions
            }
        };
        let unwritten = known.iter().zip(&decisions).filter(|(_, decision)| !matches!(decision, Decision::Write(_)));
        self.note_unwritten(unwritten.map(|(known, _)| *known), requests).await?;
        let recorded = self.recorded_parts(&items, requests).await?;
        for (((item, record), decision), sent) in items.into_iter().zip(records).zip(decisions).zip(recorded) {
            if let Decision::Write(write) = decision {
                writes.push(PendingWrite { sent, ..PendingWrite::new(write, record) });
            } else {
                let has_left = !sent.is_empty() && self.changes().has_left_selection(&item);
                let end = End { after_condition: false, has_left, derived: self.derived_key(&item, &decision) };
                outcomes.record_end(self.key_of(&item), decision, end, &sent);
            }
        }
        let without_write = outcomes.counts.scanned;
        let mut writes = writes.into_iter();
        let mut set_aside = SetAsideItems::default();
        let context = Arc::new((self.clone(), requests.clone()));
        let mut in_progress = FuturesUnordered::new();
        let mut stopped = false;
        loop {
            while !stopped && in_progress.len() < requests.lane().outstanding() {
                let Some(chunk) = next_chunk(&mut writes, requests, &mut set_aside) else { break };
                in_progress.push(write_chunk(Arc::clone(&context), chunk));
            }
            if !stopped && writes.len() == 0 && requests.lane() == Lane::Large {
                break;
            }
            match in_progress.next().await {
                Some(Ok(more)) => outcomes.merge(more),
                // Do not drop the other futures, because their requests in flight must be awaited. They abandon their
                // remaining work themselves.
                Some(Err(Stopped)) => stopped = true,
                None if stopped => return self.abandon(outcomes, Vec::new()).await.map(|_| PartialOutcome::default()),
                None => break,
            }
        }
        // Do not count these items earlier. At the beginning of the page, they would make the rate look too high.
        requests.progress().items_processed(without_write);
        let nothing_left = in_progress.is_empty() && set_aside.keys.is_empty();
        let bytes = set_aside.bytes;
        let set_aside = set_aside.queue().await;
        let rest = (!nothing_left).then(|| RemainingWork {
            bytes,
            outcome: async move {
                let (writer, requests) = &*context;
                let (begun, set_aside) =
                    join(writer.gather(in_progress), writer.process_set_aside(requests, set_aside)).await;
                match (begun, set_aside) {
                    (Ok(mut outcomes), Ok(more)) => {
                        outcomes.merge(more);
                        Ok(outcomes)
                    }
                    (Ok(outcomes), _) | (_, Ok(outcomes)) => writer.abandon(outcomes, Vec::new()).await,
                    _ => Err(Stopped),
                }
            }
            .boxed(),
        });
        Ok(PartialOutcome { outcome: outcomes, rest })
    }

    /// Processes all items, however long they have to wait.
    pub async fn process_all(&self, items: Vec<Item>, requests: &Requests) -> Result<ItemOutcomes, Stopped> {
        let PartialOutcome { outcome: mut outcomes, rest } = self.process(items, requests).await?;
        match rest {
            None => Ok(outcomes),
            Some(rest) => match rest.outcome.await {
                Ok(more) => {
                    outcomes.merge(more);
                    Ok(outcomes)
                }
                Err(Stopped) => self.abandon(outcomes, Vec::new()).await,
            },
        }
    }

    /// Waits for all of these futures. If one of them ends early because the run is stopping, discards all results.
    /// Even then, this function first waits until all requests in flight have been answered.
    pub(crate) async fn gather<F>(&self, mut in_progress: FuturesUnordered<F>) -> Result<ItemOutcomes, Stopped>
    where
        F: Future<Output = Result<ItemOutcomes, Stopped>>,
    {
        let mut outcomes = ItemOutcomes::default();
        let mut stopped = false;
        while let Some(some) = in_progress.next().await {
            match some {
                Ok(more) => outcomes.merge(more),
                Err(Stopped) => stopped = true,
            }
        }
        if stopped { self.abandon(outcomes, Vec::new()).await } else { Ok(outcomes) }
    }

    /// Returns the recorded history of these items, in the same order. One query reads the history of all items of a
    /// page, before any decision is made.
    async fn history_of(&self, items: &[Item], requests: &Requests) -> Result<Vec<Arc<ItemHistory>>, Stopped> {
        let Some(lookup) = self.changes().lookup() else {
            return Ok(vec![Arc::default(); items.len()]);
        };
        self.look_up(items, lookup, requests).await
    }

    /// Returns the recorded history of these items, in the same order.
    async fn look_up(
        &self,
        items: &[Item],
        lookup: HistoryLookup,
        requests: &Requests,
    ) -> Result<Vec<Arc<ItemHistory>>, Stopped> {
        let keys: Vec<ItemKey> = items.iter().map(|item| self.key_of(item)).collect();
        let records = self.history.history_of(keys, lookup).await.map_err(|e| give_up(requests, e.to_string()))?;
        if records.len() != items.len() {
            return Err(give_up(requests, format!("{} records of {} items", records.len(), items.len())));
        }
        Ok(records.into_iter().map(Arc::new).collect())
    }

    /// Makes the pre-images of these writes durable, if they are not durable yet. Call this method before the writes
    /// are sent.
    async fn journal(&self, requests: &Requests, chunk: &mut [PendingWrite]) -> Result<(), Stopped> {
        let due = |member: &PendingWrite| member.journaled.is_empty() && !member.write.pre_images.is_empty();
        let row =
            |write: &GuardedWrite, pre: &PreImage| PreImageRow { key: write.record_key().clone(), pre: pre.clone() };
        let rows: Vec<PreImageRow> = chunk
            .iter()
            .filter(|member| due(member))
            .flat_map(|member| member.write.pre_images.iter().map(|pre| row(&member.write, pre)))
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let expected = rows.len();
        let ids =
            self.history.append_pre_images(self.session, rows).await.map_err(|e| give_up(requests, e.to_string()))?;
        if ids.len() != expected {
            return Err(give_up(requests, format!("{} ids for {expected} pre-images", ids.len())));
        }
        let mut ids = ids.into_iter();
        for member in chunk.iter_mut().filter(|member| due(member)) {
            member.journaled = ids.by_ref().take(member.write.pre_images.len()).collect();
        }
        Ok(())
    }

    /// Sends a chunk, repeatedly if necessary, until every write in it has an outcome. The caller must have taken the
    /// units of the partition keys for the first attempt.
    pub(crate) async fn write_chunk(
        &self,
        requests: &Requests,
        mut pending: Vec<PendingWrite>,
    ) -> Result<ItemOutcomes, Stopped> {
        let mut outcomes = ItemOutcomes::default();
        let mut has_key_units = true;
        while !pending.is_empty() {
            let Ok(admission) = requests.admit(&writes_of(&pending), std::mem::take(&mut has_key_units)).await else {
                return self.abandon(outcomes, pending).await;
            };
            pending.iter_mut().for_each(|member| member.attempts.waited(admission.waited));
            self.journal(requests, &mut pending).await?;
            let writes = writes_of(&pending);
            let (replies, spent) = requests.write(admission, &writes).await;
            if replies.len() != pending.len() {
                let why = format!("{} replies for {} writes", replies.len(), pending.len());
                requests.stop().stop(StopReason::Internal(why));
                return Err(Stopped);
            }
            outcomes.add_spend(spent);
            let mut again = Vec::new();
            let mut failed: Option<TableError> = None;
            // Handle every reply, even if the run is stopping. Otherwise an accepted delete would stay unconfirmed, and
            // a rollback would not restore its item.
            let mut stopped = false;
            for (mut member, reply) in pending.into_iter().zip(replies) {
                match reply {
                    Ok(WriteReply::Applied { removed, .. }) => {
                        match self.accepted(requests, member, removed, &mut outcomes).await {
                            Ok(next) => again.extend(next),
                            Err(Stopped) => stopped = true,
                        }
                    }
                    Ok(WriteReply::ConditionFailed { .. } | WriteReply::EndpointChecked { .. }) if stopped => {
                        again.push(member);
                    }
                    // If the write was not sent, it is planned again from the image, like after a failed condition.
                    Ok(WriteReply::ConditionFailed { image } | WriteReply::EndpointChecked { image }) => {
                        match self.replan(requests, member, image, &mut outcomes).await {
                            Ok(next) => again.extend(next),
                            Err(Stopped) => stopped = true,
                        }
                    }
                    Ok(WriteReply::DerivedExists { .. }) if stopped => again.push(member),
                    Ok(WriteReply::DerivedExists { existing }) => {
                        match self.compare_derived(requests, member, existing, &mut outcomes).await {
                            Ok(next) => again.extend(next),
                            Err(Stopped) => stopped = true,
                        }
                    }
                    Err(error) if error.is_ambiguous() && member.write.derived_item().is_some() && !stopped => {
                        match self.look_again(requests, member, &mut outcomes).await {
                            Ok(None) => {}
                            Ok(Some(member)) => {
                                again.push(member);
                                failed = Some(error);
                            }
                            Err(Stopped) => stopped = true,
                        }
                    }
                    Err(error) if error.is_ambiguous() && member.write.created_item().is_some() && !stopped => {
                        if self.settle_put(requests, member, &mut outcomes).await.is_err() {
                            stopped = true;
                        }
                    }
                    Err(error) if error.directive() == Directive::Retry => {
                        member.ambiguous |= error.is_ambiguous();
                        member.unclear |= error.is_ambiguous();
                        again.push(member);
                        failed = Some(error);
                    }
                    Err(error) if error.directive() == Directive::FailItem => {
                        outcomes.mark_not_applied(&mut member);
                        outcomes.rejected_writes += 1;
                        outcomes.counts.unclear += u64::from(member.unclear);
                        let why = member.sent.explain(error.to_string());
                        outcomes.record(member.write.key, ItemResult::Failed(Outcome::Rejected, why));
                    }
                    Err(error) => {
                        // If the error does not come from DynamoDB, the write may have been applied.
                        member.ambiguous |= matches!(error, TableError::Fatal { kind: FatalKind::Endpoint, .. });
                        outcomes.mark_not_applied(&mut member);
                        requests.progress().request_failed(&error.to_string());
                        requests.stop().stop(stop_reason(&error));
                        stopped = true;
                    }
                }
            }
            if stopped {
                return self.abandon(outcomes, again).await;
            }
            pending = again;
            // The write with the most failed attempts determines how long to wait and when to give up.
            if let (Some(error), Some(worst)) = (failed, pending.iter_mut().max_by_key(|m| m.attempts.failed))
                && requests.after_failure(&error, &mut worst.attempts).await.is_err()
            {
                return self.abandon(outcomes, pending).await;
            }
        }
        requests.progress().items_processed(outcomes.counts.scanned);
        Ok(outcomes)
    }

    /// Abandons a chunk because the run is stopping. The page will not be committed, so this function marks pre-images
    /// as refused if their writes were certainly not applied. Otherwise a rollback could restore a value that no write
    /// has destroyed.
    pub(crate) async fn abandon(
        &self,
        mut outcomes: ItemOutcomes,
        pending: Vec<PendingWrite>,
    ) -> Result<ItemOutcomes, Stopped> {
        for mut member in pending {
            outcomes.mark_not_applied(&mut member);
        }
        self.mark_refused(outcomes.refused).await;
        Err(Stopped)
    }

    fn changes(&self) -> &Changes {
        self.decisions.changes()
    }

    fn key_of(&self, item: &Item) -> ItemKey {
        // A stored item always has its key. Without a key, `decide` would reject the item, and the failure would have
        // an empty key.
        self.changes().key().key_of(item).unwrap_or_else(|| ItemKey::new(Item::new()))
    }
}

/// Calls [`Writer::write_chunk`] in a future that borrows nothing from the caller.
async fn write_chunk(context: Arc<(Writer, Requests)>, chunk: Vec<PendingWrite>) -> Result<ItemOutcomes, Stopped> {
    let (writer, requests) = &*context;
    writer.write_chunk(requests, chunk).await
}

/// Takes the units of partition keys for the next writes, and returns the writes that can be sent together. A write
/// whose key has no units available is set aside, so that the other writes need not wait.
fn next_chunk(
    writes: &mut std::vec::IntoIter<PendingWrite>,
    requests: &Requests,
    set_aside: &mut SetAsideItems,
) -> Option<Vec<PendingWrite>> {
    let bounds = ChunkBounds::new(requests);
    // Allocate the largest possible size now, because a growing vector would allocate more than it needs.
    let mut chunk = Vec::with_capacity(bounds.max_chunk.min(writes.len()));
    while writes.as_slice().first().is_some_and(|next| bounds.allow(&chunk, next)) {
        let Some(write) = writes.next() else { break };
        if requests.try_acquire_key(&write.write) { chunk.push(write) } else { set_aside.add(requests, write) }
    }
    (!chunk.is_empty()).then_some(chunk)
}

fn give_up(requests: &Requests, why: String) -> Stopped {
    requests.stop().stop(StopReason::Store(why));
    Stopped
}

pub(crate) fn writes_of(chunk: &[PendingWrite]) -> Vec<&GuardedWrite> {
    chunk.iter().map(|member| &member.write).collect()
}

#[cfg(test)]
mod tests;

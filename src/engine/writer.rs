//! From the items of a page to their outcomes: change, guarded write, permit, outcome.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::requests::{Attempts, Requests, Spent, stop_reason};
use super::stop::{StopReason, Stopped};
use crate::change::{Changes, Decision, GuardedWrite, Outcome, PreImage};
use crate::checkpoint::{CheckpointStore, Counts, DivergedItem, Failure, PreImageId, PreImageRow, RunId};
use crate::item::{Item, ItemKey, Path};
use crate::table::{Directive, FatalKind, TableError, WriteReply};

/// How often a write is planned anew from the image that its failed condition brought, before the item is a `Conflict`.
const MAX_REPLANS: u32 = 8;

/// Turns items into outcomes, with the guards that design points 1–9 ask for.
#[derive(Clone)]
pub struct Writer {
    changes: Arc<Changes>,
    requests: Requests,
    store: Arc<dyn CheckpointStore>,
    run: RunId,
}

/// What became of some items, complete enough to be committed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settled {
    /// Items by outcome, and what they consumed.
    pub counts: Counts,
    /// Items that failed.
    pub failures: Vec<Failure>,
    /// Items found diverged.
    pub diverged: Vec<DivergedItem>,
    /// Pre-images whose write was certainly refused.
    pub refused: Vec<PreImageId>,
    /// Whether DynamoDB accepted at least one write.
    pub accepted: bool,
    /// Writes that were sent and that DynamoDB did not allow: among the failures, those that may be the plan's fault.
    pub rejected_writes: u64,
}

/// The end of one item's way.
enum End {
    Outcome(Outcome),
    Diverged(Vec<Path>),
    Failed(Outcome, String),
}

/// A write on its way.
struct Pending {
    write: GuardedWrite,
    /// Its recorded pre-images.
    journaled: Vec<PreImageId>,
    /// Whether some attempt may have been applied without our knowing.
    ambiguous: bool,
    replans: u32,
    attempts: Attempts,
}

impl Pending {
    fn new(write: GuardedWrite) -> Pending {
        Pending { write, journaled: Vec::new(), ambiguous: false, replans: 0, attempts: Attempts::default() }
    }
}

impl Writer {
    /// A writer of these changes into one run.
    pub fn new(changes: Arc<Changes>, requests: Requests, store: Arc<dyn CheckpointStore>, run: RunId) -> Writer {
        Writer { changes, requests, store, run }
    }

    /// Settles all items of a page, or none: an `Err` means that the run is stopping and the page is abandoned. Requests
    /// that were in flight have been answered by then.
    pub async fn settle(&self, items: Vec<Item>) -> Result<Settled, Stopped> {
        let mut settled = Settled::default();
        let mut writes = Vec::new();
        for item in items {
            match self.changes.decide(&item) {
                Decision::Write(write) => writes.push(write),
                decided => settled.end(self.key_of(&item), end_of(decided, false)),
            }
        }
        let mut chunks = cut(writes.into_iter().map(Pending::new), self.requests.max_chunk()).into_iter();
        let mut in_progress = FuturesUnordered::new();
        let mut stopped = false;
        loop {
            while !stopped && in_progress.len() < self.requests.concurrency() {
                let Some(chunk) = chunks.next() else { break };
                in_progress.push(self.settle_chunk(chunk));
            }
            match in_progress.next().await {
                Some(Ok(more)) => settled.merge(more),
                // The others are not dropped: what they have in flight is waited for, the rest they give up themselves.
                Some(Err(Stopped)) => stopped = true,
                None if stopped => return self.abandon(settled, Vec::new()).await,
                None => return Ok(settled),
            }
        }
    }

    /// Makes the pre-images of these writes durable, where that has not been done. Only then may they be sent.
    async fn journal(&self, chunk: &mut [Pending]) -> Result<(), Stopped> {
        let due = |member: &Pending| member.journaled.is_empty() && !member.write.pre_images.is_empty();
        let row = |write: &GuardedWrite, pre: &PreImage| PreImageRow {
            key: write.key.clone(),
            path: pre.path.clone(),
            value: pre.value.clone(),
        };
        let rows: Vec<PreImageRow> = chunk
            .iter()
            .filter(|member| due(member))
            .flat_map(|member| member.write.pre_images.iter().map(|pre| row(&member.write, pre)))
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let expected = rows.len();
        let ids = self.store.append_pre_images(self.run, rows).await.map_err(|e| self.give_up(e.to_string()))?;
        if ids.len() != expected {
            return Err(self.give_up(format!("{} ids for {expected} pre-images", ids.len())));
        }
        let mut ids = ids.into_iter();
        for member in chunk.iter_mut().filter(|member| due(member)) {
            member.journaled = ids.by_ref().take(member.write.pre_images.len()).collect();
        }
        Ok(())
    }

    /// Sends a chunk until every member has an outcome.
    async fn settle_chunk(&self, mut pending: Vec<Pending>) -> Result<Settled, Stopped> {
        let mut settled = Settled::default();
        while !pending.is_empty() {
            let units = pending.iter().map(|member| member.write.cost.total()).sum();
            let Ok(admission) = self.requests.admit(units).await else { return self.abandon(settled, pending).await };
            pending.iter_mut().for_each(|member| member.attempts.waited(admission.waited));
            self.journal(&mut pending).await?;
            let writes: Vec<&GuardedWrite> = pending.iter().map(|member| &member.write).collect();
            let (replies, spent) = self.requests.write(admission, &writes).await;
            if replies.len() != pending.len() {
                let why = format!("{} replies for {} writes", replies.len(), pending.len());
                self.requests.stop().stop(StopReason::Internal(why));
                return Err(Stopped);
            }
            settled.spend(spent);
            let mut again = Vec::new();
            let mut failed: Option<TableError> = None;
            for (mut member, reply) in pending.into_iter().zip(replies) {
                match reply {
                    Ok(WriteReply::Applied { .. }) => {
                        settled.accepted = true;
                        settled.end(member.write.key, End::Outcome(Outcome::Applied));
                    }
                    Ok(WriteReply::ConditionFailed { image }) => {
                        settled.accepted = true;
                        match self.replan(member, image, &mut settled).await {
                            Ok(next) => again.extend(next),
                            Err(Stopped) => return self.abandon(settled, again).await,
                        }
                    }
                    Err(error) if error.directive() == Directive::Retry => {
                        member.ambiguous |= error.is_ambiguous();
                        again.push(member);
                        failed = Some(error);
                    }
                    Err(error) if error.directive() == Directive::FailItem => {
                        settled.refuse(&mut member);
                        settled.rejected_writes += 1;
                        settled.end(member.write.key, End::Failed(Outcome::Rejected, error.to_string()));
                    }
                    Err(error) => {
                        // What is not DynamoDB's own answer does not say that the write was not applied.
                        member.ambiguous |= matches!(error, TableError::Fatal { kind: FatalKind::Endpoint, .. });
                        settled.refuse(&mut member);
                        self.requests.progress().request_failed(&error.to_string());
                        self.requests.stop().stop(stop_reason(&error));
                        return self.abandon(settled, again).await;
                    }
                }
            }
            pending = again;
            // The one that has failed most often decides how long to wait and when to give up.
            if let (Some(error), Some(worst)) = (failed, pending.iter_mut().max_by_key(|m| m.attempts.failed))
                && self.requests.after_failure(&error, &mut worst.attempts).await.is_err()
            {
                return self.abandon(settled, pending).await;
            }
        }
        Ok(settled)
    }

    /// Gives up a chunk because the run is stopping. Its page will not be committed, so what is certain of pre-images is
    /// stored now: a rollback must not restore what no write has destroyed.
    async fn abandon(&self, mut settled: Settled, pending: Vec<Pending>) -> Result<Settled, Stopped> {
        for mut member in pending {
            settled.refuse(&mut member);
        }
        if !settled.refused.is_empty() {
            // Not being told is safe: the pre-image then counts as one whose write may have been applied.
            let _ = self.store.mark_refused(std::mem::take(&mut settled.refused)).await;
        }
        Err(Stopped)
    }

    /// After a failed condition: the item as it is now decides. Returns the write to send next, if there is one.
    async fn replan(
        &self,
        mut member: Pending,
        image: Option<Item>,
        settled: &mut Settled,
    ) -> Result<Option<Pending>, Stopped> {
        let key = member.write.key.clone();
        settled.refuse(&mut member);
        let image = match image {
            Some(image) => Some(image),
            // No image is not yet proof that the item is gone: some engines return none.
            None => {
                let got = self.requests.get(&key).await?;
                settled.spend(Spent { read: got.units.unwrap_or(0.0), ..Spent::default() });
                got.item
            }
        };
        let Some(image) = image else {
            settled.end(key, End::Outcome(Outcome::Gone));
            return Ok(None);
        };
        match self.changes.decide(&image) {
            Decision::Write(_) if member.replans >= MAX_REPLANS => {
                let why = format!("the item changed under each of {MAX_REPLANS} attempts");
                settled.end(key, End::Failed(Outcome::Conflict, why));
                Ok(None)
            }
            Decision::Write(write) => Ok(Some(Pending { replans: member.replans + 1, ..Pending::new(write) })),
            decided => {
                settled.end(key, end_of(decided, true));
                Ok(None)
            }
        }
    }

    fn key_of(&self, item: &Item) -> ItemKey {
        // A stored item always has its key; without one `decide` rejects it, and it is listed under what there is.
        self.changes.key().key_of(item).unwrap_or_else(|| ItemKey::new(Item::new()))
    }

    fn give_up(&self, why: String) -> Stopped {
        self.requests.stop().stop(StopReason::Store(why));
        Stopped
    }
}

/// The end of an item that needs no write. After a failed condition "nothing left to change" means that somebody, perhaps
/// this run in an attempt whose reply was lost, has made the change.
fn end_of(decision: Decision, after_condition: bool) -> End {
    match decision {
        Decision::NothingToDo if !after_condition => End::Outcome(Outcome::NothingToDo),
        Decision::NothingToDo | Decision::AlreadyApplied => End::Outcome(Outcome::AlreadyApplied),
        Decision::Diverged(paths) => End::Diverged(paths),
        Decision::Rejected(why) => End::Failed(Outcome::Rejected, why),
        Decision::Write(_) => End::Failed(Outcome::Conflict, "it still needs a write".into()),
    }
}

/// Cuts into chunks, each in a vector of its own size: cut off from one long vector, every chunk would keep the capacity
/// of all that follow it, which is quadratic in a page's items.
fn cut<T>(mut members: impl Iterator<Item = T>, at_most: usize) -> Vec<Vec<T>> {
    let mut chunks = Vec::new();
    loop {
        let chunk: Vec<T> = members.by_ref().take(at_most).collect();
        if chunk.is_empty() {
            return chunks;
        }
        chunks.push(chunk);
    }
}

impl Settled {
    fn end(&mut self, key: ItemKey, end: End) {
        match end {
            End::Outcome(outcome) => self.counts.count(outcome),
            End::Diverged(paths) => {
                self.counts.count(Outcome::Diverged);
                self.diverged.push(DivergedItem { key, paths });
            }
            End::Failed(outcome, reason) => {
                self.counts.count(outcome);
                self.failures.push(Failure { key, outcome, reason });
            }
        }
    }

    fn spend(&mut self, spent: Spent) {
        self.counts.read_units += spent.read;
        self.counts.write_units += spent.write;
        self.counts.assumed_write_units += spent.assumed_write;
        self.counts.estimated_write_units += spent.estimated_write;
    }

    /// Marks the pre-images of a write that was refused. Where an attempt may have been applied, they stay valid.
    fn refuse(&mut self, member: &mut Pending) {
        let journaled = std::mem::take(&mut member.journaled);
        if !member.ambiguous {
            self.refused.extend(journaled);
        }
    }

    /// Adds what became of other items.
    pub fn merge(&mut self, other: Settled) {
        self.counts.add(&other.counts);
        self.failures.extend(other.failures);
        self.diverged.extend(other.diverged);
        self.refused.extend(other.refused);
        self.accepted |= other.accepted;
        self.rejected_writes += other.rejected_writes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_take_memory_in_proportion_to_their_members() {
        let chunks = cut(0..1_000, 1);
        assert_eq!(chunks.concat(), (0..1_000).collect::<Vec<_>>());
        assert!(chunks.iter().map(Vec::capacity).sum::<usize>() <= 8_000);
        assert_eq!(cut(0..7, 3), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
        assert!(cut(0..0, 3).is_empty());
    }
}

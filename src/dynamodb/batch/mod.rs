//! Sends guarded writes as batches of PartiQL statements (`BatchExecuteStatement`), if a statement can express them.
//! Every other write uses `UpdateItem`, with the same guards and the same outcomes:
//!
//! - a write that [`statement`] does not express;
//! - a write that is alone, because a batch of one saves nothing, and the reply to an `UpdateItem` says more;
//! - a write whose statement DynamoDB throttled: only the reply to an `UpdateItem` names the throttled scope;
//! - a write whose statement DynamoDB rejected. The reply to the `UpdateItem` decides.
//!
//! Before the first batch, the module `proof` proves that the endpoint obeys the conditions of statements.

mod proof;
mod reply;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::future::{join, join_all};

pub use reply::{BatchConsumption, BatchReply, StatementReply};

use super::{BackupStatus, Directive, GetReply, Sink, TableError, WriteReply};
use crate::change::{GuardedWrite, MAX_STATEMENTS, Statement, statement};
use crate::item::ItemKey;
use proof::Proof;
use reply::{Answer, answers};

/// After this number of rejected statements in a row, without one that DynamoDB evaluated, all writes go by
/// `UpdateItem`. Each rejected statement costs an additional request.
const MAX_REJECTED: usize = 100;

/// Sends batches of statements. An implementation also sends single writes ([`Sink::write`]).
#[async_trait]
pub trait SendStatements: Sink {
    /// Returns the name of the table.
    fn table_name(&self) -> &str;

    /// Sends these statements in one request, without retries. There are at most [`MAX_STATEMENTS`], each for a different
    /// item. Returns one reply per statement, in the same order. The reply to a failed condition contains the current
    /// item, if the service supports this. An `Err` concerns all statements. If it is [`TableError::Rejected`], none was
    /// carried out.
    async fn execute(&self, statements: &[Statement<'_>]) -> Result<BatchReply, TableError>;
}

/// A table to which guarded writes go in batches.
pub struct BatchTable<T> {
    table: Arc<T>,
    /// Whether the plan asks for batches. Otherwise the transport is `auto`.
    is_required: bool,
    proof: Mutex<Proof>,
    /// The items whose last statement was throttled. The next attempt uses `UpdateItem`, which removes the entry. So
    /// there are never more entries than writes in flight and waiting.
    throttled: Mutex<BTreeSet<String>>,
    rejected: AtomicUsize,
}

impl<T: SendStatements> BatchTable<T> {
    /// Creates the transport `batch` for this table if `is_required`, and otherwise the transport `auto`. If the endpoint
    /// cannot be trusted with batches, `auto` sends every write by `UpdateItem`, and `batch` returns an error that stops
    /// the run.
    pub fn new(table: Arc<T>, is_required: bool) -> BatchTable<T> {
        let rejected = AtomicUsize::new(0);
        BatchTable { table, is_required, proof: Mutex::default(), throttled: Mutex::default(), rejected }
    }

    fn proof(&self) -> MutexGuard<'_, Proof> {
        self.proof.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends all writes by `UpdateItem` from now on.
    fn give_up(&self, why: &str) {
        if self.proof().refuse() {
            tracing::warn!("writes are sent with UpdateItem, not in batches: {why}");
        }
    }

    fn throttled(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.throttled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn was_throttled(&self, key: &ItemKey) -> bool {
        let mut throttled = self.throttled();
        !throttled.is_empty() && throttled.remove(&key.to_text())
    }

    /// Sends a chunk: what statements can express in one batch, and the rest by `UpdateItem`.
    async fn write_chunk(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        let mut statements = Vec::with_capacity(chunk.len());
        let mut places = Vec::with_capacity(chunk.len());
        for (place, write) in chunk.iter().enumerate() {
            if let Some(statement) =
                statement(write, self.table.table_name()).filter(|_| !self.was_throttled(&write.key))
            {
                statements.push(statement);
                places.push(place);
            }
        }
        if statements.len() < 2 {
            return self.update(chunk).await;
        }
        let others: Vec<usize> = (0..chunk.len()).filter(|place| !places.contains(place)).collect();
        let writes = |places: &[usize]| places.iter().map(|place| chunk[*place]).collect::<Vec<_>>();
        let batch = writes(&places);
        let (answered, updated) = join(self.batch(&batch, &statements), self.update(&writes(&others))).await;
        let mut replies: Vec<Option<Result<WriteReply, TableError>>> = chunk.iter().map(|_| None).collect();
        for (place, reply) in others.into_iter().zip(updated) {
            replies[place] = Some(reply);
        }
        for (place, answer) in places.into_iter().zip(answered) {
            replies[place] = Some(answer);
        }
        replies.into_iter().map(|reply| reply.unwrap_or_else(|| Err(missing_reply()))).collect()
    }

    /// Sends a batch, and then the writes of rejected statements by `UpdateItem`.
    async fn batch(
        &self,
        writes: &[&GuardedWrite],
        statements: &[Statement<'_>],
    ) -> Vec<Result<WriteReply, TableError>> {
        let answered = match self.table.execute(statements).await {
            Ok(reply) if reply.replies.len() == writes.len() => answers(writes, reply),
            Ok(_) => vec![Answer::Reply(Err(missing_reply())); writes.len()],
            // One statement can make DynamoDB reject the whole request.
            Err(error) if error.directive() == Directive::FailItem => {
                vec![Answer::Rejected(error.to_string()); writes.len()]
            }
            Err(error) => vec![Answer::Reply(Err(error)); writes.len()],
        };
        self.count_rejected(&answered);
        let answered = writes.iter().zip(answered).map(|(write, answer)| async move {
            match answer {
                Answer::Rejected(_) => self.update_one(write).await,
                Answer::Reply(reply) => {
                    if matches!(reply, Err(TableError::Throttled { .. })) {
                        self.throttled().insert(write.key.to_text());
                    }
                    reply
                }
            }
        });
        join_all(answered).await
    }

    fn count_rejected(&self, answered: &[Answer]) {
        let mut last = None;
        for answer in answered {
            match answer {
                Answer::Rejected(why) => {
                    last = Some((self.rejected.fetch_add(1, Ordering::Relaxed) + 1, why));
                }
                Answer::Reply(Ok(_)) => self.rejected.store(0, Ordering::Relaxed),
                Answer::Reply(Err(_)) => {}
            }
        }
        if let Some((rejected, why)) = last.filter(|(rejected, _)| *rejected >= MAX_REJECTED) {
            self.give_up(&format!("DynamoDB rejected {rejected} statements, the last one with: {why}"));
        }
    }

    async fn update(&self, writes: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        if writes.is_empty() { Vec::new() } else { self.table.write(writes).await }
    }

    async fn update_one(&self, write: &GuardedWrite) -> Result<WriteReply, TableError> {
        self.table.write(&[write]).await.pop().unwrap_or_else(|| Err(missing_reply()))
    }
}

#[async_trait]
impl<T: SendStatements> Sink for BatchTable<T> {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        if self.proof().is_complete() {
            return self.write_chunk(chunk).await;
        }
        if let [write] = chunk
            && let Some(reply) = self.prove(write).await
        {
            return vec![reply];
        }
        self.update(chunk).await
    }

    /// Returns 1 until the endpoint has proven that it obeys conditions.
    fn max_chunk(&self) -> usize {
        if self.proof().is_complete() { MAX_STATEMENTS } else { 1 }
    }

    fn can_share_request(&self, write: &GuardedWrite) -> bool {
        statement(write, self.table.table_name()).is_some()
    }

    async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError> {
        self.table.get(key).await
    }

    async fn create_backup(&self, name: &str) -> Result<String, TableError> {
        self.table.create_backup(name).await
    }

    async fn backup_status(&self, arn: &str) -> Result<BackupStatus, TableError> {
        self.table.backup_status(arn).await
    }
}

fn missing_reply() -> TableError {
    TableError::UnusableReply {
        operation: "BatchExecuteStatement",
        flaw: "it does not have one response per statement",
    }
}

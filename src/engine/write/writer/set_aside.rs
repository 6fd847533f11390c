//! Sets items aside if they have to wait for the units of their partition key. In the meantime, the other items of
//! their segment are processed.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use futures::future::{BoxFuture, MaybeDone, maybe_done};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _, poll};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::unconstrained;

use crate::change::GuardedWrite;
use crate::engine::client::Requests;
use crate::engine::stop::Stopped;
use crate::engine::write::outcome::PageOutcome as _;
use crate::engine::write::writer::chunk::ChunkBounds;
use crate::engine::write::writer::{ItemOutcomes, PendingWrite, Writer};
use crate::item::{PartitionHash, item_bytes};

/// The lock of a partition key. Only the holder of this lock may process the set-aside items of the key. The holder has
/// the turn.
type KeyTurn = Arc<Mutex<()>>;

/// A position in the queue for a turn.
type QueuePosition = Pin<Box<MaybeDone<BoxFuture<'static, OwnedMutexGuard<()>>>>>;

/// Set-aside items, grouped by partition key and in scan order.
#[derive(Default)]
pub(crate) struct SetAsideItems {
    pub(crate) keys: BTreeMap<PartitionHash, (KeyTurn, VecDeque<PendingWrite>)>,
    pub(crate) bytes: usize,
}

/// Set-aside items that are queued. For each of their partition keys, they have a position in the queue for the turn of
/// that key.
pub(crate) struct QueuedItems(Vec<(QueuePosition, VecDeque<PendingWrite>)>);

impl SetAsideItems {
    pub(crate) fn add(&mut self, requests: &Requests, member: PendingWrite) {
        let key = requests.hash_of(&member.write);
        let next = member.write.next.as_ref().map_or(0, |next| item_bytes(&next.image));
        self.bytes += member.write.bytes_before.max(member.write.bytes_after) + next;
        self.keys.entry(key).or_insert_with(|| (requests.turn(key), VecDeque::new())).1.push_back(member);
    }

    /// Adds the items of each partition key to the queue of that key. They wait there until they get the turn. Call
    /// this method page by page: earlier pages must be first in the queue, because they are committed first.
    pub(crate) async fn queue(self) -> QueuedItems {
        let mut queued = Vec::new();
        for (turn, waiting) in self.keys.into_values() {
            let mut position: QueuePosition = Box::pin(maybe_done(unconstrained(turn.lock_owned()).boxed()));
            // The lock serves waiters in the order of their first polls.
            let _ = poll!(&mut position);
            queued.push((position, waiting));
        }
        QueuedItems(queued)
    }
}

impl Writer {
    /// Processes the items that were set aside. The items of a partition key are written at the rate of that key, in
    /// scan order.
    pub(crate) async fn process_set_aside(
        &self,
        requests: &Requests,
        QueuedItems(set_aside): QueuedItems,
    ) -> Result<ItemOutcomes, Stopped> {
        self.gather(
            set_aside.into_iter().map(|(position, waiting)| self.process_key(requests, position, waiting)).collect(),
        )
        .await
    }

    async fn process_key(
        &self,
        requests: &Requests,
        mut position: QueuePosition,
        mut waiting: VecDeque<PendingWrite>,
    ) -> Result<ItemOutcomes, Stopped> {
        requests.stop().unless_stopping(&mut position).await?;
        let mut turn_guard = position.as_mut().take_output();
        let mut in_progress = FuturesUnordered::new();
        let mut outcomes = ItemOutcomes::default();
        let mut stopped = false;
        while !waiting.is_empty() && !stopped {
            let may_admit = in_progress.len() < requests.lane().outstanding();
            let first: Vec<&GuardedWrite> = waiting.front().map(|member| &member.write).into_iter().collect();
            // If this wait is dropped, it has taken no permits. The next iteration of the loop starts the wait again.
            tokio::select! {
                biased;
                Some(chunk_result) = in_progress.next() => match chunk_result {
                    Ok(more) => outcomes.merge(more),
                    Err(Stopped) => stopped = true,
                },
                admitted = requests.admit_keys(&first), if may_admit => match admitted {
                    Ok(()) => in_progress.push(self.write_chunk(requests, admitted_chunk(requests, &mut waiting))),
                    Err(Stopped) => stopped = true,
                },
            }
        }
        // The last item of this key has received its units, so the next page in the queue may take the turn.
        turn_guard.take();
        let rest = self.gather(in_progress).await;
        match rest {
            Ok(more) if !stopped => {
                outcomes.merge(more);
                Ok(outcomes)
            }
            _ => self.abandon(outcomes, Vec::new()).await,
        }
    }
}

/// Removes the next chunk from `waiting`. The chunk contains the first write, whose units the caller has already taken,
/// and the following writes whose units are currently available.
fn admitted_chunk(requests: &Requests, waiting: &mut VecDeque<PendingWrite>) -> Vec<PendingWrite> {
    let mut chunk: Vec<PendingWrite> = waiting.pop_front().into_iter().collect();
    let bounds = ChunkBounds::new(requests);
    while let Some(next) = waiting.front()
        && bounds.allow(&chunk, next)
        && requests.try_key_in_turn(&next.write)
    {
        chunk.extend(waiting.pop_front());
    }
    chunk
}

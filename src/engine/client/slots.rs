//! Bounds the number of writes that all segments together have in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::item::Units;

/// The assumed duration of a write, in seconds. The number of slots is chosen so that one-unit writes of this duration
/// use up the budget. DynamoDB usually takes far less time.
const SECONDS_PER_WRITE: f64 = 0.05;

/// The smallest number of slots, for any budget. This number is enough for 1,280 WCU/s. With fewer slots, one slow
/// reply would delay a larger part of the other writes.
const MIN_SLOTS: usize = 64;

/// The largest number of slots. This number is enough for 10,240 WCU/s, or for five times that rate if a write takes 10
/// ms. Over HTTP/1.1 each slot needs a connection. So a process that may open only a few files has fewer slots.
const MAX_SLOTS: usize = 512;

/// Slots for writes in flight. There are enough slots to use up the table's budget.
///
/// Two bounds limit the writes in flight. One is the number of slots. The other is
/// [`Lane::outstanding`](super::Lane::outstanding), which limits the writes of one segment, both in flight and waiting.
/// Slots also bound memory. A waiting write needs no memory of its own, because it is part of a page that its segment
/// has already read. A write in flight needs additional memory for its request, its connection and the SDK's data. A
/// write in flight takes about 60 KB (measured in a run of `tests/table/memory.rs` with 64 additional slots). All slots
/// together take about 30 MB. With default budgets, there are twice as many lanes as the budget needs, so the number of
/// slots is the tighter bound. If the plan sets a small number of lanes, or gives one key range the whole budget, the
/// bound per segment is tighter, because each shared lane has at most eight outstanding writes. For example, 16 lanes
/// reach 2,560 WCU/s if a write takes 50 ms.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    created: AtomicUsize,
    /// The largest number of slots, for any budget.
    max_slots: usize,
}

impl Slots {
    /// Creates slots for a budget in write units per second. `connections` is the number of connections that this
    /// process may open. Over HTTP/1.1 each write in flight needs a connection. Half of the connections are for writes,
    /// the other half for scans and single reads.
    pub(crate) fn new(budget: Units, connections: usize) -> Slots {
        let max_slots = (connections / 2).max(1);
        let created = slots_for(budget).min(max_slots);
        Slots { free: Arc::new(Semaphore::new(created)), created: AtomicUsize::new(created), max_slots }
    }

    /// Waits for a slot. Adds slots if the budget exceeds its highest value so far. If the budget falls, keeps all
    /// slots, because the rate limits the writes anyway. Returns `None` only if the semaphore is closed, which never
    /// happens.
    pub(crate) async fn take(&self, budget: Units) -> Option<OwnedSemaphorePermit> {
        let wanted = slots_for(budget).min(self.max_slots);
        let created = self.created.fetch_max(wanted, Ordering::Relaxed);
        if wanted > created {
            self.free.add_permits(wanted - created);
        }
        Arc::clone(&self.free).acquire_owned().await.ok()
    }
}

fn slots_for(budget: Units) -> usize {
    ((budget * SECONDS_PER_WRITE).ceil() as usize).clamp(MIN_SLOTS, MAX_SLOTS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ratelimit::{Bucket, Feedback};

    /// Runs a thousand writers for `seconds` seconds. Each write has one unit and takes 50 ms. Returns the number of
    /// writes per second.
    async fn writes(slots: &Arc<Slots>, table: &Arc<Bucket>, seconds: u64) -> u64 {
        let done = Arc::new(AtomicUsize::new(0));
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let slots = Arc::clone(slots);
            let table = Arc::clone(table);
            let done = Arc::clone(&done);
            writers.spawn(async move {
                loop {
                    let _slot = slots.take(table.budget()).await.unwrap();
                    table.acquire(1.0).await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    table.reconcile(1.0, 1.0);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        writers.shutdown().await;
        done.load(Ordering::Relaxed) as u64 / seconds
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_is_used_up_at_50_ms_a_write_even_after_a_raise() {
        for (first, later) in [(500_u32, 5_000_u32), (10_000, 2_000), (0, 8_000)] {
            let table = Arc::new(Bucket::new(f64::from(first), Feedback::default()));
            let slots = Arc::new(Slots::new(table.budget(), usize::MAX));
            for budget in [first, later] {
                table.set_budget(f64::from(budget));
                let each = writes(&slots, &table, 10).await;
                let budget = u64::from(budget);
                assert!((budget * 95 / 100..=budget * 102 / 100).contains(&each), "{each} of {budget}");
            }
        }
    }

    #[test]
    fn there_are_slots_within_bounds() {
        for (budget, slots) in
            [(-1.0, 64), (0.0, 64), (1_280.0, 64), (1_281.0, 65), (10_000.0, 500), (1e12, 512), (f64::NAN, 64)]
        {
            assert_eq!(slots_for(budget), slots, "{budget}");
        }
    }

    #[tokio::test]
    async fn a_fluctuating_budget_makes_no_more_slots_than_it_needs() {
        let slots = Slots::new(100.0, usize::MAX);
        for budget in [4_000.0, 100.0, 6_000.0, 4_000.0, 6_000.0] {
            drop(slots.take(budget).await);
        }
        assert_eq!(slots.free.available_permits(), 300);
    }

    #[tokio::test]
    async fn there_are_no_more_slots_than_connections_allow() {
        let slots = Slots::new(100.0, 20);
        assert_eq!(slots.free.available_permits(), 10);
        drop(slots.take(10_000.0).await);
        assert_eq!(slots.free.available_permits(), 10);
        assert_eq!(Slots::new(100.0, 1).free.available_permits(), 1);
    }
}

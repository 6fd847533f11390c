//! How many writes may be in flight at the same time, over all segments.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::item::Units;

/// So slow may a write be, with the budget still used up by writes of one unit: far more than DynamoDB takes as a rule.
const SECONDS_A_WRITE: f64 = 0.05;

/// At least so many slots: 1,280 WCU/s, whatever the budget. A slow answer then holds up few others.
const LEAST: usize = 64;

/// And at most so many: 10,240 WCU/s, and five times that at 10 ms a write. Over HTTP/1.1 each is a connection; where a
/// process may not have so many files open, there are fewer.
const MOST: usize = 512;

/// Slots for writes in flight: as many as use up the table's budget.
///
/// They are one of two bounds. A segment keeps at most [`Lane::outstanding`](super::Lane::outstanding) writes, in flight and
/// waiting, and these bound memory: a write that waits stands in a page that its segment has read. One in flight adds its
/// request, its connection and what the SDK keeps with them: about 60 KB, as 64 more of them took in a run of
/// `tests/table/memory.rs`, so that all of them make some 30 MB. With budgets as they are by default, lanes are twice as many as
/// use up the budget, and slots are the bound; where the plan states few lanes, or lets one segment take all, it is eight
/// for each shared lane: 16 lanes make 2,560 WCU/s at 50 ms a write.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    made: AtomicUsize,
    /// No more than these, whatever the budget.
    most: usize,
}

impl Slots {
    /// Slots for a budget, in write units per second, if this process may have so many connections: over HTTP/1.1 each
    /// write in flight has one. Half of them are for writes; the rest is for scans and single reads.
    pub(crate) fn new(budget: Units, connections: usize) -> Slots {
        let most = (connections / 2).max(1);
        let made = slots_for(budget).min(most);
        Slots { free: Arc::new(Semaphore::new(made)), made: AtomicUsize::new(made), most }
    }

    /// Waits for a slot. If the budget is larger by now than any before, more are made; where it is smaller they stay, and
    /// the rate is the bound. None only if the semaphore were closed, which it never is.
    pub(crate) async fn take(&self, budget: Units) -> Option<OwnedSemaphorePermit> {
        let wanted = slots_for(budget).min(self.most);
        let made = self.made.fetch_max(wanted, Ordering::Relaxed);
        if wanted > made {
            self.free.add_permits(wanted - made);
        }
        Arc::clone(&self.free).acquire_owned().await.ok()
    }
}

fn slots_for(budget: Units) -> usize {
    ((budget * SECONDS_A_WRITE).ceil() as usize).clamp(LEAST, MOST)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ratelimit::{Bucket, Feedback};

    /// Lets a thousand writers go on for so many seconds, at 50 ms a write of one unit; returns writes per second.
    async fn writes(slots: &Arc<Slots>, table: &Arc<Bucket>, seconds: u64) -> u64 {
        let done = Arc::new(AtomicUsize::new(0));
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let (slots, table, done) = (Arc::clone(slots), Arc::clone(table), Arc::clone(&done));
            writers.spawn(async move {
                loop {
                    let _slot = slots.take(table.budget()).await.unwrap();
                    table.acquire(1.0).await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    table.settle(1.0, 1.0);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        writers.shutdown().await;
        done.load(Ordering::Relaxed) as u64 / seconds
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_is_used_up_at_50_ms_a_write_also_when_it_is_raised() {
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
    async fn a_budget_that_goes_up_and_down_makes_no_more_slots_than_it_needs() {
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

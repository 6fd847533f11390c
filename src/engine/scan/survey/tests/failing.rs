//! Tests a scheduler that can fail, as a scheduler behind a network may.

use std::sync::atomic::AtomicU32;

use super::*;
use crate::engine::{Lane, SchedulerError, StopReason, WorkLease};

/// A scheduler that leases `leases` units and then fails.
struct Failing {
    local: LocalScheduler,
    leases: u32,
    taken: AtomicU32,
    left: AtomicU32,
}

#[async_trait]
impl Scheduler for Failing {
    async fn next(&self, lane: Lane) -> Result<Option<WorkLease>, SchedulerError> {
        tokio::time::sleep(LATENCY).await;
        if self.taken.load(Ordering::Relaxed) == self.leases {
            return Err(SchedulerError("the lease table does not answer".into()));
        }
        let lease = self.local.next(lane).await?;
        self.taken.fetch_add(u32::from(lease.is_some()), Ordering::Relaxed);
        Ok(lease)
    }

    async fn left(&self, lease: WorkLease) -> Result<(), SchedulerError> {
        tokio::time::sleep(LATENCY).await;
        self.left.fetch_add(1, Ordering::Relaxed);
        self.local.left(lease).await
    }

    async fn next_unknown(&self) -> Result<Option<u32>, SchedulerError> {
        self.local.next_unknown().await
    }

    async fn learn(&self, unit: u32, first_page: FirstPage) -> Result<(), SchedulerError> {
        self.local.learn(unit, first_page).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_error_stops_the_run_and_every_lease_is_given_back() {
    for leases in [0, 3, 40] {
        let scene = Scene::of(64, &[]);
        let local = LocalScheduler::new(64);
        let failing = Failing { local, leases, taken: AtomicU32::new(0), left: AtomicU32::new(0) };
        let stop = scene.stop.clone();
        let swept = scene.sweep_by(&failing).await;
        let expected = StopReason::Scheduler("the lease table does not answer".into());
        assert_eq!(stop.reason(), Some(&expected), "an error is not the end of the work");
        assert!(swept.done < 64, "{}", swept.done);
        assert_eq!(failing.left.load(Ordering::Relaxed), leases);
    }
}

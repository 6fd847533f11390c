//! Tests a scheduler that can fail, such as a scheduler on the network.

use std::sync::atomic::AtomicU32;

use super::*;
use crate::engine::{Lane, SchedulerError, StopReason, WorkLease};

/// A scheduler that leases `leases` units and then fails.
struct FailingScheduler {
    local: LocalScheduler,
    leases: u32,
    taken: AtomicU32,
    release: AtomicU32,
}

#[async_trait]
impl Scheduler for FailingScheduler {
    async fn next(&self, lane: Lane) -> Result<Option<WorkLease>, SchedulerError> {
        tokio::time::sleep(LATENCY).await;
        if self.taken.load(Ordering::Relaxed) == self.leases {
            return Err(SchedulerError("the lease table does not answer".into()));
        }
        let lease = self.local.next(lane).await?;
        self.taken.fetch_add(u32::from(lease.is_some()), Ordering::Relaxed);
        Ok(lease)
    }

    async fn release(&self, lease: WorkLease) -> Result<(), SchedulerError> {
        tokio::time::sleep(LATENCY).await;
        self.release.fetch_add(1, Ordering::Relaxed);
        self.local.release(lease).await
    }

    async fn next_unsurveyed(&self) -> Result<Option<u32>, SchedulerError> {
        self.local.next_unsurveyed().await
    }

    async fn record_first_page(&self, unit: u32, first_page: FirstPage) -> Result<(), SchedulerError> {
        self.local.record_first_page(unit, first_page).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_error_stops_the_run_and_every_lease_is_given_back() {
    for leases in [0, 3, 40] {
        let scene = Scene::new(64, &[]);
        let local = LocalScheduler::new(64);
        let failing = FailingScheduler { local, leases, taken: AtomicU32::new(0), release: AtomicU32::new(0) };
        let stop = scene.stop.clone();
        let result = scene.scan_table_with(&failing).await;
        let expected = StopReason::Scheduler("the lease table does not answer".into());
        assert_eq!(stop.reason(), Some(&expected), "an error is not the end of the work");
        assert!(result.done < 64, "{}", result.done);
        assert_eq!(failing.release.load(Ordering::Relaxed), leases);
    }
}

//! Scans a table segment by segment and page by page. Each page is given to a pass, which processes its items.
//!
//! [`sweep`] assigns open segments to lanes. `worker.rs` reads one segment to its end, and `open_pages.rs` commits the
//! pages of the segment in order. The survey runs at the same time, so that long segments begin early.

pub(crate) mod first_page;
pub(crate) mod lanes;
pub(crate) mod open_pages;
pub(crate) mod reading;
pub(crate) mod schedule;
pub(crate) mod survey;
pub(crate) mod worker;

pub use first_page::FirstPage;
pub use reading::Reading;
pub use schedule::{LocalScheduler, Scheduler, SchedulerError, WorkLease};
pub use survey::surveyed_items;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::{Lane, Requests};
use super::stop::{StopReason, Stopped, Stopper};
use super::write::{CommitPage, ProcessPage};
use lanes::{Lanes, MoreLanes};
use survey::Survey;
use worker::work_segment;

/// The time for which a drain waits for requests in flight. After this time it gives them up, and the next session
/// finds out whether they were carried out.
const DRAIN: Duration = Duration::from_secs(10);

/// Scans the whole table for a pass, until every segment has ended or the run is asked to stop. The survey
/// (`survey.rs`) runs at the same time, so that long segments begin early.
///
/// When this function returns, no request of the run is in flight, unless the drain took longer than ten seconds. If
/// the run stopped early, the stopper has the reason.
pub async fn sweep<P: ProcessPage + CommitPage<P::Outcome> + 'static>(
    reading: Reading,
    scheduler: &dyn Scheduler,
    requests: &Requests,
    pass: Arc<P>,
) {
    let stop = requests.stop().clone();
    let _watch = requests.watch().await;
    let lanes = Lanes::new(reading.active, reading.large);
    let reading = Arc::new(reading);
    let mut survey = Survey::new(Arc::clone(&reading), scheduler, requests, &lanes);
    let mut surveying = true;
    let mut more_lanes = MoreLanes::of(requests);
    let mut workers = JoinSet::new();
    while !stop.is_stopping() {
        for lane in [Lane::Large, Lane::Shared] {
            while let Some(seat) = lanes.seat(lane) {
                let Ok(Some(lease)) = answered(&stop, scheduler.next(lane)).await else { break };
                requests.progress().segment_started();
                let reading = Arc::clone(&reading);
                let pass = Arc::clone(&pass);
                let requests = requests.in_segment();
                workers.spawn(async move {
                    // Ignore the result: the store has the progress, and the stopper has the reason for a stop.
                    let _ = work_segment(&lease, reading, requests, pass, seat).await;
                    lease
                });
            }
        }
        // All lanes are taken now, so the survey reads only segments without a lane. If there are few segments, each of
        // them has a lane, and the survey reads none.
        let ended = tokio::select! {
            biased;
            ended = workers.join_next() => ended,
            () = stop.stopping() => break,
            () = lanes.promoted() => continue,
            () = more_lanes.wanted(requests, &lanes) => continue,
            more = survey.learn(), if surveying => {
                surveying = more;
                continue;
            }
        };
        match ended {
            None => break,
            Some(Ok(lease)) => {
                if let Err(error) = scheduler.left(lease).await {
                    stop.stop(StopReason::Scheduler(error.to_string()));
                }
                requests.progress().segment_left();
            }
            Some(Err(panic)) => {
                requests.progress().page_abandoned();
                stop.stop(StopReason::Internal(panic.to_string()));
            }
        }
    }
    drop(survey);
    // By now the workers take no new items and wait for no permits. The workers only await their requests in flight.
    let drained = timeout(DRAIN, async {
        while let Some(ended) = workers.join_next().await {
            if let Ok(lease) = ended {
                // A lease that cannot be given back expires by itself.
                let _ = scheduler.left(lease).await;
            }
        }
    })
    .await;
    if drained.is_err() {
        tracing::warn!(seconds = DRAIN.as_secs(), "requests were still in flight at the end of the drain; given up");
        (0..workers.len()).for_each(|_| requests.progress().page_abandoned());
        workers.shutdown().await;
    }
}

/// Waits for an answer of the scheduler, unless the run stops. An error stops the run, which can be resumed.
async fn answered<T>(stop: &Stopper, answer: impl Future<Output = Result<T, SchedulerError>>) -> Result<T, Stopped> {
    stop.unless_stopping(answer).await?.map_err(|error| {
        stop.stop(StopReason::Scheduler(error.to_string()));
        Stopped
    })
}

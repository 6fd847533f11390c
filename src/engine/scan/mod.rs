//! The scan: reads a table segment by segment and page by page, and hands each page on.
//!
//! [`sweep`] gives open segments to lanes; `worker.rs` reads one segment to its end; `open_pages.rs` commits its pages in
//! their order. Beside the work runs the survey, so that segments that take long begin early.

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

/// A drain waits this long for requests in flight, and then gives them up: what they did is found again on the next run.
const DRAIN: Duration = Duration::from_secs(10);

/// Walks over the whole table for a pass, until every segment has ended or the run is asked to stop. Beside the work runs
/// the survey (`survey.rs`), so that segments that take long begin early.
///
/// When it returns, no request of the run is in flight, unless the drain took longer than ten seconds. Why it stopped
/// early, if it did, stands in the stopper.
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
                let (reading, pass) = (Arc::clone(&reading), Arc::clone(&pass));
                let requests = requests.in_segment();
                workers.spawn(async move {
                    // What it came to stands in the store and in the stopper.
                    let _ = work_segment(&lease, reading, requests, pass, seat).await;
                    lease
                });
            }
        }
        // Only the segments that found no lane are left to be surveyed: where there are few, there are none.
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
    // Workers take no new items and wait for no permits by now; each only awaits what it has in flight.
    let drained = timeout(DRAIN, async {
        while let Some(ended) = workers.join_next().await {
            if let Ok(lease) = ended {
                // A lease that cannot be given back ends by itself.
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

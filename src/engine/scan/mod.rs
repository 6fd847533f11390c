//! Scans a table segment by segment and page by page. A pass processes the items of each page.
//!
//! [`scan_table`] assigns open segments to lanes. `worker.rs` reads one segment to its end, and `open_pages.rs` commits
//! the pages of the segment in order. The survey runs at the same time, so that long segments begin early.

pub(crate) mod first_page;
pub(crate) mod lanes;
pub(crate) mod open_pages;
pub(crate) mod read_settings;
pub(crate) mod schedule;
pub(crate) mod survey;
pub(crate) mod worker;

pub use first_page::FirstPage;
pub use read_settings::ReadSettings;
pub use schedule::{LocalScheduler, Scheduler, SchedulerError, WorkLease};
pub use survey::survey_item_limit;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::{Lane, Requests};
use super::stop::{StopReason, Stopped, Stopper};
use super::write::{CommitPage, ProcessPage};
use lanes::{LaneGrowth, Lanes};
use survey::Survey;
use worker::work_segment;

/// The time for which a drain waits for requests in flight. After this time, the drain abandons them. The next session
/// determines whether DynamoDB carried them out.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Scans the whole table for a pass. Ends when every segment has ended or when the run is asked to stop. The survey
/// (`survey.rs`) runs at the same time, so that long segments begin early.
///
/// When this function returns, no request of the run is in flight, unless the drain took longer than ten seconds. If
/// the run stopped early, the stopper records the reason.
pub async fn scan_table<P: ProcessPage + CommitPage<P::Outcome> + 'static>(
    read_settings: ReadSettings,
    scheduler: &dyn Scheduler,
    requests: &Requests,
    pass: Arc<P>,
) {
    let stop = requests.stop().clone();
    let _watch = requests.watch().await;
    let lanes = Lanes::new(read_settings.active, read_settings.large);
    requests.progress().measures().begin_ranges(read_settings.total_segments);
    let read_settings = Arc::new(read_settings);
    let mut survey = Survey::new(Arc::clone(&read_settings), scheduler, requests, &lanes);
    let mut surveying = true;
    let mut lane_growth = LaneGrowth::new(requests);
    let mut workers = JoinSet::new();
    while !stop.is_stopping() {
        for lane in [Lane::Large, Lane::Shared] {
            while let Some(lane_guard) = lanes.take_lane(lane) {
                let Ok(Some(lease)) = await_scheduler(&stop, scheduler.next(lane)).await else { break };
                requests.progress().segment_started();
                let read_settings = Arc::clone(&read_settings);
                let pass = Arc::clone(&pass);
                let requests = requests.in_segment(lease.unit);
                workers.spawn(async move {
                    // Ignore the result: the store contains the progress, and the stopper records why the run stopped.
                    let _ = work_segment(&lease, read_settings, requests, pass, lane_guard).await;
                    lease
                });
            }
        }
        // At this point, either all shared lanes are taken or no segment waits for a lane. In the first case, the
        // survey reads only segments that wait for a lane. In the second case, the survey reads nothing.
        let ended = tokio::select! {
            biased;
            ended = workers.join_next() => ended,
            () = stop.stopping() => break,
            () = lanes.wait_for_promotion() => continue,
            () = lane_growth.wait_for_growth(requests, &lanes) => continue,
            more = survey.read_next(), if surveying => {
                surveying = more;
                continue;
            }
        };
        match ended {
            None => break,
            Some(Ok(lease)) => {
                if let Err(error) = scheduler.release(lease).await {
                    stop.stop(StopReason::Scheduler(error.to_string()));
                }
                requests.progress().segment_released();
            }
            Some(Err(panic)) => {
                requests.progress().page_abandoned();
                stop.stop(StopReason::Internal(panic.to_string()));
            }
        }
    }
    drop(survey);
    // At this point, the workers begin no new items and no longer wait for permits. They only await their requests in
    // flight.
    let drained = timeout(DRAIN_TIMEOUT, async {
        while let Some(ended) = workers.join_next().await {
            if let Ok(lease) = ended {
                // If a lease cannot be released, it expires by itself.
                let _ = scheduler.release(lease).await;
            }
        }
    })
    .await;
    if drained.is_err() {
        tracing::warn!(
            seconds = DRAIN_TIMEOUT.as_secs(),
            "the drain ended before all requests were answered, so the remaining requests were abandoned"
        );
        (0..workers.len()).for_each(|_| requests.progress().page_abandoned());
        workers.shutdown().await;
    }
}

/// Waits for the scheduler's answer, unless the run stops first. An error stops the run, which can later be resumed.
async fn await_scheduler<T>(
    stop: &Stopper,
    answer: impl Future<Output = Result<T, SchedulerError>>,
) -> Result<T, Stopped> {
    stop.unless_stopping(answer).await?.map_err(|error| {
        stop.stop(StopReason::Scheduler(error.to_string()));
        Stopped
    })
}

//! The engine: reads the table segment by segment, page by page, and settles every item.
//!
//! Read [`worker`](self) from top to bottom to follow one item: a page is fetched (`requests.rs`), its items are decided
//! on and written (`writer.rs`), and the page is committed with everything it rests on (`run.rs`).

mod dry_run;
mod open_pages;
mod probation;
mod requests;
mod retry;
mod run;
mod schedule;
mod session;
mod stop;
mod worker;
mod writer;

pub use dry_run::{DryRun, Prediction, Shape};
pub use requests::{Requests, describe};
pub use run::Expand;
pub use schedule::{LocalScheduler, Scheduler, auto_segments};
pub use session::{Ended, Job};
pub use stop::{StopReason, Stopped, Stopper};
pub use worker::{Handler, Pages, Reading};
pub use writer::{Rest, Settled, Settling, Writer};

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use worker::work_segment;

/// A drain waits this long for requests in flight, and then gives them up: what they did is found again on the next run.
const DRAIN: Duration = Duration::from_secs(10);

/// Reads the whole table through a handler, until every segment has ended or the run is asked to stop.
///
/// When it returns, no request of the run is in flight, unless the drain took longer than ten seconds. Why it stopped
/// early, if it did, stands in the stopper.
pub async fn sweep(reading: Reading, scheduler: &dyn Scheduler, requests: &Requests, handler: Arc<dyn Handler>) {
    let stop = requests.stop().clone();
    let active = usize::try_from(reading.active).unwrap_or(1).max(1);
    let reading = Arc::new(reading);
    let mut workers = JoinSet::new();
    loop {
        while workers.len() < active && !stop.is_stopping() {
            let Some((segment, state)) = scheduler.next() else { break };
            requests.progress().segment_started();
            workers.spawn(work_segment(
                segment,
                state,
                Arc::clone(&reading),
                requests.in_segment(64),
                Arc::clone(&handler),
            ));
        }
        let ended = tokio::select! {
            biased;
            ended = workers.join_next() => ended,
            () = stop.stopping() => break,
        };
        match ended {
            None => break,
            Some(Ok(_)) => requests.progress().segment_left(),
            Some(Err(panic)) => {
                requests.progress().page_abandoned();
                stop.stop(StopReason::Internal(panic.to_string()));
            }
        }
    }
    // Workers take no new items and wait for no permits by now; each only awaits what it has in flight.
    let drained = timeout(DRAIN, async { while workers.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(seconds = DRAIN.as_secs(), "requests were still in flight at the end of the drain; given up");
        (0..workers.len()).for_each(|_| requests.progress().page_abandoned());
        workers.shutdown().await;
    }
}

//! A simulated application that uses the table during a migration. The application has its own requests, keys and
//! rates. A report contains its throttles, errors and latencies.
//!
//! The application sends each request at its scheduled time, even if earlier requests are unanswered. Real users behave
//! in the same way. So the report reveals a table that is slow or throttles requests. If the application waited for
//! replies, it would send fewer requests to a slow table and hide the problem.
//!
//! The schedule is a pure function of the spec ([`Schedule`]). An [`Application`] sends the requests. One
//! implementation, [`HttpApplication`], sends them to an endpoint. A simulation supplies its own implementation and
//! uses tokio's paused clock.

mod generate;
mod http;
mod latency;
mod report;
mod runner;
mod spec;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use generate::{Operation, OperationKind, Schedule, ScheduledRequest};
pub use http::{HttpApplication, TrafficError};
pub use latency::LatencyHistogram;
pub use report::{RequestCounts, SecondCounts, TrafficReport};
pub use runner::run_with_reports;
pub use spec::TrafficSpec;

/// The maximum number of requests in flight. A request beyond this limit is not sent, and is reported as not sent. If
/// this many requests are unanswered, the table is practically down. A real application would have run out of
/// connections much earlier.
const MAX_IN_FLIGHT: usize = 2_000;

/// The maximum time to wait at the end for requests in flight.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends the application's requests.
#[async_trait]
pub trait Application: Send + Sync + 'static {
    /// Sends one request once. There are no retries, because retries would hide throttles and errors.
    async fn send(&self, operation: &Operation) -> Result<(), RequestFailure>;
}

/// A request that was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestFailure {
    /// DynamoDB throttled the request. The list contains the error's reasons, and is empty if the error contains no
    /// reasons.
    Throttled(Vec<String>),
    /// The request failed for a reason other than throttling. The text consists of one or two words, such as the name
    /// of an exception, and never contains a value.
    Failed(String),
}

/// The application's load, and the report on its requests.
#[derive(Debug)]
pub struct Traffic {
    spec: TrafficSpec,
    report: Arc<Mutex<TrafficReport>>,
}

impl Traffic {
    /// Creates the load. It does not send any requests yet.
    pub fn new(spec: TrafficSpec) -> Traffic {
        Traffic { spec, report: Arc::default() }
    }

    /// Returns the report on the requests so far.
    pub fn report(&self) -> TrafficReport {
        lock_report(&self.report).clone()
    }

    /// Sends requests on schedule until `stop` is cancelled. After that, waits for the last replies, in bounded time.
    pub async fn run(&self, application: Arc<dyn Application>, stop: CancellationToken) {
        let began = Instant::now();
        let mut in_flight = JoinSet::new();
        for scheduled in Schedule::new(&self.spec) {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(began + scheduled.at) => {}
            }
            while in_flight.try_join_next().is_some() {}
            let second = scheduled.at.as_secs();
            if in_flight.len() >= MAX_IN_FLIGHT {
                lock_report(&self.report).record_not_sent(second, scheduled.operation.kind);
                continue;
            }
            lock_report(&self.report).record_sent(second, scheduled.operation.kind);
            let application = Arc::clone(&application);
            let report = Arc::clone(&self.report);
            in_flight.spawn(async move {
                let sent = Instant::now();
                let outcome = application.send(&scheduled.operation).await;
                lock_report(&report).record_reply(second, scheduled.operation.kind, outcome, sent.elapsed());
            });
        }
        // The application runs until it is stopped, even if it has no requests to send.
        stop.cancelled().await;
        let last = async { while in_flight.join_next().await.is_some() {} };
        tokio::time::timeout(DRAIN_TIMEOUT, last).await.ok();
    }
}

/// Locks the report. The counts stay usable even if a thread panics while it holds the lock.
fn lock_report(report: &Mutex<TrafficReport>) -> MutexGuard<'_, TrafficReport> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

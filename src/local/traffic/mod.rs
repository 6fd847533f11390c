//! An application beside the job: its own requests, on its own keys, at its own rates, and what it suffers.
//!
//! The load is open: a request is sent when it is due, whether or not the earlier ones were answered, as users do. So a
//! slow or throttling table shows in the report and does not hide itself by slowing the application down.
//!
//! What is sent when is a pure function of the spec ([`Schedule`]). Who it is sent to is an [`Application`]: [`Http`] sends
//! it to an endpoint; a simulation brings its own, and tokio's paused clock.

mod generate;
mod http;
mod latency;
mod narrate;
mod report;
mod spec;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use generate::{Due, Operation, OperationKind, Schedule};
pub use http::{Http, TrafficError};
pub use latency::Latency;
pub use narrate::narrate;
pub use report::{Lot, Second, TrafficReport};
pub use spec::TrafficSpec;

/// Requests that may be under way at once. One that is due beyond this is not sent and counted so: with so many
/// unanswered the table is as good as gone, and an application would have run out of connections long before.
const MOST_UNDER_WAY: usize = 2_000;

/// How long the requests under way are waited for at the end.
const LAST_REPLIES: Duration = Duration::from_secs(10);

/// Where the application's requests go.
#[async_trait]
pub trait Application: Send + Sync + 'static {
    /// Sends one request, once: an application without retries hides nothing.
    async fn send(&self, operation: &Operation) -> Result<(), Suffered>;
}

/// A request that was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suffered {
    /// DynamoDB throttled it, for these reasons, as far as the error names them.
    Throttled(Vec<String>),
    /// Anything else, in a word or two: an exception's name, never a value.
    Failed(String),
}

/// The application's load and its report.
#[derive(Debug)]
pub struct Traffic {
    spec: TrafficSpec,
    report: Arc<Mutex<TrafficReport>>,
}

impl Traffic {
    /// A load that was not begun.
    pub fn new(spec: TrafficSpec) -> Traffic {
        Traffic { spec, report: Arc::default() }
    }

    /// What it suffered so far.
    pub fn report(&self) -> TrafficReport {
        locked(&self.report).clone()
    }

    /// Sends what is due until `stop` is cancelled, and then waits for the last replies, in bounded time.
    pub async fn run(&self, application: Arc<dyn Application>, stop: CancellationToken) {
        let began = Instant::now();
        let mut under_way = JoinSet::new();
        for due in Schedule::new(&self.spec) {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(began + due.at) => {}
            }
            while under_way.try_join_next().is_some() {}
            let second = due.at.as_secs();
            if under_way.len() >= MOST_UNDER_WAY {
                locked(&self.report).note_not_sent(second, due.operation.kind);
                continue;
            }
            locked(&self.report).note_sent(second, due.operation.kind);
            let (application, report) = (Arc::clone(&application), Arc::clone(&self.report));
            under_way.spawn(async move {
                let sent = Instant::now();
                let outcome = application.send(&due.operation).await;
                locked(&report).note_answer(second, due.operation.kind, outcome, sent.elapsed());
            });
        }
        // Without anything to send it still is an application that runs until it is stopped.
        stop.cancelled().await;
        let last = async { while under_way.join_next().await.is_some() {} };
        tokio::time::timeout(LAST_REPLIES, last).await.ok();
    }
}

/// Counts stay usable after a panic elsewhere.
fn locked(report: &Mutex<TrafficReport>) -> MutexGuard<'_, TrafficReport> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! The report of the application's traffic.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use super::latency::LatencyHistogram;
use super::{OperationKind, RequestFailure};

/// The maximum number of seconds in the series. The limit of one day bounds the memory of a server that runs for weeks.
const MAX_SECONDS: usize = 86_400;

/// The text that is counted as the reason of a throttle without a reason.
const NO_REASON: &str = "no reason given";

/// Counts and latencies of the application's requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrafficReport {
    /// The counts of reads.
    pub reads: RequestCounts,
    /// The counts of writes.
    pub writes: RequestCounts,
    /// The counts for each second. Each request is counted in the second for which it was scheduled.
    pub seconds: VecDeque<SecondCounts>,
}

/// Counts of requests by result.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestCounts {
    /// Number of requests that were sent.
    pub sent: u64,
    /// Number of requests that were not sent because too many requests were in flight.
    pub not_sent: u64,
    /// Number of requests that were served.
    pub served: u64,
    /// Number of throttled requests. A request with several reasons is counted once.
    pub throttled: u64,
    /// Number of throttles for each reason. A request with several reasons is counted once for each reason.
    pub reasons: BTreeMap<String, u64>,
    /// Number of other failures, by error.
    pub errors: BTreeMap<String, u64>,
    /// Latencies of the served requests.
    pub latency: LatencyHistogram,
}

/// Counts of the requests that were scheduled for one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SecondCounts {
    /// The number of the second, counted from the start.
    pub second: u64,
    /// Number of requests that were sent.
    pub sent: u64,
    /// Number of requests that were served.
    pub served: u64,
    /// Number of requests that were throttled.
    pub throttled: u64,
    /// Number of requests that failed in another way or were not sent.
    pub failed: u64,
}

impl TrafficReport {
    /// Returns the number of reads and writes that were sent.
    pub fn sent(&self) -> u64 {
        self.reads.sent + self.writes.sent
    }

    /// Returns the number of reads and writes that were served.
    pub fn served(&self) -> u64 {
        self.reads.served + self.writes.served
    }

    /// Returns the number of reads and writes that were throttled.
    pub fn throttled(&self) -> u64 {
        self.reads.throttled + self.writes.throttled
    }

    /// Returns the number of reads and writes that failed in another way or were not sent.
    pub fn failed(&self) -> u64 {
        [&self.reads, &self.writes].iter().map(|counts| counts.not_sent + counts.errors.values().sum::<u64>()).sum()
    }

    pub(super) fn record_sent(&mut self, second: u64, kind: OperationKind) {
        self.counts(kind).sent += 1;
        self.second(second, |s| s.sent += 1);
    }

    pub(super) fn record_not_sent(&mut self, second: u64, kind: OperationKind) {
        self.counts(kind).not_sent += 1;
        self.second(second, |s| s.failed += 1);
    }

    pub(super) fn record_reply(
        &mut self,
        second: u64,
        kind: OperationKind,
        outcome: Result<(), RequestFailure>,
        latency: Duration,
    ) {
        let counts = self.counts(kind);
        match outcome {
            Ok(()) => {
                counts.served += 1;
                counts.latency.add(latency);
                self.second(second, |s| s.served += 1);
            }
            Err(RequestFailure::Throttled(mut reasons)) => {
                counts.throttled += 1;
                if reasons.is_empty() {
                    reasons.push(NO_REASON.to_owned());
                }
                for reason in reasons {
                    *counts.reasons.entry(reason).or_default() += 1;
                }
                self.second(second, |s| s.throttled += 1);
            }
            Err(RequestFailure::Failed(what)) => {
                *counts.errors.entry(what).or_default() += 1;
                self.second(second, |s| s.failed += 1);
            }
        }
    }

    fn counts(&mut self, kind: OperationKind) -> &mut RequestCounts {
        if kind.writes() { &mut self.writes } else { &mut self.reads }
    }

    /// Applies `update` to the entry of this second. Requests are scheduled in order, but their replies can be late. So
    /// the second can be anywhere in the series. If the second is before the start of the series, `update` is not
    /// applied.
    fn second(&mut self, second: u64, update: impl FnOnce(&mut SecondCounts)) {
        let next = self.seconds.back().map_or(second, |last| last.second + 1);
        for second in next..=second {
            self.seconds.push_back(SecondCounts { second, ..SecondCounts::default() });
        }
        while self.seconds.len() > MAX_SECONDS {
            self.seconds.pop_front();
        }
        let first = self.seconds.front().map_or(0, |first| first.second);
        let at = second.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        if let Some(entry) = at.and_then(|at| self.seconds.get_mut(at)) {
            update(entry);
        }
    }
}

/// Formats the report as two lines of text: one for writes and one for reads.
impl fmt::Display for TrafficReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "application writes: {}", self.writes)?;
        write!(f, "\napplication reads:  {}", self.reads)
    }
}

impl fmt::Display for RequestCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sent, {} served, {} throttled", self.sent, self.served, self.throttled)?;
        for (reason, count) in &self.reasons {
            write!(f, " ({reason} {count})")?;
        }
        for (error, count) in &self.errors {
            write!(f, ", {count} failed: {error}")?;
        }
        if self.not_sent > 0 {
            write!(f, ", {} not sent: too many requests in flight", self.not_sent)?;
        }
        let millis = |latency: Duration| latency.as_secs_f64() * 1e3;
        let [p50, p99] = [0.5, 0.99].map(|share| millis(self.latency.quantile(share)));
        write!(f, "; p50 {p50:.1} ms, p99 {p99:.1} ms, max {:.1} ms", millis(self.latency.max()))
    }
}

//! Measures what happened to the requests of a session, for the metrics: how long they took, why they failed, what they
//! consumed, and which parts of the table are done.
//!
//! Everything here is counted in this process, and nothing of it is stored.

mod latency;
mod ranges;
mod units;

pub use latency::{LATENCY_BOUNDS, LatencySnapshot, Operation};
pub use ranges::{MAX_SEGMENT_RANGES, SegmentRange, SegmentRanges};
pub use units::{ConsumedUnits, UnitPair};

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::dynamodb::TableError;
use latency::Latencies;
use ranges::LiveRanges;
use units::LiveUnits;

/// The class of a failed request. It decides how the tool reacts, see [`TableError::directive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// DynamoDB throttled the request. The tool sends it again.
    Throttle,
    /// A temporary error. The tool sends the request again.
    Transient,
    /// A reply that cannot be used. The tool sends the request again.
    UnusableReply,
    /// DynamoDB rejects this write. The item is a failure.
    Rejected,
    /// No request can succeed. The run stops.
    Fatal,
}

impl ErrorClass {
    /// All classes.
    pub const ALL: [ErrorClass; 5] = [
        ErrorClass::Throttle,
        ErrorClass::Transient,
        ErrorClass::UnusableReply,
        ErrorClass::Rejected,
        ErrorClass::Fatal,
    ];

    /// Returns the name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            ErrorClass::Throttle => "throttle",
            ErrorClass::Transient => "transient",
            ErrorClass::UnusableReply => "unusable_reply",
            ErrorClass::Rejected => "rejected",
            ErrorClass::Fatal => "fatal",
        }
    }

    /// Returns the class of an error.
    pub fn of(error: &TableError) -> ErrorClass {
        match error {
            TableError::Throttled { .. } => ErrorClass::Throttle,
            TableError::Transient { .. } => ErrorClass::Transient,
            TableError::UnusableReply { .. } => ErrorClass::UnusableReply,
            TableError::Rejected { .. } => ErrorClass::Rejected,
            TableError::Fatal { .. } => ErrorClass::Fatal,
        }
    }
}

/// The live measurements of a session.
#[derive(Debug, Default)]
pub(crate) struct Measures {
    latencies: Latencies,
    errors: [AtomicU64; ErrorClass::ALL.len()],
    pub(crate) units: LiveUnits,
    pub(crate) ranges: LiveRanges,
}

/// The measurements of a session at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MeasuresSnapshot {
    /// The latency of requests, in the order of [`Operation::ALL`].
    pub latencies: [LatencySnapshot; Operation::ALL.len()],
    /// Number of failed requests, in the order of [`ErrorClass::ALL`]. A chunk of writes counts once for each write.
    pub errors: [u64; ErrorClass::ALL.len()],
    /// The capacity that replies report, and the estimates for the same requests.
    pub units: ConsumedUnits,
    /// The progress of each range of segments.
    pub ranges: SegmentRanges,
}

impl Measures {
    /// Waits for the answer to a request, and records the time until then. If the caller gives up first, records
    /// nothing.
    pub(crate) async fn timed<T>(&self, operation: Operation, request: impl Future<Output = T>) -> T {
        let sent = Instant::now();
        let answer = request.await;
        self.latencies.record(operation, sent.elapsed());
        answer
    }

    /// Counts a failed request.
    pub(crate) fn record_error(&self, error: &TableError) {
        self.errors[ErrorClass::of(error) as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the current measurements.
    pub(crate) fn snapshot(&self) -> MeasuresSnapshot {
        MeasuresSnapshot {
            latencies: self.latencies.snapshot(),
            errors: std::array::from_fn(|class| self.errors[class].load(Ordering::Relaxed)),
            units: self.units.snapshot(),
            ranges: self.ranges.snapshot(),
        }
    }
}

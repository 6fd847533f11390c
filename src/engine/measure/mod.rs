//! Measures the requests of a session for the metrics: how long they took, why they failed and what they consumed. Also
//! measures which parts of the table are done.
//!
//! All of these figures are counted in this process and are not stored.

mod latency;
mod ranges;
mod units;

pub use latency::{LATENCY_BOUNDS, LatencySnapshot, Operation};
pub use ranges::{MAX_SEGMENT_RANGES, SegmentRange, SegmentRanges};
pub use units::{ConsumedUnits, UnitPair};

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::change::WriteCost;
use crate::dynamodb::{TableError, WriteConsumption};
use crate::item::Units;
use latency::Latencies;
use ranges::LiveRanges;
use units::LiveUnits;

/// The class of a failed request. The class decides how the tool reacts (see [`TableError::directive`]).
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
    /// Whether measuring is switched off. A benchmark switches it off to determine the cost of the measurements.
    off: bool,
    latencies: Latencies,
    errors: [AtomicU64; ErrorClass::ALL.len()],
    units: LiveUnits,
    ranges: LiveRanges,
}

/// The measurements of a session at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MeasuresSnapshot {
    /// The latency of requests, in the order of [`Operation::ALL`].
    pub latencies: [LatencySnapshot; Operation::ALL.len()],
    /// Number of failed requests of each class, in the order of [`ErrorClass::ALL`]. A chunk of writes counts once
    /// for each write.
    pub errors: [u64; ErrorClass::ALL.len()],
    /// The capacity that replies report, and the estimates for the same requests.
    pub units: ConsumedUnits,
    /// The progress of each range of segments.
    pub ranges: SegmentRanges,
}

impl Measures {
    /// Returns measurements that stay empty.
    pub(crate) fn none() -> Measures {
        Measures { off: true, ..Measures::default() }
    }

    /// Waits for the answer to a request, and records how long the answer took. Records nothing if the caller drops the
    /// future first.
    pub(crate) async fn timed<T>(&self, operation: Operation, request: impl Future<Output = T>) -> T {
        if self.off {
            return request.await;
        }
        let sent = Instant::now();
        let answer = request.await;
        self.latencies.record(operation, sent.elapsed());
        answer
    }

    /// Counts a read whose reply reports its consumption.
    pub(crate) fn record_read(&self, consumed: Units, estimated: Units) {
        if !self.off {
            self.units.record_read(consumed, estimated);
        }
    }

    /// Counts a write whose reply reports its consumption. `listed` is the consumption of the table and of each listed
    /// index.
    pub(crate) fn record_write(&self, consumed: &WriteConsumption, listed: &WriteCost, estimated: &WriteCost) {
        if !self.off {
            self.units.record_write(consumed, listed, estimated);
        }
    }

    /// Sets the number of segments. Call this method before the first commit. Later calls have no effect, because the
    /// number of segments of a run is fixed.
    pub(crate) fn begin_ranges(&self, total_segments: u32) {
        if !self.off {
            self.ranges.begin(total_segments);
        }
    }

    /// Counts committed items of a segment. Has no effect before [`Measures::begin_ranges`].
    pub(crate) fn record_range(&self, segment: u32, items: u64, is_done: bool) {
        self.ranges.record(segment, items, is_done);
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

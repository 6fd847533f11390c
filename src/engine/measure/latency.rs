//! Histograms of the time between a request and its answer. Recording a request takes two atomic additions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the histogram's buckets, in seconds. Slower requests are counted in a last bucket without an
/// upper bound.
pub const LATENCY_BOUNDS: [f64; 14] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

const BUCKETS: usize = LATENCY_BOUNDS.len() + 1;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reads a page.
    Scan,
    /// Reads one item.
    Get,
    /// Writes one item, or a chunk of items.
    Update,
}

impl Operation {
    /// All operations.
    pub const ALL: [Operation; 3] = [Operation::Scan, Operation::Get, Operation::Update];

    /// Returns the name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Scan => "scan",
            Operation::Get => "get",
            Operation::Update => "update",
        }
    }
}

/// The histogram of one operation at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LatencySnapshot {
    /// Number of requests in each bucket, not cumulative. The last bucket has no upper bound.
    pub buckets: [u64; BUCKETS],
    /// The sum of all times.
    pub sum: Duration,
}

impl LatencySnapshot {
    /// Returns the number of requests.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// The histograms of all operations.
#[derive(Debug, Default)]
pub(crate) struct Latencies([Histogram; Operation::ALL.len()]);

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    /// The sum in nanoseconds. It overflows after 584 years of waiting.
    nanos: AtomicU64,
}

impl Latencies {
    pub(crate) fn record(&self, operation: Operation, took: Duration) {
        let histogram = &self.0[operation as usize];
        let seconds = took.as_secs_f64();
        let bucket = LATENCY_BOUNDS.partition_point(|bound| *bound < seconds);
        histogram.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        histogram.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> [LatencySnapshot; Operation::ALL.len()] {
        std::array::from_fn(|operation| {
            let Histogram { buckets, nanos } = &self.0[operation];
            LatencySnapshot {
                buckets: std::array::from_fn(|bucket| buckets[bucket].load(Ordering::Relaxed)),
                sum: Duration::from_nanos(nanos.load(Ordering::Relaxed)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_bucket_whose_bound_it_does_not_exceed() {
        let latencies = Latencies::default();
        for millis in [0, 1, 2, 3, 30_000, 30_001] {
            latencies.record(Operation::Get, Duration::from_millis(millis));
        }
        let [scan, get, update] = latencies.snapshot();
        assert_eq!((scan, update), (LatencySnapshot::default(), LatencySnapshot::default()));
        assert_eq!((get.buckets[0], get.buckets[1], get.buckets[2]), (2, 1, 1));
        assert_eq!((get.buckets[13], get.buckets[14], get.count()), (1, 1, 6));
        assert_eq!(get.sum, Duration::from_millis(60_007));
    }
}

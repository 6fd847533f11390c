//! Records latencies in bounded memory.

use std::time::Duration;

/// Number of buckets for each doubling of the latency. With 16 buckets, a quantile is at most 4.5 % too high.
const BUCKETS_PER_DOUBLING: f64 = 16.0;

/// The buckets cover 1 µs to about 18 minutes. A longer latency is counted in the last bucket.
const BUCKETS: usize = 30 * 16;

/// A histogram of latencies. Its buckets become wider as the latency grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LatencyHistogram {
    counts: Vec<u64>,
    max: Duration,
}

impl LatencyHistogram {
    pub(super) fn add(&mut self, latency: Duration) {
        self.counts.resize(BUCKETS, 0);
        let micros = (latency.as_secs_f64() * 1e6).max(1.0);
        let bucket = (micros.log2() * BUCKETS_PER_DOUBLING) as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
        self.max = self.max.max(latency);
    }

    /// Returns the number of recorded latencies.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the longest latency.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// Returns the quantile at `share`, a fraction from 0 to 1. This fraction of the requests took at most the returned
    /// time. The result is rounded up to the upper end of its bucket. The result is zero if no latency was recorded.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = ((self.count() as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        let upper_bound =
            |bucket: usize| Duration::from_secs_f64(((bucket + 1) as f64 / BUCKETS_PER_DOUBLING).exp2() / 1e6);
        found.map_or(Duration::ZERO, |bucket| upper_bound(bucket).min(self.max))
    }
}

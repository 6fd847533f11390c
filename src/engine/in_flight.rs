//! The requests that each segment has in flight. A watchdog uses them to find requests that hang.
//!
//! This module only counts; it reads no clock. The watchdog compares two readings of the counters. A request hangs if
//! it is in flight and its segment got no answer between the two readings.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::plan::Access;

/// The counters of all segments in progress.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// Whether counting is switched off. A benchmark switches it off to measure the cost of counting.
    off: bool,
    segments: Mutex<Vec<Weak<SegmentRequests>>>,
}

/// The counters of one segment, or of the requests that belong to no segment.
#[derive(Debug, Default)]
pub(crate) struct SegmentRequests {
    off: bool,
    /// The segment; `None` for requests that belong to no segment, such as the retries of failures.
    segment: Option<u32>,
    /// The number of the page whose items are being processed. The first page has the number 1. The value is 0 before
    /// the first page.
    page: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    answers: AtomicU64,
}

/// The requests of one segment at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSnapshot {
    /// The segment; `None` for requests that belong to no segment, such as the retries of failures.
    pub segment: Option<u32>,
    /// The number of the page whose items are being processed. The first page has the number 1. The value is 0 before
    /// the first page.
    pub page: u64,
    /// Number of unanswered reads.
    pub reads: u64,
    /// Number of unanswered writes.
    pub writes: u64,
    /// Number of answers so far. A failed condition counts as an answer. Throttles and errors do not count.
    pub answers: u64,
}

impl InFlight {
    /// Returns counters that stay at zero.
    pub(crate) fn none() -> InFlight {
        InFlight { off: true, ..InFlight::default() }
    }

    /// Adds a segment. Its counters disappear when the returned value is dropped.
    pub(crate) fn begin(&self, segment: Option<u32>) -> Arc<SegmentRequests> {
        let counters = Arc::new(SegmentRequests { off: self.off, segment, ..SegmentRequests::default() });
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments.retain(|counters| counters.strong_count() > 0);
        segments.push(Arc::downgrade(&counters));
        counters
    }

    /// Returns the current counters of every segment in progress.
    pub(crate) fn snapshot(&self) -> Vec<SegmentSnapshot> {
        let segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments.iter().filter_map(|counters| Some(counters.upgrade()?.snapshot())).collect()
    }
}

impl SegmentRequests {
    /// Counts a request as in flight until the guard is dropped.
    pub(crate) fn send(self: &Arc<Self>, access: Access) -> Option<impl Drop + use<>> {
        if self.off {
            return None;
        }
        self.counter(access).fetch_add(1, Ordering::Relaxed);
        Some(SentRequest { counters: Arc::clone(self), access })
    }

    /// Counts an answer.
    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that processing of this page's items has begun.
    pub(crate) fn begin_page(&self, page: u64) {
        self.page.store(page, Ordering::Relaxed);
    }

    fn snapshot(&self) -> SegmentSnapshot {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        SegmentSnapshot {
            segment: self.segment,
            page: load(&self.page),
            reads: load(&self.reads),
            writes: load(&self.writes),
            answers: load(&self.answers),
        }
    }

    fn counter(&self, access: Access) -> &AtomicU64 {
        match access {
            Access::Read => &self.reads,
            Access::Write => &self.writes,
        }
    }
}

struct SentRequest {
    counters: Arc<SegmentRequests>,
    access: Access,
}

impl Drop for SentRequest {
    fn drop(&mut self) {
        self.counters.counter(self.access).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_listed_while_it_is_in_progress() {
        let in_flight = InFlight::default();
        let counters = in_flight.begin(Some(7));
        counters.begin_page(3);
        let sent = counters.send(Access::Write);
        let written = SegmentSnapshot { segment: Some(7), page: 3, reads: 0, writes: 1, answers: 0 };
        assert_eq!(in_flight.snapshot(), [written]);
        drop(sent);
        counters.answered();
        assert_eq!(in_flight.snapshot(), [SegmentSnapshot { writes: 0, answers: 1, ..written }]);
        drop(counters);
        assert_eq!(in_flight.snapshot(), []);
    }
}

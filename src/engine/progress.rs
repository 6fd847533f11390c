//! The live figures of a run. All parts of the run share them. Only committed work counts as progress.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::in_flight::{InFlight, SegmentRequests, SegmentSnapshot};
use super::measure::{ConsumedUnits, Measures, MeasuresSnapshot};
use crate::state::{Counts, Spend};

/// Live figures. The engine writes them; progress displays read them.
#[derive(Debug, Default)]
pub struct Progress {
    committed: Mutex<Counts>,
    pages: AtomicU64,
    segments_active: AtomicU64,
    segments_done: AtomicU64,
    answers: AtomicU64,
    processed: AtomicU64,
    throttled: AtomicU64,
    failed_requests: AtomicU64,
    backing_off: Arc<AtomicU64>,
    throttle_backoffs: Arc<AtomicU64>,
    without_slot: Arc<AtomicU64>,
    confirming: Arc<AtomicU64>,
    abandoned_pages: AtomicU64,
    last_error: Mutex<Option<String>>,
    unusable_replies: Mutex<BTreeMap<String, u64>>,
    in_flight: InFlight,
    measures: Measures,
}

/// A snapshot of the live figures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Number of items that this process has committed, by outcome.
    pub counts: Counts,
    /// Number of committed pages.
    pub pages: u64,
    /// Number of segments that are currently in progress.
    pub segments_active: u64,
    /// Number of segments whose last page this process has committed.
    pub segments_done: u64,
    /// Number of items whose outcome is known, committed or not. Passes that do not write report only committed items.
    pub processed: u64,
    /// Number of answers so far: pages, items, evaluated conditions, and results of programs. Throttles and errors do
    /// not count.
    pub answers: u64,
    /// Number of requests that DynamoDB throttled.
    pub throttled: u64,
    /// Number of requests that failed for reasons other than a throttle.
    pub failed_requests: u64,
    /// Number of requests that wait to be sent again after an error other than a throttle.
    pub backing_off: u64,
    /// Number of requests that wait to be sent again after a throttle.
    pub throttle_backoffs: u64,
    /// Number of requests that wait because the limit on requests in flight is reached.
    pub without_slot: u64,
    /// Number of requests that wait for the lease or the flag to be confirmed.
    pub confirming: u64,
    /// Number of abandoned pages. Some of their writes may have been sent.
    pub abandoned_pages: u64,
    /// The error of the request that failed last.
    pub last_error: Option<String>,
    /// The requests in flight, by segment.
    pub segments: Vec<SegmentSnapshot>,
    /// The measurements of this session's requests.
    pub measures: MeasuresSnapshot,
}

impl Snapshot {
    /// Returns the capacity that this session has consumed so far, including uncommitted pages. This figure rises with
    /// every request, whereas the committed figures rise page by page. If the server reports no consumption, returns
    /// the estimated consumption of the committed pages.
    pub fn consumed(&self) -> Spend {
        let committed = self.counts.spend();
        let ConsumedUnits { reads, writes, indexes, unlisted } = &self.measures.units;
        let of_indexes: f64 = indexes.iter().map(|index| index.consumed).sum();
        // The server does not report these units, so they are unknown until their page is committed.
        let assumed = self.counts.assumed_write_units;
        Spend {
            write: (committed.write - assumed).max(writes.consumed + of_indexes + unlisted) + assumed,
            read: committed.read.max(reads.consumed),
        }
    }
}

impl Progress {
    /// Creates live figures that skip the measurements that only displays need. A benchmark compares a run with and
    /// without these measurements.
    pub fn without_measures() -> Progress {
        Progress { in_flight: InFlight::none(), measures: Measures::none(), ..Progress::default() }
    }

    /// Returns the current figures.
    pub fn snapshot(&self) -> Snapshot {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Snapshot {
            counts: self.committed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            pages: load(&self.pages),
            segments_active: load(&self.segments_active),
            segments_done: load(&self.segments_done),
            processed: load(&self.processed),
            answers: load(&self.answers),
            throttled: load(&self.throttled),
            failed_requests: load(&self.failed_requests),
            backing_off: load(&self.backing_off),
            throttle_backoffs: load(&self.throttle_backoffs),
            without_slot: load(&self.without_slot),
            confirming: load(&self.confirming),
            abandoned_pages: load(&self.abandoned_pages),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            segments: self.in_flight.snapshot(),
            measures: self.measures.snapshot(),
        }
    }

    /// Adds committed pages of a segment. `ends` is true if they are the last pages of the segment. `segment` is `None`
    /// for single items, such as retried failures.
    pub(crate) fn record_commit(&self, segment: Option<u32>, counts: &Counts, pages: u64, ends: bool) {
        if let Some(segment) = segment {
            self.measures.record_range(segment, counts.scanned, ends);
        }
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).add(counts);
        self.pages.fetch_add(pages, Ordering::Relaxed);
        self.segments_done.fetch_add(u64::from(ends), Ordering::Relaxed);
    }

    /// Returns the measurements, to which callers can add.
    pub(crate) fn measures(&self) -> &Measures {
        &self.measures
    }

    pub(crate) fn segment_started(&self) {
        self.segments_active.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn segment_released(&self) {
        self.segments_active.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn throttled(&self) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request_failed(&self, error: &str) {
        self.failed_requests.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(error, "a request failed");
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
    }

    /// Counts an unusable reply by its operation and its flaw. There are only a few dozen combinations. Logs the first
    /// reply of each combination, because the cause is probably the network or a proxy, which somebody has to fix.
    pub(crate) fn reply_unusable(&self, operation: &str, flaw: &str) {
        let mut replies = self.unusable_replies.lock().unwrap_or_else(PoisonError::into_inner);
        let count = replies.entry(format!("{operation}: {flaw}")).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(operation, flaw, "a reply could not be used; the request is sent again");
        }
    }

    /// Returns the number of unusable replies, by operation and flaw.
    pub fn unusable_replies(&self) -> BTreeMap<String, u64> {
        self.unusable_replies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn page_abandoned(&self) {
        self.abandoned_pages.fetch_add(1, Ordering::Relaxed);
    }

    /// Until the guard is dropped, counts a request as backing off. The reason is a throttle or another error.
    pub(crate) fn backing_off(&self, after_throttle: bool) -> impl Drop + use<> {
        GaugeGuard::new(if after_throttle { &self.throttle_backoffs } else { &self.backing_off })
    }

    /// Begins to count the requests of a segment, or the requests that belong to no segment.
    pub(crate) fn begin_segment(&self, segment: Option<u32>) -> Arc<SegmentRequests> {
        self.in_flight.begin(segment)
    }

    /// Counts items whose outcome is known. They are committed later, with their page.
    pub(crate) fn items_processed(&self, items: u64) {
        self.processed.fetch_add(items, Ordering::Relaxed);
    }

    /// Counts an answer: a page, an item, an evaluated condition, or a result of a program.
    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Until the guard is dropped, counts a request as waiting for a slot.
    pub(crate) fn without_slot(&self) -> impl Drop + use<> {
        GaugeGuard::new(&self.without_slot)
    }

    /// Until the guard is dropped, counts a request as waiting for the confirmation of the lease and the flag.
    pub(crate) fn confirming(&self) -> impl Drop + use<> {
        GaugeGuard::new(&self.confirming)
    }
}

struct GaugeGuard(Arc<AtomicU64>);

impl GaugeGuard {
    fn new(count: &Arc<AtomicU64>) -> GaugeGuard {
        count.fetch_add(1, Ordering::Relaxed);
        GaugeGuard(Arc::clone(count))
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

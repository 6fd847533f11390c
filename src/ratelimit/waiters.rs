//! Counts waiting requests, and measures how long they waited, for display.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The number of requests that wait for one scope or limit. Requests that are admitted immediately are not counted.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    count: AtomicUsize,
    /// The total time of all waits that have ended, in nanoseconds.
    nanos: AtomicU64,
}

/// One waiting request, which is counted until this value is dropped.
#[derive(Debug)]
pub(crate) struct Waiter<'a> {
    waiters: &'a Waiters,
    since: Instant,
}

impl Waiters {
    /// Returns the current number of waiters.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns the total time of all waits that have ended. A wait ends when the request is admitted or dropped.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// Counts one more waiting request until the returned value is dropped.
    pub(crate) fn add_waiter(&self) -> Waiter<'_> {
        self.count.fetch_add(1, Ordering::Relaxed);
        Waiter { waiters: self, since: Instant::now() }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let nanos = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.waiters.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.waiters.count.fetch_sub(1, Ordering::Relaxed);
    }
}

//! Counts waiting requests, for display.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of requests that wait for one scope or limit. Requests that are admitted immediately are not counted.
#[derive(Debug, Default)]
pub(crate) struct Waiters(AtomicUsize);

/// One waiting request, which is counted until this value is dropped.
#[derive(Debug)]
pub(crate) struct Waiter<'a>(&'a AtomicUsize);

impl Waiters {
    /// Returns the current number of waiters.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one more waiting request until the returned value is dropped.
    pub(crate) fn add_waiter(&self) -> Waiter<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waiter(&self.0)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

//! Who waits, for those who show it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many wait for one thing. Touched only by those who do have to wait.
#[derive(Debug, Default)]
pub(crate) struct Waiters(AtomicUsize);

/// One who waits, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Waiter<'a>(&'a AtomicUsize);

impl Waiters {
    /// How many there are now.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one more, until it is dropped.
    pub(crate) fn one_more(&self) -> Waiter<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waiter(&self.0)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

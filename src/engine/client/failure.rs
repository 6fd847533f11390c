//! What follows from a failed request: which scope slows down, when it is sent again, and when the run gives up.

use std::time::Duration;

use tokio::time::Instant;

use super::Requests;
use crate::backoff::Backoff;
use crate::dynamodb::{Directive, TableError};
use crate::engine::stop::{StopReason, Stopped};
use crate::item::{PartitionHash, Units};
use crate::plan::Access;

/// How often a request was tried in vain, since when, and how much of that time we made it wait ourselves.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) failed: u32,
    pub(crate) since: Option<Instant>,
    waited: Duration,
}

impl Attempts {
    /// Notes time that the request spent waiting for our own permits: no sign that it cannot succeed.
    pub(crate) fn waited(&mut self, time: Duration) {
        if self.since.is_some() {
            self.waited += time;
        }
    }

    /// For how long the request has been failing.
    pub(crate) fn failing(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed().saturating_sub(self.waited))
    }
}

impl Requests {
    /// Notes what each failed request tells: a throttle slows a scope, a reply that cannot be used is counted.
    pub(crate) fn note(&self, access: Access, key: Option<PartitionHash>, error: &TableError) {
        match error {
            TableError::Throttled { reasons, .. } => self.scopes.throttled(access, &self.range, key, reasons),
            TableError::UnusableReply { operation, flaw } => self.progress.reply_unusable(operation, flaw),
            TableError::Transient { .. } | TableError::Rejected { .. } | TableError::Fatal { .. } => {}
        }
    }

    /// What follows from a failed request: returns when it should be sent again, or gives up the run.
    pub(crate) async fn after_failure(&self, error: &TableError, attempts: &mut Attempts) -> Result<(), Stopped> {
        if let TableError::Throttled { .. } = error {
            self.progress.throttled();
        } else {
            self.progress.request_failed(&error.to_string());
        }
        if error.directive() != Directive::Retry {
            self.stop.stop(stop_reason(error));
            return Err(Stopped);
        }
        attempts.since.get_or_insert_with(Instant::now);
        attempts.failed += 1;
        if attempts.failing() >= self.retry.give_up_after {
            let after = format!("{} s", attempts.failing().as_secs());
            self.stop.stop(StopReason::GaveUp { after, message: error.to_string() });
            return Err(Stopped);
        }
        let backoff = Backoff { base: self.retry.base, cap: self.retry.cap };
        let _backing_off = self.progress.backing_off();
        self.stop.unless_stopping(tokio::time::sleep(backoff.wait(attempts.failed, self.random.fraction()))).await
    }
}

/// The reason for which an error that is not retried stops a run.
pub(crate) fn stop_reason(error: &TableError) -> StopReason {
    let kind = if let TableError::Fatal { kind, .. } = error { *kind } else { crate::dynamodb::FatalKind::Request };
    StopReason::Fatal { kind, message: error.to_string() }
}

/// Capacity that a failed request is taken to have consumed: one that was throttled, refused or never sent nothing, one
/// without a reply all.
pub(crate) fn cost_of_failure(error: &TableError, estimate: Units) -> Units {
    if error.is_ambiguous() { estimate } else { 0.0 }
}

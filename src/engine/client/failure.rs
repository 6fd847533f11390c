//! Decides how to react to a failed request: which scope slows down, when the request is sent again, and when the run
//! gives up.

use std::time::Duration;

use tokio::time::Instant;

use super::Requests;
use crate::backoff::Backoff;
use crate::dynamodb::{Directive, TableError};
use crate::engine::stop::{StopReason, Stopped};
use crate::item::{PartitionHash, Units};
use crate::plan::Access;

/// A request's failed attempts: their number, the time of the first failure, and the time that the request has since
/// spent waiting for our own permits.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) failed: u32,
    pub(crate) since: Option<Instant>,
    waited: Duration,
}

impl Attempts {
    /// Adds time that the request spent waiting for our own permits. This time is not part of the request's failing
    /// time.
    pub(crate) fn waited(&mut self, time: Duration) {
        if self.since.is_some() {
            self.waited += time;
        }
    }

    /// Returns how long the request has been failing. Time spent waiting for our own permits is excluded.
    pub(crate) fn failing_time(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed().saturating_sub(self.waited))
    }
}

impl Requests {
    /// Applies the effects of a failed request: a throttle slows a scope down, and an unusable reply is counted.
    pub(crate) fn handle_failure(&self, access: Access, key: Option<PartitionHash>, error: &TableError) {
        self.progress.measures().record_error(error);
        match error {
            TableError::Throttled { reasons, .. } => self.scopes.throttled(access, &self.range, key, reasons),
            TableError::UnusableReply { operation, flaw } => self.progress.reply_unusable(operation, flaw),
            TableError::Transient { .. } | TableError::Rejected { .. } | TableError::Fatal { .. } => {}
        }
    }

    /// Decides whether a failed request is sent again. If the error does not allow a retry, or if the request has been
    /// failing for `give_up_after`, stops the run and returns an error. Otherwise waits for the backoff.
    pub(crate) async fn after_failure(&self, error: &TableError, attempts: &mut Attempts) -> Result<(), Stopped> {
        let throttled = matches!(error, TableError::Throttled { .. });
        if throttled {
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
        if attempts.failing_time() >= self.retry.give_up_after {
            let after = format!("{} s", attempts.failing_time().as_secs());
            self.stop.stop(StopReason::GaveUp { after, message: error.to_string() });
            return Err(Stopped);
        }
        let backoff = Backoff { base: self.retry.base, cap: self.retry.cap };
        let _backing_off = self.progress.backing_off(throttled);
        self.stop.unless_stopping(tokio::time::sleep(backoff.wait(attempts.failed, self.random.fraction()))).await
    }
}

/// Returns the run's stop reason for an error that is not retried.
pub(crate) fn stop_reason(error: &TableError) -> StopReason {
    let kind = if let TableError::Fatal { kind, .. } = error { *kind } else { crate::dynamodb::FatalKind::Request };
    StopReason::Fatal { kind, message: error.to_string() }
}

/// Returns the capacity that a failed request is assumed to have consumed. If DynamoDB may have carried out the
/// request, the result is the whole estimate. If the request was throttled, rejected or never sent, the result is zero.
pub(crate) fn cost_of_failure(error: &TableError, estimate: Units) -> Units {
    if error.is_ambiguous() { estimate } else { 0.0 }
}

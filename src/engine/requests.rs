//! One request until it is answered: permits before, retry with backoff behind, and the decision when to give up.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::allowance::{Allowance, Grant};
use super::gate::Gate;
use super::stop::{StopReason, Stopped, Stopper};
use crate::change::GuardedWrite;
use crate::checkpoint::Spend;
use crate::item::{ItemKey, Units, read_units};
use crate::plan::Retry;
use crate::table::{Directive, Got, Page, ScanRequest, Table, TableError, WriteReply};
use crate::telemetry::Progress;
use crate::throttle::backoff::Backoff;
use crate::throttle::{Bucket, Permit};

/// Write requests in flight at the same time, over all segments: enough to keep 1,000 WCU/s going at 50 ms a request, few
/// enough that a drain has little to wait for.
const MAX_WRITES_IN_FLIGHT: usize = 64;

/// What every request of a run goes through.
#[derive(Clone)]
pub struct Requests {
    table: Arc<dyn Table>,
    reads: Arc<Bucket>,
    writes: Arc<Bucket>,
    retry: Retry,
    stop: Stopper,
    progress: Arc<Progress>,
    allowance: Arc<Allowance>,
    gate: Arc<Gate>,
    slots: Arc<Semaphore>,
}

/// How often a request was tried in vain, since when, and how much of that time we made it wait ourselves.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    pub(super) failed: u32,
    since: Option<Instant>,
    waited: Duration,
}

impl Attempts {
    /// Notes time that the request spent waiting for our own permits: no sign that it cannot succeed.
    pub(super) fn waited(&mut self, time: Duration) {
        if self.since.is_some() {
            self.waited += time;
        }
    }

    /// For how long the request has been failing.
    fn failing(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed().saturating_sub(self.waited))
    }
}

/// Leave to send a chunk of writes: permits and a slot.
pub(super) struct Admission {
    permit: Permit,
    grant: Grant,
    _slot: OwnedSemaphorePermit,
    /// How long it was waited for.
    pub(super) waited: Duration,
}

/// What a request consumed: what the server said, and what is estimated where it said nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) read: Units,
    pub(super) write: Units,
    pub(super) estimated_write: Units,
}

impl Requests {
    /// Requests to this table, within these buckets.
    pub fn new(
        table: Arc<dyn Table>,
        reads: Arc<Bucket>,
        writes: Arc<Bucket>,
        retry: Retry,
        stop: Stopper,
        progress: Arc<Progress>,
        allowance: Arc<Allowance>,
        gate: Arc<Gate>,
    ) -> Requests {
        let slots = Arc::new(Semaphore::new(MAX_WRITES_IN_FLIGHT));
        Requests { table, reads, writes, retry, stop, progress, allowance, gate, slots }
    }

    pub(super) fn stop(&self) -> &Stopper {
        &self.stop
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) fn allowance(&self) -> &Arc<Allowance> {
        &self.allowance
    }

    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub(super) fn max_chunk(&self) -> usize {
        self.table.max_chunk().max(1)
    }

    pub(super) fn read_rate(&self) -> Units {
        self.reads.rate()
    }

    pub(super) fn write_rate(&self) -> Units {
        self.writes.rate()
    }

    /// Writes that may be under way at the same time.
    pub(super) fn concurrency(&self) -> usize {
        MAX_WRITES_IN_FLIGHT
    }

    /// Reads one page; `estimate` is what it will probably cost.
    pub(super) async fn scan(&self, request: &ScanRequest, estimate: Units) -> Result<Page, Stopped> {
        self.read(estimate, || self.table.scan(request), |page| page.units).await
    }

    /// Reads one item, strongly consistently.
    pub(super) async fn get(&self, key: &ItemKey) -> Result<Got, Stopped> {
        self.read(read_units(4096, true), || self.table.get(key), |got| got.units).await
    }

    async fn read<'a, T>(
        &'a self,
        estimate: Units,
        send: impl Fn() -> BoxFuture<'a, Result<T, TableError>>,
        consumed: impl Fn(&T) -> Option<Units>,
    ) -> Result<T, Stopped> {
        let mut attempts = Attempts::default();
        loop {
            let since = Instant::now();
            self.stop.unless_stopping(self.gate.pass()).await?;
            let mut grant = self.allowance.read(estimate, &self.stop).await?;
            let permit = self.stop.unless_stopping(self.reads.acquire(estimate)).await?;
            // The window may have closed while permits were waited for.
            self.stop.unless_stopping(self.gate.pass()).await?;
            attempts.waited(since.elapsed());
            grant.send();
            let sent = send().await;
            let units = match &sent {
                Ok(reply) => consumed(reply).unwrap_or(estimate),
                Err(error) => cost_of_failure(error, estimate),
            };
            self.reads.settle(permit, units);
            grant.settle(Spend { write: 0.0, read: units });
            match sent {
                Ok(reply) => return Ok(reply),
                Err(error) => {
                    self.after_failure(&error, &mut attempts).await?;
                }
            }
        }
    }

    /// Waits until writes of so many units may be sent. Given up when the run stops: nothing has been sent then.
    pub(super) async fn admit(&self, units: Units) -> Result<Admission, Stopped> {
        let since = Instant::now();
        self.stop.unless_stopping(self.gate.pass()).await?;
        let grant = self.allowance.write(units, &self.stop).await?;
        let permit = self.stop.unless_stopping(self.writes.acquire(units)).await?;
        // The semaphore is never closed.
        let slot = self.stop.unless_stopping(Arc::clone(&self.slots).acquire_owned()).await?.map_err(|_| Stopped)?;
        // The window may have closed while permits were waited for.
        self.stop.unless_stopping(self.gate.pass()).await?;
        Ok(Admission { permit, grant, _slot: slot, waited: since.elapsed() })
    }

    /// Sends an admitted chunk once. In flight, its replies are waited for whatever happens.
    pub(super) async fn write(
        &self,
        admission: Admission,
        chunk: &[&GuardedWrite],
    ) -> (Vec<Result<WriteReply, TableError>>, Spent) {
        let estimates: Vec<Units> = chunk.iter().map(|write| write.cost.total()).collect();
        let Admission { permit, mut grant, _slot, .. } = admission;
        grant.send();
        let replies = self.table.write(chunk).await;
        let mut spent = Spent::default();
        for (reply, estimate) in replies.iter().zip(&estimates) {
            match reply {
                Ok(WriteReply::Applied { consumed: Some(consumed) }) => spent.write += consumed.total(),
                Ok(WriteReply::Applied { consumed: None }) => spent.estimated_write += estimate,
                // A failed condition is charged by the item as it is, at least one unit.
                Ok(WriteReply::ConditionFailed { image }) => {
                    let bytes = image.as_ref().map_or(0, crate::item::item_bytes);
                    spent.estimated_write += crate::item::write_units(bytes, 0);
                }
                Err(error) => spent.estimated_write += cost_of_failure(error, *estimate),
            }
        }
        self.writes.settle(permit, spent.write + spent.estimated_write);
        grant.settle(Spend { write: spent.write + spent.estimated_write, read: 0.0 });
        (replies, spent)
    }

    /// What follows from a failed request: returns when it should be sent again, or gives up the run.
    pub(super) async fn after_failure(&self, error: &TableError, attempts: &mut Attempts) -> Result<(), Stopped> {
        match error {
            TableError::Throttled { .. } => self.progress.throttled(),
            other => self.progress.request_failed(&other.to_string()),
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
        self.stop.unless_stopping(tokio::time::sleep(backoff.wait(attempts.failed, fastrand::f64()))).await
    }
}

/// The reason for which an error that is not retried stops a run.
pub(super) fn stop_reason(error: &TableError) -> StopReason {
    let kind = match error {
        TableError::Fatal { kind, .. } => *kind,
        _ => crate::table::FatalKind::Request,
    };
    StopReason::Fatal { kind, message: error.to_string() }
}

/// Capacity that a failed request is taken to have consumed: a throttled or refused one nothing, one without a reply all.
fn cost_of_failure(error: &TableError, estimate: Units) -> Units {
    if error.is_ambiguous() { estimate } else { 0.0 }
}

/// Describes the table before anything runs, retrying for a short while.
pub async fn describe(table: &dyn Table, patience: Duration) -> Result<crate::table::TableDescription, TableError> {
    let start = Instant::now();
    let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };
    let mut failed = 0;
    loop {
        match table.describe().await {
            Err(error) if error.directive() == Directive::Retry && start.elapsed() < patience => {
                failed += 1;
                tokio::time::sleep(backoff.wait(failed, fastrand::f64())).await;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_for_our_own_permits_is_no_failing() {
        let mut attempts = Attempts::default();
        attempts.waited(Duration::from_secs(3600));
        assert_eq!(attempts.failing(), Duration::ZERO);
        attempts.since = Some(Instant::now());
        tokio::time::advance(Duration::from_secs(100)).await;
        attempts.waited(Duration::from_secs(90));
        assert_eq!(attempts.failing(), Duration::from_secs(10));
    }
}

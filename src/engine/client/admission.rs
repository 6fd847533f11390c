//! Admits requests: waits until a request may be sent. A request needs permits from every scope that it touches. The
//! permits are acquired in this order: partition key, key range, each index, table. A write also needs a slot. If a write
//! touches two tables, it needs permits of both, in the same order: of each kind of scope, first those of the table of the
//! write, then those of the other table.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio::time::Instant;

use super::Requests;
use super::derived::Elsewhere;
use crate::change::GuardedWrite;
use crate::cutover::Validity;
use crate::engine::client::Lane;
use crate::engine::limits::allowance::Grant;
use crate::engine::limits::window::Opening;
use crate::engine::stop::Stopped;
use crate::item::{PartitionHash, Units};
use crate::plan::Access;
use crate::ratelimit::Scopes;

/// Permission to send a chunk of writes. The permission consists of a slot and of permits from every scope that the
/// writes touch.
pub(crate) struct Admission {
    pub(crate) grant: Grant,
    pub(crate) _slot: OwnedSemaphorePermit,
    /// How long the request waited for admission.
    pub(crate) waited: Duration,
}

/// An uninterrupted period in which requests were allowed. Permits are valid only in the period in which they were
/// acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SendingPeriod {
    opening: Opening,
    holds: u64,
    pauses: u64,
}

impl Requests {
    /// Takes the units of a write's partition key if they are available now. If the write would have to wait for the
    /// units, or if items with the same partition key are already waiting, returns false and takes no units.
    pub(crate) fn try_acquire_key(&self, write: &GuardedWrite) -> bool {
        !self.range.is_set_aside(self.hash_of(write)) && self.try_key_in_turn(write)
    }

    /// Takes the units of a write's partition key if they are available now, even if items with this partition key are
    /// waiting. The caller must hold the lock that [`Requests::turn`] returns for this partition key.
    pub(crate) fn try_key_in_turn(&self, write: &GuardedWrite) -> bool {
        match write.derived_key() {
            None => self.scopes.try_acquire_key(Access::Write, self.hash_of(write), write.cost.table),
            Some(_) => self.try_acquire_both(write),
        }
    }

    /// Returns the lock that decides which task may process the set-aside items of this partition key.
    pub(crate) fn turn(&self, key: PartitionHash) -> Arc<Mutex<()>> {
        self.range.turn(key)
    }

    /// Waits for the units of these writes' partition keys, and takes them. Stops waiting if the run stops. If the
    /// future is dropped, no units are taken.
    pub(crate) async fn admit_keys(&self, chunk: &[&GuardedWrite]) -> Result<(), Stopped> {
        let wanted: Vec<_> = chunk.iter().flat_map(|write| self.units_of_keys(write)).collect();
        self.stop.unless_stopping(self.scopes.acquire_keys(Access::Write, &wanted)).await?;
        let elsewhere: Vec<_> = chunk.iter().filter_map(|write| self.elsewhere(write)).collect();
        let Some(Elsewhere { requests, .. }) = elsewhere.first() else { return Ok(()) };
        let mut taken = TakenKeys { from: &self.scopes, keys: &wanted };
        let wanted: Vec<_> = elsewhere.iter().map(|other| (other.hash, other.cost.table)).collect();
        self.stop.unless_stopping(requests.scopes.acquire_keys(Access::Write, &wanted)).await?;
        taken.keys = &[];
        Ok(())
    }

    /// Waits until these writes may be sent. First acquires units of the partition keys, unless `has_key_units` says
    /// that the caller already has them. Then acquires units of the key range and of the indexes, then a slot, and
    /// finally units of the table. If the run stops during the wait, returns an error.
    ///
    /// Permits become invalid when the window closes, when the run is paused, or when the lease or the flag is not
    /// confirmed in time. This function then acquires new permits. With the old permits, all waiting requests would be
    /// sent in one burst as soon as sending is allowed again. The function does not return the units of the old permits
    /// to the buckets. The buckets have refilled meanwhile, so each unit that is returned to a full bucket would
    /// immediately allow an additional request.
    pub(crate) async fn admit(&self, chunk: &[&GuardedWrite], has_key_units: bool) -> Result<Admission, Stopped> {
        let since = Instant::now();
        let may_pass =
            !self.work_window.is_closed() && !self.pause.is_paused() && self.validities.iter().all(Validity::is_fresh);
        let mut has_key_units = has_key_units && may_pass;
        loop {
            let opening = self.wait_until_open().await?;
            if !std::mem::take(&mut has_key_units) {
                self.admit_keys(chunk).await?;
            }
            for write in chunk {
                self.stop.unless_stopping(self.scopes.acquire_narrow_write(&self.range, &write.cost)).await?;
                if let Some(Elsewhere { requests, cost, .. }) = self.elsewhere(write) {
                    let acquired = requests.scopes.acquire_narrow_write(&requests.range, cost);
                    self.stop.unless_stopping(acquired).await?;
                }
            }
            let _turn = match self.lane() {
                Lane::Shared => Some(self.stop.unless_stopping(self.shared_lane_turn.lock()).await?),
                Lane::Large => None,
            };
            let other = self.other.as_ref().map_or(Units::INFINITY, |other| other.requests.write_budget());
            let budget = self.write_budget().min(other);
            let without_slot = self.progress.without_slot();
            let slot = self.stop.unless_stopping(self.slots.take(budget)).await?.ok_or(Stopped)?;
            drop(without_slot);
            // Before taking the table's units, check whether the period has ended. If it has, the chunk starts over,
            // and units that the chunk has already taken are lost.
            if self.wait_until_open().await? != opening {
                continue;
            }
            // The allowance may first have to reserve a slice, so do not take the table's units yet.
            let grant = self.allowance.write(chunk.iter().map(|write| write.total_cost()).sum(), &self.stop).await?;
            let units = chunk.iter().map(|write| write.cost.table).sum();
            self.stop.unless_stopping(self.scopes.table(Access::Write).acquire(units)).await?;
            for Elsewhere { requests, cost, .. } in chunk.iter().filter_map(|write| self.elsewhere(write)) {
                self.stop.unless_stopping(requests.scopes.table(Access::Write).acquire(cost.table)).await?;
            }
            if self.wait_until_open().await? == opening {
                return Ok(Admission { grant, _slot: slot, waited: since.elapsed() });
            }
        }
    }

    fn write_budget(&self) -> Units {
        self.scopes.table(Access::Write).budget()
    }

    /// Waits until the run is not paused, the work window is open, and the lease and the flag are confirmed.
    pub(crate) async fn wait_until_open(&self) -> Result<SendingPeriod, Stopped> {
        let all = async {
            let mut pauses = self.pause.wait_until_resumed().await;
            let mut opening = self.work_window.wait_until_open().await;
            let mut holds = 0;
            for validity in self.validities.iter() {
                if !validity.is_fresh() {
                    let _waiting = self.progress.confirming();
                    validity.wait_until_fresh().await;
                    opening = self.work_window.wait_until_open().await;
                }
                holds += validity.expirations();
            }
            // The run may have been paused while this request waited for the window, the lease or the flag.
            if self.pause.is_paused() {
                pauses = self.pause.wait_until_resumed().await;
            }
            SendingPeriod { opening, holds, pauses }
        };
        self.stop.unless_stopping(all).await
    }
}

/// Units of partition keys that a call has already taken while it waits for units of another table. They are given back
/// on drop.
struct TakenKeys<'a> {
    from: &'a Scopes,
    keys: &'a [(PartitionHash, Units)],
}

impl Drop for TakenKeys<'_> {
    fn drop(&mut self) {
        self.from.give_back_keys(Access::Write, self.keys);
    }
}

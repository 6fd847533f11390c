//! Limits a run's spend and its number of scanned items, over all its sessions: `[limits] max_wcu`, `max_cost_usd` and
//! `max_items`.
//!
//! Capacity is reserved in slices before it is used, and each reservation is durable ([`SpendLedger::reserve`]). If the
//! process is killed, the whole open slice counts as spent. After a normal end, only the used part counts. So a kill
//! wastes at most one slice. If the estimate of each request is right, a run stays within its limits however often it
//! is killed. Without a limit, nothing is reserved and spending is only counted.

mod items;
mod ledger;
mod status;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub use self::status::{AllowanceStatus, LimitStatus};

use self::items::{Items, ItemsReply};
use self::ledger::{CapacityReply, ExhaustedLimit, Ledger, SpendLimits};
use crate::cost::UnitPrices;
use crate::engine::stop::{StopReason, Stopped, Stopper};
use crate::item::Units;
use crate::plan::PlanLimits;
use crate::ratelimit::{Budget, Waiters};
use crate::state::{Reservation, SessionId, Spend, SpendLedger, SpendState};

/// The capacity that a job may spend. An allowance limits nothing until [`Allowance::begin`] is called for a run. A dry
/// run writes nothing and never calls `begin`.
pub struct Allowance {
    spend_limits: SpendLimits,
    max_items: Option<u64>,
    prices: UnitPrices,
    state: Mutex<AllowanceState>,
    /// Serves requests in the order of their arrival. Otherwise small requests could starve a large request while a
    /// slice is being reserved.
    turn: tokio::sync::Mutex<()>,
    changed: Notify,
    /// Pages that wait for permission to read more items.
    item_waiters: Waiters,
    /// Requests that wait for permission to spend. If many requests wait, only the first request in the queue is
    /// counted.
    spend_waiters: Waiters,
}

#[derive(Default)]
struct AllowanceState {
    ledger: Ledger,
    items: Items,
    /// The spend that killed processes had reserved but possibly did not use.
    lost: Spend,
    spend_ledger: Option<(Arc<dyn SpendLedger>, SessionId)>,
}

/// Capacity that a request may use. If the grant is dropped before the request is sent, the capacity becomes available
/// again. If the grant is dropped later without a call of [`Grant::reconcile`], all of its capacity counts as spent.
#[must_use = "call `reconcile` with what the request consumed"]
pub(crate) struct Grant {
    allowance: Arc<Allowance>,
    need: Spend,
    sent: bool,
    settled: bool,
}

/// Permission for a page to scan a number of items. If this value is dropped before the page is committed, the items
/// become available to other pages.
#[must_use = "dropping this value gives the items back"]
pub(crate) struct ItemGrant {
    allowance: Arc<Allowance>,
    items: u32,
}

/// Returns the capacity that one reservation adds, which is also the most that a kill wastes. Returns `None` if no
/// limit requires reservations.
pub fn slice(limits: &PlanLimits, budget: Budget, prices: UnitPrices) -> Option<Spend> {
    SpendLimits::new(limits, budget, prices).slice()
}

impl Allowance {
    /// Creates the allowance for a job with these limits and this budget.
    pub fn new(limits: &PlanLimits, budget: Budget, prices: UnitPrices) -> Arc<Allowance> {
        Arc::new(Allowance {
            spend_limits: SpendLimits::new(limits, budget, prices),
            max_items: limits.max_items,
            prices,
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            item_waiters: Waiters::default(),
            spend_waiters: Waiters::default(),
        })
    }

    /// Returns the prices that the cost limit uses.
    pub fn prices(&self) -> UnitPrices {
        self.prices
    }

    /// Begins a session of a run that has already spent `before` and scanned `scanned` items. From now on the limits
    /// apply.
    pub fn begin(&self, spend_ledger: Arc<dyn SpendLedger>, session: SessionId, before: SpendState, scanned: u64) {
        let SpendState { spent, lost, .. } = before;
        let ledger = Ledger::new(self.spend_limits, spent);
        let items = Items::new(self.max_items, scanned);
        *self.state() = AllowanceState { ledger, items, lost, spend_ledger: Some((spend_ledger, session)) };
    }

    /// Begins a session that may spend as much as a new run, in addition to `from`. `from` is the run's spend when the
    /// pass began. The number of scanned items is not limited.
    pub fn begin_with_exempt_spend(
        &self,
        spend_ledger: Arc<dyn SpendLedger>,
        session: SessionId,
        before: SpendState,
        from: Spend,
    ) {
        let SpendState { spent, lost, .. } = before;
        let ledger = Ledger::new(self.spend_limits.with_exempt_spend(from), spent);
        let items = Items::default();
        *self.state() = AllowanceState { ledger, items, lost, spend_ledger: Some((spend_ledger, session)) };
    }

    /// If a limit is used up, returns the reason to stop. A limit is used up if it leaves less than one write unit, or
    /// no item. Returns `None` if the job can start.
    pub fn exhausted(&self) -> Option<StopReason> {
        let state = self.state();
        let items = || state.items.exhausted().map(|(scanned, limit)| StopReason::MaxItems { scanned, limit });
        state.ledger.exhausted().map(|why| self.reason(why, state.lost)).or_else(items)
    }

    /// Returns the write units that the limits still allow, if nothing else is spent. `None` if no limit applies.
    pub(crate) fn affordable_write(&self) -> Option<Units> {
        self.state().ledger.affordable_write()
    }

    /// Returns the run's spend so far, including requests in flight.
    pub fn spent(&self) -> Spend {
        self.state().ledger.spent()
    }

    /// Describes why requests or pages wait for the allowance. Returns `None` if none of them waits.
    pub fn waiting(&self) -> Option<&'static str> {
        let spends = self.spend_waiters.count() > 0;
        if spends && self.state().ledger.is_reserving() {
            return Some("the next slice of the spending limit to be stored");
        }
        // All other waiters wait for a request to give back capacity, or for a page to give back items.
        let reasons = [
            (spends, "requests in flight: little is left of [limits] max_wcu or max_cost_usd"),
            (self.item_waiters.count() > 0, "pages in progress: they may use all that is left of [limits] max_items"),
        ];
        reasons.into_iter().find(|(waits, _)| *waits).map(|(_, what)| what)
    }

    /// Ends the session. Waits until no reservation is pending, then returns the spend. Call this method when the job
    /// sends no more requests.
    pub async fn end(&self) -> Spend {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let (reserving, spent) = {
                let ledger = &self.state().ledger;
                (ledger.is_reserving(), ledger.spent())
            };
            if !reserving {
                return spent;
            }
            changed.await;
        }
    }

    /// Waits until the limits allow a write of this number of units. Stops the run if the limits will never allow the
    /// write.
    pub(crate) async fn write(self: &Arc<Self>, units: Units, stop: &Stopper) -> Result<Grant, Stopped> {
        self.take(Spend { write: units, read: 0.0 }, stop).await
    }

    /// Waits until the limits allow a read of this number of units. Stops the run if the limits will never allow the
    /// read.
    pub(crate) async fn read(self: &Arc<Self>, units: Units, stop: &Stopper) -> Result<Grant, Stopped> {
        self.take(Spend { write: 0.0, read: units }, stop).await
    }

    /// Waits until a page may scan items. Grants the requested number of items, or all remaining items if fewer are
    /// left. Stops the run if no items are left and no uncommitted page can give items back.
    pub(crate) async fn items(self: &Arc<Self>, page: u32, stop: &Stopper) -> Result<ItemGrant, Stopped> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Register for notifications before the check. Otherwise the caller would miss a notification between the
            // check and the registration.
            changed.as_mut().enable();
            let (reply, exhausted) = {
                let mut state = self.state();
                (state.items.request(page), state.items.exhausted())
            };
            match reply {
                ItemsReply::Items(items) => return Ok(ItemGrant { allowance: Arc::clone(self), items }),
                ItemsReply::Wait => {
                    let _waits = self.item_waiters.add_waiter();
                    stop.unless_stopping(changed).await?;
                }
                ItemsReply::Exhausted => {
                    let (scanned, limit) = exhausted.unwrap_or_default();
                    stop.stop(StopReason::MaxItems { scanned, limit });
                    return Err(Stopped);
                }
            }
        }
    }

    async fn take(self: &Arc<Self>, need: Spend, stop: &Stopper) -> Result<Grant, Stopped> {
        if !self.spend_limits.applies_to(need) {
            return Ok(self.grant(need));
        }
        let _turn = stop.unless_stopping(self.turn.lock()).await?;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let (take, prefetch) = {
                let ledger = &mut self.state().ledger;
                let take = ledger.take(need);
                let prefetch = if take == CapacityReply::Granted { ledger.prefetch() } else { None };
                (take, prefetch)
            };
            if let Some(reservation) = prefetch {
                self.reserve(reservation, stop);
            }
            match take {
                CapacityReply::Granted => return Ok(self.grant(need)),
                CapacityReply::Reserve(reservation) => self.reserve(reservation, stop),
                CapacityReply::Wait => {}
                CapacityReply::ExhaustedLimit(why) => {
                    let lost = self.state().lost;
                    stop.stop(self.reason(why, lost));
                    return Err(Stopped);
                }
            }
            let _waits = self.spend_waiters.add_waiter();
            stop.unless_stopping(changed).await?;
        }
    }

    fn grant(self: &Arc<Self>, need: Spend) -> Grant {
        Grant { allowance: Arc::clone(self), need, sent: false, settled: false }
    }

    /// Makes a reservation durable. A separate task stores the reservation, because the request that asked for it may
    /// be dropped. If the reservation cannot be stored, the task withdraws it, so that no request waits for it forever.
    fn reserve(self: &Arc<Self>, reservation: Reservation, stop: &Stopper) {
        let me = Arc::clone(self);
        let stop = stop.clone();
        let spend_ledger = self.state().spend_ledger.clone();
        let storing = tokio::spawn(async move {
            match spend_ledger {
                Some((spend_ledger, session)) => spend_ledger.reserve(session, reservation).await,
                None => Ok(()),
            }
        });
        tokio::spawn(async move {
            let failed = match storing.await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(StopReason::Store(error.to_string())),
                Err(panic) => Some(StopReason::Internal(panic.to_string())),
            };
            match failed {
                None => me.state().ledger.confirm(),
                Some(reason) => {
                    me.state().ledger.withdraw();
                    stop.stop(reason);
                }
            }
            me.changed.notify_waiters();
        });
    }

    fn reason(&self, why: ExhaustedLimit, lost: Spend) -> StopReason {
        match why {
            ExhaustedLimit::Wcu { spent, limit } => StopReason::MaxWcu { spent, lost: lost.write, limit },
            ExhaustedLimit::Cost { spent, limit } => {
                StopReason::MaxCost { spent, lost: self.prices.dollars(lost), limit, basis: self.prices.basis }
            }
        }
    }

    fn reconcile(&self, need: Spend, consumed: Spend) {
        self.state().ledger.reconcile(need, consumed);
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, AllowanceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grant {
    /// Records that the request is about to be sent. From now on it can consume capacity.
    pub(crate) fn send(&mut self) {
        self.sent = true;
    }

    /// Records what the request consumed.
    pub(crate) fn reconcile(mut self, consumed: Spend) {
        self.settled = true;
        self.allowance.reconcile(self.need, consumed);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if !self.settled {
            self.allowance.reconcile(self.need, if self.sent { self.need } else { Spend::default() });
        }
    }
}

impl ItemGrant {
    /// Returns the number of items that the page may scan.
    pub(crate) fn items(&self) -> u32 {
        self.items
    }

    /// Records the number of items that the page contained. The page's unused items become available to other pages.
    pub(crate) fn record_used(&mut self, items: usize) {
        let used = u32::try_from(items).unwrap_or(u32::MAX).min(self.items);
        self.allowance.state().items.give_back(u64::from(self.items - used));
        self.items = used;
        self.allowance.changed.notify_waiters();
    }

    /// Records that the page is committed.
    pub(crate) fn commit(mut self) {
        let items = std::mem::take(&mut self.items);
        self.allowance.state().items.commit(u64::from(items));
        self.allowance.changed.notify_waiters();
    }
}

impl Drop for ItemGrant {
    fn drop(&mut self) {
        self.allowance.state().items.give_back(u64::from(self.items));
        self.allowance.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;

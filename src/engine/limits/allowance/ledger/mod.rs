//! Records how much of a run's allowance is used, granted and reserved. This module is pure: it never waits, and it
//! stores nothing.

#[cfg(test)]
mod tests;

use crate::cost::UnitPrices;
use crate::item::Units;
use crate::plan::PlanLimits;
use crate::ratelimit::Budget;
use crate::state::{Reservation, Spend};

/// The largest fraction of a limit that one slice may reserve. A kill wastes up to one slice, so ten kills waste at
/// most a tenth of the limit.
const SLICE_SHARE: f64 = 0.01;

/// At the full budget, a slice lasts about this number of seconds. Each reservation costs one disk sync, and one disk
/// sync every ten seconds is negligible. A kill wastes at most ten seconds' worth of capacity.
const SLICE_SECONDS: f64 = 10.0;

/// The smallest number of units in a slice, enough for a few small items. With smaller slices, a tiny limit would need
/// one disk sync for each item.
const MIN_SLICE_UNITS: Units = 10.0;

/// The next slice is reserved when less than this fraction of the current slice is left. The reservation then has about
/// five seconds to become durable, so requests rarely have to wait for it.
const RESERVE_AT: f64 = 0.5;

/// The tolerance for rounding errors when a sum of capacity units is compared with a limit.
const ROUNDING: f64 = 1e-9;

/// The spending limits of a run, and the size of its slices.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct SpendLimits {
    max_wcu: Option<Units>,
    money: Option<(f64, UnitPrices)>,
    slice: Spend,
    /// Earlier spend, which does not count towards the limits.
    before: Spend,
}

/// The limit that is used up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ExhaustedLimit {
    /// `max_wcu`, in write capacity units.
    Wcu { spent: Units, limit: Units },
    /// `max_cost_usd`, in estimated US dollars.
    Cost { spent: f64, limit: f64 },
}

/// The answer to a request for capacity.
#[derive(Debug, PartialEq)]
pub(crate) enum CapacityReply {
    /// The request can use the capacity.
    Granted,
    /// The capacity is not available now. Wait until the pending reservation ends, or until other requests give
    /// capacity back.
    Wait,
    /// The capacity can be used only after this reservation is durable. Store the reservation, then call
    /// [`Ledger::confirm`] or [`Ledger::withdraw`].
    Reserve(Reservation),
    /// The capacity will never be available: the limit is reached, and no unanswered request can give capacity back.
    ExhaustedLimit(ExhaustedLimit),
}

/// The spend accounts of one session.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    spend_limits: SpendLimits,
    /// Capacity that answered requests have consumed.
    used: Spend,
    /// Capacity that was granted to requests that are still unanswered. Counted only if there is a limit.
    granted: Spend,
    /// Number of requests that hold a part of `granted`.
    holders: u64,
    /// The durably reserved capacity. The run has spent no more than this.
    reserved: Spend,
    /// The value of `reserved` once the pending reservation is durable.
    reserving: Option<Spend>,
}

impl SpendLimits {
    /// Creates the spending limits that a plan sets for a job within this budget.
    pub(crate) fn new(limits: &PlanLimits, budget: Budget, prices: UnitPrices) -> SpendLimits {
        let money = limits.max_cost_usd.map(|max| (max, prices));
        let mut slice = Spend { write: budget.write * SLICE_SECONDS, read: budget.read * SLICE_SECONDS };
        if let Some((max, prices)) = money {
            // Half of a slice's money is for writes, and half is for reads.
            let (write, read) = prices.affordable_units(max * SLICE_SHARE / 2.0);
            slice = slice.min(Spend { write, read });
        }
        if let Some(max) = limits.max_wcu {
            slice.write = slice.write.min(max * SLICE_SHARE);
        }
        let slice = slice.max(Spend { write: MIN_SLICE_UNITS, read: MIN_SLICE_UNITS });
        SpendLimits { max_wcu: limits.max_wcu, money, slice, before: Spend::default() }
    }

    /// Excludes the earlier spend `before` from these limits.
    pub(crate) fn with_exempt_spend(self, before: Spend) -> SpendLimits {
        SpendLimits { before, ..self }
    }

    /// Returns the size of a slice, or `None` if no limit requires reservations.
    pub(crate) fn slice(&self) -> Option<Spend> {
        let read = if self.money.is_some() { self.slice.read } else { 0.0 };
        self.applies_to(Spend { write: 1.0, read: 1.0 }).then_some(Spend { write: self.slice.write, read })
    }

    /// If a total spend of `wanted` would exceed a limit, returns this limit. `spent` is the current total.
    fn exceeded_limit(&self, wanted: Spend, spent: Spend) -> Option<ExhaustedLimit> {
        let wanted = wanted - self.before;
        let spent = spent - self.before;
        if let Some(limit) = self.max_wcu.filter(|limit| wanted.write > limit + ROUNDING) {
            return Some(ExhaustedLimit::Wcu { spent: spent.write, limit });
        }
        let (limit, prices) = self.money?;
        let spent = prices.dollars(spent);
        (prices.dollars(wanted) > limit * (1.0 + ROUNDING)).then_some(ExhaustedLimit::Cost { spent, limit })
    }

    /// Returns whether a request for `need` requires a reservation.
    pub(crate) fn applies_to(&self, need: Spend) -> bool {
        self.money.is_some() || (self.max_wcu.is_some() && need.write > 0.0)
    }

    /// Returns the total to reserve if `taken` is in use and a request needs `need`. The total includes one additional
    /// slice, or a smaller amount if the limits do not allow a whole slice.
    fn ceiling(&self, taken: Spend, need: Spend) -> Spend {
        let base = taken + need;
        let counts = base - self.before;
        let mut more = self.slice.excess_over(need);
        if let Some(max) = self.max_wcu {
            more.write = more.write.min((max - counts.write).max(0.0));
        }
        let Some((max, prices)) = self.money else { return base + Spend { read: 0.0, ..more } };
        let left = (max - prices.dollars(counts)).max(0.0);
        let cost = prices.dollars(more);
        base + if cost > left { more * (left / cost) } else { more }
    }
}

impl Ledger {
    /// Creates the accounts of a session. The run has already spent `spent`.
    pub(crate) fn new(spend_limits: SpendLimits, spent: Spend) -> Ledger {
        Ledger { spend_limits, used: spent, reserved: spent, ..Ledger::default() }
    }

    /// If a limit does not allow one more write unit, returns this limit. Otherwise, returns `None`.
    pub(crate) fn exhausted(&self) -> Option<ExhaustedLimit> {
        let spent = self.spent();
        self.spend_limits.exceeded_limit(spent + Spend { write: 1.0, read: 0.0 }, spent)
    }

    /// Returns the write units that the limits still allow, if nothing else is spent. `None` if there is no limit.
    pub(crate) fn affordable_write(&self) -> Option<Units> {
        let SpendLimits { max_wcu, money, before, slice: _ } = self.spend_limits;
        let counts = self.spent() - before;
        let by_units = max_wcu.map(|limit| limit - counts.write);
        let by_money = money.map(|(limit, prices)| {
            let (write, _) = prices.affordable_units((limit - prices.dollars(counts)).max(0.0));
            write
        });
        by_units.into_iter().chain(by_money).reduce(f64::min)
    }

    /// Returns `max_wcu` and `max_cost_usd`, each with the part that is used. `None` for a limit that is not set.
    pub(crate) fn limits(&self) -> [Option<(f64, f64)>; 2] {
        let SpendLimits { max_wcu, money, before, slice: _ } = self.spend_limits;
        let counts = self.spent() - before;
        let wcu = max_wcu.map(|limit| (limit, counts.write));
        [wcu, money.map(|(limit, prices)| (limit, prices.dollars(counts)))]
    }

    /// Asks for capacity.
    pub(crate) fn take(&mut self, need: Spend) -> CapacityReply {
        let taken = self.spent();
        if !self.spend_limits.applies_to(need) {
            return CapacityReply::Granted;
        }
        if self.is_free(taken + need) {
            self.granted += need;
            self.holders += 1;
            return CapacityReply::Granted;
        }
        if let Some(exhausted) = self.spend_limits.exceeded_limit(taken + need, taken) {
            return if self.holders == 0 { CapacityReply::ExhaustedLimit(exhausted) } else { CapacityReply::Wait };
        }
        if self.reserving.is_some() {
            return CapacityReply::Wait;
        }
        CapacityReply::Reserve(self.reserve(self.spend_limits.ceiling(taken, need)))
    }

    /// Reserves the next slice early enough that no request has to wait for it. Returns `None` if no reservation is
    /// needed now.
    pub(crate) fn prefetch(&mut self) -> Option<Reservation> {
        let taken = self.spent();
        let slice = self.spend_limits.slice()?;
        let runs_low = |left: Units, slice: Units| slice > 0.0 && left < slice * RESERVE_AT;
        let left = self.reserved - taken;
        if self.reserving.is_some() || !(runs_low(left.write, slice.write) || runs_low(left.read, slice.read)) {
            return None;
        }
        let ceiling = self.spend_limits.ceiling(taken, Spend::default());
        // Near a limit, the next slice would be small, so do not reserve it early. A request that needs it will reserve
        // it.
        let grows = |to: Units, from: Units, slice: Units| slice > 0.0 && to - from >= slice * (1.0 - RESERVE_AT);
        let worth_it = grows(ceiling.write, self.reserved.write, slice.write)
            || grows(ceiling.read, self.reserved.read, slice.read);
        worth_it.then(|| self.reserve(ceiling))
    }

    /// Records that the pending reservation is durable.
    pub(crate) fn confirm(&mut self) {
        self.reserved = self.reserving.take().unwrap_or(self.reserved);
    }

    /// Records that the pending reservation failed. The run must not use the capacity of a failed reservation.
    pub(crate) fn withdraw(&mut self) {
        self.reserving = None;
    }

    /// Returns whether a reservation is pending.
    pub(crate) fn is_reserving(&self) -> bool {
        self.reserving.is_some()
    }

    /// Records that a request was granted `need` and has consumed `consumed`. The unused part becomes available.
    /// Consumption beyond `need` also counts as spent.
    pub(crate) fn reconcile(&mut self, need: Spend, consumed: Spend) {
        self.used += consumed;
        if !self.spend_limits.applies_to(need) {
            return;
        }
        self.holders = self.holders.saturating_sub(1);
        // Sums of many fractions have rounding errors. So set the sum to zero when no request holds capacity.
        self.granted = if self.holders == 0 { Spend::default() } else { self.granted.excess_over(need) };
    }

    /// Returns the capacity that answered requests consumed, plus the capacity granted to unanswered requests.
    pub(crate) fn spent(&self) -> Spend {
        self.used + self.granted
    }

    /// Returns whether a total of `wanted` fits into the current reservation and, if a reservation is pending, also
    /// into the pending one.
    fn is_free(&self, wanted: Spend) -> bool {
        let within = self.reserving.map_or(self.reserved, |next| self.reserved.min(next));
        let free = |wanted: Units, within: Units| wanted <= within + ROUNDING;
        free(wanted.write, within.write) && (self.spend_limits.money.is_none() || free(wanted.read, within.read))
    }

    fn reserve(&mut self, ceiling: Spend) -> Reservation {
        let spent = self.spent();
        self.reserving = Some(ceiling);
        Reservation { spent, slice: ceiling.excess_over(spent) }
    }
}

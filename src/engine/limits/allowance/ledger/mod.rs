//! What of a run's allowance is used, handed out and reserved. Pure bookkeeping: it waits for nothing and stores nothing.

#[cfg(test)]
mod tests;

use crate::cost::UnitPrices;
use crate::item::Units;
use crate::plan::Limits;
use crate::ratelimit::Budget;
use crate::state::{Reservation, Spend};

/// A slice is at most this share of a limit: it is what a kill wastes, so ten kills waste a tenth.
const SLICE_SHARE: f64 = 0.01;

/// A slice lasts for about so long at the full budget: reserving costs one sync of the disk, which is nothing every ten
/// seconds, and a kill wastes no more than ten seconds of work.
const SLICE_SECONDS: f64 = 10.0;

/// A slice is at least so many units, a few small items, so that a tiny limit is not one sync for each item.
const SLICE_LEAST: Units = 10.0;

/// The next slice is reserved when less than this share of the current one is left: the disk has five seconds then, and
/// hardly anybody waits for it.
const RESERVE_AT: f64 = 0.5;

/// Where sums of halves are compared with a limit.
const ROUNDING: f64 = 1e-9;

/// What a run may spend, and in which slices it reserves.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Bounds {
    max_wcu: Option<Units>,
    money: Option<(f64, UnitPrices)>,
    slice: Spend,
    /// Spent before, and not held against the limits.
    before: Spend,
}

/// Which limit does not allow any more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Exhausted {
    /// `max_wcu`, in units.
    Wcu { spent: Units, limit: Units },
    /// `max_cost_usd`, in US dollars by estimate.
    Cost { spent: f64, limit: f64 },
}

/// The answer to a request for capacity.
#[derive(Debug, PartialEq)]
pub(crate) enum Take {
    /// It may be used.
    Granted,
    /// Not before something else has ended: a reservation, or requests that may give some back.
    Wait,
    /// Not before this is durable: store it, and then [`Ledger::confirm`] or [`Ledger::withdraw`] it.
    Reserve(Reservation),
    /// Never: the limit is reached, and nothing is on its way that could give any back.
    Exhausted(Exhausted),
}

/// The books of one session.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    bounds: Bounds,
    /// Answered for.
    used: Spend,
    /// Handed out under a limit, and not answered for yet.
    granted: Spend,
    /// How many requests hold some of that.
    holders: u64,
    /// Durably reserved: what may have been spent at most.
    reserved: Spend,
    /// What will be, when the reservation on its way is durable.
    reserving: Option<Spend>,
}

impl Bounds {
    /// The limits of a plan, for a job within this budget.
    pub(crate) fn new(limits: &Limits, budget: Budget, prices: UnitPrices) -> Bounds {
        let money = limits.max_cost_usd.map(|max| (max, prices));
        let mut slice = Spend { write: budget.write * SLICE_SECONDS, read: budget.read * SLICE_SECONDS };
        if let Some((max, prices)) = money {
            // Half of the share for writes, half for reads.
            let (write, read) = prices.units_for(max * SLICE_SHARE / 2.0);
            slice = slice.min(Spend { write, read });
        }
        if let Some(max) = limits.max_wcu {
            slice.write = slice.write.min(max * SLICE_SHARE);
        }
        let slice = slice.max(Spend { write: SLICE_LEAST, read: SLICE_LEAST });
        Bounds { max_wcu: limits.max_wcu, money, slice, before: Spend::default() }
    }

    /// The same limits, beside what was spent before.
    pub(crate) fn beside(self, before: Spend) -> Bounds {
        Bounds { before, ..self }
    }

    /// The slice, where there is a limit to reserve for.
    pub(crate) fn slice(&self) -> Option<Spend> {
        let read = if self.money.is_some() { self.slice.read } else { 0.0 };
        self.concern(Spend { write: 1.0, read: 1.0 }).then_some(Spend { write: self.slice.write, read })
    }

    /// The limit that does not allow so much to be spent, given what is.
    fn forbid(&self, wanted: Spend, spent: Spend) -> Option<Exhausted> {
        let (wanted, spent) = (wanted - self.before, spent - self.before);
        if let Some(limit) = self.max_wcu.filter(|limit| wanted.write > limit + ROUNDING) {
            return Some(Exhausted::Wcu { spent: spent.write, limit });
        }
        let (limit, prices) = self.money?;
        let spent = prices.dollars(spent);
        (prices.dollars(wanted) > limit * (1.0 + ROUNDING)).then_some(Exhausted::Cost { spent, limit })
    }

    /// Whether capacity of these kinds has to be reserved.
    pub(crate) fn concern(&self, need: Spend) -> bool {
        self.money.is_some() || (self.max_wcu.is_some() && need.write > 0.0)
    }

    /// How far to reserve when so much is taken and so much more is needed now: a slice, or what the limits leave of it.
    fn ceiling(&self, taken: Spend, need: Spend) -> Spend {
        let base = taken + need;
        let counts = base - self.before;
        let mut more = self.slice.beyond(need);
        if let Some(max) = self.max_wcu {
            more.write = more.write.min((max - counts.write).max(0.0));
        }
        let Some((max, prices)) = self.money else { return base + Spend { read: 0.0, ..more } };
        let (left, cost) = ((max - prices.dollars(counts)).max(0.0), prices.dollars(more));
        base + if cost > left { more * (left / cost) } else { more }
    }
}

impl Ledger {
    /// The books of a session of a run that has spent so much before.
    pub(crate) fn new(bounds: Bounds, spent: Spend) -> Ledger {
        Ledger { bounds, used: spent, reserved: spent, ..Ledger::default() }
    }

    /// The limit that leaves not one write unit.
    pub(crate) fn exhausted(&self) -> Option<Exhausted> {
        let spent = self.spent();
        self.bounds.forbid(spent + Spend { write: 1.0, read: 0.0 }, spent)
    }

    /// Asks for capacity.
    pub(crate) fn take(&mut self, need: Spend) -> Take {
        let taken = self.spent();
        if !self.bounds.concern(need) {
            return Take::Granted;
        }
        if self.is_free(taken + need) {
            self.granted += need;
            self.holders += 1;
            return Take::Granted;
        }
        if let Some(exhausted) = self.bounds.forbid(taken + need, taken) {
            return if self.holders == 0 { Take::Exhausted(exhausted) } else { Take::Wait };
        }
        if self.reserving.is_some() {
            return Take::Wait;
        }
        Take::Reserve(self.reserve(self.bounds.ceiling(taken, need)))
    }

    /// The next slice, where it is time to reserve it before anybody waits for it.
    pub(crate) fn prefetch(&mut self) -> Option<Reservation> {
        let (taken, slice) = (self.spent(), self.bounds.slice()?);
        let runs_low = |left: Units, slice: Units| slice > 0.0 && left < slice * RESERVE_AT;
        let left = self.reserved - taken;
        if self.reserving.is_some() || !(runs_low(left.write, slice.write) || runs_low(left.read, slice.read)) {
            return None;
        }
        let ceiling = self.bounds.ceiling(taken, Spend::default());
        // Near a limit there is not a slice left to reserve; then whoever needs some asks for it.
        let grows = |to: Units, from: Units, slice: Units| slice > 0.0 && to - from >= slice * (1.0 - RESERVE_AT);
        let worth_it = grows(ceiling.write, self.reserved.write, slice.write)
            || grows(ceiling.read, self.reserved.read, slice.read);
        worth_it.then(|| self.reserve(ceiling))
    }

    /// The reservation on its way is durable.
    pub(crate) fn confirm(&mut self) {
        self.reserved = self.reserving.take().unwrap_or(self.reserved);
    }

    /// The reservation on its way failed: nothing of it may be used.
    pub(crate) fn withdraw(&mut self) {
        self.reserving = None;
    }

    /// Whether a reservation is on its way.
    pub(crate) fn is_reserving(&self) -> bool {
        self.reserving.is_some()
    }

    /// A request that took `need` has consumed this: all that it did not is free again, all beyond it is spent as well.
    pub(crate) fn settle(&mut self, need: Spend, consumed: Spend) {
        self.used += consumed;
        if !self.bounds.concern(need) {
            return;
        }
        self.holders = self.holders.saturating_sub(1);
        // Sums of many fractions leave traces; with nobody left there is nothing handed out.
        self.granted = if self.holders == 0 { Spend::default() } else { self.granted.beyond(need) };
    }

    /// Used, or handed out and not answered for.
    pub(crate) fn spent(&self) -> Spend {
        self.used + self.granted
    }

    /// Whether so much in all is within what is reserved, also when the reservation on its way is made.
    fn is_free(&self, wanted: Spend) -> bool {
        let within = self.reserving.map_or(self.reserved, |next| self.reserved.min(next));
        let free = |wanted: Units, within: Units| wanted <= within + ROUNDING;
        free(wanted.write, within.write) && (self.bounds.money.is_none() || free(wanted.read, within.read))
    }

    fn reserve(&mut self, ceiling: Spend) -> Reservation {
        let spent = self.spent();
        self.reserving = Some(ceiling);
        Reservation { spent, slice: ceiling.beyond(spent) }
    }
}

//! A run's spend and the remaining part of each limit, for display.

use super::Allowance;
use crate::state::Spend;

/// One limit of `[limits]` and its remaining part, in the limit's own unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitStatus {
    /// The name in the plan: `max_wcu`, `max_cost_usd` or `max_items`.
    pub name: &'static str,
    /// The limit.
    pub limit: f64,
    /// The part that is not used yet. Never negative.
    pub left: f64,
}

/// The spend of a run and the state of its limits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AllowanceStatus {
    /// The capacity that the run has spent, over all its sessions, including requests in flight.
    pub spent: Spend,
    /// The estimated cost of `spent` in US dollars.
    pub dollars: f64,
    /// The limits that the plan sets.
    pub limits: Vec<LimitStatus>,
    /// Number of requests that wait for the spend limits. If many wait, only the first one is counted.
    pub spend_waiting: usize,
    /// Number of pages that wait for `max_items`.
    pub items_waiting: usize,
}

impl Allowance {
    /// Returns the run's spend and the remaining part of each limit. `None` before the run begins to count.
    pub fn status(&self) -> Option<AllowanceStatus> {
        let state = self.state();
        state.spend_ledger.as_ref()?;
        let spent = state.ledger.spent();
        let [wcu, cost] = state.ledger.limits();
        let items = state.items.limit();
        let status = |name, limit: Option<(f64, f64)>| {
            limit.map(|(limit, used)| LimitStatus { name, limit, left: (limit - used).max(0.0) })
        };
        let limits = [status("max_wcu", wcu), status("max_cost_usd", cost), status("max_items", items)];
        let limits = limits.into_iter().flatten().collect();
        Some(AllowanceStatus {
            spent,
            dollars: self.prices.dollars(spent),
            limits,
            spend_waiting: self.spend_waiters.count(),
            items_waiting: self.item_waiters.count(),
        })
    }
}

//! Slows a run down to a part of its budgets, because a health check of the application asks for it. This module is
//! pure.

use crate::ratelimit::{ScopeBudget, rate_text};

/// A slowdown does not lower a budget below this number of units. Otherwise a small budget would amount to a pause. A
/// budget that is already lower stays unchanged.
const MIN_UNITS: f64 = 1.0;

/// A part of the budgets, and the reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Slowdown {
    /// The percentage of each budget that the run may use, from 1 to 99.
    pub percent: u8,
    /// The reason, for people.
    pub why: String,
}

impl Slowdown {
    /// Returns the text for people: the percentage and the reason.
    pub fn text(&self) -> String {
        format!("slowed to {}% of the budgets: {}", self.percent, self.why)
    }

    /// Lowers a budget. The result never exceeds the budget. The result is zero only if the budget is zero.
    fn lower(&self, budget: &ScopeBudget) -> ScopeBudget {
        let lowered = budget.units * f64::from(self.percent) / 100.0;
        let units = lowered.max(MIN_UNITS).min(budget.units);
        let full = rate_text(budget.units, budget.access);
        ScopeBudget {
            units,
            basis: format!("{}% of {full}, because {}; {full}: {}", self.percent, self.why, budget.basis),
            ..budget.clone()
        }
    }
}

/// Returns the budgets that a run is currently allowed to use.
pub(super) fn lowered<'a>(
    budgets: impl Iterator<Item = &'a ScopeBudget>,
    slowdown: Option<&Slowdown>,
) -> Vec<ScopeBudget> {
    budgets.map(|budget| slowdown.map_or_else(|| budget.clone(), |slowdown| slowdown.lower(budget))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::Access;
    use crate::ratelimit::Scope;

    fn budget(units: f64) -> ScopeBudget {
        ScopeBudget { scope: Scope::Table, access: Access::Write, units, basis: "from the plan".into(), table: None }
    }

    fn slowdown(percent: u8) -> Slowdown {
        Slowdown { percent, why: "the health check \"api\" failed: HTTP 503".into() }
    }

    #[test]
    fn a_lowered_budget_names_its_reason_and_its_basis() {
        let found = lowered([budget(200.0)].iter(), Some(&slowdown(25)));
        assert_eq!(found[0].units, 50.0);
        assert_eq!(
            found[0].basis,
            "25% of 200 WCU/s, because the health check \"api\" failed: HTTP 503; 200 WCU/s: from the plan"
        );
        assert_eq!(lowered([budget(200.0)].iter(), None), [budget(200.0)]);
    }

    proptest! {
        /// A slowdown never raises a budget, and never turns it into a pause.
        #[test]
        fn a_slowdown_only_slows_down(units in 0.0..1e6_f64, percent in 1_u8..100) {
            let found = lowered([budget(units)].iter(), Some(&slowdown(percent))).remove(0).units;
            prop_assert!(found <= units);
            prop_assert_eq!(found > 0.0, units > 0.0);
            prop_assert!(found >= units.min(MIN_UNITS));
        }
    }
}

//! Adjusts the budgets of a running job to the table's description. Budgets fall immediately and rise in steps. This
//! module is pure. The caller decides when the next step is due.

use super::resource_capacity::rate_text;
use super::{ResolvedBudgets, Scope, ScopeBudget, resolve_running};
use crate::dynamodb::TableDescription;
use crate::item::Units;
use crate::plan::{Access, Capacity, CapacityRate};

/// A raise consists of this number of equal steps. The steps have two purposes. If auto scaling added capacity because
/// of the application's load, the application can use this capacity before the job does. Also, the job can detect the
/// rate that the partitions accept before it exceeds that rate by a large amount.
pub const RAISE_STEPS: u32 = 6;

/// If there is no recent description, budgets that depend on the description are multiplied by this factor.
pub const STALE_DESCRIPTION_FACTOR: f64 = 0.5;

/// The current budgets of a running job, and the goals to which they rise.
#[derive(Debug, Clone)]
pub struct BudgetTracker {
    capacity: Capacity,
    scopes: Vec<TrackedBudget>,
}

/// The budget of one scope, and the goal to which it rises.
#[derive(Debug, Clone)]
struct TrackedBudget {
    now: ScopeBudget,
    goal: ScopeBudget,
    step: Units,
}

impl BudgetTracker {
    /// Creates a tracker that starts with these budgets.
    pub fn new(capacity: Capacity, resolved: &ResolvedBudgets) -> BudgetTracker {
        let scopes = resolved.scopes.iter().cloned().map(TrackedBudget::at_goal).collect();
        BudgetTracker { capacity, scopes }
    }

    /// Returns the current budget of each scope, widest scope first.
    pub fn now(&self) -> impl Iterator<Item = &ScopeBudget> {
        self.scopes.iter().map(|entry| &entry.now)
    }

    /// Applies a new description. Lower budgets apply immediately. Higher budgets become goals, which
    /// [`BudgetTracker::raise`] approaches step by step. A new index gets its budget immediately, and a removed index
    /// loses its budget. Returns the new goals of all scopes whose goals have changed.
    pub fn follow(&mut self, table: &TableDescription) -> Vec<ScopeBudget> {
        let before: Vec<ScopeBudget> = self.now().cloned().collect();
        let goals = resolve_running(&self.capacity, table, &before);
        let mut changed = Vec::new();
        self.scopes = goals
            .into_iter()
            .map(|goal| {
                let old = self.scopes.iter().find(|old| old.now.has_same_scope(&goal));
                if old.is_none_or(|old| differ(old.goal.units, goal.units)) {
                    changed.push(goal.clone());
                }
                old.map_or_else(|| TrackedBudget::at_goal(goal.clone()), |old| old.rising_to(goal.clone()))
            })
            .collect();
        changed
    }

    /// Replaces the plan's `[capacity]`, because an operator changed the rate. Changes only the budgets of the table,
    /// of key ranges and of partition keys, and only for reads or for writes if only that rate changed. The new budgets
    /// apply immediately. If the table's description is outdated (`is_stale`), budgets that follow the table are
    /// halved.
    pub fn steer(&mut self, capacity: &Capacity, table: &TableDescription, is_stale: bool) {
        let changed = |access: Access| match access {
            Access::Write => capacity.write != self.capacity.write,
            Access::Read => capacity.read != self.capacity.read,
        };
        let changed = [Access::Write, Access::Read].map(|access| (access, changed(access)));
        let is_changed = |access: Access| changed.iter().any(|(of, changed)| *of == access && *changed);
        self.capacity = capacity.clone();
        let before: Vec<ScopeBudget> = self.now().cloned().collect();
        for mut goal in resolve_running(capacity, table, &before) {
            if matches!(goal.scope, Scope::Index(_)) || !is_changed(goal.access) {
                continue;
            }
            let follows_table = !is_stated_in_units(capacity, &Scope::Table, goal.access);
            if is_stale && follows_table {
                goal.units *= STALE_DESCRIPTION_FACTOR;
            }
            match self.scopes.iter_mut().find(|entry| entry.now.has_same_scope(&goal)) {
                Some(entry) => *entry = TrackedBudget::at_goal(goal),
                None => self.scopes.push(TrackedBudget::at_goal(goal)),
            }
        }
    }

    /// Raises each budget that is below its goal by one step. Returns false if no budget is below its goal.
    pub fn raise(&mut self) -> bool {
        let mut raised = false;
        for entry in self.scopes.iter_mut().filter(|entry| entry.now.units < entry.goal.units) {
            entry.raise_step();
            raised = true;
        }
        raised
    }

    /// Lowers budgets because no description has arrived for a long time. Default budgets, and budgets that the plan
    /// states as a percentage, are halved. Budgets that the plan states in units do not change. If a budget of key
    /// ranges or partition keys exceeds the table's budget, it is lowered to the table's budget. The next description
    /// raises the budgets again.
    pub fn slow_down(&mut self) {
        let mut whole = [Units::INFINITY; 2];
        for entry in &mut self.scopes {
            let ScopeBudget { scope, access, units, .. } = &mut entry.now;
            let table_units = &mut whole[usize::from(*access == Access::Write)];
            match scope {
                Scope::Table | Scope::Index(_) if !is_stated_in_units(&self.capacity, scope, *access) => {
                    *units *= STALE_DESCRIPTION_FACTOR;
                }
                Scope::Table | Scope::Index(_) => {}
                Scope::KeyRange | Scope::PartitionKey => *units = units.min(*table_units),
            }
            if *scope == Scope::Table {
                *table_units = *units;
            }
        }
        self.stop_raises();
    }

    /// Stops all raises and keeps the current budgets, because the goals may be outdated.
    pub fn stop_raises(&mut self) {
        self.scopes.iter_mut().for_each(|entry| entry.goal.units = entry.now.units);
    }
}

impl TrackedBudget {
    fn at_goal(budget: ScopeBudget) -> TrackedBudget {
        TrackedBudget { now: budget.clone(), goal: budget, step: 0.0 }
    }

    fn rising_to(&self, goal: ScopeBudget) -> TrackedBudget {
        let rise = goal.units - self.now.units;
        if rise <= 0.0 {
            return TrackedBudget::at_goal(goal);
        }
        // If the goal has not changed, keep the size of the steps.
        let same = !differ(self.goal.units, goal.units);
        let step = if same { self.step } else { rise / f64::from(RAISE_STEPS) };
        let mut entry = TrackedBudget { now: ScopeBudget { units: self.now.units, ..goal.clone() }, goal, step };
        entry.describe_goal();
        entry
    }

    fn raise_step(&mut self) {
        self.now.units = (self.now.units + self.step).min(self.goal.units);
        if !differ(self.now.units, self.goal.units) {
            self.now = self.goal.clone();
        }
        self.describe_goal();
    }

    fn describe_goal(&mut self) {
        if self.now.units < self.goal.units {
            let goal = rate_text(self.goal.units, self.goal.access);
            self.now.basis = format!("rising to {goal}, {}", self.goal.basis);
        }
    }
}

impl ScopeBudget {
    /// Returns whether both budgets are for the same scope and access.
    fn has_same_scope(&self, other: &ScopeBudget) -> bool {
        self.scope == other.scope && self.access == other.access
    }
}

fn is_stated_in_units(capacity: &Capacity, scope: &Scope, access: Access) -> bool {
    let stated = match (scope, access) {
        (Scope::Index(name), _) => capacity.indexes.iter().find(|(stated, _)| stated == name).map(|(_, rate)| *rate),
        (_, Access::Write) => capacity.write,
        (_, Access::Read) => capacity.read,
    };
    matches!(stated, Some(CapacityRate::Units(_) | CapacityRate::Steered(_)))
}

/// Returns whether two budgets differ by more than a rounding error.
fn differ(a: Units, b: Units) -> bool {
    (a - b).abs() > 1e-9 * a.abs().max(b.abs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::resolve;
    use super::*;

    fn table(write: Option<f64>) -> TableDescription {
        TableDescription { provisioned: write.map(|write| (10_000.0, write)), ..TableDescription::for_tests() }
    }

    fn tracker(write: Option<CapacityRate>, table: &TableDescription) -> BudgetTracker {
        let capacity = Capacity { write, ..Capacity::default() };
        let resolved = resolve(&capacity, table).unwrap();
        BudgetTracker::new(capacity, &resolved)
    }

    fn write_budget(tracker: &BudgetTracker) -> &ScopeBudget {
        tracker.now().find(|budget| budget.scope == Scope::Table && budget.access == Access::Write).unwrap()
    }

    #[test]
    fn a_budget_goes_down_immediately_and_up_in_equal_steps() {
        let mut tracker = tracker(Some(CapacityRate::Percent(50.0)), &table(Some(1_000.0)));
        assert_eq!(tracker.follow(&table(Some(1_000.0))), [], "nothing has changed");
        let changed = tracker.follow(&table(Some(100.0)));
        assert!(changed.iter().any(|budget| budget.scope == Scope::Table && budget.units == 50.0), "{changed:?}");
        assert_eq!(write_budget(&tracker).units, 50.0);
        tracker.follow(&table(Some(1_300.0)));
        let mut steps = Vec::new();
        while tracker.raise() {
            steps.push(write_budget(&tracker).units);
        }
        assert_eq!(steps, [150.0, 250.0, 350.0, 450.0, 550.0, 650.0]);
        assert_eq!(
            write_budget(&tracker).basis,
            "from the plan: 50% of the 1,300 WCU/s that the table is provisioned with"
        );
    }

    #[test]
    fn an_operator_changes_one_rate_and_nothing_else() {
        let small = table(Some(100.0));
        let mut tracker = tracker(None, &small);
        let budget = |tracker: &BudgetTracker, scope: Scope, access| {
            tracker.now().find(|budget| budget.scope == scope && budget.access == access).unwrap().units
        };
        // The table got more capacity, and the budgets are rising.
        tracker.follow(&table(Some(1_000.0)));
        tracker.raise();
        let on_the_way = budget(&tracker, Scope::Table, Access::Write);
        let slower = Capacity { read: Some(CapacityRate::Units(10.0)), ..Capacity::default() };
        tracker.steer(&slower, &table(Some(1_000.0)), false);
        assert_eq!(budget(&tracker, Scope::Table, Access::Read), 10.0);
        assert_eq!(budget(&tracker, Scope::KeyRange, Access::Read), 10.0);
        assert_eq!(budget(&tracker, Scope::Table, Access::Write), on_the_way, "writes rise step by step as before");
        // The operator returns to the default budget. Without a recent description, this budget is halved.
        tracker.steer(&Capacity::default(), &table(Some(1_000.0)), true);
        assert_eq!(budget(&tracker, Scope::Table, Access::Read), 1_250.0, "half of a quarter of 10,000");
    }

    #[test]
    fn a_raise_says_where_it_goes() {
        let mut tracker = tracker(Some(CapacityRate::Percent(50.0)), &table(Some(100.0)));
        tracker.follow(&table(Some(700.0)));
        tracker.raise();
        let now = write_budget(&tracker).to_string();
        assert!(now.starts_with("100 WCU/s (rising to 350 WCU/s, from the plan: 50% of the 700 WCU/s"), "{now}");
    }

    #[test]
    fn a_share_of_a_table_that_goes_on_demand_does_not_rise() {
        for (before, after) in [(400.0, 200.0), (10_000.0, 1_000.0)] {
            let mut tracker = tracker(Some(CapacityRate::Percent(50.0)), &table(Some(before)));
            tracker.follow(&table(None));
            while tracker.raise() {}
            assert_eq!(write_budget(&tracker).units, after, "{}", write_budget(&tracker).basis);
        }
    }

    proptest! {
        /// A budget never exceeds the limit that follows from the last description, whatever changes on the table and
        /// whichever descriptions fail.
        #[test]
        fn a_budget_never_exceeds_what_the_last_description_allows(
            stated in prop_oneof![
                Just(None),
                (1.0..100.0_f64).prop_map(|percent| Some(CapacityRate::Percent(percent))),
                (1.0..50.0_f64).prop_map(|units| Some(CapacityRate::Units(units))),
            ],
            events in proptest::collection::vec((0_u8..4, 1.0..50_000.0_f64), 1..60),
        ) {
            let mut last = table(Some(50.0));
            let mut tracker = tracker(stated, &last);
            for (event, write) in events {
                match event {
                    0 => {
                        last = table(Some(write));
                        tracker.follow(&last);
                    }
                    1 => tracker.stop_raises(),
                    2 => tracker.slow_down(),
                    _ => drop(tracker.raise()),
                }
                let capacity = Capacity { write: stated, ..Capacity::default() };
                let allowed = resolve_running(&capacity, &last, &[]);
                for (now, allowed) in tracker.now().zip(&allowed) {
                    prop_assert!(now.has_same_scope(allowed) && now.units <= allowed.units * (1.0 + 1e-9), "{now:?} {allowed:?}");
                }
            }
        }
    }
}

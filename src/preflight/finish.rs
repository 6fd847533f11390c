//! Computes the output of `check --finish-in`, which consists of the budgets that a run needs to end within a given
//! time, and the obstacles. Also computes the commands that raise and lower the table's capacity. This module is pure.

use std::io::{Result, Write};
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::aws::Commands;
use super::estimate::{Basis, Estimate};
use super::pace::{CapacityNeed, PARTITION};
use crate::dynamodb::TableDescription;
use crate::figure::{count, dollars, duration, number, units};
use crate::item::Units;
use crate::plan::{Access, Plan, PlanLimits, parse_duration};
use crate::ratelimit::{Budgets, Scope};
use crate::state::Spend;

/// Required budgets are multiplied by this factor, because a run can reach as little as 95 % of a budget
/// (`benches/capacity.rs`).
const MARGIN: f64 = 1.0 / 0.95;

/// Default quota of an account for the reads or the writes of one table (developer guide, "Service quotas").
const TABLE_QUOTA: Units = 40_000.0;

/// Initial capacity (read, write) of a new on-demand table (developer guide, "Pre-warming on-demand capacity").
const NEW_ON_DEMAND: (Units, Units) = (12_000.0, 4_000.0);

/// The time within which a run must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinishIn(Duration);

/// The error for a text that is not a valid time limit for a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use a duration from one second to one year, with its unit, such as 2h, 90m or 1d")]
pub struct FinishInError;

impl FromStr for FinishIn {
    type Err = FinishInError;

    fn from_str(text: &str) -> std::result::Result<FinishIn, FinishInError> {
        let most = Duration::from_secs(366 * 86_400);
        let time = parse_duration(text).filter(|time| (Duration::from_secs(1)..=most).contains(time));
        time.map(FinishIn).ok_or(FinishInError)
    }
}

/// The requirements for a run to end in time.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishRequirements {
    within: Duration,
    needs: Vec<RequiredBudget>,
    obstacles: Vec<FinishObstacle>,
    commands: Commands,
    notes: Vec<String>,
}

/// The budget that a run needs for one scope.
#[derive(Debug, Clone, PartialEq)]
struct RequiredBudget {
    need: CapacityNeed,
    /// Number of units on which the calculation is based.
    units: Units,
    /// Required units per second. For segments, this is the required rate of each segment.
    rate: Units,
    /// Like `rate`, but the rate of a segment does not include the possibility that all items of one partition key are
    /// in one segment.
    rate_without_key: Units,
    /// The plan's current budget, in units per second.
    current_budget: Units,
}

/// An obstacle that prevents a run from ending in time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FinishObstacle {
    /// A stable id.
    pub(super) id: &'static str,
    /// A description, with the action to take.
    pub(super) text: String,
    /// Whether the obstacle is final, that is, neither capacity nor settings can remove it.
    pub(super) is_final: bool,
}

impl FinishRequirements {
    /// Computes the requirements of a run from its estimate. `lanes` returns the number of segments on which a run with
    /// the given budgets works at the same time.
    pub fn of(
        FinishIn(within): FinishIn,
        estimate: &Estimate,
        plan: &Plan,
        table: &TableDescription,
        budgets: &Budgets,
        lanes: impl Fn(&Budgets) -> u32,
    ) -> FinishRequirements {
        let seconds = within.as_secs_f64();
        let needs = needed(estimate, budgets, f64::from(lanes(&raised_budgets(estimate, budgets, seconds))), seconds);
        let mut obstacles = Vec::new();
        needs.iter().for_each(|needed| obstacles.extend(needed.partition_obstacle()));
        needs.iter().for_each(|needed| obstacles.extend(needed.table_obstacles(table)));
        obstacles.extend(obstacles_elsewhere(estimate, seconds));
        obstacles.extend(limit_obstacles(estimate, &plan.limits));
        let table_rate = |access| {
            let of_table = needs.iter().find(|n| n.need.scope == Scope::Table && n.need.access == access);
            of_table.map_or(0.0, |needed| needed.rate)
        };
        let index_rate = |name: &str| {
            let is_this_index = |n: &&RequiredBudget| matches!(&n.need.scope, Scope::Index(index) if index == name);
            needs.iter().find(is_this_index).map_or(0.0, |needed| needed.rate)
        };
        let commands = Commands::new(table, plan, (table_rate(Access::Read), table_rate(Access::Write)), index_rate);
        FinishRequirements { within, obstacles, commands, notes: notes(estimate, plan), needs }
    }

    /// Returns whether the run can end in time if its budgets are large enough.
    pub fn is_possible(&self) -> bool {
        !self.obstacles.iter().any(|obstacle| obstacle.is_final)
    }

    /// Returns the `[capacity]` section with which a run can end in time, provided that the table has this capacity.
    pub fn capacity(&self) -> String {
        let rate = |scope: &Scope, access| {
            let found = self.needs.iter().find(|n| n.need.scope == *scope && n.need.access == access);
            found.map(|needed| (needed.rate.max(needed.current_budget).ceil(), needed.rate > needed.current_budget))
        };
        let mut lines = vec!["[capacity]".to_owned()];
        for (name, access) in [("write", Access::Write), ("read", Access::Read)] {
            lines.extend(rate(&Scope::Table, access).map(|(rate, _)| format!("{name} = {rate}")));
        }
        for (name, scope) in [("per_key_range", Scope::KeyRange), ("per_partition_key", Scope::PartitionKey)] {
            let stated = [("write", Access::Write), ("read", Access::Read)].map(|(name, access)| {
                let (rate, more) = rate(&scope, access)?;
                more.then(|| format!("{name} = {rate}"))
            });
            let stated: Vec<String> = stated.into_iter().flatten().collect();
            if !stated.is_empty() {
                lines.push(format!("{name} = {{ {} }}", stated.join(", ")));
            }
        }
        let indexes = self.needs.iter().filter_map(|needed| match &needed.need.scope {
            Scope::Index(name) if needed.rate > needed.current_budget => {
                Some(format!("{name:?} = {}", needed.rate.ceil()))
            }
            Scope::Index(_) | Scope::Table | Scope::KeyRange | Scope::PartitionKey => None,
        });
        let indexes: Vec<String> = indexes.collect();
        if !indexes.is_empty() {
            lines.push("[capacity.index]".to_owned());
            lines.extend(indexes);
        }
        lines.join("\n")
    }

    /// Writes the requirements as text for people.
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        let mut line = |label: &str, text: &str| writeln!(out, "{label:<12} {text}");
        line("finish in", &duration(self.within))?;
        for needed in &self.needs {
            line("", &needed.text())?;
        }
        for obstacle in &self.obstacles {
            let label = if obstacle.is_final { "impossible" } else { "prevented" };
            line(label, &format!("{} ({})", obstacle.text, obstacle.id))?;
        }
        if self.is_possible() {
            line("in the plan", "")?;
            self.capacity().lines().try_for_each(|text| line("", text))?;
            let groups = [("raise", &self.commands.raise), ("lower again", &self.commands.lower)];
            for (label, commands) in groups.into_iter().filter(|(_, commands)| !commands.is_empty()) {
                line(label, "")?;
                commands.iter().try_for_each(|command| line("", command))?;
            }
        }
        self.notes.iter().chain(&self.commands.notes).try_for_each(|text| line("note", text))
    }

    /// Returns the requirements as JSON.
    pub fn to_json(&self) -> Json {
        let obstacle = |o: &FinishObstacle| json!({ "id": o.id, "text": o.text, "final": o.is_final });
        json!({
            "seconds": self.within.as_secs_f64(), "possible": self.is_possible(),
            "needs": self.needs.iter().map(RequiredBudget::to_json).collect::<Vec<_>>(),
            "obstacles": self.obstacles.iter().map(obstacle).collect::<Vec<_>>(),
            "capacity": self.capacity(), "raise": self.commands.raise, "lower": self.commands.lower,
            "notes": self.notes.iter().chain(&self.commands.notes).collect::<Vec<_>>(),
        })
    }
}

/// Returns the budget that the run needs from each scope to end within `seconds`.
fn needed(estimate: &Estimate, budgets: &Budgets, lanes: f64, seconds: f64) -> Vec<RequiredBudget> {
    let mut all: Vec<RequiredBudget> = Vec::new();
    for need in estimate.pace.needs.iter().filter(|need| need.table.is_none()) {
        // Use the upper bound of the totals. For the need of a partition key, only the lower bound is known.
        let counted = match need.scope {
            Scope::PartitionKey => need.units.low,
            Scope::Table | Scope::KeyRange | Scope::Index(_) => need.units.high,
        };
        if counted <= 0.0 || !counted.is_finite() {
            continue;
        }
        let (current_budget, shares) = match (&need.scope, need.access) {
            (Scope::KeyRange, Access::Write) => (budgets.per_key_range.write, lanes),
            (Scope::KeyRange, Access::Read) => (budgets.per_key_range.read, lanes),
            (Scope::PartitionKey, Access::Write) => (budgets.per_partition_key.write, 1.0),
            (Scope::PartitionKey, Access::Read) => (budgets.per_partition_key.read, 1.0),
            (Scope::Table | Scope::Index(_), _) => (need.rate, 1.0),
        };
        let rate = counted / shares / seconds * MARGIN;
        all.push(RequiredBudget { need: need.clone(), units: counted, rate, rate_without_key: rate, current_budget });
    }
    // All items of the most demanding partition key can be in one segment. So a segment needs at least the rate of this
    // partition key.
    for access in [Access::Write, Access::Read] {
        let of = |scope: &Scope, all: &[RequiredBudget]| {
            all.iter().position(|needed| needed.need.scope == *scope && needed.need.access == access)
        };
        if let (Some(key), Some(range)) = (of(&Scope::PartitionKey, &all), of(&Scope::KeyRange, &all)) {
            all[range].rate = all[range].rate.max(all[key].rate);
        }
    }
    all
}

/// Returns an obstacle for each scope of the table with the derived items that delays the run, if that is not the plan's
/// table. No `[capacity]` raises the budgets of that table.
fn obstacles_elsewhere(estimate: &Estimate, seconds: f64) -> Vec<FinishObstacle> {
    let needs = estimate.pace.needs.iter().filter(|need| need.table.is_some() && need.units.low > need.rate * seconds);
    let obstacle = |need: &CapacityNeed| {
        let least = Duration::try_from_secs_f64(need.units.low / need.rate);
        let least = least.map_or_else(|_| "too long".to_owned(), duration);
        let text = format!(
            "{}, which takes at least {least}. The budgets of this table follow its own capacity, and [capacity] does not \
             change them",
            need.text(|range| range.low)
        );
        FinishObstacle { id: "other-table", text, is_final: false }
    };
    needs.map(obstacle).collect()
}

/// Returns an obstacle for each limit in the plan that would stop the run early, even if the run needs only the lower
/// bound of the estimate.
fn limit_obstacles(estimate: &Estimate, limits: &PlanLimits) -> Vec<FinishObstacle> {
    let write = estimate.write_units.low;
    let read = estimate.read_units.low;
    let items = estimate.items.low;
    // Compute the cost in the same way as the limit does. The limit counts only this region, without streams and
    // replicas.
    let cost = estimate.prices.dollars(Spend { write, read });
    let max_wcu = limits.max_wcu.filter(|limit| write > *limit).map(|limit| {
        let needs = format!("it needs at least {} WCU", units(write));
        ("max_wcu", units(limit), needs)
    });
    let max_cost = limits.max_cost_usd.filter(|limit| cost > *limit).map(|limit| {
        let needs = format!("it costs at least {}, {}", dollars(cost), estimate.prices.basis.text());
        ("max_cost_usd", limit.to_string(), needs)
    });
    let max_items = limits.max_items.filter(|limit| items > *limit as f64).map(|limit| {
        let needs = format!("the table has at least {}", count(items as u64, "item", "items"));
        ("max_items", number(limit), needs)
    });
    let stops = |(id, limit, needs)| {
        let text = format!("[limits] {id} = {limit} stops the run before it ends: {needs}");
        FinishObstacle { id, text, is_final: false }
    };
    [max_wcu, max_cost, max_items].into_iter().flatten().map(stops).collect()
}

/// Returns the budgets, with the table's budget raised to the rate that the run needs. With a larger budget, the run
/// works on more segments at the same time.
fn raised_budgets(estimate: &Estimate, budgets: &Budgets, seconds: f64) -> Budgets {
    let mut budgets = budgets.clone();
    let is_of_table = |need: &&CapacityNeed| need.scope == Scope::Table && need.table.is_none();
    let of_table = estimate.pace.needs.iter().filter(is_of_table).filter(|need| need.units.high.is_finite());
    for need in of_table {
        let budget = match need.access {
            Access::Write => &mut budgets.table.write,
            Access::Read => &mut budgets.table.read,
        };
        *budget = budget.max(need.units.high / seconds * MARGIN);
    }
    budgets
}

/// Returns notes about effects that the figures do not include.
fn notes(estimate: &Estimate, plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    match estimate.basis {
        Basis::Description | Basis::Keys | Basis::Index => notes.push(
            "the sizes of single partition keys are unknown, and a large one could decide the duration. \
             `check --sample 5%` reads a part of the items, and `run --dry-run` reads all of them"
                .to_owned(),
        ),
        Basis::Sample(..) if estimate.unaccounted > 0.0 => notes.push(format!(
            "about {} in collections that the sample did not read. If they share one partition key, that key determines \
             the duration. `run --dry-run` reads everything",
            count(estimate.unaccounted as u64, "item is", "items are")
        )),
        Basis::Sample(..) | Basis::Whole => {}
    }
    if plan.limits.window.is_some() {
        notes.push("the time counts only while the [limits] window is open".to_owned());
    }
    if plan.limits.deadline.is_some() {
        notes.push("[limits] deadline stops the run at any budget".to_owned());
    }
    notes
}

impl RequiredBudget {
    fn text(&self) -> String {
        let unit = unit(self.need.access);
        let what = match &self.need.scope {
            Scope::KeyRange => format!("one segment, {}", access_name(self.need.access)),
            Scope::Table | Scope::Index(_) | Scope::PartitionKey => self.need.description(),
        };
        let enough = if self.rate <= self.current_budget { "enough" } else { "too little" };
        let rate = units(self.rate.max(0.5));
        let current_budget = units(self.current_budget);
        format!(
            "{what}: {} {unit}, so {rate} {unit}/s are needed; the budget is {current_budget}: {enough}",
            units(self.units)
        )
    }

    fn to_json(&self) -> Json {
        let (scope, index) = match &self.need.scope {
            Scope::Table => ("table", None),
            Scope::KeyRange => ("key_range", None),
            Scope::PartitionKey => ("partition_key", None),
            Scope::Index(name) => ("index", Some(name)),
        };
        json!({
            "scope": scope, "index": index, "access": access_name(self.need.access), "units": self.units,
            "needed_per_second": self.rate, "budget_per_second": self.current_budget, "enough": self.rate <= self.current_budget,
        })
    }

    /// Returns an obstacle if the scope needs a higher rate than one partition provides. For a partition key, the
    /// obstacle is final. For a segment, it is not final, because the run can work on more segments at the same time.
    fn partition_obstacle(&self) -> Option<FinishObstacle> {
        let most = of(self.need.access, (PARTITION.read, PARTITION.write));
        if self.rate <= most {
            return None;
        }
        let unit = unit(self.need.access);
        let total = units(self.units);
        let least = Duration::try_from_secs_f64(self.units / most).map_or_else(|_| "too long".to_owned(), duration);
        match self.need.scope {
            Scope::PartitionKey => Some(FinishObstacle {
                id: "partition_key",
                text: format!(
                    "one partition key needs {total} {unit}, and DynamoDB serves at most {} {unit}/s for it, so the \
                     run takes at least {least}",
                    units(most)
                ),
                is_final: true,
            }),
            Scope::KeyRange if self.rate_without_key > most => Some(FinishObstacle {
                id: "segments",
                text: "one segment would need a higher rate than a partition serves: work on more segments at a time \
                     ([scan] active)"
                    .to_owned(),
                is_final: false,
            }),
            Scope::KeyRange | Scope::Table | Scope::Index(_) => None,
        }
    }

    /// Compares the required rate with the capacity of the table or index, and with an account's default quota. Returns
    /// an obstacle for each value that the rate exceeds.
    fn table_obstacles(&self, table: &TableDescription) -> Vec<FinishObstacle> {
        let access = self.need.access;
        let table = if access == Access::Write { table.written() } else { table };
        let (who, provisioned, maximum, warm) = match &self.need.scope {
            Scope::Table => ("the table".to_owned(), table.provisioned, table.on_demand_max, table.warm),
            Scope::Index(name) => match table.indexes.iter().find(|index| index.schema.name == *name) {
                Some(index) => (format!("index {name}"), index.provisioned, index.on_demand_max, index.warm),
                None => return Vec::new(),
            },
            Scope::KeyRange | Scope::PartitionKey => return Vec::new(),
        };
        let unit = unit(access);
        let too_little = |id, has: Units, what: &str| FinishObstacle {
            id,
            text: format!("{who} {what} {} {unit}/s, and {} are needed: raise it first", units(has), units(self.rate)),
            is_final: false,
        };
        let mut obstacles = Vec::new();
        let provisioned = provisioned.map(|both| of(access, both)).filter(|has| self.rate > *has);
        obstacles.extend(provisioned.map(|has| too_little("provisioned", has, "is provisioned with")));
        let maximum = if access == Access::Write { maximum.1 } else { maximum.0 }.filter(|has| self.rate > *has);
        obstacles.extend(maximum.map(|has| too_little("on_demand_maximum", has, "has an on-demand maximum of")));
        let on_demand = table.provisioned.is_none();
        let serves = of(access, warm.unwrap_or(NEW_ON_DEMAND));
        if on_demand && self.rate > serves {
            obstacles.push(FinishObstacle {
                id: "warm_throughput",
                text: format!(
                    "{who} serves about {} {unit}/s now, but {} are needed: DynamoDB throttles it until it has added \
                     partitions, unless you pre-warm it",
                    units(serves),
                    units(self.rate)
                ),
                is_final: false,
            });
        }
        if self.rate > TABLE_QUOTA {
            obstacles.push(FinishObstacle {
                id: "quota",
                text: format!(
                    "by default, an account has {} {unit}/s per table: ask for a higher quota first (Service Quotas)",
                    units(TABLE_QUOTA)
                ),
                is_final: false,
            });
        }
        obstacles
    }
}

fn of(access: Access, (read, write): (Units, Units)) -> Units {
    match access {
        Access::Read => read,
        Access::Write => write,
    }
}

fn access_name(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
    }
}

fn unit(access: Access) -> &'static str {
    match access {
        Access::Read => "RCU",
        Access::Write => "WCU",
    }
}

#[cfg(test)]
mod tests;

//! The capacity of a table or an index, and the budgets that this capacity allows.

use crate::dynamodb::{IndexDescription, TableDescription};
use crate::item::Units;
use crate::plan::{Access, BudgetError, CapacityField, Rate};

/// A default budget is this fraction of the capacity of the table or index.
const SHARE: f64 = 0.25;

/// The smallest default budget: one eventually consistent read per second.
const LEAST: Units = 0.5;

/// The names of the source and of the sink in messages, if they are different tables.
const WHO: [&str; 2] = ["the source table", "the sink table"];

/// Units per second, and their basis.
pub(super) type Found = Result<(Units, String), BudgetError>;

/// The read or write capacity of a table or an index, in units per second.
pub(super) struct Throughput {
    /// The name of the table or index, as used within a sentence.
    who: String,
    access: Access,
    provisioned: Option<Units>,
    /// The maximum that is configured for the on-demand table or index. `None` if there is no maximum.
    maximum: Option<Units>,
    warm: Option<Units>,
}

impl Throughput {
    /// The read capacity of the source table, or the write capacity of the sink table.
    pub(super) fn of_table(table: &TableDescription, access: Access) -> Throughput {
        let of = |(read, write)| if access == Access::Write { write } else { read };
        let who = if table.sink.is_some() { WHO[usize::from(access == Access::Write)] } else { "the table" };
        let table = if access == Access::Write { table.written() } else { table };
        Throughput {
            who: who.into(),
            access,
            provisioned: table.provisioned.map(of),
            maximum: if access == Access::Write { table.on_demand_max.1 } else { table.on_demand_max.0 },
            warm: table.warm.map(of),
        }
    }

    pub(super) fn of_index(index: &IndexDescription) -> Throughput {
        Throughput {
            who: format!("index `{}`", index.schema.name),
            access: Access::Write,
            provisioned: index.provisioned.map(|(_, write)| write),
            maximum: index.on_demand_max.1,
            warm: index.warm.map(|(_, write)| write),
        }
    }

    /// Checks the budget that the plan states. Returns an error if it exceeds the capacity, or is a percentage of an
    /// unknown capacity.
    pub(super) fn stated(&self, rate: Rate, field: CapacityField) -> Found {
        match rate {
            Rate::Units(units) => match self.ceiling() {
                Some((has, what)) if units > has => Err(self.too_much(&what, field)),
                _ => Ok((units, "from the plan".into())),
            },
            Rate::Percent(percent) => match self.base() {
                Some((has, what)) => Ok((has * percent / 100.0, format!("from the plan: {percent}% of {what}"))),
                None => Err(self.nothing_to_share(percent, field)),
            },
        }
    }

    /// The value of a stated budget if it must not be refused, for example because the job already runs. If a number
    /// exceeds the current capacity, the budget is that capacity. A percentage of an unknown capacity becomes the
    /// budget until now or the default on demand, whichever is lower.
    pub(super) fn running(&self, rate: Rate, before: Units, on_demand: Units) -> (Units, String) {
        match (rate, self.ceiling(), self.base()) {
            (Rate::Units(units), Some((has, what)), _) if units > has => {
                (has, format!("from the plan: {units}, but no more than {what}"))
            }
            (Rate::Units(units), ..) => (units, "from the plan".into()),
            (Rate::Percent(percent), _, Some((has, what))) => {
                (has * percent / 100.0, format!("from the plan: {percent}% of {what}"))
            }
            (Rate::Percent(percent), _, None) => {
                let kept = "the table no longer has a capacity to take a share of, so it does not rise";
                (before.min(on_demand), format!("from the plan: {percent}%; {kept}"))
            }
        }
    }

    /// The default budget.
    pub(super) fn default(&self, on_demand: Units) -> (Units, String) {
        match self.ceiling() {
            Some((has, what)) if self.provisioned.is_some() || has * SHARE < on_demand => {
                let least = if has * SHARE < LEAST { format!(", but at least {LEAST}") } else { String::new() };
                ((has * SHARE).max(LEAST), format!("default: a quarter of {what}{least}"))
            }
            _ => (on_demand, "default on demand".into()),
        }
    }

    /// The capacity above which DynamoDB would throttle, with a text that describes it. `None` if there is no such
    /// limit.
    fn ceiling(&self) -> Option<(Units, String)> {
        let Throughput { who, access, .. } = self;
        let provisioned = |has| (has, format!("the {} that {who} is provisioned with", per_second(has, *access)));
        let maximum = |has| (has, format!("the on-demand maximum of {who}, {}", per_second(has, *access)));
        self.provisioned.map(provisioned).or_else(|| self.maximum.map(maximum))
    }

    /// The capacity to which a percentage refers, with a text that describes it. `None` if the capacity is unknown.
    fn base(&self) -> Option<(Units, String)> {
        let warm = |has| (has, format!("the {} that {} is warm for", per_second(has, self.access), self.who));
        self.ceiling().or_else(|| self.warm.map(warm))
    }

    fn too_much(&self, what: &str, field: CapacityField) -> BudgetError {
        let narrow = matches!(field, CapacityField::KeyRange(_) | CapacityField::PartitionKey(_));
        let less = if narrow { "state less" } else { "state less, or a percentage in quotes" };
        BudgetError {
            field,
            title: format!("this budget is more than {} has", self.who),
            label: format!("more than {what}"),
            help: vec![
                format!("DynamoDB would throttle it, and the application with it: {less}"),
                "if it is what you need, raise the capacity first".into(),
            ],
        }
    }

    fn nothing_to_share(&self, percent: f64, field: CapacityField) -> BudgetError {
        let Throughput { who, access, .. } = self;
        BudgetError {
            field,
            title: format!("cannot take {percent}% of an unknown capacity"),
            label: "a percentage of what?".into(),
            help: vec![
                format!("{who} is on demand, has no maximum of its own, and does not report its warm throughput"),
                format!("state {} as a number, without quotes", unit(*access)),
            ],
        }
    }
}

fn unit(access: Access) -> &'static str {
    if access == Access::Write { "WCU/s" } else { "RCU/s" }
}

/// The text of a rate, for example `12.5 WCU/s`. The rate is rounded, because a percentage may have many digits.
pub(super) fn per_second(units: Units, access: Access) -> String {
    let rounded = (units * 1e3).round() / 1e3;
    format!("{} {}", if rounded > 0.0 { rounded } else { units }, unit(access))
}

//! The capacity of a table or an index, and the budgets that are calculated from this capacity.

use crate::dynamodb::{IndexDescription, TableDescription};
use crate::figure::number;
use crate::item::Units;
use crate::plan::{Access, BudgetError, CapacityField, CapacityRate};

/// A default budget is this fraction of the capacity of its table or index.
const DEFAULT_SHARE: f64 = 0.25;

/// The smallest default budget: one eventually consistent read per second.
const LEAST: Units = 0.5;

/// The names of the source and the sink in messages, for the case that they are different tables.
const TABLE_NAMES: [&str; 2] = ["the source table", "the sink table"];

/// A budget in units per second, and the reason for it.
pub(super) type BudgetResult = Result<(Units, String), BudgetError>;

/// The read or write capacity of a table or an index, in units per second.
pub(super) struct ResourceCapacity {
    /// The name of the table or index, in the form that is used within a sentence.
    subject: String,
    access: Access,
    provisioned: Option<Units>,
    /// The maximum that is configured for the on-demand table or index. `None` if there is no maximum.
    maximum: Option<Units>,
    warm: Option<Units>,
}

impl ResourceCapacity {
    /// Returns the read capacity of the source table, or the write capacity of the sink table.
    pub(super) fn from_table(table: &TableDescription, access: Access) -> ResourceCapacity {
        let select = |(read, write)| if access == Access::Write { write } else { read };
        let subject =
            if table.sink.is_some() { TABLE_NAMES[usize::from(access == Access::Write)] } else { "the table" };
        let table = if access == Access::Write { table.written() } else { table };
        ResourceCapacity {
            subject: subject.into(),
            access,
            provisioned: table.provisioned.map(select),
            maximum: if access == Access::Write { table.on_demand_max.1 } else { table.on_demand_max.0 },
            warm: table.warm.map(select),
        }
    }

    /// Returns the read or write capacity of a global index.
    pub(super) fn from_index(index: &IndexDescription, access: Access) -> ResourceCapacity {
        let select = |(read, write)| if access == Access::Write { write } else { read };
        ResourceCapacity {
            subject: format!("index `{}`", index.schema.name),
            access,
            provisioned: index.provisioned.map(select),
            maximum: if access == Access::Write { index.on_demand_max.1 } else { index.on_demand_max.0 },
            warm: index.warm.map(select),
        }
    }

    /// Checks the budget that the plan states. Returns an error if the budget exceeds the capacity, or if it is a
    /// percentage of an unknown capacity.
    pub(super) fn stated(&self, rate: CapacityRate, field: CapacityField) -> BudgetResult {
        match rate {
            CapacityRate::Units(units) | CapacityRate::Steered(units) => match self.ceiling() {
                Some((available, what)) if units > available => Err(self.exceeds_capacity_error(&what, field)),
                Some(_) | None => Ok((units, origin(rate).into())),
            },
            CapacityRate::Percent(percent) => match self.base() {
                Some((available, what)) => {
                    Ok((available * percent / 100.0, format!("from the plan: {percent}% of {what}")))
                }
                None => Err(self.unknown_capacity_error(percent, field)),
            },
        }
    }

    /// Returns the value of a budget in the plan that must be lowered instead of refused, for example because the job
    /// is already running. A number above the current capacity is lowered to that capacity. A percentage of an unknown
    /// capacity becomes the previous budget or the on-demand default, whichever is lower.
    pub(super) fn capped(&self, rate: CapacityRate, before: Units, on_demand: Units) -> (Units, String) {
        match (rate, self.ceiling(), self.base()) {
            (CapacityRate::Units(units) | CapacityRate::Steered(units), Some((available, what)), _)
                if units > available =>
            {
                (available, format!("{}: {units}, but no more than {what}", origin(rate)))
            }
            (CapacityRate::Units(units) | CapacityRate::Steered(units), ..) => (units, origin(rate).into()),
            (CapacityRate::Percent(percent), _, Some((available, what))) => {
                (available * percent / 100.0, format!("from the plan: {percent}% of {what}"))
            }
            (CapacityRate::Percent(percent), _, None) => {
                let kept = "the table no longer reports a capacity, so this budget is not raised";
                (before.min(on_demand), format!("from the plan: {percent}%; {kept}"))
            }
        }
    }

    /// Returns the default budget.
    pub(super) fn default(&self, on_demand: Units) -> (Units, String) {
        match self.ceiling() {
            Some((available, what)) if self.provisioned.is_some() || available * DEFAULT_SHARE < on_demand => {
                let least =
                    if available * DEFAULT_SHARE < LEAST { format!(", but at least {LEAST}") } else { String::new() };
                ((available * DEFAULT_SHARE).max(LEAST), format!("default: a quarter of {what}{least}"))
            }
            _ => (on_demand, "default on demand".into()),
        }
    }

    /// Returns the capacity above which DynamoDB would throttle, and a text that describes this capacity. Returns
    /// `None` if there is no such limit.
    fn ceiling(&self) -> Option<(Units, String)> {
        let ResourceCapacity { subject, access, .. } = self;
        let provisioned = |available| {
            (available, format!("the {} that {subject} is provisioned with", rate_text(available, *access)))
        };
        let maximum =
            |available| (available, format!("the on-demand maximum of {subject}, {}", rate_text(available, *access)));
        self.provisioned.map(provisioned).or_else(|| self.maximum.map(maximum))
    }

    /// Returns the capacity to which a percentage refers, and a text that describes this capacity. Returns `None` if
    /// the capacity is unknown.
    fn base(&self) -> Option<(Units, String)> {
        let warm = |available| {
            (available, format!("the warm throughput of {}, {}", self.subject, rate_text(available, self.access)))
        };
        self.ceiling().or_else(|| self.warm.map(warm))
    }

    fn exceeds_capacity_error(&self, what: &str, field: CapacityField) -> BudgetError {
        let narrow = matches!(field, CapacityField::KeyRange(_) | CapacityField::PartitionKey(_));
        let less = if narrow { "use a lower budget" } else { "use a lower budget, or a percentage such as \"40%\"" };
        BudgetError {
            field,
            title: format!("this budget exceeds the capacity of {}", self.subject),
            label: format!("more than {what}"),
            help: vec![
                format!("DynamoDB would throttle both the run and the application; {less}"),
                "if you need this budget, raise the capacity first".into(),
            ],
        }
    }

    fn unknown_capacity_error(&self, percent: f64, field: CapacityField) -> BudgetError {
        let ResourceCapacity { subject, access, .. } = self;
        BudgetError {
            field,
            title: format!("{percent}% of an unknown capacity cannot be calculated"),
            label: "a percentage of what?".into(),
            help: vec![
                format!("{subject} is on demand, has no maximum of its own, and does not report its warm throughput"),
                format!("write the budget as a number of {}, without quotes", unit(*access)),
            ],
        }
    }
}

/// Returns the origin of a budget, in words.
fn origin(rate: CapacityRate) -> &'static str {
    match rate {
        CapacityRate::Units(_) | CapacityRate::Percent(_) => "from the plan",
        CapacityRate::Steered(_) => "set with `ctl rate`",
    }
}

fn unit(access: Access) -> &'static str {
    if access == Access::Write { "WCU/s" } else { "RCU/s" }
}

/// Returns the text of a rate, for example `1,012.5 WCU/s`. Rounds the rate, because a percentage of a capacity can
/// have many decimal places.
pub fn rate_text(units: Units, access: Access) -> String {
    let rounded = (units * 1e3).round() / 1e3;
    let text = (if rounded > 0.0 { rounded } else { units }).to_string();
    let whole = text.split('.').next().unwrap_or_default();
    // A number that is too large for `u64` gets no separators.
    let grouped = whole.parse().map_or_else(|_| whole.to_owned(), number);
    format!("{grouped}{} {}", &text[whole.len()..], unit(access))
}

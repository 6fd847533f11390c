//! Builds AWS CLI commands that raise a table's capacity for a run and lower it afterwards. This module is pure.

use crate::dynamodb::{IndexDescription, TableDescription};
use crate::item::Units;
use crate::plan::Plan;

/// AWS CLI commands, in the order in which the operator must run them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Commands {
    /// Commands that raise the capacity before the run.
    pub(super) raise: Vec<String>,
    /// Commands that lower the capacity after the run.
    pub(super) lower: Vec<String>,
    /// Notes about the commands.
    pub(super) notes: Vec<String>,
}

/// The current capacity and the raised capacity of a table or an index. Each pair is (read, write).
struct CapacityIncrease {
    now: (Units, Units),
    then: (Units, Units),
}

impl CapacityIncrease {
    /// Raises the current capacity by the capacity that the run needs, so that the application keeps all of its
    /// capacity. Returns `None` if the run needs no more than the current capacity.
    fn new(now: (Units, Units), needed: (Units, Units)) -> Option<CapacityIncrease> {
        let raised = |now: Units, needed: Units| if needed > now { (now + needed).ceil() } else { now };
        let then = (raised(now.0, needed.0), raised(now.1, needed.1));
        (then != now).then_some(CapacityIncrease { now, then })
    }
}

impl Commands {
    /// Builds the commands for a run. `needed` is the (read, write) rate that the run needs on the table, in units per
    /// second. `index_rate` returns the write rate that the run needs on an index, in units per second.
    pub(super) fn new(
        table: &TableDescription,
        plan: &Plan,
        needed: (Units, Units),
        index_rate: impl Fn(&str) -> Units,
    ) -> Commands {
        let mut commands = Commands::default();
        let (read, write) = needed;
        match &table.sink {
            None => commands.add(table, plan, needed, index_rate),
            Some(sink) => {
                let source = TableDescription { indexes: Vec::new(), ..table.clone() };
                commands.add(&source, plan, (read, 0.0), |_| 0.0);
                commands.add(sink, plan, (0.0, write), index_rate);
            }
        }
        commands
    }

    /// Adds the commands for one table.
    fn add(
        &mut self,
        table: &TableDescription,
        plan: &Plan,
        needed: (Units, Units),
        index_rate: impl Fn(&str) -> Units,
    ) {
        let aws = Aws::new(table, plan);
        match table.provisioned {
            Some(now) => self.provision(&aws, table, CapacityIncrease::new(now, needed), index_rate),
            None => self.on_demand(&aws, table, needed, index_rate),
        }
    }

    fn provision(
        &mut self,
        aws: &Aws,
        table: &TableDescription,
        table_increase: Option<CapacityIncrease>,
        index_rate: impl Fn(&str) -> Units,
    ) {
        let index_increase = |index: &IndexDescription| {
            Some((
                index.schema.name.clone(),
                CapacityIncrease::new(index.provisioned?, (0.0, index_rate(&index.schema.name)))?,
            ))
        };
        let indexes: Vec<(String, CapacityIncrease)> = table.indexes.iter().filter_map(index_increase).collect();
        if table_increase.is_none() && indexes.is_empty() {
            return;
        }
        for (commands, then) in [(&mut self.raise, true), (&mut self.lower, false)] {
            let units = |raise: &CapacityIncrease| if then { raise.then } else { raise.now };
            let mut options = String::new();
            if let Some(raise) = &table_increase {
                let (read, write) = units(raise);
                options += &format!(" --provisioned-throughput ReadCapacityUnits={read},WriteCapacityUnits={write}");
            }
            let index_updates = indexes.iter().map(|(name, raise)| {
                let (read, write) = units(raise);
                let throughput = format!("{{\"ReadCapacityUnits\":{read},\"WriteCapacityUnits\":{write}}}");
                format!("{{\"Update\":{{\"IndexName\":\"{name}\",\"ProvisionedThroughput\":{throughput}}}}}")
            });
            options += &index_updates_option(index_updates.collect());
            commands.push(aws.update_table(&options));
        }
        self.raise.push(aws.wait());
        self.notes.push(format!(
            "if auto scaling manages the table, it lowers the raised capacity. In that case, raise the minimum of auto \
             scaling during the run instead. To see the settings of auto scaling: {}",
            aws.scalable_targets()
        ));
        self.notes.push(
            "DynamoDB lowers the capacity of a table at most four times a day, and once more in each hour that had no \
             decrease"
                .to_owned(),
        );
    }

    fn on_demand(
        &mut self,
        aws: &Aws,
        table: &TableDescription,
        needed: (Units, Units),
        index_rate: impl Fn(&str) -> Units,
    ) {
        let maxima = |(read, write): (Option<Units>, Option<Units>), needed: (Units, Units)| {
            let no_limit = Units::INFINITY;
            CapacityIncrease::new((read.unwrap_or(no_limit), write.unwrap_or(no_limit)), needed)
        };
        let table_increase = maxima(table.on_demand_max, needed);
        let index_increase = |index: &IndexDescription| {
            let raise = maxima(index.on_demand_max, (0.0, index_rate(&index.schema.name)))?;
            Some((index.schema.name.clone(), raise))
        };
        let indexes: Vec<(String, CapacityIncrease)> = table.indexes.iter().filter_map(index_increase).collect();
        if table_increase.is_some() || !indexes.is_empty() {
            for (commands, then) in [(&mut self.raise, true), (&mut self.lower, false)] {
                let units = |raise: &CapacityIncrease| if then { raise.then } else { raise.now };
                let mut options = String::new();
                if let Some(raise) = &table_increase {
                    options += &format!(" --on-demand-throughput {}", maxima_options(units(raise), "", "=", ","));
                }
                let index_updates = indexes.iter().map(|(name, raise)| {
                    let throughput = format!("{{{}}}", maxima_options(units(raise), "\"", ":", ","));
                    format!("{{\"Update\":{{\"IndexName\":\"{name}\",\"OnDemandThroughput\":{throughput}}}}}")
                });
                options += &index_updates_option(index_updates.collect());
                commands.push(aws.update_table(&options));
            }
            self.raise.push(aws.wait());
        }
        self.pre_warm(aws, table, needed);
    }

    /// Adds a command that pre-warms the table if the run needs a higher rate than the table can serve now.
    fn pre_warm(&mut self, aws: &Aws, table: &TableDescription, needed: (Units, Units)) {
        let warm = table.warm.unwrap_or((12_000.0, 4_000.0));
        if let Some(CapacityIncrease { then: (read, write), .. }) = CapacityIncrease::new(warm, needed) {
            let options = format!(" --warm-throughput ReadUnitsPerSecond={read},WriteUnitsPerSecond={write}");
            self.raise.push(aws.update_table(&options));
            self.notes.push(
                "warm throughput is charged once and cannot be lowered. Without it, an on-demand table that is \
                 throttled grows by itself, to twice its last peak in half an hour"
                    .to_owned(),
            );
        }
    }
}

/// Returns the options that set new maxima. The result has no option for a maximum that the table or index does not
/// have.
fn maxima_options((read, write): (Units, Units), quote: &str, is: &str, and: &str) -> String {
    let members = [("MaxReadRequestUnits", read), ("MaxWriteRequestUnits", write)];
    let maxima_options = members.into_iter().filter(|(_, units)| units.is_finite());
    maxima_options.map(|(name, units)| format!("{quote}{name}{quote}{is}{units}")).collect::<Vec<_>>().join(and)
}

fn index_updates_option(updates: Vec<String>) -> String {
    match updates.is_empty() {
        true => String::new(),
        false => format!(" --global-secondary-index-updates '[{}]'", updates.join(",")),
    }
}

/// Returns the command that creates an on-demand table with these string key attributes, partition key first. It uses
/// the account, region and endpoint of the plan's table.
pub(super) fn create_table(table: &TableDescription, plan: &Plan, name: &str, key: &[&str]) -> String {
    let Aws { options, .. } = Aws::new(table, plan);
    let attributes = key.iter().map(|name| shell_quoted(&format!("AttributeName={name},AttributeType=S")));
    let roles = key.iter().zip(["HASH", "RANGE"]);
    let roles = roles.map(|(name, role)| shell_quoted(&format!("AttributeName={name},KeyType={role}")));
    format!(
        "aws dynamodb create-table --table-name {name} --attribute-definitions {} --key-schema {} --billing-mode \
         PAY_PER_REQUEST{options}",
        attributes.collect::<Vec<_>>().join(" "),
        roles.collect::<Vec<_>>().join(" ")
    )
}

/// The AWS CLI options that select the table.
struct Aws {
    table: String,
    options: String,
}

impl Aws {
    /// Uses the plan's region, profile and endpoint, quoted for a shell. Names of tables and indexes contain no special
    /// shell characters.
    fn new(table: &TableDescription, plan: &Plan) -> Aws {
        let mut options = String::new();
        let region = plan.table.region.clone().or_else(|| Some(table.region().to_owned()).filter(|r| !r.is_empty()));
        for (name, value) in
            [("region", &region), ("profile", &plan.table.profile), ("endpoint-url", &plan.table.endpoint_url)]
        {
            options += &value.as_ref().map_or_else(String::new, |value| format!(" --{name} {}", shell_quoted(value)));
        }
        Aws { table: table.name.clone(), options }
    }

    fn update_table(&self, options: &str) -> String {
        format!("aws dynamodb update-table --table-name {}{}{options}", self.table, self.options)
    }

    fn wait(&self) -> String {
        format!("aws dynamodb wait table-exists --table-name {}{}", self.table, self.options)
    }

    fn scalable_targets(&self) -> String {
        let of = format!("--service-namespace dynamodb --resource-ids table/{}", self.table);
        format!("aws application-autoscaling describe-scalable-targets {of}{}", self.options)
    }
}

/// Quotes a value for a shell.
fn shell_quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '=' | ',');
    if value.chars().all(plain) && !value.is_empty() {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "'\\''"))
    }
}

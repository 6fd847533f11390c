//! `stats`: reads a sample of a table, and shows its statistics. Changes nothing.

use std::path::Path;

use serde_json::Value as Json;

use crate::cli::{Global, StatsArgs};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::template_table::{describe, migration};
use crate::commands::shared::{output, terminal};
use backfill::internals::migration::{Migration, MigrationError, StatsOptions};

/// Prints the statistics of the plan's table, or of the table that the operator names.
pub(crate) async fn stats(global: &Global, args: StatsArgs) -> anyhow::Result<Exit> {
    let migration = open(global, args.plan.as_deref(), args.table.as_deref()).await?;
    let mut options = StatsOptions::default();
    options.sample = args.sample;
    let outcome = Box::pin(migration.stats(&options)).await?;
    let stopped = outcome.stopped();
    if let Some(reason) = stopped {
        output::warn(&format!("the sample was stopped: {reason}"));
    }
    let report = outcome.report();
    let command_result = CommandResult::from_exit_or_stop(Exit::Done, stopped);
    let document = || {
        let mut document = report.to_json();
        document["plan"] = args.plan.as_ref().map_or(Json::Null, |plan| plan.display().to_string().into());
        document
    };
    output::write_result(global, &command_result, document, |out| report.write(out))
}

/// Opens the plan, or a plan with the default budgets for the table.
async fn open(global: &Global, plan: Option<&Path>, table: Option<&str>) -> Result<Migration, MigrationError> {
    match (plan, table) {
        (Some(plan), _) => terminal::open(global, plan, false),
        (None, table) => migration(global, &describe(global, table.unwrap_or_default()).await?),
    }
}

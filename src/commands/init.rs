//! `init`: writes a commented plan.

use std::cmp::Reverse;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::cli::{Global, InitArgs};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::{Exit, Refusal};
use crate::commands::shared::template_table::{describe, migration, undescribed};
use crate::commands::shared::{output, terminal};
use backfill::internals::dynamodb::{FatalKind, TableError};
use backfill::internals::engine::StopReason;
use backfill::internals::migration::StatsOptions;
use backfill::internals::plan::{TemplateAttribute, TemplateSample, TemplateTable, template};
use backfill::internals::preflight::{PreflightError, SampleSize};
use backfill::internals::stats::{AttributeStats, Coverage, StatsReport};

/// Writes the plan. Never overwrites an existing file, and never writes to the table.
pub(crate) async fn init(global: &Global, args: InitArgs) -> anyhow::Result<Exit> {
    let is_stdout = args.plan.as_os_str() == "-";
    // Refuse before the sample is read, because a sample costs money.
    if !is_stdout && std::fs::symlink_metadata(&args.plan).is_ok() {
        return Err(exists_already(&args.plan));
    }
    let (table, sampled) = match &args.table {
        Some(name) => match describe_for_template(global, name, (!args.no_sample).then_some(args.sample)).await {
            Ok((table, sampled)) => (Some(table), sampled),
            Err(NoPlan::Missing(why)) => {
                let text = format!(
                    "{why}. No plan was written. Without --table, `init` writes a plan for any table, and you write the \
                     name into it"
                );
                return Err(Refusal::error(Exit::Refused, text));
            }
            Err(NoPlan::Stopped(reason)) => {
                let again = terminal::commands(global, &args.plan).render(&format!("init --table {name}"));
                output::stderr("no plan was written");
                return output::report_stop(global, &reason, &again);
            }
        },
        None => (None, Json::Null),
    };
    let text = template(table.as_ref());
    if is_stdout {
        return output::write_data(
            global,
            &CommandResult::done(),
            || json!({ "type": "init", "plan": null, "text": text, "sample": sampled }),
            |out| out.write_all(text.as_bytes()),
        );
    }
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&args.plan)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => {
            let next = terminal::commands(global, &args.plan).render("check");
            output::stderr(&format!("wrote {}. Edit its changes, then run: {next}", args.plan.display()));
            let command_result = CommandResult::done().next(next);
            output::write_result(
                global,
                &command_result,
                || json!({ "type": "init", "plan": args.plan, "sample": sampled }),
                |_| Ok(()),
            )
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists_already(&args.plan)),
        Err(error) => Err(Refusal::error(
            Exit::Usage,
            format!(
                "cannot write {}: {error}. Nothing was changed. Name another file, or `-` for stdout",
                args.plan.display()
            ),
        )),
    }
}

fn exists_already(plan: &Path) -> anyhow::Error {
    let message =
        format!("{} exists already. Nothing was changed. Name another file, or `-` for stdout", plan.display());
    Refusal::error(Exit::Usage, message)
}

/// The reason why `init` writes no plan.
enum NoPlan {
    /// There is no such table. The text says so, and what to check.
    Missing(String),
    /// The operator interrupted the sample.
    Stopped(StopReason),
}

/// Describes the table and reads a sample of its items for the template. If the table is unreachable, the result
/// contains only the table's name and the values from the command line. If the items cannot be read, the result
/// contains only the description.
///
/// Also returns what was read, for the JSON document. Returns `Err` if there is no such table, or if the operator
/// interrupts the reading of the sample.
async fn describe_for_template(
    global: &Global,
    name: &str,
    sample: Option<SampleSize>,
) -> Result<(TemplateTable, Json), NoPlan> {
    let mut table = match describe(global, name).await {
        Ok(table) => table,
        Err(PreflightError::Unusable {
            error: TableError::Fatal { kind: FatalKind::TableMissing, message }, ..
        }) => {
            let remedy =
                "check the name, and --region, --profile and --endpoint-url: a table in another region is not found";
            return Err(NoPlan::Missing(format!("table `{name}` was not found ({message}): {remedy}")));
        }
        Err(error) => {
            let why =
                if let PreflightError::Unusable { error, .. } = &error { error.to_string() } else { error.to_string() };
            output::stderr(&format!(
                "the table's description could not be read, so the plan is written without it: {why}"
            ));
            return Ok((undescribed(global, name), Json::Null));
        }
    };
    let Some(sample) = sample else { return Ok((table, Json::Null)) };
    let mut options = StatsOptions::default();
    options.sample = sample;
    let read = match migration(global, &table) {
        Ok(migration) => Box::pin(migration.stats(&options)).await,
        Err(error) => Err(error),
    };
    let outcome = match read {
        Ok(outcome) => outcome,
        Err(error) => {
            output::stderr(&format!("no items could be read, so the plan is written without attributes: {error}"));
            return Ok((table, Json::Null));
        }
    };
    match outcome.stopped() {
        Some(reason @ StopReason::Interrupted) => return Err(NoPlan::Stopped(reason.clone())),
        Some(reason) => {
            output::stderr(&format!("the sample was stopped, so the plan may lack attributes: {reason}"));
        }
        None => {}
    }
    let report = outcome.report();
    output::stderr(&format!("sample   has read {}", report.sample_text()));
    // If the sample was stopped before its first item, the plan says nothing about attributes.
    table.sample = Some(template_sample(&report)).filter(|sample| outcome.stopped().is_none() || sample.items > 0);
    let StatsReport { stats, .. } = report;
    let sampled = json!({ "coverage": stats.coverage().name(), "items": stats.items, "read_units": stats.read_units });
    Ok((table, sampled))
}

/// Converts the report of a sample to the form that the template needs.
fn template_sample(report: &StatsReport<'_>) -> TemplateSample {
    let basis = match report.stats.coverage() {
        Coverage::Whole => "every item of the table",
        Coverage::Clusters => "drawn at random",
        Coverage::Part => "a part of the table that was not drawn at random",
    };
    let attributes = report.attributes().into_iter().map(|AttributeStats { path, roles, count, .. }| {
        let mut types: Vec<(&'static str, u64)> = count.types.into_iter().collect();
        types.sort_by_key(|(name, items)| (Reverse(*items), *name));
        let types = types.into_iter().map(|(name, _)| name).collect();
        TemplateAttribute { path, items: count.items, types, roles }
    });
    TemplateSample { items: report.stats.items, basis, attributes: attributes.collect() }
}

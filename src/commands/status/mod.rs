//! `status`: where a migration stands and how far a run is: from the state file, and the flag as it is now.

mod standing;
mod text;

use std::io::Write as _;

use serde_json::json;

use crate::cli::{Global, StatusArgs};
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::migration::StatusOptions;
use backfill::internals::telemetry::{KeptBudgets, Worker};
use standing::{standing_json, write_standing};
use text::write_status;

/// Prints the state of the plan's migration.
pub(crate) async fn status(global: &Global, args: StatusArgs) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, &args.plan, false)?;
    let mut options = StatusOptions::default();
    options.offline = args.offline;
    let outcome = Box::pin(migration.status(&options)).await?;
    let (summary, known, worker, budgets) = (outcome.summary(), outcome.known(), outcome.worker(), outcome.budgets());
    let (fingerprint, same_plan) = (outcome.fingerprint(), outcome.is_of_this_plan());
    let path = args.plan.display().to_string();
    let options = global.state.as_ref().map_or_else(String::new, |state| format!(" --state {}", state.display()));
    output::result(
        global,
        || {
            json!({ "type": "status", "state": summary, "plan_fingerprint": fingerprint.as_str(), "same_plan": same_plan,
                    "process": worker.as_ref().map(Worker::to_json), "budgets": budgets.map(KeptBudgets::to_json), "playbook": standing_json(known, &path, &options) })
        },
        |out| {
            write_status(out, summary, worker.as_ref(), &migration.plan().limits)?;
            budgets.iter().try_for_each(|budgets| budgets.write(out))?;
            write_standing(out, known, &path, &options)?;
            if !same_plan {
                writeln!(out, "note: the plan file has changed since: this state is of another plan.")?;
            }
            Ok(())
        },
    );
    Ok(Exit::Done)
}

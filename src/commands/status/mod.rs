//! `status`: shows the state of a migration and the progress of its run, from the state file and the current flag.

mod standing;
mod text;

use std::io::Write as _;

use serde_json::json;

use crate::cli::{Global, StatusArgs};
use crate::commands::shared::ending::Ending;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::migration::StatusOptions;
use backfill::internals::telemetry::{KeptBudgets, Worker};
use standing::{next, standing_json, write_standing};
use text::write_status;

/// Prints the state of the migration.
pub(crate) async fn status(global: &Global, args: StatusArgs) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, &args.plan, false)?;
    let mut options = StatusOptions::default();
    options.offline = args.offline;
    let outcome = Box::pin(migration.status(&options)).await?;
    let summary = outcome.summary();
    let known = outcome.known();
    let worker = outcome.worker();
    let budgets = outcome.budgets();
    let fingerprint = outcome.fingerprint();
    let same_plan = outcome.is_of_this_plan();
    let commands = terminal::commands(global, &args.plan);
    let ending = Ending::done().next(next(&known.standing, &commands));
    output::result(
        global,
        &ending,
        || {
            json!({ "type": "status", "state": summary, "plan_fingerprint": fingerprint.as_str(), "same_plan": same_plan,
                    "process": worker.as_ref().map(Worker::to_json), "budgets": budgets.map(KeptBudgets::to_json), "playbook": standing_json(known, &commands) })
        },
        |out| {
            write_status(out, summary, worker.as_ref(), &migration.plan().limits)?;
            budgets.iter().try_for_each(|budgets| budgets.write(out))?;
            write_standing(out, known, &commands)?;
            if !same_plan {
                writeln!(out, "note: the plan file has changed: this state belongs to another plan.")?;
            }
            Ok(())
        },
    )
}

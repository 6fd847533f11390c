//! `status`: shows the state of a migration and the progress of its run, from the state file and the current flag.

mod standing;
mod text;

use std::io::Write as _;

use serde_json::json;

use crate::cli::{Global, StatusArgs};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::clock::to_text;
use backfill::internals::command_line::CommandLine;
use backfill::internals::migration::{Migration, StatusOptions};
use backfill::internals::telemetry::{StoredBudgets, Worker};
use standing::{next, standing_json, write_standing};
use text::write_status;

/// The next step of a migration: the command, and the time before which the command is refused.
pub(crate) struct NextStep {
    pub(crate) command: String,
    not_before: Option<String>,
}

impl NextStep {
    /// Returns a step that may begin now.
    pub(crate) fn now(command: String) -> NextStep {
        NextStep { command, not_before: None }
    }

    /// Finds the next step after another command has ended. Reads only the state file, so this consumes no capacity.
    /// Returns `None` if the migration is over, or if the state file cannot be read.
    pub(crate) async fn find(migration: &Migration, commands: &CommandLine) -> Option<NextStep> {
        let mut options = StatusOptions::default();
        options.offline = true;
        let outcome = Box::pin(migration.status(&options)).await.ok()?;
        let status = &outcome.snapshot().status;
        Some(NextStep { command: next(status, commands)?, not_before: status.not_before.map(to_text) })
    }

    /// Writes the step as a line for people.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        match &self.not_before {
            Some(until) => writeln!(out, "Next, not before {until}: {}", self.command),
            None => writeln!(out, "Next: {}", self.command),
        }
    }
}

/// Prints the state of the migration.
pub(crate) async fn status(global: &Global, args: StatusArgs) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, &args.plan, false)?;
    let mut options = StatusOptions::default();
    options.offline = args.offline;
    let outcome = Box::pin(migration.status(&options)).await?;
    let summary = outcome.summary();
    let snapshot = outcome.snapshot();
    let worker = outcome.worker();
    let budgets = outcome.budgets();
    let fingerprint = outcome.fingerprint();
    let same_plan = outcome.matches_plan();
    let commands = terminal::commands(global, &args.plan);
    let command_result = CommandResult::done().next(next(&snapshot.status, &commands));
    output::write_result(
        global,
        &command_result,
        || {
            json!({ "type": "status", "state": summary, "plan_fingerprint": fingerprint.as_str(), "same_plan": same_plan,
                    "process": worker.as_ref().map(Worker::to_json), "budgets": budgets.map(StoredBudgets::to_json), "playbook": standing_json(snapshot, &commands) })
        },
        |out| {
            write_status(out, summary, worker.as_ref(), &migration.plan().limits)?;
            budgets.iter().try_for_each(|budgets| budgets.write(out))?;
            write_standing(out, snapshot, &commands)?;
            if !same_plan {
                writeln!(out, "note: the plan file has changed: this state belongs to another plan.")?;
            }
            Ok(())
        },
    )
}

//! `status`: shows the state of a migration and the progress of its run, from the state file and the current flag.

mod standing;
mod text;
#[cfg(feature = "watch")]
mod watch;

use std::io::Write as _;

use serde_json::json;

use crate::cli::{Global, StatusArgs};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::next_step::NextStep;
use crate::commands::shared::{output, terminal};
use backfill::internals::command_line::CommandLine;
use backfill::internals::migration::{MigrationError, StatusOptions};
use backfill::internals::plan::Plan;
use backfill::internals::report::CleanupEntry;
use backfill::internals::state::is_absent;
use backfill::internals::steering::Settings;
use backfill::internals::steering::socket::existing_socket;
use backfill::internals::telemetry::{StoredBudgets, Worker};
use standing::{cleanup_json, nothing_next, standing_json, write_cleanup, write_standing};
use text::write_status;

/// Prints the state of the migration.
pub(crate) async fn status(global: &Global, args: StatusArgs) -> anyhow::Result<Exit> {
    if args.watch {
        return watch(global, &args).await;
    }
    let migration = terminal::open(global, &args.plan, false)?;
    let mut options = StatusOptions::default();
    options.offline = args.offline;
    let commands = terminal::commands(global, &args.plan);
    let outcome = match Box::pin(migration.status(&options)).await {
        // The migration has not begun, or its state file has another path.
        Err(error) if is_absent(migration.state_path()).await => {
            let why = error.to_string().trim_end_matches('.').to_owned();
            let refused = MigrationError::Refused { why, next: commands.render("check"), not_before: None };
            return Err(refused.into());
        }
        outcome => outcome?,
    };
    let summary = outcome.summary();
    let snapshot = outcome.snapshot();
    let worker = outcome.worker();
    let budgets = outcome.budgets();
    let fingerprint = outcome.fingerprint();
    let same_plan = outcome.matches_plan();
    let next_step = match (&summary.holder, same_plan) {
        // A process holds the state file. Until this process ends, the only possible step is `cutover --back`.
        (Some(_), _) => None,
        // With this plan, every command refuses the state file.
        (None, false) => None,
        (None, true) => NextStep::from_status(&snapshot.status, &commands),
    };
    let socket = summary.holder.as_ref().and_then(|_| existing_socket(migration.state_path()));
    // If the meaning of the plan file has changed, the plan that began the migration is unknown.
    let cleanup = match same_plan {
        true => CleanupEntry::due(migration.plan(), &snapshot.status, summary.holder.is_some(), summary.pre_images),
        false => Vec::new(),
    };
    let command_result = CommandResult::done().next_step(next_step.as_ref());
    output::write_result(
        global,
        &command_result,
        || {
            json!({ "type": "status", "state": summary, "plan_fingerprint": fingerprint.as_str(), "same_plan": same_plan,
                    "process": worker.as_ref().map(Worker::to_json), "budgets": budgets.map(StoredBudgets::to_json),
                    "steering": { "paused": outcome.steering().paused, "rate": outcome.steering().rate, "socket": socket }, "playbook": standing_json(snapshot, next_step.as_ref()),
                    "journal_purged": outcome.journal_purged(),
                    "cleanup": cleanup.iter().map(cleanup_json).collect::<Vec<_>>() })
        },
        |out| {
            if !same_plan {
                write_other_plan(out, migration.plan())?;
            }
            write_status(out, summary, worker.as_ref(), &migration.plan().limits)?;
            budgets.iter().try_for_each(|budgets| budgets.write(out))?;
            write_steering(out, outcome.steering(), &commands)?;
            if let Some(socket) = &socket {
                writeln!(out, "ctl: {}", socket.display())?;
            }
            let can_roll_back = outcome.journal_purged().is_none() && migration.plan().deletion() != Some(false);
            let nothing = nothing_next(snapshot.status.stage, summary.holder.as_ref(), can_roll_back, same_plan);
            write_standing(out, snapshot, next_step.as_ref(), &nothing)?;
            write_cleanup(out, &cleanup)?;
            if let Some(at) = outcome.journal_purged() {
                writeln!(out, "journal: purged at {at}. A rollback is not possible any more.")?;
            }
            Ok(())
        },
    )
}

/// Warns that every command refuses this state file, because it belongs to another plan.
fn write_other_plan(out: &mut Vec<u8>, plan: &Plan) -> std::io::Result<()> {
    writeln!(
        out,
        "warning: this state belongs to another plan, or the plan or one of its files has changed since the migration \
         began. Name this plan's own state file with --state, or restore the plan."
    )?;
    if plan.keys.is_some() || !plan.program_digests().is_empty() {
        writeln!(out, "note: if only the file of keys or a program has changed, `rollback` is still possible.")?;
    }
    Ok(())
}

#[cfg(feature = "watch")]
async fn watch(global: &Global, args: &StatusArgs) -> anyhow::Result<Exit> {
    Box::pin(watch::watch(global, args)).await
}

#[cfg(not(feature = "watch"))]
async fn watch(_: &Global, _: &StatusArgs) -> anyhow::Result<Exit> {
    let why = "this build of backfill lacks the feature `watch`. Nothing was done. Run `status` without --watch, or \
               install a build with the default features";
    Err(crate::commands::shared::exit::Refusal::error(Exit::Usage, why))
}

/// Writes the pause and the rate that an operator set with `ctl`.
fn write_steering(out: &mut Vec<u8>, settings: &Settings, commands: &CommandLine) -> std::io::Result<()> {
    if let Some(paused) = &settings.paused {
        writeln!(out, "paused {paused}. To continue: {}", commands.render("ctl resume"))?;
    }
    match &settings.rate {
        Some(rate) => writeln!(out, "rate: {rate}. To use the plan's budgets: {}", commands.render("ctl rate --plan")),
        None => Ok(()),
    }
}

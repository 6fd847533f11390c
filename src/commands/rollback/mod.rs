//! `rollback`: undoes the migration from any step before contract.

pub(crate) mod contract;

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::cli::{Global, RollbackArgs};
use crate::commands::run::dry_run::dry_run;
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::exports::exports;
use crate::commands::shared::{output, terminal};
use backfill::internals::change::Leftover;
use backfill::internals::figure::count;
use backfill::internals::migration::{DryRunPhase, Migration, PassOutcome, PassSummary, StatusOptions};
use backfill::internals::playbook::MigrationStage;
use backfill::internals::state::is_absent;
use backfill::internals::telemetry::{UnrestoredItems, affected_json, write_noted};

/// Starts or resumes a rollback.
pub(crate) async fn rollback(global: &Global, args: RollbackArgs) -> anyhow::Result<Exit> {
    if args.phase.dry_run {
        return dry_run(global, &args.phase.plan, DryRunPhase::Rollback, None, args.confirm.accept).await;
    }
    let step_args = args.step_args();
    let migration = terminal::open(global, &args.phase.plan, step_args.yes)?;
    let migration = migration.with_exports(exports(global, args.phase.exports, true)?);
    let outcome = Box::pin(migration.rollback(&terminal::step_options(&step_args))).await?;
    let is_rolled_back = is_rolled_back(&migration).await;
    report(global, &outcome, "rollback", &args.phase.plan, is_rolled_back)
}

/// Whether the state file records a complete rollback. Also true if the file exists and its status cannot be read.
async fn is_rolled_back(migration: &Migration) -> bool {
    if is_absent(migration.state_path()).await {
        return false;
    }
    let mut options = StatusOptions::default();
    options.offline = true;
    let status = Box::pin(migration.status(&options)).await;
    status.map_or(true, |outcome| outcome.snapshot().status.stage == MigrationStage::RolledBack)
}

/// Prints the result of a command that makes one or more passes over the table. `is_recorded` is true if the state file
/// records that the phase is complete. If it is false and the command made no pass, there was nothing to undo.
pub(crate) fn report(
    global: &Global,
    outcome: &PassOutcome,
    command: &str,
    plan: &Path,
    is_recorded: bool,
) -> anyhow::Result<Exit> {
    let stopped = outcome.stopped();
    let last_exit = || outcome.passes().last().map_or(Exit::Done, |pass| Exit::from_run(pass.ended.open, None));
    let exit = stopped.map_or_else(last_exit, Exit::from_stop);
    let commands = terminal::commands(global, plan);
    // A rollback of derived items needs this statement every time.
    let needs_statement = command == "rollback" && outcome.puts_items();
    let again = commands.render(if needs_statement { "rollback --writers-stopped" } else { command });
    let is_over = stopped.is_none() && !outcome.unfinished();
    let diverged = outcome.passes().last().map_or(0, |pass| pass.ended.open.diverged);
    let next = match (is_over, diverged) {
        (false, _) => Some(again.clone()),
        (true, 1..) => Some(commands.render("failures list")),
        (true, 0) => None,
    };
    let command_result = CommandResult::from_exit_or_stop(exit, stopped).next(next);
    let or_leave = if command == "contract" { "" } else { " (or leave them as they are with --force REASON)" };
    output::write_result(
        global,
        &command_result,
        || {
            let runs: Vec<Json> = outcome.passes().iter().map(|pass| run_json(outcome, pass, exit)).collect();
            json!({ "type": command, "runs": runs, "stopped": stopped.map(ToString::to_string), "exit_code": exit as u8 })
        },
        |out| {
            for pass in outcome.passes() {
                outcome.report(pass).write(out)?;
                if let Some(left) = &pass.not_as_before {
                    left.write(out)?;
                }
                let journal = commands.render("journal --show-values");
                write_noted(out, Leftover::RepairedOver, &pass.repaired_over, &journal)?;
                write_noted(out, Leftover::DeleteReplyLost, &pass.reply_lost, &journal)?;
                if pass.journaled > 0 {
                    writeln!(
                        out,
                        "The journal has {} that this run overwrote or removed: {}",
                        count(pass.journaled, "value", "values"),
                        commands.render(&format!("journal --run {}", pass.ended.run.id))
                    )?;
                }
            }
            match stopped {
                None if outcome.unfinished() => writeln!(
                    out,
                    "The {command} is not complete: items failed. `{}` lists them with the reasons. Fix them by hand{or_leave}, \
                     then run the same command again.\nNext: {}",
                    commands.render("failures list"),
                    again
                ),
                None if outcome.passes().is_empty() && !is_recorded => {
                    writeln!(
                        out,
                        "There is nothing to roll back: this state file records no run. If a run of this plan used another \
                         state file, name that file with --state."
                    )
                }
                None if diverged > 0 => writeln!(
                    out,
                    "The {command} is complete, but {} diverged. The {command} left these items as they were: somebody \
                     changed them, or nothing shows which value is right.\nNext: {}",
                    count(diverged, "item has", "items have"),
                    commands.render("failures list")
                ),
                None => writeln!(
                    out,
                    "The {command} is complete. The migration is over. To see what you can remove now: {}",
                    commands.render("status")
                ),
                Some(reason) => {
                    writeln!(out, "Stopped: {reason}.\nNext: {again}")
                }
            }
        },
    )
}

/// Returns one pass as JSON.
fn run_json(outcome: &PassOutcome, pass: &PassSummary, exit: Exit) -> Json {
    let mut json = outcome.report(pass).to_json(exit as u8);
    if let Some(map) = json.as_object_mut() {
        map.insert("journaled".into(), pass.journaled.into());
        map.insert("repaired_over".into(), affected_json(&pass.repaired_over));
        map.insert("reply_lost".into(), affected_json(&pass.reply_lost));
        map.insert("not_as_before".into(), pass.not_as_before.as_ref().map_or(Json::Null, UnrestoredItems::to_json));
    }
    json
}

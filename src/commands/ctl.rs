//! `ctl`: pauses, resumes, slows, speeds up or stops a running migration.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::cli::{CtlAction, CtlArgs, Global};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::migration::{MigrationError, SteerError, SteerOutcome};
use backfill::internals::state::is_absent;
use backfill::internals::steering::socket::SendError;
use backfill::internals::steering::{Command, Paused, Rate, Steered};

/// Number of commands that `ctl status` lists.
const LISTED: usize = 10;

/// Carries out a command.
pub(crate) async fn ctl(global: &Global, args: CtlArgs) -> anyhow::Result<Exit> {
    let (plan, command) = command(args.action);
    let migration = terminal::open(global, &plan, false)?;
    let commands = terminal::commands(global, &plan);
    let SteerOutcome { reply, is_live } = match Box::pin(migration.steer(command.clone())).await {
        Ok(outcome) => outcome,
        Err(SteerError::Migration(error)) if is_absent(migration.state_path()).await => {
            let why = error.to_string().trim_end_matches('.').to_owned();
            return Err(MigrationError::Refused { why, next: commands.render("check"), not_before: None }.into());
        }
        Err(SteerError::Migration(error)) => return Err(error.into()),
        Err(SteerError::Send(error @ (SendError::Denied(_) | SendError::NoProcess(_)))) => {
            let why = error.to_string();
            return Err(MigrationError::Refused { why, next: commands.render("status"), not_before: None }.into());
        }
        Err(SteerError::Send(error @ SendError::NoAnswer { .. })) => return Err(error.into()),
    };
    output::write_result(
        global,
        &CommandResult::done(),
        || {
            json!({ "type": "ctl", "command": command.words(), "live": is_live, "text": reply.text,
                    "state": reply.state })
        },
        |out| {
            writeln!(out, "{}", reply.text)?;
            if command == Command::Status { write_settings(out, &reply.state) } else { Ok(()) }
        },
    )
}

fn command(action: CtlAction) -> (PathBuf, Command) {
    match action {
        CtlAction::Pause { plan, reason } => (plan, Command::Pause { reason }),
        CtlAction::Resume { plan } => (plan, Command::Resume),
        CtlAction::Rate { plan, write, read, plan_rate: false } => (plan, Command::Rate { write, read }),
        CtlAction::Rate { plan, plan_rate: true, .. } => (plan, Command::PlanRate),
        CtlAction::Drain { plan } => (plan, Command::Drain),
        CtlAction::Status { plan } => (plan, Command::Status),
    }
}

/// Writes the settings of a reply for people.
fn write_settings(out: &mut Vec<u8>, state: &Json) -> std::io::Result<()> {
    let read = |field: &str| state[field].clone();
    if let Ok(paused) = serde_json::from_value::<Paused>(read("paused")) {
        writeln!(out, "paused {paused}")?;
    }
    if let Ok(rate) = serde_json::from_value::<Rate>(read("rate")) {
        writeln!(out, "rate: {rate}")?;
    }
    let record: Vec<Steered> = serde_json::from_value(read("record")).unwrap_or_default();
    for Steered { at, by, command } in record.iter().rev().take(LISTED) {
        writeln!(out, "  {}  {by}: {command}", backfill::internals::clock::to_text(*at))?;
    }
    Ok(())
}

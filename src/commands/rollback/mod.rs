//! `rollback`: the way back, from wherever the migration is.

pub(crate) mod contract;

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::cli::{Global, RollbackArgs};
use crate::commands::run::dry_run::dry_run;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::migration::{DryRunOf, PassOutcome, WorkedPass};
use backfill::internals::telemetry::{NotAsBefore, number};

/// Undoes the migration, or resumes that.
pub(crate) async fn rollback(global: &Global, args: RollbackArgs) -> anyhow::Result<Exit> {
    if args.on.dry_run {
        return dry_run(global, &args.on.plan, DryRunOf::Rollback, None, args.go.accept).await;
    }
    let decide = args.decide();
    let migration = terminal::open(global, &args.on.plan, decide.yes)?;
    let outcome = Box::pin(migration.rollback(&terminal::step_options(&decide))).await?;
    Ok(report(global, &outcome, "rollback", &args.on.plan))
}

/// Prints what a command did that makes passes over the table, maybe more than one.
pub(crate) fn report(global: &Global, outcome: &PassOutcome, command: &str, plan: &Path) -> Exit {
    let stopped = outcome.stopped();
    let of_last = || outcome.passes().last().map_or(Exit::Done, |pass| Exit::of_run(pass.ended.open, None));
    let (exit, plan) = (stopped.map_or_else(of_last, Exit::of_stop), plan.display());
    let or_leave = if command == "contract" { "" } else { " (or leave them, with --force REASON)" };
    output::result(
        global,
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
                if pass.journaled > 0 {
                    writeln!(
                        out,
                        "{} values that it overwrote or removed are in the journal: backfill journal {plan} --run {}",
                        number(pass.journaled),
                        pass.ended.run.id
                    )?;
                }
            }
            match stopped {
                None if outcome.unfinished() => writeln!(
                    out,
                    "The {command} is not over: items failed. `backfill failures {plan} list` says which and why: fix \
                     them by hand, and run the same command again{or_leave}: backfill {command} {plan}"
                ),
                None => writeln!(out, "The {command} is complete."),
                Some(reason) => {
                    writeln!(out, "Stopped: {reason}.\nIt goes on from here with: backfill {command} {plan}")
                }
            }
        },
    );
    exit
}

/// A session of a run, for programs.
fn run_json(outcome: &PassOutcome, pass: &WorkedPass, exit: Exit) -> Json {
    let mut json = outcome.report(pass).to_json(exit as u8);
    if let Some(map) = json.as_object_mut() {
        map.insert("journaled".into(), pass.journaled.into());
        map.insert("not_as_before".into(), pass.not_as_before.as_ref().map_or(Json::Null, NotAsBefore::to_json));
    }
    json
}

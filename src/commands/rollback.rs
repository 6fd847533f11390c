//! `rollback`: the way back, from wherever the migration is.

use std::io::Write as _;

use serde_json::{Value as Json, json};

use super::conduct::{Conducted, Pursuit, said};
use super::dry_run::dry_run_of;
use super::exit::Exit;
use super::not_as_before::{self, Worked, run_json, run_report};
use super::output;
use super::run_report::subject;
use super::target::Target;
use crate::cli::{Global, RollbackArgs};
use backfill::internals::engine::{Ended, StopReason};
use backfill::internals::migration::{Came, Swept};
use backfill::internals::playbook::{Goal, Phase};
use backfill::internals::preflight::check_way_back;
use backfill::internals::telemetry::{Subject, number};

/// Undoes the migration, or goes on with it.
pub(super) async fn rollback(global: &Global, args: RollbackArgs) -> anyhow::Result<Exit> {
    if args.on.dry_run {
        return dry_run_of(global, &args.on.plan, Phase::Undo, &args.go.accept).await;
    }
    let (target, decide) = (Box::pin(Target::open(global, &args.on.plan, check_way_back)).await?, args.decide());
    not_as_before::tell(&target).await;
    let question = format!("Undo the migration on {} now?", target.description.arn);
    let mut pursuit = Pursuit::of(Goal::Rollback, &decide, question);
    let mut conducted = Box::pin(Conducted::prepared(target, said(&decide), &mut pursuit)).await?;
    let (swept, stopped) = Box::pin(conducted.pursue(pursuit)).await?;
    let exit = report(global, &conducted, "rollback", &swept, stopped.as_ref()).await?;
    conducted.close().await?;
    Ok(exit)
}

/// Prints what a command came to that goes over the table, maybe more than once.
pub(super) async fn report(
    global: &Global,
    conducted: &Conducted,
    command: &str,
    swept: &[Swept],
    stopped: Option<&StopReason>,
) -> anyhow::Result<Exit> {
    let mut worked: Vec<Worked<'_>> = Vec::new();
    for ended in swept.iter().filter_map(ended) {
        let left = not_as_before::left_by(conducted, &ended.run).await?;
        worked.push((ended, conducted.conductor.store.journaled(ended.run.id).await?, left));
    }
    let of_last = || worked.last().map_or(Exit::Done, |(ended, ..)| Exit::of_run(ended.open, None));
    let exit = stopped.map_or_else(of_last, Exit::of_stop);
    let (subject, plan) = (Subject { advice: false, ..subject(&conducted.target) }, conducted.target.path.display());
    let or_leave = if command == "contract" { "" } else { " (or leave them, with --force REASON)" };
    output::result(
        global,
        || {
            let runs: Vec<Json> = worked.iter().map(|worked| run_json(subject, worked, exit)).collect();
            json!({ "type": command, "runs": runs, "stopped": stopped.map(ToString::to_string), "exit_code": exit as u8 })
        },
        |out| {
            for (ended, journaled, left) in &worked {
                run_report(subject, ended).write(out)?;
                if let Some(left) = left {
                    left.write(out)?;
                }
                if *journaled > 0 {
                    writeln!(
                        out,
                        "{} values that it overwrote or removed are in the journal: backfill journal {plan} --run {}",
                        number(*journaled),
                        ended.run.id
                    )?;
                }
            }
            match stopped {
                None if swept.iter().any(|swept| swept.unfinished) => writeln!(
                    out,
                    "The {command} is not over: items failed. `backfill failures {plan} list` says which and why: mend \
                     them by hand, and give the same command again{or_leave}: backfill {command} {plan}"
                ),
                None => writeln!(out, "The {command} is complete."),
                Some(reason) => {
                    writeln!(out, "Stopped: {reason}.\nIt goes on from here with: backfill {command} {plan}")
                }
            }
        },
    );
    Ok(exit)
}

fn ended(swept: &Swept) -> Option<&Ended> {
    if let Some(Came::Worked(ended)) = &swept.came { Some(ended) } else { None }
}

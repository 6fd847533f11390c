//! `cutover`: moves the flag one step forward or back.

mod dry_run;

use std::io::Write as _;

use serde_json::{Value as Json, json};

use crate::cli::{CutoverArgs, CutoverStepArg, Global};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::exports::exports;
use crate::commands::shared::next_step::NextStep;
use crate::commands::shared::{output, terminal};
use backfill::internals::cutover::{Flag, ReadFrom, WriteTo};
use backfill::internals::migration::{CutoverStep as Step, kind};
use backfill::internals::playbook::PlanKind;

/// Moves the flag.
pub(crate) async fn cutover(global: &Global, args: CutoverArgs) -> anyhow::Result<Exit> {
    let step_args = args.step_args();
    let step = step_of(&args);
    let migration = terminal::open(global, &args.plan, step_args.yes)?;
    let options = terminal::step_options(&step_args);
    if args.dry_run {
        return dry_run::dry_run(global, &migration, step, &options).await;
    }
    let migration = migration.with_exports(exports(global, args.exports, args.back)?);
    let outcome = Box::pin(migration.cutover(step, &options)).await?;
    if let Some(reason) = outcome.stopped() {
        output::warn(&format!("stopped: {reason}"));
    }
    // The next step forward would be the step that was just undone, and only the operator knows why it was undone. So
    // after a step back, the next command is `status`, which changes nothing.
    let is_back = matches!(step, Step::Back { .. });
    let commands = terminal::commands(global, &args.plan);
    let is_stated = kind(migration.plan()) == PlanKind::Stated;
    // Without a flag, the command needs the operator's statements again.
    let again = (outcome.unfinished() && !is_stated).then(|| commands.render("cutover --back"));
    let exit = if outcome.unfinished() { Exit::Failures } else { Exit::Done };
    let next_step = match outcome.stopped() {
        None if is_back => Some(NextStep::now(commands.render("status"))),
        None => NextStep::find(&migration, &commands).await,
        Some(_) => None,
    };
    let command_result = CommandResult::from_exit_or_stop(exit, outcome.stopped());
    let command_result = match &again {
        Some(again) => command_result.next(Some(again.clone())),
        None => command_result.next_step(next_step.as_ref()),
    };
    output::write_result(
        global,
        &command_result,
        || json!({ "type": "cutover", "flag": outcome.flag().map(flag_json) }),
        |out| {
            match outcome.flag() {
                // Without a flag, the state file records what the operator stated.
                Some(Flag { write, read, .. }) if is_stated => {
                    writeln!(out, "Stated: write = {}, read = {}.", write.as_str(), read.as_str())?;
                }
                Some(flag) => writeln!(out, "The flag is at {flag}.")?,
                None => writeln!(out, "There is no flag.")?,
            }
            if outcome.unfinished() {
                writeln!(
                    out,
                    "The step back is not complete: items failed. `{}` lists them with the reasons. Fix them by hand (or leave \
                     them as they are with --force REASON), then run the same command again.",
                    commands.render("failures list")
                )?;
            }
            if let Some(again) = &again {
                return writeln!(out, "Next: {again}");
            }
            if is_back && !outcome.unfinished() && outcome.stopped().is_none() {
                writeln!(out, "{}", way_from(outcome.flag()))?;
            }
            next_step.iter().try_for_each(|next| next.write(out))
        },
    )
}

/// Says what a further step back would do.
fn way_from(flag: Option<&Flag>) -> &'static str {
    match flag.map(|flag| (flag.write, flag.read)) {
        Some((WriteTo::Old, ReadFrom::Old)) => {
            "Applications use only the old attribute, so this was the last step back."
        }
        Some((WriteTo::Both, ReadFrom::Old)) => {
            "A further `cutover --back` ends dual writes. `status` names the step that goes forward again."
        }
        Some((WriteTo::Both | WriteTo::New | WriteTo::Old, ReadFrom::New) | (WriteTo::New, ReadFrom::Old)) => {
            "The step back is not complete."
        }
        None => "There is no step to take back.",
    }
}

fn step_of(args: &CutoverArgs) -> Step {
    match args.to {
        Some(CutoverStepArg::DualWrite) => Step::DualWrite,
        Some(CutoverStepArg::ReadNew) => Step::ReadNew(args.percent),
        Some(CutoverStepArg::WriteNew) => Step::WriteNew,
        None => Step::Back { now: args.now },
    }
}

fn flag_json(flag: &Flag) -> Json {
    json!({ "version": flag.version, "write": flag.write.as_str(), "read": flag.read.as_str(),
            "read_percent": flag.read_percent, "old_stale": flag.old_stale, "contracting": flag.contracting })
}

//! `cutover`: moves the flag one step forward or back.

mod dry_run;

use serde_json::json;

use crate::cli::{CutoverArgs, CutoverStep, Global};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::cutover::Flag;
use backfill::internals::migration::CutoverStep as Step;

/// Moves the flag.
pub(crate) async fn cutover(global: &Global, args: CutoverArgs) -> anyhow::Result<Exit> {
    let step_args = args.step_args();
    let step = step_of(&args);
    let migration = terminal::open(global, &args.plan, step_args.yes)?;
    let options = terminal::step_options(&step_args);
    if args.dry_run {
        return dry_run::dry_run(global, &migration, step, &options).await;
    }
    let outcome = Box::pin(migration.cutover(step, &options)).await?;
    if let Some(reason) = outcome.stopped() {
        output::warn(&format!("stopped: {reason}"));
    }
    report(global, &CommandResult::from_exit_or_stop(Exit::Done, outcome.stopped()), outcome.flag())
}

fn step_of(args: &CutoverArgs) -> Step {
    match args.to {
        Some(CutoverStep::DualWrite) => Step::DualWrite,
        Some(CutoverStep::ReadNew) => Step::ReadNew(args.percent),
        Some(CutoverStep::WriteNew) => Step::WriteNew,
        None => Step::Back { now: args.now },
    }
}

fn report(global: &Global, command_result: &CommandResult, flag: Option<&Flag>) -> anyhow::Result<Exit> {
    let json = || {
        let flag = flag.map(|flag| {
            json!({ "version": flag.version, "write": flag.write.as_str(), "read": flag.read.as_str(),
                    "read_percent": flag.read_percent, "old_stale": flag.old_stale, "contracting": flag.contracting })
        });
        json!({ "type": "cutover", "flag": flag })
    };
    output::write_result(global, command_result, json, |out| match flag {
        Some(flag) => std::io::Write::write_fmt(out, format_args!("The flag is at {flag}.\n")),
        None => std::io::Write::write_all(out, b"There is no flag.\n"),
    })
}

//! `run`: starts or resumes the expand phase, or makes a dry run of it.

pub(crate) mod dry_run;

use serde_json::json;

use crate::cli::{Global, RunArgs};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::exports::exports;
use crate::commands::shared::next_step::{NextStep, failures_command};
use crate::commands::shared::{output, terminal};
use backfill::internals::engine::StopReason;
use backfill::internals::migration::{DryRunPhase, RunOptions};

const ALREADY_COMPLETE: &str = "this run is already complete: nothing was written. Start another pass with --again";

const STOPPED_BEFORE_RUN: &str = "stopped before the run began; nothing was written. This is the previous run:";

/// Runs the expand phase of a plan from its current position to its end.
pub(crate) async fn run(global: &Global, args: RunArgs) -> anyhow::Result<Exit> {
    if args.dry_run {
        return dry_run::dry_run(global, &args.plan, DryRunPhase::Run, args.sample, args.accept).await;
    }
    let migration = terminal::open(global, &args.plan, args.yes)?.with_exports(exports(global, args.exports, false)?);
    let migration = migration.ignoring_health_checks(args.ignore_health_checks);
    let mut options = RunOptions::default();
    options.again = args.again;
    options.restart = args.restart;
    options.accept = args.accept;
    let mut words = "run".to_owned();
    words += if options.again { " --again" } else { "" };
    words += if options.restart { " --restart" } else { "" };
    words += &terminal::accept_options(&options.accept);
    let commands = terminal::commands(global, &args.plan);
    let outcome = Box::pin(migration.run(&options)).await?;
    let Some(report) = outcome.report() else {
        return report_without_run(global, &commands.render(&words), outcome.stopped());
    };
    match outcome.stopped() {
        _ if outcome.worked() => {}
        None => output::stderr(ALREADY_COMPLETE),
        Some(_) => output::warn(STOPPED_BEFORE_RUN),
    }
    // A stop determines the exit code, even if the stop came before the run began or after the run ended.
    let exit = Exit::from_run(report.open, report.stopped);
    let next = match report.stopped {
        // To resume a run that has begun, the next command needs no options. If the run has not begun, the next command
        // must repeat this command's options.
        Some(_) if outcome.worked() => Some(report.next()),
        Some(_) => Some(commands.render(&words)),
        None if report.open.failures > 0 => Some(commands.render(failures_command(migration.state_path()).await)),
        None => None,
    };
    let next_step = match next {
        Some(command) => Some(NextStep::now(command)),
        None => NextStep::find(&migration, &commands).await.map(|next| next.look_first(&commands)),
    };
    let command_result = CommandResult::from_exit_or_stop(exit, report.stopped).next_step(next_step.as_ref());
    output::write_result(
        global,
        &command_result,
        || report.to_json(exit as u8),
        |out| {
            report.write(out)?;
            next_step.iter().try_for_each(|next| next.write(out))
        },
    )
}

/// Reports the result of a command if the state file records no run.
fn report_without_run(global: &Global, next: &str, stopped: Option<&StopReason>) -> anyhow::Result<Exit> {
    match stopped {
        Some(reason) => output::report_stop(global, reason, next),
        None => output::write_result(global, &CommandResult::done(), || json!({ "type": "stopped" }), |_| Ok(())),
    }
}

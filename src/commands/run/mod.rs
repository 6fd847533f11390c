//! `run`: the expand phase, new or resumed, and its dry run.

pub(crate) mod dry_run;

use crate::cli::{Global, RunArgs};
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::migration::{DryRunOf, RunOptions};

const COMPLETE: &str = "this run is complete already: nothing was written. Another pass begins with --again";

const NOT_BEGUN: &str = "stopped before the run began, and nothing was written. This is the run before it:";

/// Runs a plan from where it is to its end.
pub(crate) async fn run(global: &Global, args: RunArgs) -> anyhow::Result<Exit> {
    if args.dry_run {
        return dry_run::dry_run(global, &args.plan, DryRunOf::Run, args.sample, args.accept).await;
    }
    let migration = terminal::open(global, &args.plan, args.yes)?;
    let mut options = RunOptions::default();
    (options.again, options.restart, options.accept) = (args.again, args.restart, args.accept);
    let outcome = Box::pin(migration.run(&options)).await?;
    let Some(report) = outcome.report() else {
        return Ok(outcome.stopped().map_or(Exit::Done, output::stopped));
    };
    match outcome.stopped() {
        _ if outcome.worked() => {}
        None => output::stderr(COMPLETE),
        Some(_) => output::stderr(NOT_BEGUN),
    }
    // What stopped it after its own end, or before it began, is its exit code too.
    let exit = Exit::of_run(report.open, report.stopped);
    output::result(global, || report.to_json(exit as u8), |out| report.write(out));
    Ok(exit)
}

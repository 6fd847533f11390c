//! `check`: parses and validates the plan, and checks it against the table. Changes nothing.

use crate::cli::{CheckArgs, Global};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::clock::to_text;
use backfill::internals::migration::CheckOptions;

/// Checks a plan. If the table is unreachable, prints the results of the checks that need no table, and then the error.
pub(crate) async fn check(global: &Global, args: CheckArgs) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, &args.plan, false)?;
    let fingerprint = migration.plan().fingerprint();
    output::stderr(&format!("plan {} is valid (fingerprint {})", args.plan.display(), fingerprint.short()));
    let mut options = CheckOptions::default();
    options.sample = args.sample;
    options.finish_in = args.finish_in;
    options.accept = args.accept;
    let outcome = Box::pin(migration.check(&options)).await?;
    let report = outcome.report();
    if let Some(reason) = outcome.stopped() {
        output::warn(&format!("the sample was stopped: {reason}. The estimate uses the table's description"));
    }
    let found = if report.refuses() { Exit::Refused } else { Exit::Done };
    let command_result = match report.refuses() {
        true => CommandResult::from_exit_or_stop(found, outcome.stopped()),
        false => CommandResult::from_exit_or_stop(found, outcome.stopped())
            .next(report.next())
            .not_before(report.not_before().map(to_text)),
    };
    output::write_result(global, &command_result, || report.to_json(), |out| report.write(out))
}

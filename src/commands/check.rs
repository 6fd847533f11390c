//! `check`: parse, validate, and ask the table. Nothing is changed.

use crate::cli::{CheckArgs, Global};
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::migration::CheckOptions;

/// Checks a plan. If the table cannot be reached, what could be checked without it is printed before the error.
pub(crate) async fn check(global: &Global, args: CheckArgs) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, &args.plan, false)?;
    let fingerprint = migration.plan().fingerprint();
    output::stderr(&format!("plan {} is valid (fingerprint {})", args.plan.display(), fingerprint.short()));
    let mut options = CheckOptions::default();
    (options.sample, options.finish_in, options.accept) = (args.sample, args.finish_in, args.accept);
    let outcome = Box::pin(migration.check(&options)).await?;
    let report = outcome.report();
    output::result(global, || report.to_json(), |out| report.write(out));
    if let Some(reason) = outcome.stopped() {
        output::stderr(&format!("the sample was stopped: {reason}. The estimate is from the table's description"));
        return Ok(Exit::of_stop(reason));
    }
    Ok(if report.refuses() { Exit::Refused } else { Exit::Done })
}

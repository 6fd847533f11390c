//! `--dry-run` of `run`, `contract` and `rollback`: the whole pipeline but the writes, over the table or a sample of it.

use std::path::Path;

use crate::cli::Global;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::migration::{DryRunOf, DryRunOptions};
use backfill::internals::preflight::{Accept, SampleSize};

/// Counts what the command would do, and says what the preflight found; refuses nothing.
pub(crate) async fn dry_run(
    global: &Global,
    plan: &Path,
    of: DryRunOf,
    sample: Option<SampleSize>,
    accept: Vec<Accept>,
) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, plan, false)?;
    let mut options = DryRunOptions::default();
    (options.of, options.sample, options.accept) = (of, sample, accept);
    let outcome = Box::pin(migration.dry_run(&options)).await?;
    let report = outcome.report();
    output::result(global, || report.to_json(), |out| report.write(out));
    Ok(outcome.stopped().map_or(Exit::Done, Exit::of_stop))
}

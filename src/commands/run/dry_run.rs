//! `--dry-run` of `run`, `contract` and `rollback`: runs the whole pipeline except the writes, on the table or on a
//! sample of it.

use std::path::Path;

use crate::cli::Global;
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::clock::to_text;
use backfill::internals::migration::{DryRunOptions, DryRunPhase};
use backfill::internals::preflight::{Acceptance, SampleSize};

/// Counts the changes that the command would make, and reports the preflight findings. Findings never prevent a dry
/// run. The exit code is 4 if the dry run finds items that would fail, and 5 if it finds only items that would count as
/// diverged. The limits of the plan and the findings of the preflight do not change the exit code.
pub(crate) async fn dry_run(
    global: &Global,
    plan: &Path,
    of: DryRunPhase,
    sample: Option<SampleSize>,
    accept: Vec<Acceptance>,
) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, plan, false)?;
    let mut options = DryRunOptions::default();
    options.of = of;
    options.sample = sample;
    options.accept = accept;
    let outcome = Box::pin(migration.dry_run(&options)).await?;
    let report = outcome.report();
    let command_result = CommandResult::predicted(report.open_work(), outcome.stopped(), outcome.plan_may_change())
        .next(report.next.map(ToOwned::to_owned))
        .not_before(report.not_before.map(to_text));
    output::write_result(global, &command_result, || report.to_json(), |out| report.write(out))
}

//! `contract`: removes the old attribute.

use crate::cli::{ContractArgs, Global};
use crate::commands::rollback::report;
use crate::commands::run::dry_run::dry_run;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::exports::exports;
use crate::commands::shared::terminal;
use backfill::internals::migration::DryRunPhase;

/// Starts to remove the old attribute, or resumes the removal.
pub(crate) async fn contract(global: &Global, args: ContractArgs) -> anyhow::Result<Exit> {
    if args.phase.dry_run {
        return dry_run(global, &args.phase.plan, DryRunPhase::Contract, None, args.confirm.accept).await;
    }
    let step_args = args.step_args();
    let migration = terminal::open(global, &args.phase.plan, step_args.yes)?;
    let migration = migration.with_exports(exports(global, args.phase.exports, false)?);
    let migration = migration.ignoring_health_checks(args.ignore_health_checks);
    let outcome = Box::pin(migration.contract(&terminal::step_options(&step_args))).await?;
    report(global, &outcome, "contract", &args.phase.plan, true)
}

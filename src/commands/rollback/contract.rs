//! `contract`: removes the old attribute.

use crate::cli::{ContractArgs, Global};
use crate::commands::rollback::report;
use crate::commands::run::dry_run::dry_run;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::terminal;
use backfill::internals::migration::DryRunOf;

/// Starts to remove the old attribute, or resumes the removal.
pub(crate) async fn contract(global: &Global, args: ContractArgs) -> anyhow::Result<Exit> {
    if args.on.dry_run {
        return dry_run(global, &args.on.plan, DryRunOf::Contract, None, args.go.accept).await;
    }
    let decide = args.decide();
    let migration = terminal::open(global, &args.on.plan, decide.yes)?;
    let outcome = Box::pin(migration.contract(&terminal::step_options(&decide))).await?;
    report(global, &outcome, "contract", &args.on.plan)
}

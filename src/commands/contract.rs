//! `contract`: the old attribute goes.

use super::conduct::{Conducted, Pursuit, said};
use super::dry_run::dry_run_of;
use super::exit::Exit;
use super::rollback::report;
use super::target::Target;
use crate::cli::{ContractArgs, Global};
use backfill::internals::playbook::{Goal, Phase};
use backfill::internals::preflight::check_begun_plan;

/// Removes the old attribute, or goes on with it.
pub(super) async fn contract(global: &Global, args: ContractArgs) -> anyhow::Result<Exit> {
    if args.on.dry_run {
        return dry_run_of(global, &args.on.plan, Phase::Contract, &args.go.accept).await;
    }
    let decide = args.decide();
    let target = Box::pin(Target::open(global, &args.on.plan, check_begun_plan)).await?;
    let question = format!("Remove the old attribute from {} now? There is no way back.", target.description.arn);
    let mut pursuit = Pursuit::of(Goal::Contract, &decide, question);
    let mut conducted = Box::pin(Conducted::prepared(target, said(&decide), &mut pursuit)).await?;
    let (swept, stopped) = Box::pin(conducted.pursue(pursuit)).await?;
    let exit = report(global, &conducted, "contract", &swept, stopped.as_ref()).await?;
    conducted.close().await?;
    Ok(exit)
}

//! `contract`: the old attribute goes.

use super::conduct::{Conducted, said};
use super::exit::Exit;
use super::rollback::report;
use crate::cli::{ContractArgs, Global};
use crate::playbook::Goal;

/// Removes the old attribute, or goes on with it.
pub(super) async fn contract(global: &Global, args: ContractArgs) -> anyhow::Result<Exit> {
    let mut conducted = Conducted::open(global, &args.plan, said(&args.decide)).await?;
    let table = conducted.target.description.arn.clone();
    let question = format!("Remove the old attribute from {table} now? There is no way back.");
    let (swept, stopped) = conducted.pursue(Goal::Contract, &args.decide, &question).await?;
    let exit = report(global, &conducted, "contract", &swept, stopped.as_ref());
    conducted.close().await?;
    Ok(exit)
}

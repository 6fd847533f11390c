//! `run`: the expand phase, new or resumed. A dry run of it is in `dry_run.rs`.

use super::conduct::{Conducted, Pursuit, said};
use super::dry_run;
use super::exit::{Exit, Refusal};
use super::preflight::{Read, is_complete, preflight, recorded};
use super::run_report::finish;
use super::target::Target;
use crate::cli::{Decide, Global, RunArgs};
use backfill::internals::migration::{Came, Said};
use backfill::internals::playbook::Goal;
use backfill::internals::preflight::check_plan;
use backfill::internals::state::phase::EXPAND;

const NOT_YET_AGAIN: &str = "another pass can be made only after a complete one. Nothing was written. Start it without \
                             --again, to begin or to resume";

/// Runs a plan.
pub(super) async fn run(global: &Global, args: RunArgs) -> anyhow::Result<Exit> {
    let target = Box::pin(Target::open(global, &args.plan, check_plan)).await?;
    if args.dry_run {
        dry_run::dry_run(global, &args, &target).await
    } else {
        Box::pin(expand(global, &args, target)).await
    }
}

/// Runs the plan's expand phase on its table, from where it is to its end.
pub(super) async fn expand(global: &Global, args: &RunArgs, target: Target) -> anyhow::Result<Exit> {
    // Before the state file is made: a run that is refused leaves no trace.
    let accepted = hold(args, &target).await?;
    if args.again && !recorded(&target, EXPAND).await.is_some_and(|(run, _)| is_complete(&run) || run.pass > 1) {
        return Err(Refusal::error(Exit::Refused, NOT_YET_AGAIN));
    }
    let decide = Decide { yes: args.yes, accept: args.accept.clone(), ..Decide::default() };
    let goal = Goal::Run { again: args.again || args.restart };
    let pursuit = Pursuit::of(goal, &decide, format!("Write to {} now?", target.description.arn));
    let mut pursuit = Pursuit { held: Some(accepted.clone()), restart: args.restart, ..pursuit };
    let said = Said { accepted, ..said(&decide) };
    let mut conducted = Box::pin(Conducted::prepared(target, said, &mut pursuit)).await?;
    let (swept, stopped) = Box::pin(conducted.pursue(pursuit)).await?;
    let ended = swept.into_iter().rev().find_map(|swept| match swept.came {
        Some(Came::Worked(ended)) => Some(*ended),
        Some(Came::Verified(_) | Came::Retried(_)) | None => None,
    });
    finish(global, conducted, ended, stopped).await
}

/// The preflight of a new or resumed run: what was accepted of it. None is held where the run is complete and nothing will
/// be written.
async fn hold(args: &RunArgs, target: &Target) -> anyhow::Result<Vec<String>> {
    let job = target.job()?;
    let recorded = recorded(target, EXPAND).await.filter(|_| !args.restart);
    if recorded.as_ref().is_some_and(|(run, _)| is_complete(run)) && !args.again {
        return Ok(Vec::new());
    }
    let mut accepted = args.accept.clone();
    accepted.extend(recorded.filter(|(run, _)| run.can_be_resumed()).into_iter().flat_map(|(_, accepted)| accepted));
    let found = preflight(target, &job, Read::Nothing, accepted).await;
    found.hold()?;
    found.tell();
    Ok(found.to_record())
}

//! `run`: the expand phase, new or resumed. A dry run of it is in `dry_run.rs`.

use super::conduct::{Conducted, said};
use super::confirm::confirm;
use super::exit::{Exit, Refusal};
use super::preflight::{Read, is_complete, preflight, recorded};
use super::run_report::{finish, subject};
use super::target::Target;
use super::{dry_run, output};
use crate::checkpoint::phase::EXPAND;
use crate::cli::{Decide, Global, RunArgs};
use crate::clock::to_text;
use crate::conduct::{Advance, Begins, Came, Said};
use crate::playbook::{Goal, Phase};

const NOT_YET_AGAIN: &str = "another pass can be made only after a complete one. Nothing was written. Start it without \
                             --again, to begin or to resume";

/// Runs a plan.
pub(super) async fn run(global: &Global, args: RunArgs) -> anyhow::Result<Exit> {
    let target = Box::pin(Target::open(global, &args.plan)).await?;
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
    let said = Said { accepted: accepted.clone(), ..said(&Decide::default()) };
    let mut conducted = Box::pin(Conducted::of(target, said)).await?;
    let current = conducted.conductor.store.current_run(EXPAND).await?;
    if args.again && !current.is_some_and(|run| is_complete(&run) || run.pass > 1) {
        return Err(Refusal::error(Exit::Refused, NOT_YET_AGAIN));
    }
    let (mut restart, mut ended, mut stopped) = (args.restart, None, None);
    let goal = Goal::Run { again: args.again || args.restart };
    loop {
        match conducted.advance(goal).await? {
            Advance::Done => break,
            Advance::Recorded | Advance::Changed(_) | Advance::Confirm => {}
            Advance::Preflight => {
                conducted.conductor.accept(accepted.clone()).await?;
            }
            Advance::Wait(until) => {
                output::stderr(&format!("waiting  for the cutover flag to settle, until {}", to_text(until)));
                if !conducted.conductor.wait(until).await {
                    return Ok(conducted.conductor.stop.reason().map_or(Exit::Unexpected, Exit::of_stop));
                }
            }
            Advance::Sweep(phase) => {
                begin(&conducted, args, restart).await?;
                let swept = conducted.conductor.sweep(phase, restart).await?;
                restart = false;
                if let Some(Came::Worked(came)) = swept.came {
                    ended = Some(came);
                }
                if swept.stopped.is_some() {
                    stopped = swept.stopped;
                    break;
                }
            }
        }
    }
    finish(global, conducted, ended.map(|ended| *ended), stopped).await
}

/// Says what begins, and asks, where it is new.
async fn begin(conducted: &Conducted, args: &RunArgs, restart: bool) -> anyhow::Result<()> {
    let target = &conducted.target;
    let resumed = match conducted.conductor.begins(Phase::Expand).await? {
        Begins::Resumes(run) if !restart => Some(run),
        Begins::Ended(_) if !restart => return Ok(()),
        _ => None,
    };
    output::stderr(&subject(target).header(&target.resolved, resumed.as_deref()));
    if resumed.is_none() {
        confirm(args.yes, &format!("Write to {} now?", target.description.arn))?;
    }
    Ok(())
}

/// The preflight of a new or resumed run: what was accepted of it. None is held where the run is complete and nothing will
/// be written.
async fn hold(args: &RunArgs, target: &Target) -> anyhow::Result<Vec<String>> {
    let job = target.job()?;
    let recorded = recorded(target, EXPAND).filter(|_| !args.restart);
    if recorded.as_ref().is_some_and(|(run, _)| is_complete(run)) && !args.again {
        return Ok(Vec::new());
    }
    let mut accepted = args.accept.clone();
    accepted.extend(recorded.filter(|(run, _)| run.is_unfinished()).into_iter().flat_map(|(_, accepted)| accepted));
    let found = preflight(target, &job, Read::Nothing, accepted).await;
    found.hold()?;
    found.tell();
    Ok(found.to_record())
}

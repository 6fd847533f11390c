//! `run`: the expand phase, new or resumed. A dry run of it is in `dry_run.rs`.

use super::confirm::confirm;
use super::exit::{Exit, Refusal};
use super::preflight::{Preflight, Read, is_complete, preflight, recorded};
use super::target::Target;
use super::{dry_run, output, signals};
use crate::checkpoint::store::{Begin, NewRun};
use crate::checkpoint::{RunStatus, phase};
use crate::cli::{Global, RunArgs};
use crate::engine::{Ended, Job};
use crate::telemetry::{RunReport, Subject, display};

/// The phase that `run` works on.
pub(super) const PHASE: &str = phase::EXPAND;

const NOT_YET_AGAIN: &str = "another pass can be made only after a complete one. Nothing was written. Start it without \
                             --again, to begin or to resume";

/// Runs a plan.
pub(super) async fn run(global: &Global, args: RunArgs) -> anyhow::Result<Exit> {
    let target = Target::open(global, &args.plan).await?;
    if args.dry_run { dry_run::dry_run(global, &args, &target).await } else { expand(global, &args, &target).await }
}

/// Runs the plan's expand phase on its table, from where it is to its end.
pub(super) async fn expand(global: &Global, args: &RunArgs, target: &Target) -> anyhow::Result<Exit> {
    let job = target.job()?;
    // Before the state file is made: a run that is refused leaves no trace.
    let found = hold(args, target, &job).await?;
    let store = target.open_store()?;
    let current = store.current_run(PHASE).await?;
    let how = match (args.again, args.restart) {
        (true, _) => Begin::Again,
        (_, true) => Begin::Restart,
        _ => Begin::ResumeOrNew,
    };
    let complete = current.as_ref().filter(|run| run.status == RunStatus::Complete);
    if let Some(run) = complete.filter(|_| how == Begin::ResumeOrNew) {
        let (totals, open) = (&store.totals(run.id).await?, store.open_work(Some(run.id)).await?);
        output::stderr("this run is complete already: nothing was written. Another pass begins with --again");
        let (subject, spend) = (subject(target), &store.spend(run.id).await?);
        return Ok(report(global, &RunReport { subject, run, totals, spend, throttles: &[], open, stopped: None }));
    }
    let resumed = current.as_ref().filter(|run| match how {
        Begin::ResumeOrNew => run.is_unfinished(),
        Begin::Again => run.is_unfinished() && run.pass > 1,
        Begin::Restart => false,
    });
    if complete.or(resumed).is_none() && how == Begin::Again {
        return Err(Refusal::error(Exit::Refused, NOT_YET_AGAIN));
    }
    output::stderr(&subject(target).header(&target.resolved, resumed));
    if resumed.is_none() {
        confirm(args.yes, &format!("Write to {} now?", target.description.arn))?;
    }
    let new = NewRun {
        phase: PHASE.into(),
        total_segments: job.segments().segments,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        table_items_estimate: Some(target.description.item_count),
    };
    signals::listen(job.stop.clone())?;
    let session = store.begin(how, new).await?;
    store.accept(session.run.id, found.map_or_else(Vec::new, |found| found.to_record())).await?;
    let before = store.totals(session.run.id).await?;
    let line = display::Line::show(job.watched(session.run.total_segments, Some(&before)));
    let ended = job.work(&store, &session).await;
    line.clear().await;
    let ended = ended?;
    store.close().await?;
    let Ended { run, totals, spend, throttles, open, stopped } = &ended;
    let (subject, stopped) = (subject(target), stopped.as_ref());
    Ok(report(global, &RunReport { subject, run, totals, spend, throttles, open: *open, stopped }))
}

/// The preflight of a new or resumed run; none where the run is complete and nothing will be written.
async fn hold(args: &RunArgs, target: &Target, job: &Job) -> anyhow::Result<Option<Preflight>> {
    let recorded = recorded(target, PHASE).filter(|_| !args.restart);
    if recorded.as_ref().is_some_and(|(run, _)| is_complete(run)) && !args.again {
        return Ok(None);
    }
    let mut accepted = args.accept.clone();
    accepted.extend(recorded.filter(|(run, _)| run.is_unfinished()).into_iter().flat_map(|(_, accepted)| accepted));
    let found = preflight(target, job, Read::Nothing, accepted).await;
    found.hold()?;
    found.tell();
    Ok(Some(found))
}

fn report(global: &Global, report: &RunReport<'_>) -> Exit {
    let exit = Exit::of_run(report.open, report.stopped);
    output::result(global, || report.to_json(exit as u8), |out| report.write(out));
    exit
}

pub(super) fn subject(target: &Target) -> Subject<'_> {
    let Target { plan, path, state, description, advice, .. } = target;
    Subject { plan, plan_path: path, state_path: state, table: description, advice: *advice }
}

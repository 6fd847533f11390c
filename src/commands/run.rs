//! `run`: the expand phase, new or resumed, or a dry run of it.

use std::sync::Arc;

use super::confirm::confirm;
use super::exit::{Exit, Refusal};
use super::target::Target;
use super::{output, signals};
use crate::checkpoint::store::{Begin, NewRun};
use crate::checkpoint::{RunStatus, phase};
use crate::cli::{Global, RunArgs};
use crate::engine::{DryRun, Ended, LocalScheduler, Reading, sweep};
use crate::telemetry::{RunReport, Subject, display};

/// The phase that `run` works on.
pub(super) const PHASE: &str = phase::EXPAND;

const NOT_YET_AGAIN: &str = "another pass can be made only after a complete one. Nothing was written. Start it without \
                             --again, to begin or to resume";

/// Runs a plan.
pub(super) async fn run(global: &Global, args: RunArgs) -> anyhow::Result<Exit> {
    let target = Target::open(global, &args.plan).await?;
    if args.dry_run { dry_run(global, &target).await } else { expand(global, &args, &target).await }
}

/// Runs the plan's expand phase on its table, from where it is to its end.
pub(super) async fn expand(global: &Global, args: &RunArgs, target: &Target) -> anyhow::Result<Exit> {
    let job = target.job()?;
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

async fn dry_run(global: &Global, target: &Target) -> anyhow::Result<Exit> {
    let job = target.job()?;
    let segments = job.segments().segments;
    signals::listen(job.stop.clone())?;
    let line = display::Line::show(job.watched(segments, None));
    let handler = Arc::new(DryRun::new(job.changes.clone(), job.requests()));
    // Nothing is written, so no collection takes long enough for an early start to pay for the survey's reads.
    let reading = Reading { survey: None, ..job.reading(segments) };
    sweep(reading, &LocalScheduler::new(segments), &job.requests(), handler.clone()).await;
    line.clear().await;
    let (found, stopped, subject) = (handler.prediction(), job.stop.reason(), subject(target));
    output::result(global, || subject.dry_run_json(&found, stopped), |out| subject.write_dry_run(out, &found, stopped));
    Ok(stopped.map_or(Exit::Done, Exit::of_stop))
}

fn report(global: &Global, report: &RunReport<'_>) -> Exit {
    let exit = Exit::of_run(report.open, report.stopped);
    output::result(global, || report.to_json(exit as u8), |out| report.write(out));
    exit
}

fn subject(target: &Target) -> Subject<'_> {
    let Target { plan, path, state, description, advice, .. } = target;
    Subject { plan, plan_path: path, state_path: state, table: description, advice: *advice }
}

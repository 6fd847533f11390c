//! `run`: the expand phase, new or resumed, or a dry run of it.

use std::io::{BufRead as _, IsTerminal as _};
use std::sync::Arc;

use super::exit::{Exit, Refusal};
use super::target::{Target, state_path};
use super::{output, report, signals};
use crate::checkpoint::RunStatus;
use crate::checkpoint::store::{Begin, NewRun, RunRecord, Store};
use crate::cli::{Global, RunArgs};
use crate::engine::{DryRun, Job, LocalScheduler, auto_segments, sweep};
use crate::telemetry::display;

/// The phase that `run` works on.
pub(super) const PHASE: &str = "expand";

/// Runs a plan.
pub(super) async fn run(global: &Global, args: RunArgs) -> anyhow::Result<Exit> {
    let target = Target::open(global, &args.plan).await?;
    if args.dry_run { dry_run(global, target).await } else { expand(global, args, target).await }
}

/// Runs the plan's expand phase on its table.
pub(super) async fn expand(global: &Global, args: RunArgs, target: Target) -> anyhow::Result<Exit> {
    let changes = target.changes()?;
    let state = state_path(global, &target.plan);
    let store = Store::open(&state, &target.identity(), crate::clock::now)?;
    let current = store.current_run(PHASE).await?;
    let how = match (args.again, args.restart) {
        (true, _) => Begin::Again,
        (_, true) => Begin::Restart,
        _ => Begin::ResumeOrNew,
    };
    if let Some(done) = current.as_ref().filter(|r| r.status == RunStatus::Complete && how == Begin::ResumeOrNew) {
        return report::nothing_left(global, &target, &store, done).await;
    }
    let resumes = how == Begin::ResumeOrNew && current.as_ref().is_some_and(RunRecord::is_unfinished);
    output::stderr(&report::header(&target, &state, current.as_ref().filter(|_| resumes)));
    if !resumes {
        confirm(&args, &target)?;
    }
    let segments = target.plan.scan.segments.unwrap_or_else(|| auto_segments(target.description.size_bytes));
    let new = NewRun {
        phase: PHASE.into(),
        total_segments: segments,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        table_items_estimate: Some(target.description.item_count),
    };
    let session = store.begin(how, new).await?;
    let job = Job::new(target.plan.clone(), changes, target.table.clone(), target.description.clone(), target.budget);
    signals::listen(job.stop.clone())?;
    let before = store.totals(session.run.id).await?;
    let line = tokio::spawn(display::show(job.watched(session.run.total_segments, Some(&before))));
    let ended = job.expand(&store, &session).await;
    line.abort();
    // The bar is gone from the screen before anything else is written.
    let _ = line.await;
    let ended = ended?;
    let summary = store.close().await;
    let exit = report::ended(global, &target, &state, &ended);
    summary?;
    Ok(exit)
}

async fn dry_run(global: &Global, target: Target) -> anyhow::Result<Exit> {
    let changes = target.changes()?;
    let segments = target.plan.scan.segments.unwrap_or_else(|| auto_segments(target.description.size_bytes));
    let job =
        Job::new(target.plan.clone(), changes.clone(), target.table.clone(), target.description.clone(), target.budget);
    signals::listen(job.stop.clone())?;
    let line = tokio::spawn(display::show(job.watched(segments, None)));
    let handler = Arc::new(DryRun::new(changes, job.requests()));
    let scheduler = LocalScheduler::new(segments, Vec::new());
    sweep(job.reading(segments), &scheduler, &job.requests(), handler.clone()).await;
    line.abort();
    let _ = line.await;
    Ok(report::dry_run(global, &target, &handler.prediction(), job.stop.reason()))
}

/// A new run begins only when somebody said so.
fn confirm(args: &RunArgs, target: &Target) -> anyhow::Result<()> {
    if args.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Refusal::new(
            Exit::Usage,
            "a new run writes to the table, and nobody is here to confirm it. Nothing was written. Start it with --yes, or \
             look first with --dry-run",
        ));
    }
    output::stderr(&format!("Write to {} now? Type yes:", target.description.arn));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Refusal::new(Exit::Refused, "not confirmed. Nothing was written")),
    }
}

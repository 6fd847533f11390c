//! `run --dry-run`: the whole pipeline but the writes, over the table or over a sample of it.

use std::path::Path;
use std::sync::Arc;

use super::exit::Exit;
use super::preflight::{Read, preflight, recorded};
use super::run_report::subject;
use super::target::Target;
use super::{output, signals};
use crate::cli::{Global, RunArgs};
use backfill::internals::engine::{Job, LocalScheduler, Reading, sweep};
use backfill::internals::migration::{job_of, kind};
use backfill::internals::passes::{DryRun, Prediction};
use backfill::internals::playbook::{Goal, Kind, Next, Phase, Target as Step};
use backfill::internals::preflight::{Accept, Fits, SampleSize, check_begun_plan, check_way_back, sample};
use backfill::internals::state::phase::EXPAND;
use backfill::internals::state::{self, Identity};
use backfill::internals::telemetry::{DryRunReport, display};

/// Counts what a run would do, and says what the preflight found; refuses nothing.
pub(super) async fn dry_run(global: &Global, args: &RunArgs, target: &Target) -> anyhow::Result<Exit> {
    let recorded = recorded(target, EXPAND).await.filter(|(run, _)| run.can_be_resumed());
    let accepted: Vec<Accept> = args.accept.iter().copied().chain(recorded.into_iter().flat_map(|r| r.1)).collect();
    let job = target.job_accepting(&accepted)?;
    // With a flag, both are written first: what is inserted behind the scan has both, then.
    let begins = kind(&target.plan) == Kind::Flagged && !target.state.exists();
    let goal = if begins { Goal::CutoverTo(Step::DualWrite) } else { Goal::Run { again: false } };
    count(global, target, &job, goal, args.sample, &accepted).await
}

/// The same of a later phase, by what the state file has on record.
pub(super) async fn dry_run_of(global: &Global, plan: &Path, phase: Phase, accept: &[Accept]) -> anyhow::Result<Exit> {
    let fits: Fits = if phase == Phase::Contract { check_begun_plan } else { check_way_back };
    let target = Target::open(global, plan, fits).await?;
    let Target { plan, tables, description, resolved, .. } = &target;
    let mut job = job_of(phase, plan, tables, description, &resolved.budgets)?;
    let recorded = recorded(&target, EXPAND).await.into_iter().flat_map(|(_, accepted)| accepted);
    let accepted: Vec<Accept> = accept.iter().copied().chain(recorded).collect();
    if accepted.contains(&Accept::ClientEncryption) {
        job.edit_encrypted();
    }
    let file = state::read(&target.state)?;
    file.check_is_of(&Identity::of(plan, description)).await?;
    job.records = Some(file);
    let goal = if phase == Phase::Contract { Goal::Contract } else { Goal::Rollback };
    count(global, &target, &job, goal, None, &accepted).await
}

async fn count(
    global: &Global,
    target: &Target,
    job: &Job,
    goal: Goal,
    sample_of: Option<SampleSize>,
    accept: &[Accept],
) -> anyhow::Result<Exit> {
    signals::listen(job.stop.clone())?;
    let line = display::Line::show(job.watched(job.segments().segments, None));
    let (all, sampled) = match sample_of {
        None => (whole(job).await, None),
        Some(size) => (Prediction::default(), Some(sample(job, size, fastrand::u64(..)).await)),
    };
    line.clear().await;
    let sampled = sampled.transpose()?;
    let read = sampled.as_ref().map_or(Read::Whole(&all), Read::Part);
    let found = preflight(target, job, read, accept.to_vec()).await;
    found.tell();
    let stopped = job.stop.reason();
    let next = Next::from(goal).for_plan(&target.path.display().to_string());
    let pairs_unrecorded = match state::read(&target.state) {
        Ok(state) if goal == Goal::Rollback => state.pairs_unrecorded().await?,
        _ => false,
    };
    let report = DryRunReport {
        subject: subject(target),
        found: sampled.as_ref().map_or(&all, |sampled| &sampled.seen),
        estimate: &found.estimate,
        sampled: sampled.as_ref(),
        findings: &found.findings,
        accepted: &found.accepted,
        stopped,
        pairs_unrecorded,
        next: &next,
    };
    output::result(global, || report.to_json(), |out| report.write(out));
    Ok(stopped.map_or(Exit::Done, Exit::of_stop))
}

async fn whole(job: &Job) -> Prediction {
    let segments = job.segments().segments;
    let handler = Arc::new(DryRun::new(job));
    // Nothing is written, so no collection takes long enough for an early start to pay for the survey's reads.
    let reading = Reading { survey: None, ..job.reading_only(segments) };
    sweep(reading, &LocalScheduler::new(segments), &job.requests(), handler.clone()).await;
    handler.prediction()
}

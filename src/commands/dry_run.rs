//! `run --dry-run`: the whole pipeline but the writes, over the table or over a sample of it.

use std::sync::Arc;

use super::exit::Exit;
use super::preflight::preflight;
use super::run::subject;
use super::target::Target;
use super::{output, signals};
use crate::cli::{Global, RunArgs};
use crate::engine::{DryRun, Job, LocalScheduler, Prediction, Reading, sweep};
use crate::preflight::{Sampled, estimate_of_sample, estimate_of_whole, sample};
use crate::telemetry::{DryRunReport, display};

/// What was read: everything, or a sample.
enum Read {
    Whole(Prediction),
    Part(Box<Sampled>),
}

/// Counts what a run would do, and says what the preflight found; refuses nothing.
pub(super) async fn dry_run(global: &Global, args: &RunArgs, target: &Target) -> anyhow::Result<Exit> {
    let job = target.job()?;
    let found = preflight(target, &job, None, args.accept.clone()).await;
    found.tell();
    signals::listen(job.stop.clone())?;
    let line = display::Line::show(job.watched(job.segments().segments, None));
    let read = match args.sample {
        None => Ok(Read::Whole(whole(&job).await)),
        Some(size) => sample(&job, size, fastrand::u64(..)).await.map(|sampled| Read::Part(Box::new(sampled))),
    };
    line.clear().await;
    let (seen, estimate, sampled) = match read? {
        Read::Whole(seen) => (seen.clone(), estimate_of_whole(&job, &seen), None),
        Read::Part(sampled) => (sampled.seen.clone(), estimate_of_sample(&job, &sampled), Some(sampled)),
    };
    let stopped = job.stop.reason();
    let report = DryRunReport {
        subject: subject(target),
        found: &seen,
        estimate: &estimate,
        sampled: sampled.as_deref(),
        findings: &found.findings,
        accepted: &found.accepted,
        stopped,
    };
    output::result(global, || report.to_json(), |out| report.write(out));
    Ok(stopped.map_or(Exit::Done, Exit::of_stop))
}

async fn whole(job: &Job) -> Prediction {
    let segments = job.segments().segments;
    let handler = Arc::new(DryRun::new(job.changes.clone(), job.requests()));
    // Nothing is written, so no collection takes long enough for an early start to pay for the survey's reads.
    let reading = Reading { survey: None, ..job.reading(segments) };
    sweep(reading, &LocalScheduler::new(segments), &job.requests(), handler.clone()).await;
    handler.prediction()
}

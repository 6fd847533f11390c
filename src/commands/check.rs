//! `check`: parse, validate, and ask the table. Nothing is changed.

use super::exit::Exit;
use super::preflight::{Read, preflight};
use super::target::{Target, read_plan};
use super::{output, signals};
use crate::cli::{CheckArgs, Global};
use backfill::internals::engine::auto_segments;
use backfill::internals::preflight::{CheckReport, Finish, Sampled, check_plan, sample};
use backfill::internals::ratelimit::Budgets;
use backfill::internals::telemetry::display;

/// Checks a plan. Where the table cannot be reached, what could be checked without it is said before the error.
pub(super) async fn check(global: &Global, args: CheckArgs) -> anyhow::Result<Exit> {
    let loaded = read_plan(global, &args.plan)?;
    let fingerprint = loaded.plan.fingerprint();
    output::stderr(&format!("plan {} is valid (fingerprint {})", args.plan.display(), fingerprint.short()));
    let target = Target::open(global, &args.plan, check_plan).await?;
    // A plan of which `run` would do nothing is refused here too.
    let job = target.job_accepting(&args.accept)?;
    let sampled: Option<Sampled> = match args.sample {
        None => None,
        Some(size) => {
            signals::listen(job.stop.clone())?;
            let line = display::Line::show(job.watched(job.segments().segments, None));
            let sampled = sample(&job, size, fastrand::u64(..)).await;
            line.clear().await;
            Some(sampled?)
        }
    };
    let read = sampled.as_ref().map_or(Read::Nothing, Read::Part);
    let found = preflight(&target, &job, read, args.accept).await;
    let (plan, table, budgets) = (&target.plan, &target.description, &target.resolved.budgets);
    let lanes = |budgets: &Budgets| auto_segments(&plan.scan, table, budgets).lanes();
    let finish = args.finish_in.map(|time| Finish::of(time, &found.estimate, plan, table, budgets, lanes));
    let report = CheckReport {
        plan: &target.plan,
        plan_path: &args.plan,
        state_path: &target.state,
        table: &target.description,
        resolved: &target.resolved,
        segments: &job.segments(),
        estimate: &found.estimate,
        finish: finish.as_ref(),
        findings: &found.findings,
        accepted: &found.accepted,
    };
    output::result(global, || report.to_json(), |out| report.write(out));
    if let Some(reason) = job.stop.reason() {
        output::stderr(&format!("the sample was stopped: {reason}. The estimate is from the table's description"));
        return Ok(Exit::of_stop(reason));
    }
    Ok(if report.refuses() { Exit::Refused } else { Exit::Done })
}

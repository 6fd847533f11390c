//! What `run` says when it begins, and prints in the end.

use std::collections::BTreeMap;

use super::conduct::Conducted;
use super::exit::Exit;
use super::output;
use super::target::Target;
use crate::cli::Global;
use backfill::internals::engine::{Ended, StopReason};
use backfill::internals::state::RunRecord;
use backfill::internals::state::phase::EXPAND;
use backfill::internals::telemetry::{RunReport, Subject};

const COMPLETE: &str = "this run is complete already: nothing was written. Another pass begins with --again";

const NOT_BEGUN: &str = "stopped before the run began, and nothing was written. This is the run before it:";

/// Says on what it works, and whether it begins or resumes.
pub(super) fn header(target: &Target, resumed: Option<&RunRecord>) {
    output::stderr(&subject(target).header(&target.resolved, resumed));
}

/// Reports the run as it is now. What stopped it after its own end, or before it began, is its exit code too.
pub(super) async fn finish(
    global: &Global,
    conducted: Conducted,
    ended: Option<Ended>,
    stopped: Option<StopReason>,
) -> anyhow::Result<Exit> {
    let store = &conducted.conductor.store;
    let Some(Ended { run, totals, spend, throttles, unusable_replies, open, .. }) = ended else {
        let Some(run) = store.current_run(EXPAND).await? else {
            conducted.close().await?;
            return Ok(stopped.as_ref().map_or(Exit::Done, output::stopped));
        };
        let (totals, open) = (store.totals(run.id).await?, store.open_work(Some(run.id)).await?);
        match &stopped {
            None => output::stderr(COMPLETE),
            Some(_) => output::stderr(NOT_BEGUN),
        }
        let (subject, spend) = (subject(&conducted.target), store.spend(run.id).await?);
        let (run, totals, spend) = (&run, &totals, &spend);
        let (throttles, unusable_replies) = (&[], &BTreeMap::new());
        let stopped = stopped.as_ref();
        let exit =
            report(global, &RunReport { subject, run, totals, spend, throttles, unusable_replies, open, stopped });
        conducted.close().await?;
        return Ok(exit);
    };
    let (subject, stopped) = (subject(&conducted.target), stopped.as_ref());
    let (run, totals, spend, throttles, unusable_replies) = (&run, &totals, &spend, &throttles, &unusable_replies);
    let exit = report(global, &RunReport { subject, run, totals, spend, throttles, unusable_replies, open, stopped });
    conducted.close().await?;
    Ok(exit)
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

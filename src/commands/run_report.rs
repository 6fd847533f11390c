//! What `run` says when it begins, and prints in the end.

use super::conduct::Conducted;
use super::exit::Exit;
use super::output;
use super::target::Target;
use crate::checkpoint::phase::EXPAND;
use crate::checkpoint::store::RunRecord;
use crate::cli::Global;
use crate::engine::Ended;
use crate::telemetry::{RunReport, Subject};

/// Says on what it works, and whether it begins or resumes.
pub(super) fn header(conducted: &Conducted, resumed: Option<&RunRecord>) {
    output::stderr(&subject(&conducted.target).header(&conducted.target.resolved, resumed));
}

/// Reports the run as it is now.
pub(super) async fn finish(global: &Global, conducted: Conducted, ended: Option<Ended>) -> anyhow::Result<Exit> {
    let store = &conducted.conductor.store;
    let Some(Ended { run, totals, spend, throttles, open, stopped }) = ended else {
        let Some(run) = store.current_run(EXPAND).await? else { return Ok(Exit::Done) };
        let (totals, open) = (store.totals(run.id).await?, store.open_work(Some(run.id)).await?);
        output::stderr("this run is complete already: nothing was written. Another pass begins with --again");
        let (subject, spend) = (subject(&conducted.target), store.spend(run.id).await?);
        let (run, totals, spend) = (&run, &totals, &spend);
        let exit = report(global, &RunReport { subject, run, totals, spend, throttles: &[], open, stopped: None });
        conducted.close().await?;
        return Ok(exit);
    };
    let (subject, stopped) = (subject(&conducted.target), stopped.as_ref());
    let (run, totals, spend, throttles) = (&run, &totals, &spend, &throttles);
    let exit = report(global, &RunReport { subject, run, totals, spend, throttles, open, stopped });
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

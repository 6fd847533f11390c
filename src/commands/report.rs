//! What `run` says before it begins and when it has ended.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::exit::Exit;
use super::output;
use super::target::Target;
use crate::change::Outcome;
use crate::checkpoint::store::{RunRecord, SegmentTotals, Store};
use crate::cli::Global;
use crate::engine::{Ended, Prediction, StopReason};
use crate::telemetry::{number, write_counts, write_prediction};

/// Account, table, state path, and whether the run starts anew or resumes.
pub(super) fn header(target: &Target, state: &Path, resumed: Option<&RunRecord>) -> String {
    let table = &target.description;
    let begins = match resumed {
        Some(run) => format!("resumes run {} (begun {}, {} sessions so far)", run.id.0, run.started_at, run.sessions),
        None => "starts a new run".to_owned(),
    };
    format!(
        "account  {}\ntable    {}\nplan     {}\nstate    {}\nbudget   {} WCU/s ({}), {} RCU/s ({})\nthis     {begins}",
        table.account(),
        table.arn,
        target.plan.meaning(),
        state.display(),
        target.budget.write,
        target.write_basis.text(),
        target.budget.read,
        target.read_basis.text(),
    )
}

/// The run was complete before it began.
pub(super) async fn nothing_left(
    global: &Global,
    target: &Target,
    store: &Store,
    run: &RunRecord,
) -> anyhow::Result<Exit> {
    let totals = store.totals(run.id).await?;
    let exit = exit_of(&totals, None);
    let plan = target.path.display();
    output::result(
        global,
        || run_json(target, run, &totals, None, exit),
        |out| {
            let _ = writeln!(out, "Run {} is already complete: nothing was written.", run.id.0);
            let _ = write_counts(out, &totals.counts, run.lower_bound);
            let _ = writeln!(out, "Another pass over the table: backfill run {plan} --again");
        },
    );
    Ok(exit)
}

/// A session has ended.
pub(super) fn ended(global: &Global, target: &Target, state: &Path, ended: &Ended) -> Exit {
    let Ended { run, totals, stopped } = ended;
    let exit = exit_of(totals, stopped.as_ref());
    let plan = target.path.display();
    output::result(
        global,
        || run_json(target, run, totals, stopped.as_ref(), exit),
        |out| {
            let _ = match stopped {
                None => writeln!(out, "Run {} is complete: {} segments.", run.id.0, number(totals.done.into())),
                Some(reason) => writeln!(
                    out,
                    "Run {} stopped: {reason}.\nWhat is counted here is committed; {} of {} segments are done.",
                    run.id.0,
                    number(totals.done.into()),
                    number(run.total_segments.into())
                ),
            };
            let _ = write_counts(out, &totals.counts, run.lower_bound);
            if totals.counts.failures() + totals.counts.of(Outcome::Diverged) > 0 {
                let _ = writeln!(out, "Their keys: backfill failures {plan} list --state {}", state.display());
            }
            let _ = match stopped {
                None => writeln!(
                    out,
                    "Complete only if every writer dual-wrote since {}; if not, `backfill run {plan} --again` makes another \
                     pass, until one applies nothing.",
                    run.started_at
                ),
                Some(_) => writeln!(out, "It goes on from here with: backfill run {plan} --state {}", state.display()),
            };
        },
    );
    exit
}

/// A dry run has ended.
pub(super) fn dry_run(global: &Global, target: &Target, found: &Prediction, stopped: Option<&StopReason>) -> Exit {
    let exit = stopped.map_or(Exit::Done, Exit::of_stop);
    output::result(
        global,
        || {
            json!({
                "type": "dry_run", "table_arn": target.description.arn, "fingerprint": target.plan.fingerprint().as_str(),
                "complete": stopped.is_none(), "stopped": stopped.map(ToString::to_string),
                "scanned": found.scanned, "would_change": found.would_change, "already_applied": found.already_applied,
                "nothing_to_do": found.nothing_to_do, "diverged": found.diverged, "rejected": found.rejected,
                "would_exceed_400_kb": found.would_exceed, "estimated_write_units": found.write_units,
                "read_units": found.read_units,
                "shapes": found.shapes.iter()
                    .map(|s| json!({ "before": s.before, "after": s.after, "items": s.items })).collect::<Vec<_>>(),
            })
        },
        |out| {
            let _ = match stopped {
                None => writeln!(out, "Dry run of {}: nothing was written.", target.plan.meaning()),
                Some(reason) => writeln!(out, "Dry run stopped: {reason}. These figures are of a part of the table."),
            };
            let _ = write_prediction(out, found);
            let _ = writeln!(out, "Next: backfill run {}", target.path.display());
        },
    );
    exit
}

fn exit_of(totals: &SegmentTotals, stopped: Option<&StopReason>) -> Exit {
    match stopped {
        Some(reason) => Exit::of_stop(reason),
        None if totals.counts.failures() > 0 => Exit::Failures,
        None if totals.counts.of(Outcome::Diverged) > 0 => Exit::Mismatch,
        None => Exit::Done,
    }
}

fn run_json(
    target: &Target,
    run: &RunRecord,
    totals: &SegmentTotals,
    stopped: Option<&StopReason>,
    exit: Exit,
) -> Json {
    json!({
        "type": "run", "table_arn": target.description.arn, "fingerprint": target.plan.fingerprint().as_str(),
        "run": run, "totals": totals, "stopped": stopped.map(ToString::to_string), "exit_code": exit as u8,
    })
}

//! `status`: where a migration stands and how far a run is, from the state file alone.

use std::io::Write as _;

use serde_json::json;

use super::exit::Exit;
use super::output;
use super::standing::{standing_json, write_standing};
use super::target::{read_plan, state_path};
use crate::checkpoint::phase::EXPAND;
use crate::checkpoint::store::{StateFile, StateSummary};
use crate::cli::{Global, PlanArgs};
use crate::clock::wall;
use crate::conduct::known;
use crate::plan::Limits;
use crate::telemetry::{KeptBudgets, number, write_counts, write_spend};

const LOOKED_THROUGH: &str = "ended; pages that it had not read are only looked at since, and counted, but not written";

/// Prints the state of the plan's migration.
pub(super) fn status(global: &Global, args: PlanArgs) -> anyhow::Result<Exit> {
    let loaded = read_plan(global, &args.plan)?;
    let file = StateFile::open(&state_path(global, &loaded.plan))?;
    let summary = file.summary()?;
    let fingerprint = loaded.plan.fingerprint();
    let same_plan = summary.identity.fingerprint == fingerprint.as_str();
    let known = known(&file, &summary, &loaded.plan, wall()())?;
    let budgets = KeptBudgets::of(&file, summary.current.as_ref().map(|current| &current.run))?;
    let path = args.plan.display().to_string();
    let options = global.state.as_ref().map_or_else(String::new, |state| format!(" --state {}", state.display()));
    output::result(
        global,
        || {
            json!({ "type": "status", "state": summary, "plan_fingerprint": fingerprint.as_str(), "same_plan": same_plan,
                    "budgets": budgets.as_ref().map(KeptBudgets::to_json), "playbook": standing_json(&known, &path, &options) })
        },
        |out| {
            write_status(out, &summary, &loaded.plan.limits)?;
            budgets.iter().try_for_each(|budgets| budgets.write(out))?;
            write_standing(out, &known, &path, &options)?;
            if !same_plan {
                writeln!(out, "note: the plan file has changed since: this state is of another plan.")?;
            }
            Ok(())
        },
    );
    Ok(Exit::Done)
}

fn write_status(out: &mut Vec<u8>, state: &StateSummary, limits: &Limits) -> std::io::Result<()> {
    writeln!(out, "migration {} on {}", state.identity.migration, state.identity.table_arn)?;
    writeln!(out, "  {}", state.identity.meaning)?;
    let Some(current) = &state.current else {
        return writeln!(out, "  no run yet");
    };
    let run = &current.run;
    let standing = match (&state.holder, current.died) {
        (_, died) if run.looked_through && (died || !run.open_session) => LOOKED_THROUGH.to_owned(),
        (_, true) if run.phase == EXPAND => "its process died; `run` resumes it".to_owned(),
        (_, true) => "its process died; the next step resumes it".to_owned(),
        (Some(holder), _) if run.open_session => format!("running: {holder}"),
        _ => run.status.name().to_owned(),
    };
    writeln!(
        out,
        "run {} ({}, pass {}): {standing}; begun {}, {} sessions",
        run.id.0, run.phase, run.pass, run.started_at, run.sessions
    )?;
    if let Some(reason) = run.stop_reason.as_ref().filter(|_| !run.open_session) {
        writeln!(out, "  stopped because {reason}")?;
    }
    if !current.accepted.is_empty() {
        writeln!(out, "  accepted when it was started: {}", current.accepted.join(", "))?;
    }
    let totals = &current.totals;
    writeln!(
        out,
        "  segments {} done, {} begun, {} not begun; {} pages; last commit {}",
        number(totals.done.into()),
        number(totals.scanning.into()),
        number(totals.pending.into()),
        number(totals.pages),
        totals.last_commit_at.as_deref().unwrap_or("never")
    )?;
    if let Some(estimate) = run.table_items_estimate.filter(|n| *n > 0) {
        let percent = (totals.counts.scanned * 100 / estimate).min(if run.is_unfinished() { 99 } else { 100 });
        writeln!(out, "  about {percent} % of {} items (DynamoDB's count when the run began)", number(estimate))?;
    }
    write_counts(out, &totals.counts, run.lower_bound || current.died)?;
    write_spend(out, &current.spend, limits)?;
    writeln!(
        out,
        "open: {} failures, {} diverged items; {} pre-images on record",
        number(state.open_failures),
        number(state.open_diverged),
        number(state.pre_images)
    )
}

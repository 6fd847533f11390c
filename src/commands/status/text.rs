//! The part of `status` about the newest run and its process.

use std::io::Write as _;

use backfill::internals::figure::{count, labelled, number};
use backfill::internals::plan::PlanLimits;
use backfill::internals::state::StateSummary;
use backfill::internals::state::phase::EXPAND;
use backfill::internals::telemetry::{Worker, write_counts, write_spend};

const ENDED_READ_ONLY: &str = "ended; a read-only pass counts the items on its remaining pages";

/// Writes the text form.
pub(crate) fn write_status(
    out: &mut Vec<u8>,
    state: &StateSummary,
    worker: Option<&Worker<'_>>,
    limits: &PlanLimits,
) -> std::io::Result<()> {
    writeln!(out, "migration {} on {}", state.identity.migration, state.identity.table_arn)?;
    writeln!(out, "{}", labelled("", 1, &state.identity.meaning))?;
    let Some(current) = &state.current else {
        return writeln!(out, "  no run yet");
    };
    let run = &current.run;
    let standing = match (worker, current.died) {
        (_, died) if run.looked_through && (died || !run.open_session) => ENDED_READ_ONLY.to_owned(),
        (_, true) if run.phase == EXPAND => "its process died; `run` resumes it".to_owned(),
        (_, true) => "its process died; the next step resumes it".to_owned(),
        (Some(worker), _) if run.open_session => worker.description(),
        _ => run.status.name().to_owned(),
    };
    writeln!(
        out,
        "run {} ({}, pass {}): {standing}; begun {}, {}",
        run.id,
        run.phase,
        run.pass,
        run.started_at,
        count(run.sessions.into(), "session", "sessions")
    )?;
    if let Some(worker) = worker.filter(|_| run.open_session) {
        worker.write(out)?;
    }
    if let Some(reason) = run.stop_reason.as_ref().filter(|_| !run.open_session) {
        writeln!(out, "  stopped because {reason}")?;
    }
    if !current.accepted.is_empty() {
        writeln!(out, "  accepted: {}", current.accepted.join(", "))?;
    }
    let totals = &current.totals;
    writeln!(
        out,
        "  segments {} done, {} begun, {} not begun; {}; last commit {}",
        number(totals.done.into()),
        number(totals.scanning.into()),
        number(totals.pending.into()),
        count(totals.pages, "page", "pages"),
        totals.last_commit_at.as_deref().unwrap_or("never")
    )?;
    if let Some(estimate) = run.table_items_estimate.filter(|n| *n > 0) {
        let percent = (totals.counts.scanned * 100 / estimate).min(if run.is_unfinished() { 99 } else { 100 });
        writeln!(
            out,
            "  about {percent} % of {} (DynamoDB's count when the run began)",
            count(estimate, "item", "items")
        )?;
    }
    write_counts(out, &totals.counts, run.lower_bound || current.died)?;
    write_spend(out, &current.spend, limits)?;
    writeln!(
        out,
        "open: {}, {}; {} recorded",
        count(state.open_failures, "failure", "failures"),
        count(state.open_diverged, "diverged item", "diverged items"),
        count(state.pre_images, "pre-image", "pre-images")
    )
}

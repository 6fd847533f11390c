//! `failures list|retry`: the dead letters.

use std::io::Write as _;

use serde_json::{Value as Json, json};

use super::exit::{Exit, Refusal};
use super::target::{Target, read_plan, state_path};
use super::{output, signals};
use crate::checkpoint::store::{DivergedRecord, FailureRecord, ListQuery, StateFile, Store};
use crate::checkpoint::{Counts, Failure};
use crate::cli::{FailuresAction, FailuresArgs, Global};
use crate::engine::{Job, retry_failures};
use crate::telemetry::{number, write_counts};

/// Failures that are read from the store in one go.
const BATCH: u32 = 100;

/// Lists or retries failures.
pub(super) async fn failures(global: &Global, args: FailuresArgs) -> anyhow::Result<Exit> {
    match args.action {
        FailuresAction::List { limit } => list(global, &args, limit),
        FailuresAction::Retry => retry(global, &args).await,
    }
}

fn list(global: &Global, args: &FailuresArgs, limit: u32) -> anyhow::Result<Exit> {
    let loaded = read_plan(global, &args.plan)?;
    let state = StateFile::open(&state_path(global, &loaded.plan))?;
    let query = ListQuery { run: None, open_only: true, after: 0, limit };
    let (failures, diverged) = (state.failures(query)?, state.diverged(query)?);
    let summary = state.summary()?;
    output::result(
        global,
        || {
            json!({ "type": "failures", "open_failures": summary.open_failures, "open_diverged": summary.open_diverged,
                    "failures": failures, "diverged": diverged })
        },
        |out| {
            let _ = write_lists(out, &failures, &diverged);
            let _ = writeln!(
                out,
                "{} open failures, {} diverged items",
                number(summary.open_failures),
                number(summary.open_diverged)
            );
        },
    );
    Ok(Exit::Done)
}

fn write_lists(out: &mut Vec<u8>, failures: &[FailureRecord], diverged: &[DivergedRecord]) -> std::io::Result<()> {
    for f in failures {
        writeln!(out, "{:<9} {}  {} ({} attempts)", f.outcome.name(), f.key, f.reason, f.attempts)?;
    }
    for d in diverged {
        let paths = d.paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        writeln!(out, "diverged  {}  {paths} holds something else than the plan implies", d.key)?;
    }
    Ok(())
}

async fn retry(global: &Global, args: &FailuresArgs) -> anyhow::Result<Exit> {
    let target = Target::open(global, &args.plan).await?;
    let store = Store::open(&state_path(global, &target.plan), &target.identity(), crate::clock::now)?;
    let Some(run) = store.current_run(super::run::PHASE).await? else {
        return Err(Refusal::new(Exit::Refused, "there is no run yet, so there are no failures. Nothing was done"));
    };
    let changes = target.changes()?;
    let job = Job::new(target.plan.clone(), changes, target.table.clone(), target.description.clone(), target.budget);
    signals::listen(job.stop.clone())?;
    let (writer, requests) = (job.writer(&store, &run), job.requests());
    let (mut counts, mut after) = (Counts::default(), 0);
    'batches: loop {
        let batch = store.failures(ListQuery { run: None, open_only: true, after, limit: BATCH }).await?;
        let Some(last) = batch.last() else { break };
        after = last.id;
        for failure in batch {
            let Ok(settled) = retry_failures(&writer, &requests, &failure.key).await else { break 'batches };
            counts.add(&settled.counts);
            record(&store, &failure, settled).await?;
        }
    }
    store.close().await?;
    let stopped = job.stop.reason();
    output::result(
        global,
        || retry_json(&counts, stopped.map(ToString::to_string)),
        |out| {
            let _ = match stopped {
                None => writeln!(out, "{} failures were tried again:", number(counts.scanned)),
                Some(reason) => {
                    writeln!(out, "stopped: {reason}. {} failures were tried again:", number(counts.scanned))
                }
            };
            let _ = write_counts(out, &counts, false);
        },
    );
    Ok(match stopped {
        Some(reason) => Exit::of_stop(reason),
        None if counts.failures() > 0 => Exit::Failures,
        None => Exit::Done,
    })
}

/// Notes what a retry came to.
async fn record(store: &Store, failure: &FailureRecord, settled: crate::engine::Settled) -> anyhow::Result<()> {
    store.mark_refused(settled.refused).await?;
    if let Some(Failure { key, outcome, reason }) = settled.failures.into_iter().next() {
        store.update_failure(failure.run, Failure { key, outcome, reason }).await?;
        return Ok(());
    }
    let paths = settled.diverged.into_iter().next().map(|d| d.paths).unwrap_or_default();
    let outcome = crate::change::Outcome::ALL.into_iter().find(|o| settled.counts.of(*o) > 0);
    if let Some(outcome) = outcome {
        store.resolve_failure(failure.run, failure.key.clone(), outcome, paths).await?;
    }
    Ok(())
}

fn retry_json(counts: &Counts, stopped: Option<String>) -> Json {
    let outcomes: serde_json::Map<String, Json> =
        crate::change::Outcome::ALL.into_iter().map(|o| (o.name().to_owned(), counts.of(o).into())).collect();
    json!({ "type": "failures_retry", "retried": counts.scanned, "outcomes": outcomes, "stopped": stopped })
}

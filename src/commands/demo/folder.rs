//! The folder that contains a demo's table, plan and state.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

use crate::commands::shared::exit::{Exit, Refusal};
use backfill::internals::clock::wall_clock;
use backfill::internals::local::{Local, LocalOptions};
use backfill::internals::migration::snapshot;
use backfill::internals::plan::load;
use backfill::internals::playbook::PhaseStatus;
use backfill::internals::state;

/// The files that a demo creates in addition to its plan.
const DEMO_FILES: [&str; 6] = ["table.db", "table.db-wal", "table.db-shm", "state.db", "state.db-wal", "state.db-shm"];

/// The name of the flag table in the plan.
const FLAGS: &str = "flags";

/// Prepares the folder. Clears the folder if its demo is finished, or if `fresh` is set. Keeps an unfinished demo. If
/// another program's file has the name of a demo file, refuses the folder and leaves it unchanged.
pub(crate) async fn prepare(dir: &Path, plan: &str, fresh: bool) -> anyhow::Result<()> {
    if is_finished(dir, plan).await? || fresh {
        clear(dir).with_context(|| format!("cannot clear {}; the demo was not started", dir.display()))?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}; nothing was done", dir.display()))?;
    let file = dir.join("plan.toml");
    // If the file exists, it is the demo's own plan, because `is_finished` has compared its text.
    let written = match std::fs::OpenOptions::new().write(true).create_new(true).open(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && file.is_file() => Ok(()),
        made => made.and_then(|mut made| made.write_all(plan.as_bytes())),
    };
    written.with_context(|| format!("cannot write {}; nothing was done", file.display()))
}

/// Returns whether the folder contains a completed demo. Fails if another program's file has the name of a demo file,
/// or if the folder's demo is running.
async fn is_finished(dir: &Path, plan: &str) -> anyhow::Result<bool> {
    let plan_file = dir.join("plan.toml");
    let state = dir.join("state.db");
    let refuse = |what: &str| {
        let text = format!("{} {what}. Nothing was changed. Name another folder with --dir", dir.display());
        Err(Refusal::error(Exit::Refused, text))
    };
    match std::fs::read_to_string(plan_file) {
        Ok(text) if text != plan => return refuse("has a plan.toml that is not the demo's"),
        // A demo writes its plan before these files. So if these files exist without a plan, they do not belong to a
        // demo.
        Err(_) if DEMO_FILES.iter().any(|name| dir.join(name).exists()) => {
            return refuse("has files that are not the demo's");
        }
        _ if !state.exists() => return Ok(false),
        _ => {}
    }
    let file = state::read(&state)?;
    let ours = load("the demo's plan", plan)?.plan;
    let summary = file.summary().await?;
    match snapshot(file.as_ref(), &summary, &ours, wall_clock()(), None).await?.state.contract {
        _ if summary.identity.fingerprint != ours.fingerprint().as_str() => {
            refuse("has a state.db that is not the demo's")
        }
        _ if summary.holder.is_some() => refuse("is in use by a running demo"),
        contract => Ok(contract == PhaseStatus::Complete),
    }
}

/// Serves the sample table and an empty flag table.
pub(crate) fn serve(options: LocalOptions) -> anyhow::Result<Local> {
    let served = Local::start(options)?;
    if served.engine().count(FLAGS)?.is_none() {
        served.engine().create_table(&json!({
            "TableName": FLAGS, "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
            "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        }))?;
    }
    Ok(served)
}

/// Removes the files that an earlier demo created, and no other file.
fn clear(dir: &Path) -> std::io::Result<()> {
    for name in DEMO_FILES {
        match std::fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

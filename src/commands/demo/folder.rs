//! The folder that a demo lives in: its table, its plan and its state.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

use crate::commands::shared::exit::{Exit, Refusal};
use backfill::internals::clock::wall;
use backfill::internals::local::{Local, LocalOptions};
use backfill::internals::migration::known;
use backfill::internals::plan::load;
use backfill::internals::playbook::Way;
use backfill::internals::state;

/// What a demo makes beside its plan.
const MADE: [&str; 6] = ["table.db", "table.db-wal", "table.db-shm", "state.db", "state.db-wal", "state.db-shm"];

/// The table of the flag, as the plan names it.
const FLAGS: &str = "flags";

/// Makes the folder ready: clears a demo that is finished, or any when it is to be `fresh`, and keeps one that was stopped
/// in the middle. A folder that holds something else is refused, untouched.
pub(crate) async fn prepare(dir: &Path, plan: &str, fresh: bool) -> anyhow::Result<()> {
    if is_finished(dir, plan).await? || fresh {
        clear(dir).with_context(|| format!("{} could not be cleared; nothing was started", dir.display()))?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made; nothing was done", dir.display()))?;
    let file = dir.join("plan.toml");
    // One that is there is the demo's.
    let written = match std::fs::OpenOptions::new().write(true).create_new(true).open(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && file.is_file() => Ok(()),
        made => made.and_then(|mut made| made.write_all(plan.as_bytes())),
    };
    written.with_context(|| format!("{} cannot be written; nothing was done", file.display()))
}

/// Whether the folder holds a demo that ran to its end; an error where it holds something else, or one that runs now.
async fn is_finished(dir: &Path, plan: &str) -> anyhow::Result<bool> {
    let (plan_file, state) = (dir.join("plan.toml"), dir.join("state.db"));
    let refuse = |what: &str| {
        let text = format!("{} {what}. Nothing was touched. Name another folder with --dir", dir.display());
        Err(Refusal::error(Exit::Refused, text))
    };
    match std::fs::read_to_string(plan_file) {
        Ok(text) if text != plan => return refuse("has a plan.toml that is not the demo's"),
        // The demo writes its plan before anything else.
        Err(_) if MADE.iter().any(|name| dir.join(name).exists()) => {
            return refuse("has files that are not the demo's");
        }
        _ if !state.exists() => return Ok(false),
        _ => {}
    }
    let (file, ours) = (state::read(&state)?, load("the demo's plan", plan)?.plan);
    let summary = file.summary().await?;
    match known(file.as_ref(), &summary, &ours, wall()(), None).await?.state.contract {
        _ if summary.identity.fingerprint != ours.fingerprint().as_str() => {
            refuse("has a state.db that is not the demo's")
        }
        _ if summary.holder.is_some() => refuse("is in use by a demo that runs now"),
        contract => Ok(contract == Way::Complete),
    }
}

/// Serves the sample table, and an empty one for the flag.
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

/// Removes what an earlier demo made, and nothing else.
fn clear(dir: &Path) -> std::io::Result<()> {
    for name in MADE {
        match std::fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

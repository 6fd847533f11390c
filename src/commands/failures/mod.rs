//! `failures list|retry`: the dead letters. The list is in `list.rs`.

mod list;

use std::io::{Result as IoResult, Write as _};
use std::path::Path;

use serde_json::json;

use crate::cli::{FailuresAction, FailuresArgs, Global};
use crate::commands::failures::list::list;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::passes::Retried;
use backfill::internals::preflight::Accept;
use backfill::internals::telemetry::{counts_json, number, write_counts};

/// Lists or retries failures.
pub(crate) async fn failures(global: &Global, args: FailuresArgs) -> anyhow::Result<Exit> {
    match args.action {
        FailuresAction::List { limit } => list(global, &args.plan, limit).await,
        FailuresAction::Retry { accept } => retry(global, &args.plan, accept).await,
    }
}

async fn retry(global: &Global, plan: &Path, accept: Vec<Accept>) -> anyhow::Result<Exit> {
    let outcome = Box::pin(terminal::open(global, plan, false)?.retry_failures(&accept)).await?;
    let (Retried { counts, encrypted }, stopped) = (outcome.retried(), outcome.stopped());
    let (counts, encrypted) = (counts, *encrypted);
    output::result(
        global,
        || {
            json!({ "type": "failures_retry", "counts": counts_json(counts), "signed_or_encrypted": encrypted,
                    "stopped": stopped.map(ToString::to_string) })
        },
        |out| {
            if let Some(reason) = stopped {
                writeln!(out, "Stopped: {reason}. What is not counted here was not tried.")?;
            }
            writeln!(out, "{} failures were tried again.", number(counts.scanned))?;
            write_counts(out, counts, counts.unclear > 0)?;
            if encrypted > 0 { write_encrypted(out, encrypted, plan) } else { Ok(()) }
        },
    );
    Ok(Exit::of_run(outcome.open(), stopped))
}

fn write_encrypted(out: &mut Vec<u8>, items: u64, plan: &Path) -> IoResult<()> {
    writeln!(
        out,
        "{} items are signed or encrypted on the client, and were not changed. Let an application that has the keys change \
         them. If the signature covers nothing that the plan changes:\n\
         Next: backfill failures {} retry --accept client-encryption",
        number(items),
        plan.display()
    )
}

//! `failures list|retry`: the dead letters. The list is in `failures_list.rs`.

use std::io::{Result as IoResult, Write as _};
use std::path::Path;

use serde_json::json;

use super::conduct::{Conducted, Pursuit, said};
use super::exit::Exit;
use super::failures_list::list;
use super::output;
use super::target::Target;
use crate::cli::{Decide, FailuresAction, FailuresArgs, Global};
use backfill::internals::migration::Came;
use backfill::internals::passes::Retried;
use backfill::internals::playbook::Goal;
use backfill::internals::preflight::{Accept, check_begun_plan};
use backfill::internals::telemetry::{counts_json, number, write_counts};

/// Lists or retries failures.
pub(super) async fn failures(global: &Global, args: FailuresArgs) -> anyhow::Result<Exit> {
    match args.action {
        FailuresAction::List { limit } => list(global, &args.plan, limit).await,
        FailuresAction::Retry { accept } => retry(global, &args.plan, accept).await,
    }
}

async fn retry(global: &Global, plan: &Path, accept: Vec<Accept>) -> anyhow::Result<Exit> {
    let target = Box::pin(Target::open(global, plan, check_begun_plan)).await?;
    let decide = Decide { accept, ..Decide::default() };
    let mut pursuit = Pursuit::of(Goal::FailuresRetry, &decide, "");
    let mut conducted = Box::pin(Conducted::prepared(target, said(&decide), &mut pursuit)).await?;
    let (swept, stopped) = Box::pin(conducted.pursue(pursuit)).await?;
    let retried = swept.into_iter().find_map(|swept| match swept.came {
        Some(Came::Retried(retried)) => Some(retried),
        Some(Came::Worked(_) | Came::Verified(_)) | None => None,
    });
    let (Retried { counts, encrypted }, stopped) = (retried.unwrap_or_default(), stopped.as_ref());
    let open = conducted.conductor.store.open_work(None).await?;
    conducted.close().await?;
    output::result(
        global,
        || {
            json!({ "type": "failures_retry", "counts": counts_json(&counts), "signed_or_encrypted": encrypted,
                    "stopped": stopped.map(ToString::to_string) })
        },
        |out| {
            if let Some(reason) = stopped {
                writeln!(out, "Stopped: {reason}. What is not counted here was not tried.")?;
            }
            writeln!(out, "{} failures were tried again.", number(counts.scanned))?;
            write_counts(out, &counts, counts.unclear > 0)?;
            if encrypted > 0 { write_encrypted(out, encrypted, plan) } else { Ok(()) }
        },
    );
    Ok(Exit::of_run(open, stopped))
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

//! `failures list|retry`: lists failed items (the dead letters) or retries them. The list is in `list.rs`.

mod list;

use std::io::{Result as IoResult, Write as _};
use std::path::Path;

use serde_json::json;

use crate::cli::{FailuresAction, FailuresArgs, Global};
use crate::commands::failures::list::list;
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::exports::exports;
use crate::commands::shared::next_step::NextStep;
use crate::commands::shared::{output, terminal};
use backfill::internals::figure::count;
use backfill::internals::migration::Migration;
use backfill::internals::passes::RetryResult;
use backfill::internals::preflight::Acceptance;
use backfill::internals::telemetry::{counts_json, write_counts};

/// The command that also retries items that are signed or encrypted on the client.
const ACCEPT_ENCRYPTED: &str = "failures retry --accept client-encryption";

/// Lists or retries failures.
pub(crate) async fn failures(global: &Global, args: FailuresArgs) -> anyhow::Result<Exit> {
    match args.action {
        FailuresAction::List { plan, limit } => list(global, &plan, limit).await,
        FailuresAction::Retry { plan, accept, yes, ignore_health_checks, exports: export_args } => {
            let migration = terminal::open(global, &plan, yes)?.with_exports(exports(global, export_args, false)?);
            let migration = migration.ignoring_health_checks(ignore_health_checks);
            retry(global, &plan, &migration, &accept).await
        }
    }
}

async fn retry(global: &Global, plan: &Path, migration: &Migration, accept: &[Acceptance]) -> anyhow::Result<Exit> {
    let outcome = Box::pin(migration.retry_failures(accept)).await?;
    let RetryResult { counts, encrypted } = outcome.retried();
    let encrypted = *encrypted;
    let stopped = outcome.stopped();
    let exit = Exit::from_run(outcome.open(), stopped);
    let commands = terminal::commands(global, plan);
    let next_step = match (stopped, encrypted, outcome.open().failures) {
        (Some(_), ..) => None,
        (None, 1.., _) => Some(NextStep::now(commands.render(ACCEPT_ENCRYPTED))),
        (None, 0, 1..) => Some(NextStep::now(commands.render("failures list"))),
        (None, 0, 0) => NextStep::find(migration, &commands).await.map(|next| next.look_first(&commands)),
    };
    let command_result = CommandResult::from_exit_or_stop(exit, stopped).next_step(next_step.as_ref());
    output::write_result(
        global,
        &command_result,
        || {
            json!({ "type": "failures_retry", "counts": counts_json(counts), "signed_or_encrypted": encrypted,
                    "stopped": stopped.map(ToString::to_string) })
        },
        |out| {
            if let Some(reason) = stopped {
                writeln!(out, "Stopped: {reason}. Failures that are not counted here were not retried.")?;
            }
            writeln!(out, "{} retried.", count(counts.scanned, "failure was", "failures were"))?;
            write_counts(out, counts, counts.unclear > 0)?;
            if encrypted > 0 {
                write_encrypted(out, encrypted)?;
            }
            next_step.iter().try_for_each(|next| next.write(out))
        },
    )
}

fn write_encrypted(out: &mut Vec<u8>, items: u64) -> IoResult<()> {
    writeln!(
        out,
        "{} signed or encrypted on the client, and not changed. Change them with an application that has the keys. The next \
         command changes them too: run it only if the signature covers nothing that the plan changes.",
        count(items, "item is", "items are")
    )
}

//! `local`: serves the embedded engine on loopback.

use std::io::Write as _;

use serde_json::json;

use super::exit::Exit;
use super::output;
use crate::cli::{Global, LocalArgs};
use crate::local::{Local, LocalOptions};
use crate::telemetry::number;

/// Serves until it is interrupted.
pub(super) async fn local(global: &Global, args: LocalArgs) -> anyhow::Result<Exit> {
    let options = LocalOptions { port: args.port, db: args.db, items: args.items, seed: args.seed, front: true };
    // Loading blocks, for seconds where there are many items.
    let served = tokio::task::spawn_blocking(move || Local::start(options)).await??;
    let endpoint = served.endpoint();
    output::result(
        global,
        || json!({ "type": "local", "endpoint": endpoint, "table": served.table().map(|t| json!({ "name": t.table, "items": t.items })) }),
        |out| {
            writeln!(out, "serving DynamoDB's API on {endpoint} (loopback only, no credentials needed)")?;
            if let Some(table) = served.table() {
                writeln!(out, "table `{}`: {} items ({table})", table.table, number(table.items))?;
                writeln!(
                    out,
                    "try: backfill check migrations-examples/rename-attribute.toml --endpoint-url {endpoint}"
                )?;
            }
            writeln!(out, "Ctrl-C stops it")
        },
    );
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    tokio::task::spawn_blocking(move || served.stop()).await?;
    Ok(Exit::Done)
}

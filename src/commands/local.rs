//! `local`: serves the embedded engine on loopback.

use std::io::Write as _;

use serde_json::json;

use super::exit::Exit;
use super::output;
use crate::cli::{Global, LocalArgs};
use crate::local::{Content, Local, LocalOptions};
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
            let _ = writeln!(out, "serving DynamoDB's API on {endpoint} (loopback only, no credentials needed)");
            if let Some(table) = served.table() {
                let how = match table.content {
                    Content::Loaded => "loaded",
                    Content::LoadedAgain => "loaded again, an earlier load had not finished",
                    Content::Existing => "as it was",
                };
                let _ = writeln!(out, "table `{}`: {} items ({how})", table.table, number(table.items));
                let _ = writeln!(
                    out,
                    "try: backfill check migrations-examples/rename-attribute.toml --endpoint-url {endpoint}"
                );
            }
            let _ = writeln!(out, "Ctrl-C stops it");
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

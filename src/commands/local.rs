//! `local`: serves the embedded engine, by default on loopback.

use std::io::Write as _;
use std::path::Path;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::cli::{Global, LocalArgs};
use crate::commands::shared::ending::Ending;
use crate::commands::shared::exit::{Exit, Refusal};
use crate::commands::shared::output;
use backfill::internals::figure::count;
use backfill::internals::local::capacity::ModelSpec;
use backfill::internals::local::traffic::narrate;
use backfill::internals::local::{Local, LocalOptions};

/// Serves the engine until the command is interrupted.
pub(crate) async fn local(global: &Global, args: LocalArgs) -> anyhow::Result<Exit> {
    let capacity = args.capacity.as_deref().map(read).transpose()?;
    let LocalArgs { listen, port, db, items, seed, .. } = args;
    let options = LocalOptions { listen: Some(listen), port, db, items, seed, front: true, capacity: capacity.clone() };
    // This call loads the items and blocks its thread. With many items, the load takes several seconds.
    let served = tokio::task::spawn_blocking(move || Local::start(options)).await??;
    let endpoint = served.endpoint();
    output::result(
        global,
        &Ending::done(),
        || json!({ "type": "local", "endpoint": endpoint, "table": served.table().map(|t| json!({ "name": t.table, "items": t.items })) }),
        |out| {
            let whom = if listen.is_loopback() { "loopback only" } else { "everyone who can reach this address" };
            writeln!(out, "serving DynamoDB's API on {endpoint} ({whom}, no credentials needed)")?;
            if let Some(table) = served.table() {
                writeln!(out, "table `{}`: {} ({table})", table.table, count(table.items, "item", "items"))?;
                writeln!(
                    out,
                    "try: backfill check migrations-examples/rename-attribute.toml --endpoint-url {endpoint}"
                )?;
            }
            if let Some(spec) = &capacity {
                writeln!(out, "table `{}` throttles as configured in {}", spec.table, shown(args.capacity.as_deref()))?;
            }
            writeln!(out, "stop with Ctrl-C")
        },
    )?;
    serve(capacity.as_ref(), &endpoint).await?;
    if let Some(figures) = served.front().and_then(|front| front.model(|model, _| model.figures().to_string())) {
        output::stderr(&format!("the table {figures}"));
    }
    tokio::task::spawn_blocking(move || served.stop()).await?;
    Ok(Exit::Done)
}

/// Runs the application traffic, if it is configured, until the command is interrupted.
async fn serve(capacity: Option<&ModelSpec>, endpoint: &str) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let application = async {
        match capacity.and_then(|spec| Some((spec, spec.traffic.as_ref()?))) {
            Some((spec, traffic)) => {
                let table = traffic.table.as_deref().unwrap_or(&spec.table);
                narrate(traffic, table, endpoint, stop.clone(), output::stderr).await
            }
            None => {
                stop.cancelled().await;
                Ok(())
            }
        }
    };
    tokio::pin!(application);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
        ended = &mut application => return Ok(ended?),
    }
    stop.cancel();
    Ok(application.await?)
}

fn read(path: &Path) -> anyhow::Result<ModelSpec> {
    let refuse = |why: &dyn std::fmt::Display| {
        Refusal::error(Exit::Usage, format!("{}: {why}. Nothing was started", shown(Some(path))))
    };
    let text = std::fs::read_to_string(path).map_err(|e| refuse(&e))?;
    ModelSpec::from_toml(&text).map_err(|e| refuse(&e))
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(String::new, |path| path.display().to_string())
}

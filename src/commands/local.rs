//! `local`: serves the embedded engine, by default on loopback.

use std::io::Write as _;
use std::path::Path;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::cli::{Global, LocalArgs};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::{Exit, Refusal};
use crate::commands::shared::output;
use backfill::internals::figure::count;
use backfill::internals::local::capacity::ModelSpec;
use backfill::internals::local::traffic::run_with_reports;
use backfill::internals::local::{Local, LocalOptions};

/// Serves the engine until the command is interrupted.
pub(crate) async fn local(global: &Global, args: LocalArgs) -> anyhow::Result<Exit> {
    let capacity = args.capacity.as_deref().map(read_model).transpose()?;
    let LocalArgs { listen, port, db, items, seed, .. } = args;
    let options = LocalOptions { listen: Some(listen), port, db, items, seed, proxy: true, capacity: capacity.clone() };
    // This call loads the items and blocks its thread. With many items, the load takes several seconds.
    let served = tokio::task::spawn_blocking(move || Local::start(options)).await??;
    let endpoint = served.endpoint();
    output::write_result(
        global,
        &CommandResult::done(),
        || json!({ "type": "local", "endpoint": endpoint, "table": served.table().map(|t| json!({ "name": t.table, "items": t.items })) }),
        |out| {
            let audience = if listen.is_loopback() { "loopback only" } else { "everyone who can reach this address" };
            writeln!(out, "serving DynamoDB's API on {endpoint} ({audience}, no credentials needed)")?;
            if let Some(table) = served.table() {
                writeln!(out, "table `{}`: {} ({table})", table.table, count(table.items, "item", "items"))?;
                writeln!(
                    out,
                    "try: backfill check migrations-examples/rename-attribute.toml --endpoint-url {endpoint}"
                )?;
            }
            if let Some(spec) = &capacity {
                writeln!(
                    out,
                    "table `{}` throttles as configured in {}",
                    spec.table,
                    path_text(args.capacity.as_deref())
                )?;
            }
            writeln!(out, "stop with Ctrl-C")
        },
    )?;
    serve(capacity.as_ref(), &endpoint).await?;
    if let Some(stats) = served.proxy().and_then(|proxy| proxy.model(|model, _| model.stats().to_string())) {
        output::stderr(&format!("the table {stats}"));
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
                run_with_reports(traffic, table, endpoint, stop.clone(), output::stderr).await
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

fn read_model(path: &Path) -> anyhow::Result<ModelSpec> {
    let refuse = |why: &dyn std::fmt::Display| {
        Refusal::error(Exit::Usage, format!("{}: {why}. Nothing was started", path_text(Some(path))))
    };
    let text = std::fs::read_to_string(path).map_err(|e| refuse(&e))?;
    ModelSpec::from_toml(&text).map_err(|e| refuse(&e))
}

fn path_text(path: Option<&Path>) -> String {
    path.map_or_else(String::new, |path| path.display().to_string())
}

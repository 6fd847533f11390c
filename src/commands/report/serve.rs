//! `report --serve`: serves the report as a live page, until the command is interrupted.

use std::io::Write as _;
use std::net::SocketAddr;

use serde_json::json;

use crate::cli::{Global, ReportArgs};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::{Exit, Refusal};
use crate::commands::shared::{output, signals, terminal};
use backfill::internals::clock::wall_clock;
use backfill::internals::command_line::CommandLine;
use backfill::internals::migration::{Migration, MigrationError};
use backfill::internals::report::{LiveListener, LiveServer, LiveSource};

/// Serves the report.
pub(super) async fn serve(
    global: &Global,
    args: &ReportArgs,
    address: SocketAddr,
    migration: &Migration,
    commands: CommandLine,
) -> anyhow::Result<Exit> {
    let server = start(global, args, address, migration, commands).await?;
    let url = format!("http://{}/", server.address());
    let first = server.first_page();
    // Listen for the signal before printing the URL. A script can send the signal as soon as it reads the URL.
    let interrupted = signals::interruption()?;
    output::write_result(
        global,
        &CommandResult::done(),
        || {
            json!({ "type": "report", "file": null, "text": null, "url": url, "format": "html",
                    "bytes": first.bytes, "keys_shown": args.show_keys, "phase": first.stage.name() })
        },
        |text| writeln!(text, "serving the report at {url} to every user of this machine; stop with Ctrl-C"),
    )?;
    interrupted.await;
    Ok(Exit::Done)
}

async fn start(
    global: &Global,
    args: &ReportArgs,
    address: SocketAddr,
    migration: &Migration,
    commands: CommandLine,
) -> anyhow::Result<LiveServer> {
    let listener = LiveListener::bind(address).await.map_err(|error| {
        let why = format!(
            "the address {address} cannot be bound: {error}. Nothing was served or written. Free this address, or choose \
             another one with --serve; with port 0, the system chooses a free port"
        );
        Refusal::error(Exit::Refused, why)
    })?;
    let (plan_path, options) = (args.plan.clone(), global.clone());
    let read_plan = move || match terminal::open(&options, &plan_path, false) {
        Ok(migration) => Ok(migration.plan().clone()),
        Err(error) => Err(error.to_string()),
    };
    let source = LiveSource {
        plan_path: args.plan.clone(),
        plan: Box::new(read_plan),
        state: migration.state_path().to_owned(),
        commands,
        show_keys: args.show_keys,
        clock: wall_clock(),
    };
    let server = listener.serve(source, migration.plan().clone()).await;
    server.map_err(|error| MigrationError::Driver(error).into())
}

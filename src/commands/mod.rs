//! One file for each command: wiring, no more.

mod back;
mod check;
mod conduct;
mod conducted;
mod confirm;
mod contract;
mod cutover;
mod cutover_dry_run;
#[cfg(feature = "local")]
mod demo;
#[cfg(feature = "local")]
mod demo_folder;
#[cfg(feature = "local")]
mod demo_parts;
#[cfg(feature = "local")]
mod demo_words;
mod dry_run;
mod exit;
mod failures;
mod failures_list;
mod init;
mod journal;
#[cfg(feature = "local")]
mod local;
mod logging;
mod not_as_before;
mod output;
mod preflight;
mod prepare;
mod pursuit;
mod repair;
mod rollback;
mod run;
mod run_report;
mod signals;
mod standing;
mod status;
mod status_text;
mod target;
mod usage;
mod verify;

pub(crate) use exit::Exit;
pub(crate) use output::report_error;
pub(crate) use usage::report_usage;

use crate::cli::{Cli, Command};

/// Runs a command to its exit code.
pub(crate) async fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    logging::init(&cli.global);
    if let Some(files) = backfill::internals::host::raise_open_files() {
        tracing::warn!(
            "this process may have at most {files} open files (ulimit -Hn): runs keep fewer requests in flight"
        );
    }
    let global = cli.global;
    match cli.command {
        #[cfg(feature = "local")]
        Command::Demo(args) => Box::pin(demo::demo(&global, args)).await,
        Command::Init(args) => init::init(&global, args).await,
        Command::Check(args) => check::check(&global, args).await,
        Command::Run(args) => run::run(&global, args).await,
        Command::Verify(args) => verify::verify(&global, args).await,
        Command::Cutover(args) => Box::pin(cutover::cutover(&global, args)).await,
        Command::Contract(args) => Box::pin(contract::contract(&global, args)).await,
        Command::Rollback(args) => Box::pin(rollback::rollback(&global, args)).await,
        Command::Status(args) => Box::pin(status::status(&global, args)).await,
        Command::Failures(args) => failures::failures(&global, args).await,
        Command::Journal(args) => journal::journal(&global, args).await,
        #[cfg(feature = "local")]
        Command::Local(args) => local::local(&global, args).await,
    }
}

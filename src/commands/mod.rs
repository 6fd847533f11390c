//! The commands of the tool. Each command has its own file or folder, and the code that several commands use is in
//! `shared/`.

mod check;
mod ctl;
mod cutover;
#[cfg(feature = "local")]
mod demo;
mod explain;
mod failures;
mod iam;
mod init;
mod journal;
#[cfg(feature = "local")]
mod local;
mod manual;
mod report;
mod rollback;
mod run;
mod schema;
mod shared;
mod shim;
mod stats;
mod status;
mod verify;

pub(crate) use shared::exit::Exit;
pub(crate) use shared::output::report_error;
pub(crate) use shared::panics::end_process_on_panic;
pub(crate) use shared::usage::report_usage;

use crate::cli::{Cli, Command};

/// Runs a command and returns its exit code.
pub(crate) async fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    shared::logging::init(&cli.global, cli.command.name());
    if let Some(files) = backfill::internals::host::raise_open_files() {
        tracing::warn!(
            "this process may have at most {files} open files (ulimit -Hn), so runs keep fewer requests in flight"
        );
    }
    let global = cli.global;
    // `local`, `report --serve` and `status --watch` listen for signals themselves. The first two stop their server and
    // end with exit code 0. `status --watch` restores the terminal.
    if !cli.command.serves() {
        shared::signals::listen()?;
    }
    match cli.command {
        #[cfg(feature = "local")]
        Command::Demo(args) => Box::pin(demo::demo(&global, args)).await,
        Command::Init(args) => Box::pin(init::init(&global, args)).await,
        Command::Stats(args) => Box::pin(stats::stats(&global, args)).await,
        Command::Check(args) => check::check(&global, args).await,
        Command::Explain(args) => Box::pin(explain::explain(&global, args)).await,
        Command::Run(args) => run::run(&global, args).await,
        Command::Verify(args) => verify::verify(&global, args).await,
        Command::Cutover(args) => Box::pin(cutover::cutover(&global, args)).await,
        Command::Contract(args) => Box::pin(rollback::contract::contract(&global, args)).await,
        Command::Rollback(args) => Box::pin(rollback::rollback(&global, args)).await,
        Command::Status(args) => Box::pin(status::status(&global, args)).await,
        Command::Ctl(args) => Box::pin(ctl::ctl(&global, args)).await,
        Command::Failures(args) => failures::failures(&global, args).await,
        Command::Report(args) => Box::pin(report::report(&global, args)).await,
        Command::Schema => schema::schema(&global),
        Command::Shim(args) => shim::write_shim(&global, &args),
        Command::Iam(args) => iam::iam(&global, &args),
        Command::Completions(args) => manual::completions(&global, &args),
        Command::Man(args) => manual::man(&global, &args),
        Command::Journal(args) => journal::journal(&global, args).await,
        #[cfg(feature = "local")]
        Command::Local(args) => local::local(&global, args).await,
    }
}

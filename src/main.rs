//! Parses arguments, builds the runtime, maps the error to an exit code.

mod cli;
mod commands;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return commands::report_usage(&usage),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return commands::report_error(&error.into()),
    };
    let code = match runtime.block_on(commands::dispatch(cli)) {
        Ok(exit) => exit.into(),
        Err(error) => commands::report_error(&error),
    };
    // Whatever still runs has nothing to say any more: not waited for.
    runtime.shutdown_background();
    code
}

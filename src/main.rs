//! Parses the arguments, builds the runtime, runs the command, and turns its result into an exit code.

mod cli;
mod commands;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let parsed = cli::Cli::try_parse_from(cli::normalize_order(std::env::args_os()));
    let cli = match parsed.and_then(cli::Cli::check) {
        Ok(cli) => cli,
        Err(usage) => return commands::report_usage(&usage, std::env::args_os()),
    };
    let output = cli.global.output;
    let color = cli.global.color;
    commands::end_process_on_panic(output, color);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return commands::report_error(output, color, &error.into()).into(),
    };
    let code = match runtime.block_on(commands::dispatch(cli)) {
        Ok(exit) => exit.into(),
        Err(error) => commands::report_error(output, color, &error).into(),
    };
    // The remaining tasks cannot change the result, so do not wait for them.
    runtime.shutdown_background();
    code
}

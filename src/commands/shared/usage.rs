//! What is printed when the command line cannot be parsed, or when help is asked for.

use std::process::ExitCode;

use crate::commands::shared::output::stderr;

/// Prints what the command line parser says: help and version as they are, an error escaped, because it quotes what was
/// typed. Gives the exit code.
pub(crate) fn report_usage(usage: &clap::Error) -> ExitCode {
    if usage.use_stderr() {
        stderr(&usage.render().to_string());
    } else {
        // A reader that has closed the pipe wants no more of the help.
        let _ = usage.print();
    }
    ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
}

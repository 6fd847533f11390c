//! Prints usage errors, help and the version.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::Output;
use crate::commands::shared::ending::Ending;
use crate::commands::shared::output::{ask, report_document};

/// Prints the message of the command line parser, and returns the exit code. An error is escaped because it quotes the
/// user's input; help and version need no escaping. With `--output json`, an error is also a JSON document.
pub(crate) fn report_usage(usage: &clap::Error, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    if usage.use_stderr() {
        let text = usage.render().to_string();
        ask(&text);
        report_document(output_of(arguments), &Ending::usage(text.trim_end().to_owned()));
    } else {
        // A closed pipe is not an error.
        let _ = usage.print();
    }
    ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
}

/// Whether JSON was asked for, on a command line that cannot be parsed.
fn output_of(arguments: impl Iterator<Item = OsString>) -> Output {
    let words: Vec<String> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
    let joined = words.iter().any(|word| word == "--output=json");
    let apart = words.windows(2).any(|pair| pair == ["--output", "json"]);
    if joined || apart { Output::Json } else { Output::Human }
}

//! Prints usage errors, help and the version.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::{LogFormat, Output};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::output::{report_document, usage_error};

/// Prints the message from the command-line parser, and returns the exit code. An error is escaped because it quotes
/// the user's input; help and version need no escaping. With `--output json`, an error is also a JSON document.
pub(crate) fn report_usage(usage: &clap::Error, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    if usage.use_stderr() {
        let words: Vec<String> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
        let text = usage.render().to_string();
        let is_json = requests_json(&words, "--log-format");
        usage_error(&text, if is_json { LogFormat::Json } else { LogFormat::Text });
        let output = if requests_json(&words, "--output") { Output::Json } else { Output::Human };
        report_document(output, &CommandResult::usage(text.trim_end().to_owned()));
    } else {
        // A closed pipe is not an error.
        let _ = usage.print();
    }
    ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
}

/// Whether this option asks for JSON. Works even if the command line cannot be parsed.
fn requests_json(words: &[String], option: &str) -> bool {
    let joined = format!("{option}=json");
    words.contains(&joined) || words.windows(2).any(|pair| pair == [option, "json"])
}

//! Prints usage errors, help and the version.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::{LogFormat, Output};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::output::{report_document, usage_error};

/// Prints the message from the command-line parser, and returns the exit code. An error is escaped because it quotes
/// the user's input; help and version need no escaping. With `--output json`, an error is also a JSON document.
pub(crate) fn report_usage(usage: &clap::Error, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    if usage.use_stderr() {
        let words: Vec<String> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
        let text = format!("{}{}", usage.render(), tip(usage, &words).unwrap_or_default());
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

/// Returns the command that the operator probably meant, for mistakes that the parser's own message does not explain.
fn tip(usage: &clap::Error, words: &[String]) -> Option<String> {
    if !words.iter().any(|word| word == "failures") {
        return None;
    }
    match usage.kind() {
        ErrorKind::InvalidSubcommand => {
            let plan = context(usage, ContextKind::InvalidSubcommand)?;
            Some(format!("\n  tip: to list the items: backfill failures list {plan}\n"))
        }
        ErrorKind::UnknownArgument if context(usage, ContextKind::InvalidArg)? == "--show-values" => Some(
            "\n  tip: this list never shows values. To see an item of the list with its values: backfill explain PLAN --key \
             KEY --show-values\n"
                .to_owned(),
        ),
        _ => None,
    }
}

fn context(usage: &clap::Error, kind: ContextKind) -> Option<&str> {
    match usage.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

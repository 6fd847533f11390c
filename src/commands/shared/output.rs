//! Writes results to stdout and remarks to stderr.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{ErrorKind as IoErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::cli::{Color, Global, LogFormat, Output};
use crate::commands::shared::command_result::{CommandResult, plan_errors};
use crate::commands::shared::exit::Exit;
use crate::commands::shared::wrap::wrap;
use backfill::internals::clock::wall_clock;
use backfill::internals::engine::StopReason;
use backfill::internals::outside::{escaped_json, escaped_lines, escaped_styled};

/// The options that determine the content and the format of this process's output. They are set once, before the
/// command begins.
static OPTIONS: OnceLock<Options> = OnceLock::new();

/// The global options that affect the output.
#[derive(Debug, Clone, Copy)]
struct Options {
    output: Output,
    log_format: LogFormat,
    quiet: bool,
    /// The name of the command.
    command: &'static str,
}

/// Whether this process has written its JSON document. A process writes exactly one document, even if an error occurs
/// after it wrote the result.
static IS_WRITTEN: AtomicBool = AtomicBool::new(false);

/// Sets the options of the output. `--quiet` suppresses all remarks on stderr except warnings, questions and errors.
pub(crate) fn set_options(global: &Global, command: &'static str) {
    let options = Options { output: global.output, log_format: global.log_format, quiet: global.quiet, command };
    // Tests can set the options twice. The second call changes nothing.
    let _ = OPTIONS.set(options);
}

/// Writes the result of a command to stdout, either as lines for people or as one JSON document. Returns the exit code.
///
/// # Errors
///
/// Fails if stdout cannot be written, for example because the disk is full. A closed pipe is not an error.
pub(crate) fn write_result(
    global: &Global,
    command_result: &CommandResult,
    json: impl FnOnce() -> Json,
    human: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
) -> anyhow::Result<Exit> {
    write(global, command_result, json, human, for_stdout)
}

/// Writes a result like [`write_result`], but never wraps its lines, because they are data: values, keys, a plan or a
/// policy.
///
/// # Errors
///
/// Fails if stdout cannot be written. A closed pipe is not an error.
pub(crate) fn write_data(
    global: &Global,
    command_result: &CommandResult,
    json: impl FnOnce() -> Json,
    human: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
) -> anyhow::Result<Exit> {
    write(global, command_result, json, human, |text| text.into())
}

fn write(
    global: &Global,
    command_result: &CommandResult,
    json: impl FnOnce() -> Json,
    human: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
    layout: impl FnOnce(&str) -> Cow<'_, str>,
) -> anyhow::Result<Exit> {
    match global.output {
        Output::Human => {
            let mut bytes = Vec::new();
            // A write to memory cannot fail.
            human(&mut bytes).unwrap_or_default();
            write_stdout(&layout(&escaped_lines(&String::from_utf8_lossy(&bytes)).to_string()))
        }
        Output::Json => write_document(command_result, json()),
    }
    .map_err(|error| {
        let code = command_result.exit as u8;
        anyhow::anyhow!(
            "the result could not be written to stdout: {error}. The command itself had ended, with exit code {code}"
        )
    })?;
    Ok(command_result.exit)
}

fn write_document(command_result: &CommandResult, document: Json) -> std::io::Result<()> {
    if IS_WRITTEN.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    write_stdout(&escaped_json(&format!("{:#}\n", command_result.document(document))))
}

/// Returns the text for stdout, wrapped if stdout is a terminal.
fn for_stdout(text: &str) -> Cow<'_, str> {
    match terminal_size::terminal_size_of(std::io::stdout()) {
        Some((width, _)) => wrap(text, width.0.into()).into(),
        None => text.into(),
    }
}

/// Returns the text for stderr, wrapped if stderr is a terminal.
fn for_stderr(text: &str) -> Cow<'_, str> {
    match terminal_size::terminal_size_of(std::io::stderr()) {
        Some((width, _)) => wrap(text, width.0.into()).into(),
        None => text.into(),
    }
}

/// Writes text to stdout without escaping it.
pub(crate) fn write_stdout(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != IoErrorKind::BrokenPipe => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether `--quiet` was given.
pub(crate) fn is_quiet() -> bool {
    OPTIONS.get().is_some_and(|options| options.quiet)
}

/// Writes a remark to stderr without breaking the progress bar.
pub(crate) fn stderr(text: &str) {
    if !is_quiet() {
        remark("INFO", text, &for_stderr(&escaped_lines(text).to_string()));
    }
}

/// Writes a warning or a question to stderr, even with `--quiet`.
pub(crate) fn warn(text: &str) {
    remark("WARN", text, &for_stderr(&escaped_lines(text).to_string()));
}

/// Writes the error for an invalid command line. In this case the output options are not set, so the caller passes the
/// log format.
pub(crate) fn usage_error(text: &str, format: LogFormat) {
    write_remark(Some(format), "ERROR", text, &escaped_lines(text).to_string());
}

/// Writes a remark. `styled` is the escaped form for people.
fn remark(level: &str, text: &str, styled: &str) {
    write_remark(OPTIONS.get().map(|options| options.log_format), level, text, styled);
}

fn write_remark(format: Option<LogFormat>, level: &str, text: &str, styled: &str) {
    match format {
        Some(LogFormat::Json) => {
            let text = text.trim();
            if !text.is_empty() {
                write_json_line(&json_event(level, LOG_EVENT, text, Map::new()));
            }
        }
        Some(LogFormat::Text) | None => write_stderr(styled),
    }
}

/// The default type of a log event.
pub(crate) const LOG_EVENT: &str = "log";

/// The version of the JSON log format. It increases when a field is removed or changes its meaning.
const LOG_VERSION: u32 = 1;

/// A line of the JSON log. The order of the fields suits human readers.
#[derive(Serialize)]
struct JsonEvent<'a> {
    time: String,
    level: &'a str,
    r#type: &'a str,
    message: &'a str,
    fields: Map<String, Json>,
}

/// Returns a log event as JSON on one line.
pub(crate) fn json_event(level: &str, event_type: &str, message: &str, fields: Map<String, Json>) -> String {
    let time = wall_clock()().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    // All keys are text, so this never fails.
    serde_json::to_string(&JsonEvent { time, level, r#type: event_type, message, fields }).unwrap_or_default()
}

/// Writes a line of the JSON log. Before the first line, writes a line with the versions of the tool and of the log.
pub(crate) fn write_json_line(line: &str) {
    static VERSION: Once = Once::new();
    VERSION.call_once(|| {
        let tool = env!("CARGO_PKG_VERSION");
        let command = OPTIONS.get().map(|options| options.command);
        let fields = [("tool_version", tool.into()), ("log_version", LOG_VERSION.into()), ("command", command.into())];
        let fields = fields.map(|(name, value): (&str, Json)| (name.to_owned(), value)).into_iter().collect();
        write_stderr(&escaped_json(&json_event("INFO", "version", &format!("backfill {tool}"), fields)));
    });
    write_stderr(&escaped_json(line));
}

/// Writes text to stderr without breaking the progress bar. While [`hold_stderr`] applies, stores the text instead.
pub(crate) fn write_stderr(text: &str) {
    if let Some(held) = held().as_mut() {
        if held.len() == MAX_HELD {
            held.pop_front();
        }
        held.push_back(text.to_owned());
        return;
    }
    backfill::internals::telemetry::display::suspend(|| {
        // One call writes the whole line, so that lines of several threads are not mixed.
        let _ = std::io::stderr().write_all(format!("{}\n", text.trim_end()).as_bytes());
    });
}

/// Maximum number of stored texts. Above this number, the oldest texts are dropped.
const MAX_HELD: usize = 200;

static HELD: Mutex<Option<VecDeque<String>>> = Mutex::new(None);

fn held() -> MutexGuard<'static, Option<VecDeque<String>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on, stores all text for stderr, because a view fills the terminal. [`release_stderr`] writes the stored
/// text.
#[cfg(feature = "watch")]
pub(crate) fn hold_stderr() {
    held().get_or_insert_default();
}

/// Writes the text that was stored since [`hold_stderr`].
#[cfg(feature = "watch")]
pub(crate) fn release_stderr() {
    let kept = held().take();
    kept.into_iter().flatten().for_each(|text| write_stderr(&text));
}

/// Reports that a command stopped early and has no other result. Returns the exit code.
pub(crate) fn report_stop(global: &Global, reason: &StopReason, next: &str) -> anyhow::Result<Exit> {
    let command_result = CommandResult::stopped(reason).next(next.to_owned());
    warn(&format!("stopped: {reason}\nNext: {next}"));
    write_result(global, &command_result, || json!({ "type": "stopped" }), |_| Ok(()))
}

/// Reports that the operator interrupted the command before its work began, or interrupted it a second time. The
/// process ends right after this report.
pub(crate) fn report_interruption() {
    // Even if the command has begun no pass, it might have moved the flag. So this text does not tell the operator to
    // repeat the command.
    warn(
        "stopped immediately. Nothing is lost: a later command repeats uncommitted work. `backfill status PLAN`, with the \
         same options, shows the state and the next command",
    );
    if let Some(options) = OPTIONS.get() {
        report_document(options.output, &CommandResult::from_exit(Exit::Interrupted));
    }
}

/// Reports on stderr why a command failed or was refused. With `--output json`, also writes the JSON document. Returns
/// the exit code.
pub(crate) fn report_error(output: Output, color: Color, error: &anyhow::Error) -> Exit {
    let command_result = CommandResult::failed(error);
    match plan_errors(error) {
        // In the text of a plan error, the quoted parts of the plan are already escaped. The text also contains color
        // codes, which must stay.
        Some(plan) => {
            remark("ERROR", &plan.render(false), &escaped_styled(&plan.render(color.on_stderr())));
        }
        None => {
            let text = format!("error: {error:#}");
            remark("ERROR", &text, &for_stderr(&escaped_lines(&text).to_string()));
        }
    }
    report_document(output, &command_result);
    command_result.exit
}

/// Writes the JSON document of an error, unless the process has already written a document.
pub(crate) fn report_document(output: Output, command_result: &CommandResult) {
    if output == Output::Json {
        // Do not report a failed write: the command's own error is already on stderr and in the exit code.
        let _ = write_document(command_result, json!({ "type": "error" }));
    }
}

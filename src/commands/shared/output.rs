//! Writing results to stdout and remarks to stderr. A reader that went away is no error.

use std::io::Write;
use std::process::ExitCode;

use serde_json::Value as Json;

use crate::cli::{Global, Output};
use crate::commands::shared::exit::Exit;
use backfill::internals::engine::StopReason;
use backfill::internals::migration::MigrationError;
use backfill::internals::outside::{escaped_json, escaped_lines, escaped_styled};
use backfill::internals::plan::PlanErrors;

/// Writes the result: lines for people, or one JSON document.
pub(crate) fn result(
    global: &Global,
    json: impl FnOnce() -> Json,
    human: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
) {
    let mut bytes = Vec::new();
    match global.output {
        // Writing to memory does not fail.
        Output::Human => {
            human(&mut bytes).unwrap_or_default();
            let text = escaped_lines(&String::from_utf8_lossy(&bytes)).to_string();
            bytes = text.into_bytes();
        }
        Output::Json => {
            let mut document = json();
            if let Some(map) = document.as_object_mut() {
                map.insert("schema_version".into(), 1.into());
            }
            bytes.extend(escaped_json(&format!("{document:#}\n")).into_bytes());
        }
    }
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(&bytes).and_then(|()| stdout.flush());
}

/// Writes a remark to stderr, past any progress bar.
pub(crate) fn stderr(text: &str) {
    write_stderr(&escaped_lines(text).to_string());
}

fn write_stderr(text: &str) {
    backfill::internals::telemetry::display::suspend(|| {
        let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
    });
}

/// Says why a command stopped before its end, and gives its exit code.
pub(crate) fn stopped(reason: &StopReason) -> Exit {
    stderr(&format!("stopped: {reason}\nThe same command goes on from here"));
    Exit::of_stop(reason)
}

/// Prints an error on stderr, and gives its exit code.
pub(crate) fn report_error(error: &anyhow::Error) -> ExitCode {
    let plan = match error.downcast_ref::<MigrationError>() {
        Some(MigrationError::Plan(plan)) => Some(plan),
        Some(_) | None => error.downcast_ref::<PlanErrors>(),
    };
    match plan {
        // It escapes what it quotes, and has colours of its own.
        Some(plan) => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            write_stderr(&escaped_styled(&plan.render(colours)));
        }
        None => stderr(&format!("error: {error:#}")),
    }
    Exit::of_error(error).into()
}

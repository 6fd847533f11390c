//! Writing results to stdout and remarks to stderr. A reader that went away is no error.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value as Json;

use super::exit::Exit;
use crate::cli::{Global, Output};
use backfill::internals::clock::to_text;
use backfill::internals::cutover::AHEAD;
use backfill::internals::engine::StopReason;
use backfill::internals::migration::Wait;
use backfill::internals::outside::{OutsideText, escaped_json, escaped_lines, escaped_styled};
use backfill::internals::plan::PlanErrors;

/// Writes the result: lines for people, or one JSON document.
pub(super) fn result(
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
pub(super) fn stderr(text: &str) {
    write_stderr(&escaped_lines(text).to_string());
}

fn write_stderr(text: &str) {
    backfill::internals::telemetry::display::suspend(|| {
        let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
    });
}

/// Says until when a change of the flag is waited out.
pub(super) fn waiting(wait: &Wait) {
    let until = SignedDuration::try_from(wait.left).ok().and_then(|left| wait.now.checked_add(left).ok());
    let (seconds, until) = (wait.left.as_secs_f64().ceil(), to_text(until.unwrap_or(wait.now)));
    stderr(&format!("waiting  {seconds} s, until {until}, for application caches of the flag to expire"));
    if let Some(ahead) = wait.ahead {
        let why = if ahead > AHEAD { "" } else { ", or that change is still being made" };
        let seconds = ahead.as_secs_f64().ceil();
        stderr(&format!(
            "         the flag's last change is dated {seconds} s ahead of this host's clock: the clocks of the hosts differ{why}. \
             This wait does not depend on them"
        ));
    }
}

/// Says that somebody else's lease is watched.
pub(super) fn lease_held(owner: &OutsideText, within: Duration) {
    stderr(&format!(
        "waiting  {owner} holds the lease of this migration, or died with it: if it is not renewed within {} s, this process \
         takes it",
        within.as_secs_f64().ceil()
    ));
}

/// Says why a command stopped before its end, and gives its exit code.
pub(super) fn stopped(reason: &StopReason) -> Exit {
    stderr(&format!("stopped: {reason}\nThe same command goes on from here"));
    Exit::of_stop(reason)
}

/// Prints an error on stderr, and gives its exit code.
pub(crate) fn report_error(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<PlanErrors>() {
        // It escapes what it quotes, and has colours of its own.
        Some(plan) => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            write_stderr(&escaped_styled(&plan.render(colours)));
        }
        None => stderr(&format!("error: {error:#}")),
    }
    Exit::of_error(error).into()
}

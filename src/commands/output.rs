//! Writing results to stdout and remarks to stderr. A reader that went away is no error.

use std::io::Write;

use serde_json::Value as Json;

use crate::cli::{Global, Output};

/// Writes the result: lines for people, or one JSON document.
pub(super) fn result(
    global: &Global,
    json: impl FnOnce() -> Json,
    human: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
) {
    let mut bytes = Vec::new();
    match global.output {
        // Writing to memory does not fail.
        Output::Human => human(&mut bytes).unwrap_or_default(),
        Output::Json => {
            let mut document = json();
            if let Some(map) = document.as_object_mut() {
                map.insert("schema_version".into(), 1.into());
            }
            bytes.extend(format!("{document:#}\n").into_bytes());
        }
    }
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(&bytes).and_then(|()| stdout.flush());
}

/// Writes a remark to stderr, past any progress bar.
pub(super) fn stderr(text: &str) {
    crate::telemetry::display::suspend(|| {
        let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
    });
}

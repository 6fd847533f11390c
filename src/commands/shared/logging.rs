//! Writes log lines to stderr.

use std::io::Write;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::{Global, LogFormat};
use crate::commands::shared::output;
use backfill::internals::outside::{escaped_json, escaped_styled};

/// Starts logging according to the options and `BACKFILL_LOG`.
pub(crate) fn init(global: &Global) {
    output::set_options(global);
    // Show only the tool's own log lines. The operator does not need the warnings from the SDK and the embedded engine,
    // because the tool's own errors report every problem.
    let level = match global.verbose {
        0 if global.quiet => "off,backfill=warn",
        0 => "off,backfill=info",
        1 => "off,backfill=debug",
        _ => "off,backfill=trace",
    };
    let filter = EnvFilter::try_from_env("BACKFILL_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let escape: fn(&str) -> String = match global.log_format {
        // Field values are already escaped here. The line still contains its own color codes, which must stay.
        LogFormat::Text => escaped_styled,
        LogFormat::Json => escaped_json,
    };
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(ProgressBarWriter(escape)).with_target(false);
    // Tests may start logging twice. The second start changes nothing.
    let _ = match global.log_format {
        LogFormat::Text => {
            builder.with_ansi(global.color.on_stderr()).finish().with(filter_fn(is_free_of_values)).try_init()
        }
        LogFormat::Json => builder.json().finish().with(filter_fn(is_free_of_values)).try_init(),
    };
}

/// Whether a log line can be shown without leaking attribute values. At levels below `info`, the AWS SDK and the HTTP
/// stack log requests and replies, which contain attribute values. So at these levels only the tool's own lines are
/// shown, and neither the options nor `BACKFILL_LOG` can change this.
fn is_free_of_values(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || metadata.target() == "backfill" || metadata.target().starts_with("backfill::")
}

/// Writes log lines without breaking the progress bar.
struct ProgressBarWriter(fn(&str) -> String);

impl<'a> MakeWriter<'a> for ProgressBarWriter {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine(Vec::new(), self.0)
    }
}

struct LogLine(Vec<u8>, fn(&str) -> String);

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        backfill::internals::telemetry::display::suspend(|| {
            let line = (self.1)(&String::from_utf8_lossy(&self.0));
            let _ = std::io::stderr().write_all(line.as_bytes());
        });
    }
}

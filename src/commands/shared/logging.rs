//! Writes log lines to stderr, as text or as JSON.

use std::io::Write;

use serde_json::{Map, Value as Json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::{Global, LogFormat};
use crate::commands::shared::output;
use backfill::internals::outside::{escaped, escaped_styled};

/// Starts logging according to the options and `BACKFILL_LOG`.
pub(crate) fn init(global: &Global, command: &'static str) {
    output::set_options(global, command);
    // Show only the tool's own log lines. The operator does not need the warnings from the SDK and the embedded engine,
    // because the tool's own errors report every problem.
    let level = match global.verbose {
        0 if global.quiet => "off,backfill=warn",
        0 => "off,backfill=info",
        1 => "off,backfill=debug",
        _ => "off,backfill=trace",
    };
    let filter = EnvFilter::try_from_env("BACKFILL_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    // Tests can start logging twice. The second start changes nothing.
    let _ = match global.log_format {
        LogFormat::Text => builder
            .with_writer(|| LogLine::new(LogFormat::Text))
            .with_ansi(global.color.on_stderr())
            .fmt_fields(TextFields)
            .finish()
            .with(filter_fn(is_free_of_values))
            .try_init(),
        LogFormat::Json => builder
            .with_writer(|| LogLine::new(LogFormat::Json))
            .event_format(JsonEvents)
            .finish()
            .with(filter_fn(is_free_of_values))
            .try_init(),
    };
}

/// Whether a log line can be shown without leaking attribute values. At levels below `info`, the AWS SDK and the HTTP
/// stack log requests and replies, which contain attribute values. So at these levels only the tool's own lines are
/// shown, and neither the options nor `BACKFILL_LOG` can change this.
fn is_free_of_values(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || metadata.target() == "backfill" || metadata.target().starts_with("backfill::")
}

/// A log line, which is written as a whole when it is dropped.
struct LogLine {
    bytes: Vec<u8>,
    format: LogFormat,
}

impl LogLine {
    fn new(format: LogFormat) -> LogLine {
        LogLine { bytes: Vec::new(), format }
    }
}

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        let line = String::from_utf8_lossy(&self.bytes);
        match self.format {
            // Field values are already escaped here. The line still contains its own color codes, which must stay.
            LogFormat::Text => output::write_stderr(&escaped_styled(&line)),
            LogFormat::Json => output::write_json_line(&line),
        }
    }
}

/// Formats the fields of an event for people. If an event has a type, shows only its message. The message contains all
/// figures, and the other fields are for scripts.
struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, mut out: Writer<'w>, fields: R) -> std::fmt::Result {
        let mut read = JsonFields::default();
        fields.record(&mut read);
        match read.event_type {
            Some(_) => write!(out, "{}", escaped(&read.message)),
            None => DefaultFields::new().format_fields(out, fields),
        }
    }
}

/// Formats an event as one JSON object. Leaves out spans, because the HTTP stack puts parts of requests into its spans.
struct JsonEvents;

impl<S, N> FormatEvent<S, N> for JsonEvents
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let mut fields = JsonFields::default();
        event.record(&mut fields);
        let JsonFields { message, event_type, fields } = fields;
        let event_type = event_type.as_deref().unwrap_or(output::LOG_EVENT);
        writeln!(out, "{}", output::json_event(event.metadata().level().as_str(), event_type, &message, fields))
    }
}

/// The fields of an event.
#[derive(Default)]
struct JsonFields {
    message: String,
    event_type: Option<String>,
    fields: Map<String, Json>,
}

impl JsonFields {
    fn add(&mut self, field: &Field, value: Json) {
        let text = || value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match field.name() {
            "message" => self.message = text(),
            "type" => self.event_type = Some(text()),
            // The location in the source code, if the event comes from a crate that uses `log`.
            name if name.starts_with("log.") => {}
            name => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for JsonFields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    /// JSON has no infinite numbers, so these become `null`.
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, value.to_string().into());
    }
}

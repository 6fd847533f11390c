//! The metrics and their destinations: the endpoint (`/metrics` for Prometheus, `/livez` and `/readyz` for an
//! orchestrator), EMF lines for CloudWatch, and OTLP for an OpenTelemetry collector.
//!
//! All destinations show the same families, and none of them changes a figure. [`MetricsSource`] holds the sources of
//! the figures, which are the views of the running pass, and the state file. `exposition.rs` and `health.rs` are pure.
//! They turn a view into families and texts.
//!
//! No attribute value and no key is ever part of a metric. The number of label values is bounded. DynamoDB limits the
//! number of indexes of a table. [`MAX_SEGMENT_RANGES`](crate::engine::MAX_SEGMENT_RANGES) limits the number of ranges
//! of segments. The plan determines the number of health checks. Every other label has the values of an enum.

mod emf;
mod export;
mod exports;
mod exposition;
mod families;
mod figures;
mod health;
#[cfg(feature = "otlp")]
mod otlp;
mod prometheus;
mod scopes;
mod server;
mod source;

pub use emf::{EmfOptions, LineWriter};
pub use export::RunningExport;
pub use exports::{Exports, RunningExports};
pub use exposition::Exposition;
pub use families::{Family, Labels, Sample, Samples};
pub use figures::{RunLabels, ShownPass, StateFigures, VerificationFigures};
pub use health::{Health, Stage, livez, readyz};
#[cfg(feature = "otlp")]
pub use otlp::{OtlpError, OtlpSettings};
pub use prometheus::Format;
pub use server::{MetricsListener, MetricsServer};
pub use source::{MetricsSource, STATE_CACHE};

//! The metrics endpoint: `/metrics` for Prometheus, `/livez` and `/readyz` for an orchestrator.
//!
//! The server only reads. [`MetricsSource`] holds what it shows: the views of the running pass, and the state file.
//! `exposition.rs` and `health.rs` are pure: they turn a view into text.
//!
//! No attribute value and no key is ever part of a metric. The number of label values is bounded: indexes by DynamoDB's
//! limit for a table, ranges of segments by [`MAX_SEGMENT_RANGES`](crate::engine::MAX_SEGMENT_RANGES), and every other
//! label by an enum.

mod connection;
mod exposition;
mod families;
mod figures;
mod health;
mod scopes;
mod server;
mod source;

pub use exposition::{Exposition, Format};
pub use figures::{RunLabels, ShownPass, StateFigures, VerificationFigures};
pub use health::{Health, livez, readyz};
pub use server::{MetricsListener, MetricsServer};
pub use source::MetricsSource;

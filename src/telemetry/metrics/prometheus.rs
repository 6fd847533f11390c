//! Writes families as OpenMetrics text or in the older text format of Prometheus, with the encoder of
//! `prometheus-client`.

use std::fmt::{Error, Result as FmtResult};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::families::{Family, Samples};
use crate::engine::LATENCY_BOUNDS;

/// The prefix of every name.
pub(super) const PREFIX: &str = "backfill";

/// A format of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The older text format of Prometheus.
    Prometheus,
}

impl Format {
    /// Returns the format that a client accepts, given its `Accept` header.
    pub fn accepted_by(accept: Option<&str>) -> Format {
        let accepts = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
        if accepts { Format::OpenMetrics } else { Format::Prometheus }
    }

    /// Returns the value of the header `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Returns the text of these families.
///
/// # Errors
///
/// Fails only if the encoder, which writes to memory, fails.
pub(super) fn text_of(families: Vec<Family>, format: Format) -> Result<String, Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Encoded(families)));
    let mut out = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut out, &registry)?,
        Format::Prometheus => prometheus_text::encode(&mut out, &registry)?,
    }
    Ok(out)
}

#[derive(Debug)]
struct Encoded(Vec<Family>);

impl Collector for Encoded {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> FmtResult {
        self.0.iter().try_for_each(|family| write(&mut encoder, family))
    }
}

fn write(out: &mut DescriptorEncoder<'_>, Family { name, help, samples }: &Family) -> FmtResult {
    match samples {
        Samples::Gauges(samples) => {
            let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
            samples.iter().try_for_each(|(labels, value)| family.encode_family(labels)?.encode_gauge(value))
        }
        Samples::Counters(samples) => {
            let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
            samples.iter().try_for_each(|(labels, value)| {
                family.encode_family(labels)?.encode_counter::<NoLabelSet, f64, f64>(value, None)
            })
        }
        Samples::Histograms(samples) => {
            let mut family = out.encode_descriptor(name, help, None, MetricType::Histogram)?;
            samples.iter().try_for_each(|(labels, latency)| {
                let bounds = LATENCY_BOUNDS.into_iter().chain([f64::INFINITY]);
                let buckets: Vec<(f64, u64)> = bounds.zip(latency.buckets).collect();
                let sum = latency.sum.as_secs_f64();
                family.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, latency.count(), &buckets, None)
            })
        }
        Samples::Info(labels) => out.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(labels),
    }
}

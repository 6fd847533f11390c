//! Turns families into a request of the OpenTelemetry protocol. This module is pure.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1;

use crate::engine::LATENCY_BOUNDS;
use crate::telemetry::metrics::families::{Family, Labels, Sample, Samples};
use crate::telemetry::metrics::prometheus::PREFIX;

/// The attributes that all metrics of a process have.
#[derive(Debug, Clone)]
pub(super) struct Resource(Vec<KeyValue>);

impl Resource {
    /// Creates the attributes for a migration. `configured` comes from the environment and takes precedence.
    pub(super) fn new(configured: Vec<(String, String)>, migration: &str, table: &str) -> Resource {
        let instance = format!("{}:{}", crate::host::name(), std::process::id());
        let mut attributes = configured;
        for (key, value) in [
            ("service.name", "backfill"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", instance.as_str()),
            ("backfill.migration", migration),
            ("backfill.table", table),
        ] {
            if attributes.iter().all(|(known, _)| known != key) {
                attributes.push((key.to_owned(), value.to_owned()));
            }
        }
        Resource(attributes.into_iter().map(|(key, value)| attribute(&key, value)).collect())
    }
}

/// Returns the request. `began` and `now` are nanoseconds since 1970. Counters rise since `began`.
pub(super) fn request(families: &[Family], resource: &Resource, began: u64, now: u64) -> ExportMetricsServiceRequest {
    let metrics = families.iter().map(|family| metric(family, began, now)).collect();
    let scope = InstrumentationScope {
        name: PREFIX.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope = ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() };
    let resource = v1::Resource { attributes: resource.0.clone(), ..v1::Resource::default() };
    let metrics = ResourceMetrics { resource: Some(resource), scope_metrics: vec![scope], schema_url: String::new() };
    ExportMetricsServiceRequest { resource_metrics: vec![metrics] }
}

/// Returns a metric. Its name is the name in `/metrics` without `_total`, because a collector adds this suffix for
/// Prometheus. Its unit is empty, because the name contains the unit.
fn metric(family: &Family, began: u64, now: u64) -> Metric {
    let Family { name, help, samples } = family;
    let temporality = AggregationTemporality::Cumulative.into();
    let (suffix, data) = match samples {
        Samples::Gauges(samples) => {
            let data_points = samples.iter().map(|sample| point(sample, 0, now)).collect();
            ("", metric::Data::Gauge(Gauge { data_points }))
        }
        Samples::Counters(samples) => {
            let data_points = samples.iter().map(|sample| point(sample, began, now)).collect();
            ("", metric::Data::Sum(Sum { data_points, aggregation_temporality: temporality, is_monotonic: true }))
        }
        Samples::Histograms(samples) => {
            let data_points = samples
                .iter()
                .map(|(labels, latency)| HistogramDataPoint {
                    attributes: attributes(labels),
                    start_time_unix_nano: began,
                    time_unix_nano: now,
                    count: latency.count(),
                    sum: Some(latency.sum.as_secs_f64()),
                    bucket_counts: latency.buckets.to_vec(),
                    explicit_bounds: LATENCY_BOUNDS.to_vec(),
                    ..HistogramDataPoint::default()
                })
                .collect();
            ("", metric::Data::Histogram(Histogram { data_points, aggregation_temporality: temporality }))
        }
        Samples::Info(labels) => {
            let data_points = vec![point(&(labels.clone(), 1.0), 0, now)];
            ("_info", metric::Data::Gauge(Gauge { data_points }))
        }
    };
    Metric {
        name: format!("{PREFIX}_{name}{suffix}"),
        description: (*help).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn point((labels, value): &Sample, began: u64, now: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: began,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(*value)),
        ..NumberDataPoint::default()
    }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(key, value)| attribute(key, value.clone())).collect()
}

fn attribute(key: &str, value: String) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value)) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

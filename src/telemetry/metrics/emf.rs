//! CloudWatch's Embedded Metric Format. Each line contains one JSON object, from which CloudWatch Logs makes metrics
//! (CloudWatch user guide, "Specification: Embedded metric format"). This module is pure.
//!
//! CloudWatch charges for each metric, so the lines contain a selection of the families, and only the dimensions
//! `Migration` and `Table`. CloudWatch has no counters. The value of a counter becomes its increase since the previous
//! line, so that the statistic `Sum` is the total.

mod line;
mod writer;

use std::collections::HashMap;

use async_trait::async_trait;

use super::export::Export;
use super::exposition::Exposition;
use super::families::{Family, Labels, Sample, Samples};
use writer::LineQueue;
pub use writer::{EmfOptions, LineWriter};

/// The namespace of the metrics.
const NAMESPACE: &str = "backfill";

/// The dimensions of every metric.
const DIMENSIONS: [&str; 2] = ["Migration", "Table"];

/// The maximum number of metrics in a directive ("MetricDirective object", `Metrics`).
const MAX_METRICS: usize = 100;

/// A unit of CloudWatch (API reference, `MetricDatum`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Count,
    CountPerSecond,
    Seconds,
    None,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Count => "Count",
            Unit::CountPerSecond => "Count/Second",
            Unit::Seconds => "Seconds",
            Unit::None => "None",
        }
    }
}

/// A family of metrics that the lines contain.
struct Chosen {
    family: &'static str,
    unit: Unit,
    /// The labels whose values become part of the metric's name. All of them have a fixed set of values.
    named_by: &'static [&'static str],
    /// Whether the lines contain only those samples whose label `scope` is the table.
    of_table: bool,
}

const fn plain(family: &'static str, unit: Unit) -> Chosen {
    Chosen { family, unit, named_by: &[], of_table: false }
}

const fn by(family: &'static str, unit: Unit, named_by: &'static [&'static str]) -> Chosen {
    Chosen { family, unit, named_by, of_table: false }
}

const fn of_table(family: &'static str, unit: Unit) -> Chosen {
    Chosen { family, unit, named_by: &["access"], of_table: true }
}

/// The families that the lines contain. `docs/metrics.md` lists the resulting metric names.
const CHOSEN: [Chosen; 28] = [
    plain("pass_active", Unit::None),
    by("activity_seconds", Unit::Seconds, &["activity"]),
    plain("hung_segments", Unit::Count),
    by("items", Unit::Count, &["outcome"]),
    plain("items_scanned", Unit::Count),
    plain("table_items", Unit::Count),
    by("request_errors", Unit::Count, &["error"]),
    plain("throttled_requests", Unit::Count),
    by("requests_in_flight", Unit::Count, &["access"]),
    of_table("consumed_capacity_units", Unit::Count),
    of_table("budget_units_per_second", Unit::CountPerSecond),
    of_table("rate_units_per_second", Unit::CountPerSecond),
    of_table("wait_seconds", Unit::Seconds),
    of_table("waiting_requests", Unit::Count),
    plain("segments", Unit::Count),
    plain("segments_done", Unit::Count),
    plain("checkpoint_age_seconds", Unit::Seconds),
    plain("eta_seconds", Unit::Seconds),
    by("spent_capacity_units", Unit::Count, &["access"]),
    plain("spend_dollars", Unit::None),
    by("limit", Unit::None, &["limit"]),
    by("limit_left", Unit::None, &["limit"]),
    plain("open_failures", Unit::Count),
    plain("open_diverged", Unit::Count),
    plain("verification_items", Unit::Count),
    plain("verification_mismatches", Unit::Count),
    plain("verification_repaired", Unit::Count),
    by("request_duration_seconds", Unit::Seconds, &["operation"]),
];

/// One metric of a line.
#[derive(Debug, Clone, PartialEq)]
struct Metric {
    name: String,
    unit: Unit,
    value: f64,
    /// Whether the value is a counter. The line then contains its increase.
    rises: bool,
}

/// Writes the lines of one command.
pub(super) struct Emf {
    migration: String,
    table: String,
    /// The counters of the previous line.
    before: HashMap<String, f64>,
    lines: LineQueue,
}

impl Emf {
    /// Writes lines for a migration.
    pub(super) fn new(migration: &str, table: &str, write: LineWriter) -> Emf {
        let lines = LineQueue::start(write);
        Emf { migration: migration.to_owned(), table: table.to_owned(), before: HashMap::new(), lines }
    }
}

#[async_trait]
impl Export for Emf {
    async fn begin(&mut self, first: &Exposition) {
        let metrics = metrics(&first.families());
        self.before = metrics.into_iter().filter(|metric| metric.rises).map(|m| (m.name, m.value)).collect();
    }

    async fn send(&mut self, now: &Exposition) {
        let metrics = increases(metrics(&now.families()), &mut self.before);
        self.lines.push(line::line(&self.migration, &self.table, &metrics, now).to_string());
    }

    async fn finish(&mut self) {
        self.lines.finish().await;
    }
}

/// Replaces the value of each counter by its increase. `before` contains the counters of the previous line. This
/// function replaces them by the new counters.
fn increases(mut metrics: Vec<Metric>, before: &mut HashMap<String, f64>) -> Vec<Metric> {
    for metric in metrics.iter_mut().filter(|metric| metric.rises) {
        let known = before.insert(metric.name.clone(), metric.value).unwrap_or_default();
        metric.value = (metric.value - known).max(0.0);
    }
    metrics
}

/// Returns the chosen metrics of these families.
fn metrics(families: &[Family]) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for chosen in &CHOSEN {
        let Some(family) = families.iter().find(|family| family.name == chosen.family) else { continue };
        let mut add = |samples: &[Sample], rises| {
            let samples = samples.iter().filter(|(labels, _)| !chosen.of_table || is_of_table(labels));
            metrics.extend(samples.map(|(labels, value)| Metric {
                name: name(chosen.family, chosen.named_by, labels),
                unit: chosen.unit,
                value: *value,
                rises,
            }));
        };
        match &family.samples {
            Samples::Gauges(samples) => add(samples, false),
            Samples::Counters(samples) => add(samples, true),
            Samples::Histograms(samples) => {
                let sums = samples.iter().map(|(labels, latency)| (labels.clone(), latency.sum.as_secs_f64()));
                add(&sums.collect::<Vec<_>>(), true);
                metrics.extend(samples.iter().map(|(labels, latency)| Metric {
                    name: name("requests", chosen.named_by, labels),
                    unit: Unit::Count,
                    value: latency.count() as f64,
                    rises: true,
                }));
            }
            Samples::Info(_) => {}
        }
    }
    metrics.retain(|metric| metric.value.is_finite());
    metrics
}

fn is_of_table(labels: &Labels) -> bool {
    labels.iter().any(|(name, value)| *name == "scope" && value == "table")
}

/// Returns the name of a metric in CloudWatch: `items` with the outcome `applied` becomes `ItemsApplied`.
fn name(family: &str, named_by: &[&str], labels: &Labels) -> String {
    let values = labels.iter().filter(|(label, _)| named_by.contains(label)).map(|(_, value)| value.as_str());
    let words = std::iter::once(family).chain(values).flat_map(|part| part.split('_'));
    words.map(capitalized).collect()
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + chars.as_str())
}

#[cfg(test)]
mod tests;

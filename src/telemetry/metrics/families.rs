//! Writes families of metrics with the encoder of `prometheus-client`.

use std::fmt::Result;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::engine::{LATENCY_BOUNDS, LatencySnapshot};

/// The labels of one sample.
pub(super) type Labels = Vec<(&'static str, String)>;

/// One sample: its labels and its value.
pub(super) type Sample = (Labels, f64);

/// The families of an exposition. Leaves out a family without samples.
pub(super) struct Families<'a>(DescriptorEncoder<'a>);

/// Returns one label.
pub(super) fn label(name: &'static str, value: impl Into<String>) -> Labels {
    vec![(name, value.into())]
}

impl<'a> Families<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Families<'a> {
        Families(encoder)
    }

    /// Writes a gauge with one sample, if its value is known.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: Option<f64>) -> Result {
        self.gauges(name, help, value.map(|value| (Labels::new(), value)))
    }

    /// Writes a gauge with any number of samples.
    pub(super) fn gauges(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) -> Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        samples.try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    /// Writes a counter with one sample. `name` does not include the suffix `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: f64) -> Result {
        self.counters(name, help, [(Labels::new(), value)])
    }

    /// Writes a counter with any number of samples. `name` does not include the suffix `_total`.
    pub(super) fn counters(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) -> Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        samples.try_for_each(|(labels, value)| {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, f64, f64>(&value, None)
        })
    }

    /// Writes a histogram of latencies.
    pub(super) fn histograms<'s>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, &'s LatencySnapshot)>,
    ) -> Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        samples.into_iter().try_for_each(|(labels, latency)| {
            let bounds = LATENCY_BOUNDS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(latency.buckets).collect();
            let sum = latency.sum.as_secs_f64();
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, latency.count(), &buckets, None)
        })
    }

    /// Writes an info metric, whose labels are its content. `name` does not include the suffix `_info`.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &Labels) -> Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(labels)
    }
}

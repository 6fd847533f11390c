//! The metrics at one moment, independent of any format. Each exporter turns them into its own format.

use crate::engine::LatencySnapshot;

/// The labels of one sample.
pub type Labels = Vec<(&'static str, String)>;

/// One sample: its labels and its value.
pub type Sample = (Labels, f64);

/// A family: all samples of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The name, without the prefix and without the suffix that a text format adds.
    pub name: &'static str,
    /// One sentence about its meaning.
    pub help: &'static str,
    /// The samples.
    pub samples: Samples,
}

/// The samples of a family.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// Values that rise and fall.
    Gauges(Vec<Sample>),
    /// Values that only rise. A lower value means that the counter was reset.
    Counters(Vec<Sample>),
    /// Distributions of latencies.
    Histograms(Vec<(Labels, LatencySnapshot)>),
    /// Facts that the labels contain.
    Info(Labels),
}

/// Collects families. Omits families without samples.
#[derive(Debug, Default)]
pub(super) struct Families(pub(super) Vec<Family>);

/// Returns one label.
pub(super) fn label(name: &'static str, value: impl Into<String>) -> Labels {
    vec![(name, value.into())]
}

impl Families {
    /// Adds a gauge with one sample, if its value is known.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, value: Option<f64>) {
        self.gauges(name, help, value.map(|value| (Labels::new(), value)));
    }

    /// Adds a gauge with any number of samples.
    pub(super) fn gauges(&mut self, name: &'static str, help: &'static str, samples: impl IntoIterator<Item = Sample>) {
        let samples: Vec<Sample> = samples.into_iter().collect();
        if !samples.is_empty() {
            self.0.push(Family { name, help, samples: Samples::Gauges(samples) });
        }
    }

    /// Adds a counter with one sample. `name` does not include the suffix `_total`.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.counters(name, help, [(Labels::new(), value)]);
    }

    /// Adds a counter with any number of samples. `name` does not include the suffix `_total`.
    pub(super) fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        let samples: Vec<Sample> = samples.into_iter().collect();
        if !samples.is_empty() {
            self.0.push(Family { name, help, samples: Samples::Counters(samples) });
        }
    }

    /// Adds a histogram of latencies.
    pub(super) fn histograms<'s>(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, &'s LatencySnapshot)>,
    ) {
        let samples = samples.into_iter().map(|(labels, latency)| (labels, latency.clone())).collect();
        self.0.push(Family { name, help, samples: Samples::Histograms(samples) });
    }

    /// Adds an info metric, whose labels are its content. `name` does not include the suffix `_info`.
    pub(super) fn info(&mut self, name: &'static str, help: &'static str, labels: Labels) {
        self.0.push(Family { name, help, samples: Samples::Info(labels) });
    }
}

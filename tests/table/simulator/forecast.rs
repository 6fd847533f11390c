//! Compares the forecast with the actual duration of a run over a table with a hot partition key.

use std::time::Duration;

use backfill::internals::local::capacity::{ModelSpec, PartitionSpec};
use backfill::internals::plan::{Capacity, ScopeCapacity};

use super::data::{KeyDistribution, Workload};
use super::figure::{Figure, Required};
use super::scenarios::setup_of;
use super::{Setup, run};

/// An on-demand table with ten thousand items. One partition key has seven out of ten items.
fn giant(capacity: Capacity) -> Setup {
    let partitions = PartitionSpec { count: Some(8), split_after_seconds: f64::INFINITY, ..PartitionSpec::default() };
    let model = ModelSpec { table: "simulated".into(), partitions, ..ModelSpec::default() };
    Setup {
        workload: Workload { items: 10_000, spread: KeyDistribution::Giant { share: 0.7 }, bytes: (330, 370) },
        capacity: Some(capacity),
        forecasts: ["100%", "5%", "5%", "5%", "20%"].map(|size| size.parse().unwrap()).into(),
        job_after: Duration::from_secs(1),
        ..setup_of(0, model)
    }
}

/// Checks that every forecast's range includes the actual duration, and that the range is narrow if the sample includes
/// all items.
fn forecast(name: &str, capacity: Capacity) -> Vec<Figure> {
    let run = run(&giant(capacity));
    let took = run.took();
    let mut figures = vec![Figure::new(format!("{name}: seconds"), took, Required::Nothing)];
    for (basis, low, high) in &run.forecasts {
        figures.push(Figure::new(
            format!("{name}: duration / shortest forecast from {basis}"),
            took / low,
            Required::AtLeast(0.97),
        ));
        figures.push(Figure::new(
            format!("{name}: duration / longest forecast from {basis}"),
            took / high,
            Required::AtMost(1.0),
        ));
    }
    let (_, low, high) = &run.forecasts[1];
    figures.push(Figure::new(
        format!("{name}: longest / shortest forecast from every item"),
        high / low,
        Required::AtMost(2.01),
    ));
    figures
}

/// Compares the forecasts with the actual durations of two runs. One run uses the default budgets. The other run's plan
/// sets budgets for each partition key and each segment.
pub fn one_heavy_key() -> Vec<Figure> {
    let narrow = ScopeCapacity { write: Some(900.0), read: None };
    let stated = Capacity { per_partition_key: narrow, per_key_range: narrow, ..Capacity::default() };
    let mut figures = forecast("default", Capacity::default());
    figures.extend(forecast("900 WCU/s stated", stated));
    figures
}

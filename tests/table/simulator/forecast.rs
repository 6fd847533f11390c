//! How long a run is forecast to take, and how long it takes, where most of the items are under one partition key.

use std::time::Duration;

use backfill::internals::local::capacity::{ModelSpec, PartitionSpec};
use backfill::internals::plan::{Capacity, ScopeCapacity};

use super::data::{Spread, Workload};
use super::figure::{Figure, Required};
use super::scenarios::setup_of;
use super::{Setup, run};

/// Ten thousand items, seven of ten under one partition key, on demand.
fn giant(capacity: Capacity) -> Setup {
    let partitions = PartitionSpec { count: Some(8), split_after_seconds: f64::INFINITY, ..PartitionSpec::default() };
    let model = ModelSpec { table: "simulated".into(), partitions, ..ModelSpec::default() };
    Setup {
        workload: Workload { items: 10_000, spread: Spread::Giant { share: 0.7 }, bytes: (330, 370) },
        capacity: Some(capacity),
        forecasts: ["100%", "5%", "5%", "5%", "20%"].map(|size| size.parse().unwrap()).into(),
        job_after: Duration::from_secs(1),
        ..setup_of(0, model)
    }
}

/// Every forecast brackets what the run takes; that of every item does so closely.
fn forecast(name: &str, capacity: Capacity) -> Vec<Figure> {
    let run = run(&giant(capacity));
    let took = run.took();
    let mut figures = vec![Figure::new(format!("{name}: seconds"), took, Required::Nothing)];
    for (basis, low, high) in &run.forecasts {
        figures.push(Figure::new(
            format!("{name}: time by the shortest of {basis}"),
            took / low,
            Required::AtLeast(0.97),
        ));
        figures.push(Figure::new(
            format!("{name}: time by the longest of {basis}"),
            took / high,
            Required::AtMost(1.0),
        ));
    }
    let (_, low, high) = &run.forecasts[1];
    figures.push(Figure::new(format!("{name}: longest by shortest of every item"), high / low, Required::AtMost(2.01)));
    figures
}

/// With the default budgets, and with budgets for one partition key and one segment that the plan states.
pub fn one_heavy_key() -> Vec<Figure> {
    let narrow = ScopeCapacity { write: Some(900.0), read: None };
    let stated = Capacity { per_partition_key: narrow, per_key_range: narrow, ..Capacity::default() };
    let mut figures = forecast("default", Capacity::default());
    figures.extend(forecast("900 WCU/s stated", stated));
    figures
}

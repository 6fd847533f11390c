//! Tests a job whose table changes during the run, because of auto scaling or a new index.

use std::time::Duration;

use backfill::internals::local::capacity::{BurstSpec, ModelSpec, PartitionSpec, Throughput};
use backfill::internals::plan::{Capacity, CapacityRate};

use super::application::Traffic;
use super::figure::{Figure, Required};
use super::model::with_index;
use super::scenarios::setup_of;
use super::{Run, Setup, run};

/// After this number of seconds, a job has certainly noticed a change and adapted its rate. The job describes the table
/// every two minutes, and needs a minute to raise the rate. The value includes a margin of a few seconds.
const RAISE_SECS: usize = 190;

/// After this number of seconds, a lower budget applies. The job applies it immediately after its next description of
/// the table.
const LOWER_SECS: usize = 125;

/// Returns the limits of a small table with this provisioned write capacity, one partition and no burst credit.
fn small(write: f64) -> ModelSpec {
    ModelSpec {
        table: "simulated".into(),
        provisioned: Some(Throughput { read: 400.0, write }),
        partitions: PartitionSpec { count: Some(1), split_after_seconds: f64::INFINITY, ..PartitionSpec::default() },
        burst: BurstSpec { available: 0.0, ..BurstSpec::default() },
        ..ModelSpec::default()
    }
}

/// Runs a job with this capacity on a table whose limits change after these numbers of seconds.
fn followed(capacity: Capacity, first: ModelSpec, changes: Vec<(u64, ModelSpec)>, seconds: u64) -> Run {
    let changes = changes.into_iter().map(|(at, spec)| (Duration::from_secs(at), spec)).collect();
    run(&Setup {
        capacity: Some(capacity),
        changes,
        // The application needs less capacity than the job leaves unused. So after the job has adapted to the change,
        // the service must not throttle the application.
        traffic: Some(Traffic { writes: 0.5, reads: 1.0 }),
        job_after: Duration::from_secs(1),
        at_most: Duration::from_secs(seconds),
        ..setup_of(30_000, first)
    })
}

/// The write capacity of the table changes from 100 units down to 20, and then up to 200. The budget in the plan is 80
/// % of this capacity.
pub fn auto_scaled() -> Vec<Figure> {
    let capacity = Capacity { write: Some(CapacityRate::Percent(80.0)), ..Capacity::default() };
    let run = followed(capacity, small(100.0), vec![(60, small(20.0)), (300, small(200.0))], 620);
    let at = |from: usize, until: usize| run.over(from, until).writes;
    let application_throttles: u64 =
        run.seconds[60 + LOWER_SECS..300].iter().map(|second| second.application_throttled).sum();
    // The largest increase in the rate between the ends of two successive seconds.
    let table = |second: usize| run.seconds[second].rates.iter().find(|(scope, _)| scope.is_empty()).unwrap().1;
    let leap = (301..620).map(|second| table(second) - table(second - 1)).fold(0.0, f64::max);
    vec![
        Figure::new("before, share of 80 WCU/s, %", at(20, 60) / 0.8, Required::AtLeast(95.0)),
        Figure::new("scaled down, share of 16 WCU/s, %", at(60 + LOWER_SECS, 300) / 0.16, Required::AtMost(102.0)),
        Figure::new("scaled down, share used, %", at(60 + LOWER_SECS, 300) / 0.16, Required::AtLeast(90.0)),
        Figure::new("scaled down, application's throttles", application_throttles as f64, Required::AtMost(0.0)),
        Figure::new("scaled up, share of 160 WCU/s, %", at(300 + RAISE_SECS, 620) / 1.6, Required::AtLeast(95.0)),
        Figure::new("scaled up, largest increase within a second, WCU/s", leap, Required::AtMost(25.0)),
    ]
}

/// Checks the default budget, which is a quarter of the table's capacity, while the table is scaled down and up.
pub fn by_default() -> Vec<Figure> {
    let run = followed(Capacity::default(), small(200.0), vec![(60, small(40.0)), (300, small(400.0))], 620);
    let at = |from: usize, until: usize| run.over(from, until).writes;
    vec![
        Figure::new("before, share of 50 WCU/s, %", at(20, 60) / 0.5, Required::AtLeast(95.0)),
        Figure::new("scaled down, share of 10 WCU/s, %", at(60 + LOWER_SECS, 300) / 0.1, Required::AtMost(102.0)),
        Figure::new("scaled up, share of 100 WCU/s, %", at(300 + RAISE_SECS, 620), Required::AtLeast(95.0)),
    ]
}

/// A table has 100 write units per second, and the job's budget is 80 of them. During the run, the table gets an index
/// with 40 write units per second. The job's budget for the index is a quarter of these.
pub fn new_index() -> Vec<Figure> {
    let capacity = Capacity { write: Some(CapacityRate::Percent(80.0)), ..Capacity::default() };
    let run = followed(capacity, small(100.0), vec![(60, with_index(small(100.0), 40.0))], 400);
    let after = run.over(60 + LOWER_SECS, 400).index_writes;
    let named = run.seconds[60 + LOWER_SECS..399].iter().filter(|s| s.rates.iter().any(|(scope, _)| !scope.is_empty()));
    let throttled: u64 = run.seconds[60 + LOWER_SECS..400].iter().map(|second| second.job_throttled).sum();
    vec![
        Figure::new("share of a quarter of the index, %", 10.0 * after, Required::AtMost(102.0)),
        Figure::new("share of a quarter of the index that is used, %", 10.0 * after, Required::AtLeast(90.0)),
        Figure::new("seconds in which its rate is reported", named.count() as f64, Required::AtLeast(200.0)),
        Figure::new("job's requests throttled", throttled as f64, Required::AtMost(0.0)),
    ]
}

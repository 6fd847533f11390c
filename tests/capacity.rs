//! scratch
mod simulator;

use std::time::Duration;
use simulator::data::{Spread, Workload};
use simulator::model::Limits;
use simulator::{Setup, run};
use backfill::throttle::{Budget, Budgets};

#[test]
fn scratch() {
    let b = Budget { write: 2000.0, read: 4000.0 };
    let setup = Setup {
        workload: Workload { items: 20_000, spread: Spread::Uniform, bytes: (900, 900) },
        limits: Limits { partitions: 8, partition: (1000.0, 3000.0), table: (8000.0, 24000.0), index: None, burst_seconds: 1.0 },
        budgets: Some(Budgets { table: b, per_key_range: b, per_partition_key: b, indexes: vec![] }),
        segments: 64, active: 16, traffic: None, job_after: Duration::from_secs(1), at_most: Duration::from_secs(3600), storm: None,
        latency: (Duration::from_millis(4), Duration::from_millis(10)), seed: 1,
    };
    let run = run(&setup);
    for (i, s) in run.seconds.iter().enumerate() { println!("{i} {s:?}"); }
    println!("{:?} {:?} {:?} {:?} {:?}", run.ended, run.bound, run.cpu, run.counts, run.stopped);
}

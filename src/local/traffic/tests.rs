use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::local::capacity::{ConsumedUnits, Demand, Model, ModelSpec, RequestKind, Throughput};

/// A simulated table without data. It uses virtual time. Only the capacity model decides whether a request succeeds.
/// Every reply takes the configured time.
struct SimulatedTable {
    model: Mutex<Model>,
    began: Instant,
    reply_time: Duration,
    in_flight: AtomicU64,
    max_in_flight: AtomicU64,
}

impl SimulatedTable {
    fn new(write: f64, reply_time: Duration) -> SimulatedTable {
        let mut spec = ModelSpec { provisioned: Some(Throughput { read: 1_000.0, write }), ..ModelSpec::default() };
        spec.burst.seconds = 0.0;
        SimulatedTable {
            model: Mutex::new(Model::new(spec)),
            began: Instant::now(),
            reply_time,
            in_flight: AtomicU64::default(),
            max_in_flight: AtomicU64::default(),
        }
    }
}

#[async_trait]
impl Application for SimulatedTable {
    async fn send(&self, operation: &Operation) -> Result<(), RequestFailure> {
        let now = self.began.elapsed();
        let position = operation.key as f64 / 1_000.0;
        let demand = match operation.kind.writes() {
            true => Demand::write(position, operation.key),
            false => Demand::read(position, operation.key),
        };
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.max_in_flight.fetch_max(in_flight, Ordering::Relaxed);
        tokio::time::sleep(self.reply_time).await;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let mut model = self.model.lock().unwrap();
        model
            .admit(now, &demand)
            .map_err(|t| RequestFailure::Throttled(t.reasons.into_iter().map(|r| r.reason).collect()))?;
        model.charge(now, &demand, &ConsumedUnits::table(1.0));
        Ok(())
    }
}

async fn run(spec: TrafficSpec, application: Arc<SimulatedTable>, seconds: u64) -> TrafficReport {
    let traffic = Traffic::new(spec);
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::join!(traffic.run(application, stop), async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        stopper.cancel();
    });
    traffic.report()
}

#[tokio::test(start_paused = true)]
async fn the_application_reports_every_throttle_of_the_table() {
    let spec = TrafficSpec { writes_per_second: 100.0, reads_per_second: 20.0, ..TrafficSpec::default() };
    let table = Arc::new(SimulatedTable::new(40.0, Duration::from_millis(5)));
    let report = run(spec, Arc::clone(&table), 60).await;
    assert_eq!((report.writes.sent, report.reads.sent), (6_000, 1_200));
    assert_eq!((report.reads.served, report.reads.throttled, report.failed()), (1_200, 0, 0));
    // At the start, the table has saved one second of capacity.
    assert!((2_438..=2_442).contains(&report.writes.served), "{report}");
    assert_eq!(report.writes.served + report.writes.throttled, 6_000);
    let reason = "TableWriteProvisionedThroughputExceeded".to_owned();
    assert_eq!(report.writes.reasons, BTreeMap::from([(reason, report.writes.throttled)]));
    let model = table.model.lock().unwrap();
    assert_eq!(*model.stats().throttled.get(RequestKind::Write), report.writes.throttled);

    assert_eq!(report.seconds.len(), 60);
    assert!(report.seconds.iter().all(|second| second.sent == 120 && second.served + second.throttled == 120));
    assert_eq!(report.seconds.iter().map(|second| second.throttled).sum::<u64>(), report.throttled());
    let text = report.to_string();
    assert!(text.contains("application writes: 6000 sent") && text.contains("p99 5.0 ms"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_large_table_throttles_no_request() {
    let spec = TrafficSpec { writes_per_second: 100.0, reads_per_second: 100.0, skew: 1.1, ..TrafficSpec::default() };
    let report = run(spec, Arc::new(SimulatedTable::new(500.0, Duration::ZERO)), 30).await;
    assert_eq!((report.sent(), report.served(), report.throttled(), report.failed()), (6_000, 6_000, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn slow_replies_do_not_slow_the_load_but_their_number_is_bounded() {
    let spec = TrafficSpec { writes_per_second: 100.0, reads_per_second: 0.0, ..TrafficSpec::default() };
    let slow = Arc::new(SimulatedTable::new(1_000.0, Duration::from_secs(5)));
    let report = run(spec.clone(), Arc::clone(&slow), 10).await;
    assert_eq!(
        (report.writes.sent, report.writes.served),
        (1_000, 1_000),
        "at the end, the application must wait for the requests in flight"
    );
    assert!((495..=501).contains(&slow.max_in_flight.load(Ordering::Relaxed)));
    assert_eq!(report.writes.latency.max(), Duration::from_secs(5));

    let dead = Arc::new(SimulatedTable::new(1_000.0, Duration::from_secs(1_000)));
    let report = run(spec, Arc::clone(&dead), 30).await;
    assert_eq!((report.writes.sent, report.writes.not_sent), (MAX_IN_FLIGHT as u64, 1_000));
    assert_eq!((report.writes.served, report.failed()), (0, 1_000));
}

#[test]
fn a_schedule_is_a_function_of_its_spec() {
    let spec = TrafficSpec { writes_per_second: 7.0, reads_per_second: 3.0, keys: 50, ..TrafficSpec::default() };
    let first: Vec<ScheduledRequest> = Schedule::new(&spec).take(1_000).collect();
    assert_eq!(first, Schedule::new(&spec).take(1_000).collect::<Vec<_>>());
    assert!(first.is_sorted_by_key(|scheduled| scheduled.at));
    assert_eq!(first.iter().filter(|scheduled| scheduled.operation.kind.writes()).count(), 700);
    assert!((99..=100).contains(&first[999].at.as_secs()));
    let puts = first.iter().filter(|scheduled| scheduled.operation.kind == OperationKind::Put).count();
    assert!((280..420).contains(&puts), "about half of the writes must be puts: {puts}");
    assert!(
        first
            .iter()
            .all(|scheduled| scheduled.operation.partition_key().starts_with("app#") && scheduled.operation.key < 50)
    );
    let other = TrafficSpec { seed: 2, ..spec };
    assert_ne!(first, Schedule::new(&other).take(1_000).collect::<Vec<_>>());
    let nothing = TrafficSpec { writes_per_second: 0.0, reads_per_second: 0.0, ..TrafficSpec::default() };
    assert_eq!(Schedule::new(&nothing).next(), None);
}

#[test]
fn skew_makes_a_hot_key() {
    let requests_for_key_0 = |skew| {
        let spec = TrafficSpec { keys: 1_000, skew, ..TrafficSpec::default() };
        Schedule::new(&spec).take(20_000).filter(|scheduled| scheduled.operation.key == 0).count()
    };
    assert!(requests_for_key_0(0.0) < 60);
    // The weight of key 0 is 1, and the sum of rank^-1.1 over 1,000 ranks is 5.57.
    assert!((3_300..3_900).contains(&requests_for_key_0(1.1)), "{}", requests_for_key_0(1.1));
}

#[test]
fn quantiles_are_a_little_too_high_and_never_too_low() {
    let mut latency = LatencyHistogram::default();
    assert_eq!((latency.quantile(0.5), latency.max()), (Duration::ZERO, Duration::ZERO));
    for millis in 1..=1_000 {
        latency.add(Duration::from_millis(millis));
    }
    for (share, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0), (0.001, 1.0)] {
        let found = latency.quantile(share).as_secs_f64() * 1e3;
        assert!((exact..exact * 1.045).contains(&found), "{share}: {found} for {exact}");
    }
    assert_eq!((latency.count(), latency.max()), (1_000, Duration::from_secs(1)));
}

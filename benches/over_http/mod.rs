//! Measures the figures of the capacity benchmark over real sockets and in real time. The real binary runs against the
//! embedded engine, and the capacity model limits the engine. At the same time, an application sends its own HTTP
//! traffic. The table and all rates are scaled down to a twentieth, and each run takes about a minute.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backfill::internals::local::capacity::{ModelSpec, ModelStats, Storm};
use backfill::internals::local::traffic::{HttpApplication, Traffic, TrafficSpec};
use backfill::internals::local::{Local, LocalOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::simulator::data::{Data, INDEX_KEY, KeyDistribution, SOURCE, TARGET, Workload};
use crate::simulator::figure::{Figure, Required};
use crate::simulator::model::{INDEX, provisioned, with_index};

/// The size of the table and of all rates, relative to a real table. Two cores can serve the resulting load.
const SCALE: f64 = 0.05;

/// The table's name.
const TABLE: &str = "simulated";

/// The settings of one run.
struct Run<'a> {
    workload: Workload,
    model: ModelSpec,
    /// The application's writes and reads per second. `None` means that there is no application.
    traffic: Option<(f64, f64)>,
    /// The plan's `[capacity]`. `None` means that only the application runs.
    capacity: Option<&'a str>,
    /// Number of seconds between the start of the application and the start of the job.
    before: u64,
    /// The maximum number of seconds for which the benchmark observes the run.
    seconds: u64,
}

/// The increase of each counter within one second.
#[derive(Debug, Clone, Copy, Default)]
struct Second {
    writes: f64,
    index: f64,
    job_requests: f64,
    job_throttled: f64,
    application_throttled: f64,
}

struct Watched {
    seconds: Vec<Second>,
    /// The job's duration in seconds. `None` if the job failed or did not end in time.
    took: Option<f64>,
    exit: Option<i32>,
    started: usize,
}

/// Runs the scenarios whose names begin with one of the texts in `wanted`. If `wanted` is empty, runs all scenarios.
/// Reports their figures.
pub(crate) fn run(wanted: &[String], mut tell: impl FnMut(&str, &Figure)) {
    type Scenario = fn() -> Vec<Figure>;
    let all: [(&str, Scenario); 6] = [
        ("1-uniform", uniform),
        ("2-above", above),
        ("3-beside", beside),
        ("4-skewed", skewed),
        ("5-index", index),
        ("6-storm", storm),
    ];
    for (name, scenario) in all {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.starts_with(wanted.as_str())) {
            scenario().iter().for_each(|figure| tell(name, figure));
        }
    }
}

fn uniform() -> Vec<Figure> {
    let watched = watch(&Run { capacity: Some("write = 200\nread = 400"), ..plain(4_000.0, 8_000.0, 8_000.0) });
    let steady = watched.steady(5);
    vec![
        Figure::new("share of the budget used, %", 100.0 * steady.writes / 200.0, Required::AtLeast(95.0)),
        Figure::new("job's requests throttled, %", watched.throttled(), Required::AtMost(0.5)),
        watched.done(),
    ]
}

fn above() -> Vec<Figure> {
    let capacity = "write = 200\nread = 400\nper_key_range = { write = 200 }\nper_partition_key = { write = 200 }";
    let mut run = Run { capacity: Some(capacity), ..plain(3_000.0, 2_000.0, 8_000.0) };
    // This table does not report its capacity, because the tool would refuse a budget above it.
    run.model.advertise = false;
    let watched = watch(&run);
    let steady = watched.steady(15);
    vec![
        Figure::new("share of what the table allows, %", 100.0 * steady.writes / 100.0, Required::AtLeast(90.0)),
        Figure::new("job's requests throttled, %", watched.throttled(), Required::AtMost(2.0)),
        watched.done(),
    ]
}

fn beside() -> Vec<Figure> {
    let mut figures = Vec::new();
    // The table serves 400 writes and 1,200 reads per second. The application uses 60 % of this capacity, and the job
    // uses 30 %.
    let with = |capacity| Run {
        traffic: Some((240.0, 720.0)),
        capacity,
        before: 5,
        seconds: 40,
        ..plain(9_000.0, 8_000.0, 24_000.0)
    };
    for (name, capacity) in [("job at 30 %", "write = 120\nread = 360"), ("job without a budget", "")] {
        let alone = watch(&with(None));
        let beside = watch(&with(Some(capacity)));
        let sum = |watched: &Watched| watched.seconds.iter().map(|s| s.application_throttled).sum::<f64>();
        let first: f64 = beside.seconds.iter().skip(beside.started).take(2).map(|s| s.application_throttled).sum();
        let caused = (sum(&beside) - sum(&alone)).max(0.0);
        figures.extend([
            Figure::new(format!("{name}: application throttles that the job causes"), caused, Required::AtMost(0.0)),
            Figure::new(
                format!("{name}: application throttles in the job's first second"),
                first,
                Required::AtMost(0.0),
            ),
            Figure::new(format!("{name}: application throttles without the job"), sum(&alone), Required::Nothing),
            Figure::new(format!("{name}: units written per second"), beside.steady(5).writes, Required::Nothing),
        ]);
    }
    figures
}

fn skewed() -> Vec<Figure> {
    let mut figures = Vec::new();
    let zipf = KeyDistribution::Zipf { keys: 500, exponent: 1.1 };
    for (name, spread) in [("Zipf", zipf), ("70 % under one key", KeyDistribution::Giant { share: 0.7 })] {
        let mut run = Run {
            capacity: Some(
                "write = 100\nread = 400\nper_key_range = { write = 12.5 }\nper_partition_key = { write = 12.5 }",
            ),
            ..plain(600.0, 8_000.0, 24_000.0)
        };
        run.workload.spread = spread;
        run.workload.items = if spread == zipf { 1_400 } else { 250 };
        let largest = largest_key(&run.workload);
        // The bound ignores the other items in the key's segment and partition. The engine's hash function determines
        // these items, so this code cannot know them.
        let bound = (largest / 12.5).max(units(&run.workload) / 100.0);
        let watched = watch(&run);
        let by = watched.took.unwrap_or(f64::INFINITY) / bound;
        figures.push(Figure::new(
            format!("{name}: time relative to the bound of {bound:.0} s"),
            by,
            Required::AtMost(1.10),
        ));
        figures.push(watched.done());
    }
    figures
}

fn index() -> Vec<Figure> {
    let mut figures = Vec::new();
    let stated = "write = 100\nread = 400\nper_key_range = { write = 100 }\n[capacity.index]\nby-group = 100";
    // At a twentieth of the size, a job sends few requests. If its budget exceeds the limit, DynamoDB throttles a large
    // fraction of these requests while the job searches for the limit. So only the simulator checks this fraction, at
    // full size and in virtual time. An index that throttles the job also throttles the application.
    for (name, capacity, allowed, job, application) in [
        ("default", "write = 100\nread = 400", 6.25, Required::AtMost(2.0), Required::AtMost(0.0)),
        ("above", stated, 25.0, Required::Nothing, Required::Nothing),
    ] {
        let mut run = Run { traffic: Some((160.0, 480.0)), capacity: Some(capacity), ..plain(0.0, 8_000.0, 24_000.0) };
        run.workload.items = (allowed * 20.0) as u32;
        run.model = with_index(run.model, 500.0);
        run.model.advertise = name == "default";
        let watched = watch(&run);
        let suffered = watched.seconds.iter().map(|s| s.application_throttled).sum();
        let share = 100.0 * watched.steady(10).index / allowed;
        figures.extend([
            Figure::new(format!("{name}: share of what the index allows, %"), share, Required::AtLeast(90.0)),
            Figure::new(format!("{name}: job's requests throttled, %"), watched.throttled(), job),
            Figure::new(format!("{name}: application throttles"), suffered, application),
            watched.done(),
        ]);
    }
    figures
}

fn storm() -> Vec<Figure> {
    let mut run = Run { capacity: Some("write = 100\nread = 400"), ..plain(5_000.0, 8_000.0, 8_000.0) };
    let reasons = ["TableWriteProvisionedThroughputExceeded", "TableReadProvisionedThroughputExceeded"];
    let storm =
        |reason: &str| Storm { from: 25.0, to: 85.0, fraction: 1.0, reason: reason.parse().unwrap(), index: None };
    run.model.storms = reasons.map(storm).into();
    let watched = watch(&run);
    let mean = |from: usize, to: usize| watched.over(from, to).writes;
    let within = watched.seconds.iter().skip(26).take(58).map(|s| s.job_requests).sum::<f64>() / 58.0;
    vec![
        Figure::new(
            "rate from 30 s after the storm, % of the rate before",
            100.0 * mean(115, 125) / mean(10, 24),
            Required::AtLeast(90.0),
        ),
        Figure::new("requests a second in the storm", within, Required::Nothing),
        watched.done(),
    ]
}

/// Creates the settings of a run with uniform keys and without an application. The arguments are the number of items,
/// and the model's write and read limits at full size.
fn plain(items: f64, write: f64, read: f64) -> Run<'static> {
    Run {
        workload: Workload { items: items as u32, spread: KeyDistribution::Uniform, bytes: (300, 3_700) },
        model: provisioned(8, write, read, SCALE),
        traffic: None,
        capacity: None,
        before: 1,
        seconds: 240,
    }
}

fn watch(run: &Run<'_>) -> Watched {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::start(LocalOptions { proxy: true, ..LocalOptions::default() }).unwrap();
    local.engine().create_table(&table(!run.model.indexes.is_empty())).unwrap();
    let data = Data::draw(&run.workload, 7);
    local.engine().load(TABLE, (0..data.items.len()).map(|place| data.item(place))).unwrap();
    let proxy = local.proxy().unwrap();
    proxy.set_model(Some(backfill::internals::local::capacity::Model::new(run.model.clone())));
    let began = Instant::now();
    let stop = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let traffic = run.traffic.map(|(writes, reads)| {
        let spec =
            TrafficSpec { writes_per_second: writes, reads_per_second: reads, keys: 10_000, ..TrafficSpec::default() };
        let traffic = Arc::new(Traffic::new(spec));
        let endpoint = local.endpoint();
        let stop = stop.clone();
        let sending = Arc::clone(&traffic);
        runtime.spawn(async move {
            let http = HttpApplication::connect(&endpoint, TABLE).await.unwrap();
            sending.run(Arc::new(http), stop).await;
        });
        traffic
    });
    let look = || {
        let figures = proxy.model(|model, _| model.stats().clone()).unwrap_or_default();
        let report = traffic.as_ref().map(|traffic| traffic.report()).unwrap_or_default();
        Look::of(&figures, report.sent() as f64, report.throttled() as f64, report.writes.served as f64)
    };
    let mut last = look();
    let mut job = None;
    let mut watched = Watched::new(run.before);
    let mut started = began;
    for second in 0..run.seconds {
        if second == run.before
            && let Some(capacity) = run.capacity
        {
            started = Instant::now();
            job = Some(spawn(folder.path(), &local.endpoint(), capacity));
        }
        let until = began + Duration::from_secs(second + 1);
        while Instant::now() < until && watched.exit.is_none() {
            std::thread::sleep(Duration::from_millis(20));
            let status = job.as_mut().and_then(|job| job.try_wait().unwrap());
            if let Some(status) = status {
                watched.exit = status.code();
                watched.took = Some(started.elapsed().as_secs_f64());
                if !status.success() {
                    eprint!("{}", std::fs::read_to_string(folder.path().join("stderr")).unwrap_or_default());
                }
            }
        }
        let now = look();
        watched.seconds.push(now.since(&last));
        last = now;
        if watched.exit.is_some() {
            break;
        }
    }
    if let Some(mut job) = job.filter(|_| watched.exit.is_none()) {
        let _ = job.kill();
        let _ = job.wait();
    }
    stop.cancel();
    runtime.shutdown_timeout(Duration::from_secs(1));
    watched
}

/// A sample of the model's and the application's counters.
#[derive(Debug, Clone, Copy)]
struct Look {
    writes: f64,
    index: f64,
    requests: f64,
    throttled: f64,
    application_throttled: f64,
}

impl Look {
    fn of(figures: &ModelStats, sent: f64, suffered: f64, written: f64) -> Look {
        let admitted = figures.admitted;
        let throttled = figures.throttled;
        let all = (admitted.read + admitted.write + throttled.read + throttled.write) as f64;
        Look {
            // Each of the application's writes consumes one unit.
            writes: figures.table.write - written,
            index: figures.indexes.first().map_or(0.0, |index| index.write),
            requests: all - sent,
            throttled: (throttled.read + throttled.write) as f64 - suffered,
            application_throttled: suffered,
        }
    }

    fn since(&self, before: &Look) -> Second {
        Second {
            writes: self.writes - before.writes,
            index: self.index - before.index,
            job_requests: self.requests - before.requests,
            job_throttled: self.throttled - before.throttled,
            application_throttled: self.application_throttled - before.application_throttled,
        }
    }
}

impl Watched {
    fn new(before: u64) -> Watched {
        Watched { seconds: Vec::new(), took: None, exit: None, started: before as usize }
    }

    /// Returns the mean figures of the period in which the job's rate is steady. The period begins `settles` seconds
    /// after the job's start, and ends when 90 % of the job's units are written.
    fn steady(&self, settles: usize) -> Second {
        let all: f64 = self.seconds.iter().map(|s| s.writes).sum();
        let mut sum = 0.0;
        let most = |second: &Second| {
            sum += second.writes;
            sum >= 0.9 * all
        };
        self.over(self.started + settles, self.seconds.iter().position(most).unwrap_or(0))
    }

    fn over(&self, from: usize, until: usize) -> Second {
        let seconds = self.seconds.get(from..until.min(self.seconds.len())).unwrap_or_default();
        let mean = |of: fn(&Second) -> f64| seconds.iter().map(of).sum::<f64>() / seconds.len().max(1) as f64;
        Second { writes: mean(|s| s.writes), index: mean(|s| s.index), ..Second::default() }
    }

    fn throttled(&self) -> f64 {
        let sum = |of: fn(&Second) -> f64| self.seconds.iter().map(of).sum::<f64>();
        100.0 * sum(|s| s.job_throttled) / sum(|s| s.job_requests).max(1.0)
    }

    fn done(&self) -> Figure {
        Figure::new("the job's exit code", self.exit.map_or(f64::NAN, f64::from), Required::AtMost(0.0))
    }
}

fn spawn(folder: &Path, endpoint: &str, capacity: &str) -> std::process::Child {
    let plan = folder.join("plan.toml");
    let text = format!(
        "[migration]\nname = \"simulated\"\n[table]\nname = \"{TABLE}\"\nendpoint_url = \"{endpoint}\"\n\
         [[change]]\ncopy = \"{}\"\nto = \"{TARGET}\"\n[capacity]\n{capacity}\n",
        SOURCE.0
    );
    std::fs::write(&plan, text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_backfill"))
        .current_dir(folder)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .args(["run", "plan.toml", "--yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("stderr")).unwrap())
        .spawn()
        .unwrap()
}

fn table(indexed: bool) -> serde_json::Value {
    let attribute = |name: &str| json!({ "AttributeName": name, "AttributeType": "S" });
    let mut attributes = vec![attribute("pk"), attribute("sk")];
    let mut request = json!({
        "TableName": TABLE,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "BillingMode": "PAY_PER_REQUEST"
    });
    if indexed {
        attributes.push(attribute(INDEX_KEY));
        request["GlobalSecondaryIndexes"] = json!([{
            "IndexName": INDEX,
            "KeySchema": [{"AttributeName": INDEX_KEY, "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"}
        }]);
    }
    request["AttributeDefinitions"] = attributes.into();
    request
}

/// Returns the number of write units that a workload consumes.
fn units(workload: &Workload) -> f64 {
    Data::draw(workload, 7).items.iter().map(|item| f64::from(item.bytes.div_ceil(1024))).sum()
}

fn largest_key(workload: &Workload) -> f64 {
    let mut keys = std::collections::HashMap::<u32, f64>::new();
    for item in Data::draw(workload, 7).items {
        *keys.entry(item.partition_key).or_default() += f64::from(item.bytes.div_ceil(1024));
    }
    keys.into_values().fold(0.0, f64::max)
}

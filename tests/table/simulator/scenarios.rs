//! Defines scenarios that check the tool's promises about capacity. Each scenario returns figures with requirements.
//!
//! The benchmark runs the scenarios at full size, with the limits of a real table. The tests run them at a fraction of
//! this size: limits, budgets, traffic and items are scaled equally, so a run takes the same virtual time in fewer
//! steps.

use std::time::Duration;

use backfill::internals::local::capacity::{ModelSpec, Storm};
use backfill::internals::ratelimit::{Budget, Budgets, Feedback};

use super::application::Traffic;
use super::data::{KeyDistribution, Workload};
use super::figure::{Figure, Required};
use super::model::{INDEX, provisioned, with_index};
use super::service::Second;
use super::{Run, Setup, run};

/// Names of the scenarios, in the order of execution.
pub const NAMES: [&str; 6] = ["1-uniform", "2-above", "3-beside", "4-skewed", "5-index", "6-storm"];

/// A scenario's figures, and the runs from which they were computed.
#[derive(Debug, Default)]
pub struct ScenarioResult {
    /// The figures.
    pub figures: Vec<Figure>,
    /// The runs, by name.
    pub runs: Vec<(String, Run)>,
}

impl ScenarioResult {
    fn add(&mut self, what: impl Into<String>, value: f64, required: Required) {
        self.figures.push(Figure::new(what, value, required));
    }

    fn add_run(&mut self, name: &str, run: Run) {
        self.runs.push((name.to_owned(), run));
    }

    /// Adds the figures that every complete run needs.
    fn require_complete(&mut self, name: &str, run: &Run, items: u32) {
        let undone = f64::from(items) - run.done as f64;
        self.add(format!("{name}: items not written"), undone, Required::AtMost(0.0));
        self.add(format!("{name}: items failed"), run.counts.failures() as f64, Required::AtMost(0.0));
        self.add(format!("{name}: runs stopped early"), f64::from(run.stopped.is_some()), Required::AtMost(0.0));
    }
}

/// Runs the scenario with this index in [`NAMES`].
pub fn scenario(number: usize, scale: f64) -> ScenarioResult {
    match number {
        0 => uniform(scale),
        1 => budget_above_limit(scale),
        2 => beside_application(scale),
        3 => skewed(scale),
        4 => index(scale),
        _ => storm(scale),
    }
}

/// Returns the limits of a table with eight partitions, which together serve exactly the provisioned capacity.
fn eight_partitions(scale: f64) -> ModelSpec {
    provisioned(8, 8_000.0, 24_000.0, scale)
}

/// Returns a run's budgets, with the defaults for narrow scopes.
fn budgets(write: f64, read: f64, scale: f64) -> Budgets {
    let narrow = Budget { write: 250.0 * scale, read: 750.0 * scale };
    Budgets {
        table: Budget { write: write * scale, read: read * scale },
        per_key_range: narrow,
        per_partition_key: narrow,
        indexes: Vec::new(),
    }
}

/// Changes budgets so that each narrow scope can use the whole budget of the table.
fn without_narrow_budgets(budgets: Budgets) -> Budgets {
    Budgets { per_key_range: budgets.table, per_partition_key: budgets.table, ..budgets }
}

fn setup(items: f64, scale: f64, model: ModelSpec, budgets: Budgets) -> Setup {
    Setup {
        workload: Workload { items: (items * scale) as u32, spread: KeyDistribution::Uniform, bytes: (300, 3_700) },
        model,
        budgets: Some(budgets),
        capacity: None,
        forecasts: Vec::new(),
        changes: Vec::new(),
        segments: None,
        traffic: None,
        job_after: Duration::from_secs(10),
        at_most: Duration::from_secs(24 * 3600),
        give_up_after: None,
        feedback: Feedback::default(),
        latency: (Duration::from_millis(3), Duration::from_millis(9)),
        seed: 7,
    }
}

/// Returns the setup of a run over a table with this number of items and these limits. The caller sets the budgets.
pub fn setup_of(items: u32, model: ModelSpec) -> Setup {
    setup(f64::from(items), 1.0, model, budgets(1.0, 1.0, 1.0))
}

/// Scenario 1: uniform keys, eight partitions, a budget below the table's limit.
fn uniform(scale: f64) -> ScenarioResult {
    let mut result = ScenarioResult::default();
    let setup = setup(200_000.0, scale, eight_partitions(scale), budgets(4_000.0, 8_000.0, scale));
    let run = run(&setup);
    let steady = run.steady(5);
    result.add("share of the budget used, %", 100.0 * steady.writes / (4_000.0 * scale), Required::AtLeast(95.0));
    result.add("job's requests throttled, %", run.throttled_percent(), Required::AtMost(0.5));
    result.add("seconds in steady state", steady.seconds as f64, Required::AtLeast(20.0));
    result.require_complete("job", &run, setup.workload.items);
    result.add_run("job", run);
    result
}

/// Scenario 2: the budgets of the table and of the narrow scopes are above the service's limits, so the run reaches the
/// service's limits.
fn budget_above_limit(scale: f64) -> ScenarioResult {
    let mut result = ScenarioResult::default();
    for (name, allowed, setup) in limited(scale) {
        let run = run(&setup);
        let steady = run.steady(30);
        let share = 100.0 * steady.writes / allowed;
        result.add(format!("{name}: share of what it allows, %"), share, Required::AtLeast(90.0));
        result.add(format!("{name}: requests throttled, %"), run.throttled_percent(), Required::AtMost(2.0));
        result.add(format!("{name}: seconds in steady state"), steady.seconds as f64, Required::AtLeast(30.0));
        result.require_complete(name, &run, setup.workload.items);
        result.add_run(name, run);
    }
    result
}

/// Returns the two setups of scenario 2, each with the rate that its table allows. The first table has a provisioned
/// limit. The second table is an on-demand table, so only the limits of its partitions apply.
fn limited(scale: f64) -> [(&'static str, f64, Setup); 2] {
    let table = provisioned(8, 2_000.0, 24_000.0, scale);
    let partitions = ModelSpec { provisioned: None, ..provisioned(4, 4_000.0, 12_000.0, scale) };
    let twice = |allowed: f64| without_narrow_budgets(budgets(2.0 * allowed, 8_000.0, scale));
    [
        ("table of 2,000", 2_000.0 * scale, setup(130_000.0, scale, table, twice(2_000.0))),
        ("4 partitions of 1,000", 4_000.0 * scale, setup(260_000.0, scale, partitions, twice(4_000.0))),
    ]
}

/// The figures of the runs with one set of feedback constants.
#[derive(Debug, Clone, Copy)]
pub struct SweepResult {
    /// Two percentages for a run that reaches a table's limit: the used part of the limit, and the throttled part of
    /// the requests.
    pub table: (f64, f64),
    /// The same two percentages for a run that reaches the limits of partitions.
    pub partitions: (f64, f64),
    /// The number of seconds between the end of a storm and the recovery of the rate to 90 %.
    pub back: u64,
}

/// Runs the simulations with these feedback constants, and returns their figures.
pub fn sweep_feedback(feedback: Feedback, scale: f64) -> SweepResult {
    let [table, partitions] = limited(scale).map(|(_, allowed, setup)| {
        let run = run(&Setup { feedback, ..setup });
        (100.0 * run.steady(30).writes / allowed, run.throttled_percent())
    });
    let setup = Setup { feedback, ..stormy(1.0, scale) };
    SweepResult { table, partitions, back: run(&setup).recovery_seconds(STORM) }
}

/// Scenario 3: the application uses 60 % of the table's capacity. The job runs once with a budget of 30 %, and once
/// with the default budget.
fn beside_application(scale: f64) -> ScenarioResult {
    let mut result = ScenarioResult::default();
    let limits = eight_partitions(scale);
    let traffic = Traffic { writes: 4_800.0 * scale, reads: 14_400.0 * scale };
    let quarter = budgets(2_000.0, 6_000.0, scale);
    let stated = budgets(2_400.0, 7_200.0, scale);
    let base = Setup {
        traffic: Some(traffic),
        at_most: Duration::from_secs(60),
        ..setup(150_000.0, scale, limits, stated.clone())
    };
    let alone = run(&Setup { budgets: None, ..base.clone() });
    let before: Vec<u64> = alone.seconds.iter().map(|s| s.application_throttled).collect();
    for (name, budgets) in [("job at 30 %", stated), ("job without a budget", quarter)] {
        let run = run(&Setup { budgets: Some(budgets), ..base.clone() });
        let caused: Vec<u64> = run
            .seconds
            .iter()
            .zip(before.iter().chain(std::iter::repeat(&0)))
            .map(|(second, before)| second.application_throttled.saturating_sub(*before))
            .collect();
        let first = caused.iter().skip(run.started.as_secs() as usize).take(2).sum::<u64>();
        result.add(
            format!("{name}: application throttles that the job causes"),
            caused.iter().sum::<u64>() as f64,
            Required::AtMost(0.0),
        );
        result.add(
            format!("{name}: application throttles in the job's first second"),
            first as f64,
            Required::AtMost(0.0),
        );
        result.add(format!("{name}: job's requests throttled, %"), run.throttled_percent(), Required::Nothing);
        result.add(format!("{name}: units written per second"), run.steady(5).writes, Required::Nothing);
        result.add_run(name, run);
    }
    result.add("application alone: throttles", before.iter().sum::<u64>() as f64, Required::Nothing);
    result.add_run("application alone", alone);
    result
}

/// Scenario 4: in two runs, the numbers of items per partition key follow Zipf's law. In two other runs, one partition
/// key has most of the items.
fn skewed(scale: f64) -> ScenarioResult {
    let mut result = ScenarioResult::default();
    let zipf = KeyDistribution::Zipf { keys: (20_000.0 * scale) as u32, exponent: 1.1 };
    let giant = KeyDistribution::Giant { share: 0.7 };
    let narrow = budgets(2_000.0, 8_000.0, scale);
    let open = without_narrow_budgets(budgets(2_000.0, 8_000.0, scale));
    for (name, spread, budgets) in [
        ("Zipf", zipf, narrow.clone()),
        ("Zipf, narrow budgets above the limits", zipf, open.clone()),
        ("70 % under one key", giant, narrow),
        ("70 % under one key, narrow budgets above the limits", giant, open),
    ] {
        let mut setup = setup(100_000.0, scale, eight_partitions(scale), budgets);
        setup.workload.spread = spread;
        let run = run(&setup);
        let took = run.took();
        let bound = run.bound.clone().unwrap();
        let needed = format!("{name}: time relative to the lower bound of {:.0} s ({})", bound.seconds, bound.scope);
        result.add(needed, took / bound.seconds, Required::AtMost(1.10));
        result.add(format!("{name}: requests throttled, %"), run.throttled_percent(), Required::Nothing);
        result.require_complete(name, &run, setup.workload.items);
        result.add_run(name, run);
    }
    result
}

/// Scenario 5: the index has a quarter of the write capacity that the job's budget would need. When an index has no
/// capacity left, DynamoDB throttles every write to the table. So a job that reaches the index's limit also causes
/// throttles of the application.
fn index(scale: f64) -> ScenarioResult {
    let mut result = ScenarioResult::default();
    let traffic = Traffic { writes: 3_200.0 * scale, reads: 9_600.0 * scale };
    // If the plan contains no budget for the index, the job gets a quarter of the index's provisioned capacity.
    for (name, budget, throttled) in [("default", 125.0, Required::AtMost(0.0)), ("above", 2_000.0, Required::Nothing)]
    {
        let mut allowed = without_narrow_budgets(budgets(2_000.0, 6_000.0, scale));
        allowed.indexes = vec![Some(budget * scale)];
        let model = with_index(eight_partitions(scale), 500.0);
        let items = 60_000.0 * f64::min(budget, 500.0) / 500.0;
        let setup = Setup { traffic: Some(traffic), ..setup(items, scale, model, allowed) };
        let run = run(&setup);
        let steady = run.steady(30);
        let share = 100.0 * steady.index_writes / (f64::min(budget, 500.0) * scale);
        result.add(format!("{name}: share of what the index allows, %"), share, Required::AtLeast(90.0));
        result.add(format!("{name}: job's requests throttled, %"), run.throttled_percent(), Required::AtMost(2.0));
        let table_throttles = run.application_reasons.iter().filter(|(reason, _)| reason.starts_with("Table"));
        let table_throttles: u64 = table_throttles.map(|(_, count)| *count).sum();
        result.add(
            format!("{name}: application throttles by the table"),
            table_throttles as f64,
            Required::AtMost(0.0),
        );
        let sum = |of: fn(&Second) -> u64| run.seconds.iter().map(of).sum::<u64>() as f64;
        let all = 100.0 * sum(|s| s.application_throttled) / sum(|s| s.application_requests);
        result.add(format!("{name}: application's requests throttled, also by the index, %"), all, throttled);
        let slowest =
            |second: &Second| second.rates.iter().any(|(scope, rate)| scope == INDEX && *rate < 1_000.0 * scale);
        let named = run.seconds.iter().filter(|second| slowest(second)).count() as f64 / run.took();
        result.add(
            format!("{name}: share of the time in which the index is reported, %"),
            100.0 * named,
            Required::AtLeast(90.0),
        );
        result.require_complete(name, &run, setup.workload.items);
        result.add_run(name, run);
    }
    result
}

/// The start and the end of the storm, in seconds.
const STORM: (u64, u64) = (40, 100);

/// Returns the setup of a run with a storm. The storm throttles this fraction of all requests.
fn stormy(share: f64, scale: f64) -> Setup {
    let storm = |reason: &str| Storm {
        from: STORM.0 as f64,
        to: STORM.1 as f64,
        fraction: share,
        reason: reason.parse().unwrap(),
        index: None,
    };
    let names = ["TableWriteProvisionedThroughputExceeded", "TableReadProvisionedThroughputExceeded"];
    let model = ModelSpec { storms: names.map(storm).into(), ..eight_partitions(scale) };
    setup(120_000.0, scale, model, budgets(2_000.0, 8_000.0, scale))
}

/// Scenario 6 has two runs. For a minute, the service throttles all requests of the first run, and half of the requests
/// of the second one.
fn storm(scale: f64) -> ScenarioResult {
    let mut result = ScenarioResult::default();
    let from = STORM.0 as usize;
    let until = STORM.1 as usize;
    for (name, share) in [("all throttled", 1.0), ("half throttled", 0.5)] {
        let setup = stormy(share, scale);
        let run = run(&setup);
        let before = run.over(from - 20, from).writes;
        let after = run.over(until + 30, until + 50).writes;
        let rate = 100.0 * after / before;
        result.add(
            format!("{name}: rate from 30 s after the storm, % of the rate before"),
            rate,
            Required::AtLeast(90.0),
        );
        let back = run.recovery_seconds(STORM) as f64;
        result.add(format!("{name}: seconds until the rate is back to 90 %"), back, Required::AtMost(30.0));
        let sent: u64 = run.seconds.iter().map(|s| s.job_requests).sum();
        let needed = f64::from(setup.workload.items) + run.progress.pages as f64;
        result.add(format!("{name}: requests sent / requests needed"), sent as f64 / needed, Required::AtMost(1.2));
        let within: u64 = run.seconds[from..until].iter().map(|s| s.job_requests).sum();
        result.add(format!("{name}: requests a second in the storm"), within as f64 / 60.0, Required::Nothing);
        result.require_complete(name, &run, setup.workload.items);
        result.add_run(name, run);
    }
    result
}

/// The service throttles every write for a minute, which is three times `[retry] give_up_after`. A throttle is not a
/// failure, so the run continues. The rate recovers within seconds after the storm.
pub fn throttled_for_longer_than_give_up_after() -> ScenarioResult {
    let mut result = ScenarioResult::default();
    let mut setup = stormy(1.0, 1.0);
    setup.model.storms.truncate(1);
    setup.workload.items = 4_000;
    setup.budgets = Some(budgets(100.0, 2_000.0, 1.0));
    setup.give_up_after = Some(Duration::from_secs(20));
    let run = run(&setup);
    let from = STORM.0 as usize;
    let until = STORM.1 as usize;
    let before = run.over(from - 20, from).writes;
    let after = run.over(until + 20, until + 40).writes;
    result.add("rate from 20 s after the storm, % of the rate before", 100.0 * after / before, Required::AtLeast(90.0));
    result.add("seconds until the rate is back to 90 %", run.recovery_seconds(STORM) as f64, Required::AtMost(20.0));
    result.require_complete("job", &run, setup.workload.items);
    result.add_run("job", run);
    result
}

/// Mean rates in a span of time.
#[derive(Debug, Clone, Copy, Default)]
pub struct MeanRates {
    /// Length of the span in seconds.
    pub seconds: usize,
    /// The job's write units per second.
    pub writes: f64,
    /// The write units of the index that the job consumes per second.
    pub index_writes: f64,
}

impl Run {
    /// Returns the number of seconds between the job's start and its end.
    pub fn took(&self) -> f64 {
        self.ended.map_or(f64::INFINITY, |ended| (ended - self.started).as_secs_f64())
    }

    /// Returns the mean rates of the steady state, which consists of whole seconds. It begins `settles` seconds after
    /// the job's start, and ends when 90 % of the job's units are written.
    pub fn steady(&self, settles: usize) -> MeanRates {
        let from = self.started.as_secs() as usize + settles;
        let all: f64 = self.seconds.iter().map(|s| s.job_writes).sum();
        let mut sum = 0.0;
        let most = |second: &Second| {
            sum += second.job_writes;
            sum >= 0.9 * all
        };
        let until = self.seconds.iter().position(most).unwrap_or(0);
        self.over(from, until)
    }

    /// Returns the number of seconds between the end of a storm and the recovery. The rate has recovered when its
    /// average over three seconds is 90 % of the rate before the storm.
    fn recovery_seconds(&self, storm: (u64, u64)) -> u64 {
        let from = storm.0 as usize;
        let until = storm.1 as usize;
        let enough = 0.9 * self.over(from - 20, from).writes;
        let back = (until..until + 600).find(|second| self.over(*second, second + 3).writes >= enough);
        back.map_or(600, |second| (second - until) as u64)
    }

    /// Returns the mean rates from second `from` until second `until`.
    pub fn over(&self, from: usize, until: usize) -> MeanRates {
        let until = until.min(self.seconds.len());
        if from >= until {
            return MeanRates::default();
        }
        let seconds = until - from;
        let mean = |of: fn(&Second) -> f64| self.seconds[from..until].iter().map(of).sum::<f64>() / seconds as f64;
        MeanRates { seconds, writes: mean(|s| s.job_writes), index_writes: mean(|s| s.job_index_writes) }
    }

    /// Returns the percentage of the job's requests that were throttled.
    pub fn throttled_percent(&self) -> f64 {
        let sum = |of: fn(&Second) -> u64| self.seconds.iter().map(of).sum::<u64>() as f64;
        100.0 * sum(|s| s.job_throttled) / sum(|s| s.job_requests).max(1.0)
    }
}

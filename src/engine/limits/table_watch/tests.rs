use std::collections::VecDeque;

use async_trait::async_trait;

use super::*;
use crate::change::GuardedWrite;
use crate::dynamodb::{
    GetReply, IndexDescription, Page, PageRequest, Sink, Source, Tables, ThrottlingReason, WriteReply,
};
use crate::engine::Job;
use crate::item::{IndexSchema, ItemKey, KeyAttribute, Projection};
use crate::preflight::run_changes;

/// The interval between two descriptions.
const INTERVAL: Duration = Duration::from_secs(120);

/// A table's answer to DescribeTable. The last answer of a test is repeated.
#[derive(Clone)]
enum Answer {
    Described(Box<TableDescription>),
    Fails(TableError),
    Never,
}

struct Described(Mutex<VecDeque<Answer>>);

#[async_trait]
impl Describe for Described {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        let answer = {
            let mut answers = self.0.lock().unwrap();
            let answer = answers[0].clone();
            if answers.len() > 1 {
                answers.pop_front();
            }
            answer
        };
        match answer {
            Answer::Described(description) => Ok(*description),
            Answer::Fails(error) => Err(error),
            Answer::Never => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Source for Described {
    async fn read_page(&self, _: &PageRequest) -> Result<Page, TableError> {
        Ok(Page { items: Vec::new(), next: None, units: Some(0.5) })
    }
}

#[async_trait]
impl Sink for Described {
    async fn write(&self, _: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        unreachable!("nothing is written")
    }

    fn max_chunk(&self) -> usize {
        1
    }

    async fn get(&self, _: &ItemKey) -> Result<GetReply, TableError> {
        unreachable!("nothing is read")
    }
}

fn described(write: f64) -> TableDescription {
    TableDescription {
        arn: "arn:aws:dynamodb:eu-west-1:1:table/t".into(),
        id: Some("first".into()),
        provisioned: Some((1_000.0, write)),
        ..TableDescription::for_tests()
    }
}

fn index(name: &str) -> IndexDescription {
    let key = KeyAttribute { name: "new".into(), kind: "S".into() };
    IndexDescription {
        schema: IndexSchema {
            name: name.into(),
            key: vec![key],
            partition: 1,
            projection: Projection::All,
            local: false,
        },
        provisioned: Some((10.0, 40.0)),
        on_demand_max: (None, None),
        warm: None,
        is_ready: true,
        entries: None,
    }
}

fn described_as(description: TableDescription) -> Answer {
    Answer::Described(Box::new(description))
}

/// Creates a job with this `[capacity]` on a table with 100 provisioned write units. DescribeTable returns these
/// answers.
fn scene(capacity: &str, answers: impl IntoIterator<Item = Answer>) -> (Job, Arc<Described>) {
    scene_on(described(100.0), capacity, answers)
}

/// Creates the same job on a table with this description.
fn scene_on(
    description: TableDescription,
    capacity: &str,
    answers: impl IntoIterator<Item = Answer>,
) -> (Job, Arc<Described>) {
    let text = format!(
        "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n[[change]]\nmove = \"old\"\nto = \"new\"\n\
         [capacity]\n{capacity}\n"
    );
    let plan = crate::plan::load("plan", &text).unwrap().plan;
    let changes = run_changes(&plan, &description).unwrap();
    let budgets = crate::ratelimit::resolve(&plan.capacity, &description).unwrap().budgets;
    let table = Arc::new(Described(Mutex::new(answers.into_iter().collect())));
    let mut job = Job::new(plan, changes, Tables::one(Arc::clone(&table)), description, &budgets);
    job.watch_table(Instant::now(), INTERVAL);
    (job, table)
}

fn job(capacity: &str, answers: impl IntoIterator<Item = Answer>) -> Job {
    scene(capacity, answers).0
}

fn write_budget(job: &Job) -> f64 {
    job.scopes.table(Access::Write).budget()
}

async fn intervals(intervals: f64) {
    tokio::time::sleep(INTERVAL.mul_f64(intervals) + Duration::from_secs(1)).await;
}

fn throttled() -> TableError {
    let reasons: Vec<ThrottlingReason> = Vec::new();
    TableError::Throttled { reasons, message: "rate exceeded".into() }
}

#[tokio::test(start_paused = true)]
async fn a_replaced_or_unusable_table_stops_the_run() {
    let with = |change: fn(&mut TableDescription)| {
        let mut now = described(100.0);
        change(&mut now);
        described_as(now)
    };
    let gone = TableError::Fatal { kind: FatalKind::TableMissing, message: "Requested resource not found".into() };
    for (answer, why) in [
        (with(|now| now.status = "DELETING".into()), "is DELETING, neither ACTIVE nor UPDATING"),
        (
            with(|now| now.status = "INACCESSIBLE_ENCRYPTION_CREDENTIALS".into()),
            "is INACCESSIBLE_ENCRYPTION_CREDENTIALS",
        ),
        (
            with(|now| now.id = Some("second".into())),
            "was replaced by a table of the same name (TableId first is now second)",
        ),
        (with(|now| now.key.sort = None), "was replaced by a table of the same name with another key"),
        (Answer::Fails(gone), "Requested resource not found"),
    ] {
        let job = job("write = \"80%\"", [answer]);
        let _watch = job.requests().watch().await;
        intervals(0.9).await;
        assert!(!job.stop.is_stopping());
        intervals(0.2).await;
        let reason = job.stop.reason().map(ToString::to_string).unwrap_or_default();
        assert!(reason.contains(why), "{reason}");
    }
    for answer in [with(|_| {}), with(|now| now.status = "UPDATING".into()), with(|now| now.id = None)] {
        let job = job("write = \"80%\"", [answer]);
        let _watch = job.requests().watch().await;
        intervals(5.0).await;
        assert_eq!(job.stop.reason(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_overdue_description_is_read_before_the_work() {
    let mut job =
        job("write = \"80%\"", [described_as(TableDescription { id: Some("second".into()), ..described(100.0) })]);
    let described = Instant::now();
    intervals(7.0).await;
    job.watch_table(described, INTERVAL);
    let _watch = job.requests().watch().await;
    assert!(matches!(job.stop.reason(), Some(StopReason::TableChanged(_))), "{:?}", job.stop.reason());
}

/// A DescribeTable call that is throttled or hangs delays the first request of an urgent job by at most two seconds.
/// The call then continues in the background. A rollback is an urgent job. All other jobs wait for the call, but no
/// longer than the time limit of one attempt.
#[tokio::test(start_paused = true)]
async fn a_late_description_does_not_delay_an_urgent_job() {
    let throttles = vec![Answer::Fails(throttled()); 8];
    for answers in [vec![Answer::Never], [throttles, vec![Answer::Never]].concat()] {
        for urgent in [true, false] {
            let (mut job, table) = scene("write = \"80%\"", answers.clone());
            let last = Instant::now();
            intervals(7.0).await;
            job.urgent = urgent;
            job.watch_table(last, INTERVAL);
            let began = Instant::now();
            let _watch = job.requests().watch().await;
            let waited = began.elapsed();
            assert!(waited <= if urgent { Duration::from_secs(2) } else { INTERVAL / TIMEOUT_DIVISOR }, "{waited:?}");
            *table.0.lock().unwrap() =
                [described_as(TableDescription { id: Some("second".into()), ..described(100.0) })].into();
            intervals(2.0).await;
            assert!(matches!(job.stop.reason(), Some(StopReason::TableChanged(_))), "{:?}", job.stop.reason());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failed_attempts_stop_nothing_and_raise_nothing_and_three_halve_the_budgets() {
    let denied = TableError::Fatal { kind: FatalKind::Permission, message: "not authorized".into() };
    for failure in [Answer::Fails(throttled()), Answer::Fails(denied), Answer::Never] {
        let (job, table) = scene("write = \"80%\"", [described_as(described(400.0)), failure.clone()]);
        let _watch = job.requests().watch().await;
        intervals(1.2).await;
        let rising = write_budget(&job);
        assert!((80.0..320.0).contains(&rising), "{rising}");
        intervals(0.8).await;
        assert!((write_budget(&job) - 320.0).abs() < 1e-9, "the raise ends before the next description");
        intervals(1.5).await;
        assert!((write_budget(&job) - 320.0).abs() < 1e-9, "at most two attempts have failed");
        intervals(2.5).await;
        assert!((write_budget(&job) - 160.0).abs() < 1e-9, "{}", write_budget(&job));
        intervals(20.0).await;
        assert!((write_budget(&job) - 160.0).abs() < 1e-9, "the budget is halved once");
        assert_eq!(job.stop.reason(), None);
        *table.0.lock().unwrap() = [described_as(described(400.0))].into();
        intervals(2.0).await;
        assert!((write_budget(&job) - 320.0).abs() < 1e-9, "{}", write_budget(&job));
    }
    // A budget that the plan states in units does not follow the table, so missing descriptions do not change it.
    let job = job("write = 60", [Answer::Never]);
    let _watch = job.requests().watch().await;
    intervals(20.0).await;
    assert!((write_budget(&job) - 60.0).abs() < 1e-9);
}

/// If the next description fails, the raise in progress stops at the current budget.
#[tokio::test(start_paused = true)]
async fn a_raise_pauses_without_a_description() {
    let job = job("write = \"80%\"", [described_as(described(400.0))]);
    let watch = job.table_watch.clone().unwrap();
    let _watch = job.requests().watch().await;
    intervals(1.2).await;
    let rising = write_budget(&job);
    watch.handle_failed_description(&throttled());
    intervals(0.5).await;
    assert!(rising < 320.0 && (write_budget(&job) - rising).abs() < 1e-9, "{rising} {}", write_budget(&job));
}

#[tokio::test(start_paused = true)]
async fn stated_units_are_cut_to_the_capacity_and_recover() {
    let capacity = "write = 90\nper_partition_key = { write = 50 }";
    let job = job(capacity, [described_as(described(30.0)), described_as(described(500.0))]);
    let _watch = job.requests().watch().await;
    intervals(1.0).await;
    assert!((write_budget(&job) - 30.0).abs() < 1e-9);
    let current = job.table_watch.clone().unwrap().current_budgets().borrow().clone();
    let of =
        |scope: Scope| current.scopes.iter().find(|b| b.scope == scope && b.access == Access::Write).unwrap().clone();
    assert!(of(Scope::Table).basis.contains("90, but no more than the 30 WCU/s"), "{}", of(Scope::Table).basis);
    assert!((of(Scope::PartitionKey).units - 30.0).abs() < 1e-9);
    intervals(2.0).await;
    assert!((write_budget(&job) - 90.0).abs() < 1e-9);
}

/// Returns the description of a source and a sink. The source has this write capacity, but nobody writes to it. The
/// sink has these (read, write) units.
fn two_tables(source: f64, (read, write): (f64, f64)) -> TableDescription {
    let sink = TableDescription {
        arn: "arn:aws:dynamodb:eu-west-1:1:table/sink".into(),
        id: Some("sink".into()),
        provisioned: Some((read, write)),
        ..described(0.0)
    };
    TableDescription { sink: Some(Box::new(sink)), ..described(source) }
}

#[tokio::test(start_paused = true)]
async fn budgets_for_the_sink_follow_the_table_that_is_written() {
    let deleted = {
        let mut both = two_tables(10.0, (40.0, 20.0));
        both.sink.as_mut().unwrap().status = "DELETING".into();
        both
    };
    let answers =
        [two_tables(10.0, (80.0, 60.0)), two_tables(10.0, (40.0, 20.0)), two_tables(10.0, (400.0, 20.0)), deleted];
    let (job, _) = scene_on(two_tables(100.0, (80.0, 60.0)), "write = \"50%\"", answers.map(described_as));
    let budgets = || (write_budget(&job), job.sink_reads.as_ref().unwrap().budget());
    let near = |found: (f64, f64), expected: (f64, f64)| {
        assert!((found.0 - expected.0).abs() < 1e-9 && (found.1 - expected.1).abs() < 1e-9, "{found:?} {expected:?}");
    };
    near(budgets(), (30.0, 20.0));
    let _watch = job.requests().watch().await;
    intervals(1.0).await;
    near(budgets(), (30.0, 20.0));
    intervals(1.0).await;
    near(budgets(), (10.0, 10.0));
    intervals(1.0).await;
    near(budgets(), (10.0, 10.0));
    assert_eq!(job.stop.reason(), None);
    intervals(1.0).await;
    let reason = job.stop.reason().map(ToString::to_string).unwrap_or_default();
    assert!(reason.contains("table/sink is DELETING"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn an_index_is_priced_while_it_exists() {
    let indexed = |write| TableDescription { indexes: vec![index("by-new")], ..described(write) };
    let job = job(
        "write = \"80%\"",
        [described_as(indexed(100.0)), described_as(described(100.0)), described_as(indexed(100.0))],
    );
    let _watch = job.requests().watch().await;
    let item: crate::item::Item = [("pk", "p"), ("sk", "s"), ("old", "x")]
        .map(|(name, value)| (name.to_owned(), crate::item::Value::S(value.into())))
        .into();
    let cost = || match job.changes.decide(&item) {
        crate::change::Decision::Write(write) => write.cost,
        other => panic!("{other:?}"),
    };
    assert_eq!(cost().indexes, []);
    intervals(1.0).await;
    assert_eq!(cost().indexes, [(0, 1.0)]);
    let status = |name: &str| job.scopes.status().into_iter().find(|scope| scope.name == name);
    assert!(
        (status("by-new").unwrap().budget - 10.0).abs() < 1e-9,
        "the default budget is a quarter of the index's capacity"
    );
    assert_eq!(job.scopes.index_position("by-new"), Some(0));
    intervals(1.0).await;
    assert_eq!(cost().indexes, []);
    intervals(1.0).await;
    assert_eq!(cost().indexes, [(0, 1.0)], "the index must keep its position");
}

/// With a hundred times the budget, the run works on more segments at the same time.
#[tokio::test(start_paused = true)]
async fn a_higher_budget_gets_more_lanes() {
    let job = job("write = \"80%\"", [described_as(described(40_000.0))]);
    let requests = job.requests();
    let lanes = crate::engine::scan::lanes::Lanes::new(2, 0);
    let _watch = requests.watch().await;
    let mut more = crate::engine::scan::lanes::LaneGrowth::new(&requests);
    let take_all_lanes = || std::iter::from_fn(|| lanes.take_lane(crate::engine::Lane::Shared)).collect::<Vec<_>>();
    let taken = take_all_lanes();
    tokio::time::timeout(2 * INTERVAL, more.wait_for_growth(&requests, &lanes)).await.unwrap();
    assert_eq!((taken.len(), lanes.take_lane(crate::engine::Lane::Shared).is_some()), (2, true));
}

/// RUNBOOK: Ctrl-C "waits up to 10 s for requests in flight": it does not wait for a DescribeTable call that hangs.
#[tokio::test(start_paused = true)]
async fn a_hanging_description_does_not_delay_a_stop() {
    let (mut job, _table) = scene("write = \"80%\"", vec![Answer::Never]);
    let last = Instant::now();
    intervals(7.0).await;
    job.watch_table(last, INTERVAL);
    let stop = job.stop.clone();
    let began = Instant::now();
    let interrupts = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        stop.stop(StopReason::Interrupted);
    });
    let _watch = job.requests().watch().await;
    interrupts.await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(3));
}

/// A slowdown lowers every budget, even if an operator or the table changes the budget later. The end of the slowdown
/// restores all budgets.
#[tokio::test(start_paused = true)]
async fn a_slowdown_composes_with_every_change_of_the_budgets() {
    let job = job("write = 80", [described_as(described(20.0))]);
    let watch = Arc::clone(job.table_watch.as_ref().unwrap());
    let slowdown = |percent| Some(Slowdown { percent, why: "the health check \"api\" failed: HTTP 503".to_owned() });
    let read_before = job.scopes.table(Access::Read).budget();
    watch.set_slowdown(slowdown(25));
    assert_eq!((write_budget(&job), job.scopes.table(Access::Read).budget()), (20.0, read_before / 4.0));
    let table = |budgets: Vec<ScopeBudget>| {
        budgets.into_iter().find(|budget| budget.scope == Scope::Table && budget.access == Access::Write).unwrap()
    };
    let shown = table(watch.current_budgets().borrow().scopes.clone());
    assert!(shown.basis.contains("25% of 80 WCU/s, because the health check \"api\" failed"), "{}", shown.basis);
    let faster = Capacity { write: Some(crate::plan::CapacityRate::Units(100.0)), ..Capacity::default() };
    assert_eq!(table(watch.set_capacity(&faster)).units, 25.0, "a part of the operator's rate");
    assert_eq!(write_budget(&job), 25.0);
    let _watch = watch.watch(&Stopper::default()).await;
    intervals(1.0).await;
    assert_eq!(write_budget(&job), 5.0, "a part of what the table allows");
    watch.set_slowdown(slowdown(50));
    assert_eq!(write_budget(&job), 10.0);
    watch.set_slowdown(None);
    assert_eq!((write_budget(&job), job.scopes.table(Access::Read).budget()), (20.0, read_before));
}

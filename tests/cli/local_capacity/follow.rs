//! Tests a run over real sockets on a table whose capacity changes during the run. Also tests the output of `status`
//! during such a run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backfill::internals::dynamodb::Tables;
use backfill::internals::dynamodb::sdk::{DynamoTable, connect};
use backfill::internals::engine::{Job, describe};
use backfill::internals::local::capacity::{Model, ModelSpec};
use backfill::internals::plan::Access;
use backfill::internals::preflight::run_changes;
use backfill::internals::ratelimit::resolve;
use backfill::internals::state::{Begin, Identity, NewRun};

use super::{NO_BURST, PLENTY, bed, provisioned};
use crate::harness::tool;

const ITEMS: usize = 600;

/// The interval at which the job in this test describes the table.
const EVERY: Duration = Duration::from_millis(700);

/// Waits until the job's write budget has this value. The job follows a change within three intervals.
async fn becomes(job: &Job, units: f64) {
    let began = Instant::now();
    while (job.scopes.table(Access::Write).budget() - units).abs() > 1e-6 {
        assert!(began.elapsed() < 10 * EVERY, "{} is not {units}", job.scopes.table(Access::Write).budget());
        tokio::time::sleep(EVERY / 50).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_follows_the_capacity_of_its_table_and_status_says_so() {
    let (bed, table) = bed(|spec| spec.provisioned = provisioned(PLENTY, 400.0)).await;
    bed.load(&table, (0..ITEMS).map(|n| tool::item(&format!("k{n}"), "x", [("old", tool::secret(n))]))).await;
    let scale_to = |write| {
        let spec = ModelSpec {
            table: table.clone(),
            burst: NO_BURST,
            provisioned: provisioned(PLENTY, write),
            ..ModelSpec::default()
        };
        bed.front().set_model(Some(Model::new(spec)));
    };
    let rest = "[[change]]\nmove = \"old\"\nto = \"new\"\n[capacity]\nwrite = \"50%\"\n";
    let path = bed.plan("follow", &table, "", rest);
    let plan = backfill::internals::plan::load("plan", &std::fs::read_to_string(&path).unwrap()).unwrap().plan;
    let tables = Tables::one(Arc::new(DynamoTable::new(&connect(&plan.table).await.unwrap(), &table)));
    let description = describe(tables.described.as_ref(), Duration::from_secs(5)).await.unwrap();
    let budgets = resolve(&plan.capacity, &description).unwrap().budgets;
    let store = backfill::internals::state::open(
        &bed.dir().join("s.db"),
        &Identity::of(&plan, &description),
        backfill::internals::clock::now,
    )
    .unwrap();
    let new =
        NewRun { phase: "expand".into(), total_segments: 8, tool_version: "t".into(), table_items_estimate: None };
    let session = store.begin(Begin::ResumeOrNew, new).await.unwrap();
    let changes = run_changes(&plan, &description).unwrap();
    let mut job = Job::new(plan, changes, tables, description, &budgets);
    job.watch_table(tokio::time::Instant::now(), EVERY);
    let job = Arc::new(job);
    let working = {
        let job = Arc::clone(&job);
        let store = store.clone();
        tokio::spawn(async move { job.work(&store, &session).await })
    };
    let written = || bed.front().tally().operation("UpdateItem").ok;
    becomes(&job, 200.0).await;
    while written() < 50 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    scale_to(40.0);
    becomes(&job, 20.0).await;
    let before = written();
    let began = Instant::now();
    tokio::time::sleep(2 * EVERY).await;
    let most = 20.0 * began.elapsed().as_secs_f64() + 20.0;
    assert!(((written() - before) as f64) < most, "{} of {most}", written() - before);
    let plan_path = path.display().to_string();
    let status = tokio::task::block_in_place(|| tool::tool(&bed, &["status", &plan_path, "--state", "s.db"]));
    let line = "table: 20 WCU/s (from the plan: 50% of the 40 WCU/s that the table is provisioned with)";
    assert!(status.stdout.contains(line) && status.stdout.contains("changed once with the table"), "{status:?}");

    scale_to(600.0);
    becomes(&job, 300.0).await;
    let ended = working.await.unwrap().unwrap();
    assert_eq!((ended.stopped, written()), (None, ITEMS as u64));
    store.close().await.unwrap();
    let status = tokio::task::block_in_place(|| tool::tool(&bed, &["status", &plan_path, "--state", "s.db"]));
    assert!(!status.stdout.contains("budgets at"), "a complete run has no budgets: {status:?}");
}

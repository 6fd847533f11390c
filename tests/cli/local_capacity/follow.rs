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
use backfill::internals::state::{BeginMode, Identity, NewRun};

use super::{NO_BURST, PLENTY, harness, provisioned};
use crate::harness::tool;

const ITEMS: usize = 600;

/// The interval at which the job in this test describes the table.
const POLL_INTERVAL: Duration = Duration::from_millis(700);

/// Waits until the job's write budget has this value. The job follows a change within three intervals.
async fn wait_for_budget(job: &Job, units: f64) {
    let began = Instant::now();
    while (job.scopes.table(Access::Write).budget() - units).abs() > 1e-6 {
        assert!(began.elapsed() < 10 * POLL_INTERVAL, "{} is not {units}", job.scopes.table(Access::Write).budget());
        tokio::time::sleep(POLL_INTERVAL / 50).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_follows_the_capacity_of_its_table_and_status_says_so() {
    let (harness, table) = harness(|spec| spec.provisioned = provisioned(PLENTY, 400.0)).await;
    harness.load(&table, (0..ITEMS).map(|n| tool::item(&format!("k{n}"), "x", [("old", tool::secret(n))]))).await;
    let set_write_capacity = |write| {
        let spec = ModelSpec {
            table: table.clone(),
            burst: NO_BURST,
            provisioned: provisioned(PLENTY, write),
            ..ModelSpec::default()
        };
        harness.proxy().set_model(Some(Model::new(spec)));
    };
    let rest = "[[change]]\nmove = \"old\"\nto = \"new\"\n[capacity]\nwrite = \"50%\"\n";
    let path = harness.plan("follow", &table, "", rest);
    let plan = backfill::internals::plan::load("plan", &std::fs::read_to_string(&path).unwrap()).unwrap().plan;
    let tables = Tables::one(Arc::new(DynamoTable::new(&connect(&plan.table).await.unwrap(), &table)));
    let description = describe(tables.source_metadata.as_ref(), Duration::from_secs(5)).await.unwrap();
    let budgets = resolve(&plan.capacity, &description).unwrap().budgets;
    let store = backfill::internals::state::open(
        &harness.dir().join("s.db"),
        &Identity::from_plan(&plan, &description),
        backfill::internals::clock::now,
    )
    .unwrap();
    let new =
        NewRun { phase: "expand".into(), total_segments: 8, tool_version: "t".into(), table_items_estimate: None };
    let session = store.begin(BeginMode::ResumeOrNew, new).await.unwrap();
    let changes = run_changes(&plan, &description).unwrap();
    let mut job = Job::new(plan, changes, tables, description, &budgets);
    job.watch_table(tokio::time::Instant::now(), POLL_INTERVAL);
    let job = Arc::new(job);
    let working = {
        let job = Arc::clone(&job);
        let store = store.clone();
        tokio::spawn(async move { job.work(&store, &session).await })
    };
    let written = || harness.proxy().tally().operation("UpdateItem").ok;
    wait_for_budget(&job, 200.0).await;
    while written() < 50 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    set_write_capacity(40.0);
    wait_for_budget(&job, 20.0).await;
    let before = written();
    let began = Instant::now();
    tokio::time::sleep(2 * POLL_INTERVAL).await;
    let most = 20.0 * began.elapsed().as_secs_f64() + 20.0;
    assert!(((written() - before) as f64) < most, "{} of {most}", written() - before);
    let plan_path = path.display().to_string();
    let status = tokio::task::block_in_place(|| tool::tool(&harness, &["status", &plan_path, "--state", "s.db"]));
    let line = "table: 20 WCU/s (from the plan: 50% of the 40 WCU/s that the table is provisioned with)";
    assert!(status.stdout.contains(line) && status.stdout.contains("changed once since the run began"), "{status:?}");

    set_write_capacity(600.0);
    wait_for_budget(&job, 300.0).await;
    let ended = working.await.unwrap().unwrap();
    assert_eq!((ended.stopped, written()), (None, ITEMS as u64));
    store.close().await.unwrap();
    let status = tokio::task::block_in_place(|| tool::tool(&harness, &["status", &plan_path, "--state", "s.db"]));
    assert!(!status.stdout.contains("budgets at"), "a complete run has no budgets: {status:?}");
}

//! Tests verification through the library, on the embedded engine. A verification finds exactly the planted defects,
//! writes only if the operator requests a repair, can repair while live writers work, and resumes after a stop.
#![expect(clippy::print_stdout, reason = "the test prints its figures")]

mod parity;
mod races;
mod resumed;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::tool::{SECRET, item, secret};
use crate::harness::{Harness, bytes_of, key_of};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::change::{Digest, ItemHistory, Outcome};
use backfill::internals::dynamodb::Tables;
use backfill::internals::dynamodb::sdk::{DynamoTable, connect};
use backfill::internals::engine::{Job, StopReason, describe};
use backfill::internals::item::{Item, ItemKey, Path, Value};
use backfill::internals::local::{Fault, RequestInfo};
use backfill::internals::passes::verify::{
    ItemHistories, TableStage, Truth, TruthByKey, Verdict, VerificationResult, VerifyInput, VerifyReport, begin, verify,
};
use backfill::internals::preflight::run_changes;
use backfill::internals::ratelimit::{Budget, Budgets};
use backfill::internals::state::sqlite::StateFile;
use backfill::internals::state::{
    BeginMode, Commit, Counts, Cursor, DivergedItem, Identity, ListQuery, NewRun, RunStatus, SegmentEvent, State,
    StoreError, VerificationParameters, VerificationRecord,
};
use tokio::sync::mpsc;

/// Number of defects of each kind.
const PLANTED: usize = 200;

const MOVE: &str = "[[change]]\nmove = \"old\"\nto = \"new\"\n";

const ALL: VerificationParameters = VerificationParameters {
    stage: TableStage::Expanded,
    truths: TruthByKey::All(Truth::Old),
    repair: false,
    flag_version: None,
    sample_clusters: None,
};

/// An item's kind of defect. Every kind except `Nothing` has the same number of items, which are evenly distributed
/// over the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PlantedDefect {
    Nothing,
    Missing,
    Stale,
    Unexpected,
    /// The item has a new value from before the migration, and no old value. This is not a defect.
    Preexisting,
    /// The item has neither attribute, so the plan does not change it. This is not a defect.
    Neither,
}

/// Returns the kind of defect of the item with index `n` in a table with this number of items.
fn planted(n: usize, items: usize) -> PlantedDefect {
    let every = items / PLANTED;
    match n % every {
        1 => PlantedDefect::Missing,
        2 => PlantedDefect::Stale,
        3 => PlantedDefect::Unexpected,
        4 => PlantedDefect::Preexisting,
        5 => PlantedDefect::Neither,
        _ => PlantedDefect::Nothing,
    }
}

fn verdict_of(planted: PlantedDefect) -> Option<Verdict> {
    match planted {
        PlantedDefect::Missing => Some(Verdict::Missing),
        PlantedDefect::Stale => Some(Verdict::Stale),
        PlantedDefect::Unexpected => Some(Verdict::Unexpected),
        _ => None,
    }
}

fn planted_item(n: usize, items: usize) -> Item {
    let mut planted_item = item(&format!("P#{}", n / 2), &format!("S#{n:06}"), [("kept", secret(n))]);
    let mut put = |name: &str, value: Value| drop(planted_item.insert(name.to_owned(), value));
    let what = planted(n, items);
    if !matches!(what, PlantedDefect::Unexpected | PlantedDefect::Preexisting | PlantedDefect::Neither) {
        put("old", secret(n));
    }
    match what {
        PlantedDefect::Missing | PlantedDefect::Neither => {}
        PlantedDefect::Stale => put("new", secret(format!("stale-{n}"))),
        _ => put("new", secret(n)),
    }
    planted_item
}

/// A table, a plan, and the records that a run would have journaled.
struct Scene {
    harness: Harness,
    table: String,
    state: PathBuf,
    plan: PathBuf,
    /// Items with their planted defects, by the text of the item's key.
    items: BTreeMap<String, (Item, PlantedDefect)>,
}

/// Items whose new attribute existed before the migration.
struct PreexistingKeys(BTreeSet<String>);

#[async_trait::async_trait]
impl ItemHistories for PreexistingKeys {
    async fn records(&self, keys: &[ItemKey], _: bool) -> Result<Vec<ItemHistory>, StoreError> {
        let target = || (Path::attribute("new"), Digest([0; 8]));
        let of = |key: &ItemKey| ItemHistory::new(self.0.contains(&key.to_text()).then(target), []);
        Ok(keys.iter().map(of).collect())
    }
}

impl Scene {
    async fn new(count: usize, scan: &str) -> Scene {
        let harness = Harness::embedded();
        let table = harness.create_table().await;
        harness.load(&table, (0..count).map(|n| planted_item(n, count))).await;
        let with_key = |n| (planted_item(n, count), planted(n, count));
        let items = (0..count).map(with_key).map(|(item, what)| (key_of(&item).to_text(), (item, what))).collect();
        let plan = harness.plan("verify", &table, "", &format!("{MOVE}[scan]\n{scan}\n"));
        let state = harness.dir().join("verify.db");
        Scene { harness, table, state, plan, items }
    }

    fn keys(&self, what: PlantedDefect) -> BTreeSet<String> {
        self.items.iter().filter(|(_, (_, planted))| *planted == what).map(|(key, _)| key.clone()).collect()
    }

    fn before(&self) -> Arc<dyn ItemHistories> {
        Arc::new(PreexistingKeys(self.keys(PlantedDefect::Preexisting)))
    }

    async fn job(&self) -> Job {
        let plan = backfill::internals::plan::load("plan", &std::fs::read_to_string(&self.plan).unwrap()).unwrap().plan;
        let tables = Tables::one(Arc::new(DynamoTable::new(&connect(&plan.table).await.unwrap(), &self.table)));
        let description = describe(tables.source_metadata.as_ref(), Duration::from_secs(5)).await.unwrap();
        let changes = run_changes(&plan, &description).unwrap();
        let all = Budget { write: 20_000.0, read: 80_000.0 };
        let budgets = Budgets { table: all, per_key_range: all, per_partition_key: all, indexes: Vec::new() };
        Job::new(plan, changes, tables, description, &budgets)
    }

    fn store(&self, job: &Job) -> State {
        let identity = Identity::from_plan(&job.plan, &job.description);
        backfill::internals::state::open(&self.state, &identity, backfill::internals::clock::now).unwrap()
    }

    /// Runs one session of a verification to its end.
    async fn verify(&self, parameters: VerificationParameters, seed: u64) -> (VerificationRecord, VerificationResult) {
        let job = self.job().await;
        let store = self.store(&job);
        let record = begin(&job, &store, parameters, false, seed).await.unwrap();
        let verified = verify(&job, &store, &record, input(self.before())).await.unwrap();
        store.close().await.unwrap();
        (record, verified)
    }

    /// Returns the keys of the recorded mismatches, by verdict.
    fn recorded(&self, verified: &VerificationResult, verdict: Verdict) -> BTreeSet<String> {
        let found = StateFile::open(&self.state).unwrap().mismatches(verified.run.id, verdict, u32::MAX).unwrap();
        let keys: BTreeSet<String> = found.iter().map(|found| found.key.to_text()).collect();
        assert_eq!(keys.len(), found.len(), "an item is listed twice");
        keys
    }
}

/// Returns the input of a verification. A repair can also remove values that the plan does not imply.
fn input(before: Arc<dyn ItemHistories>) -> VerifyInput {
    VerifyInput { history: before, removes: true }
}

fn report(verified: &VerificationResult) -> &VerifyReport {
    assert_eq!((&verified.stopped, verified.run.status), (&None, RunStatus::Complete));
    &verified.report.as_ref().unwrap().0
}

/// Checks that the stored report equals the returned report, is stored with the correct hash, and contains no attribute
/// values.
fn assert_stored(scene: &Scene, verified: &VerificationResult) {
    let (report, hash) = verified.report.as_ref().unwrap();
    let stored = StateFile::open(&scene.state).unwrap().reports(1).unwrap().remove(0);
    assert_eq!(VerifyReport::from_canonical(&stored.json).unwrap(), *report);
    assert_eq!((&stored.hash, &VerifyReport::hash_of(&stored.json)), (hash, hash));
    assert_eq!((stored.run, &stored.began_at), (verified.run.id, &report.began_at));
    assert!(!stored.json.contains(SECRET));
    let mut text = Vec::new();
    report.write(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains(SECRET));
    println!("{text}");
}

//! Tests verification through the library, on the embedded engine. Verification finds exactly the planted defects,
//! writes only if it is asked to repair, repairs while live writers work, and resumes after a stop.
#![expect(clippy::print_stdout, reason = "the test prints its figures")]

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
    HistoryReader, TableStage, Truth, TruthByKey, Verdict, VerificationResult, VerifyInput, VerifyReport, begin, verify,
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

/// The kind of defect of an item, if any. Each kind has the same number of items, evenly distributed over the table.
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

/// The kind of defect of the `n`-th of `items` items.
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

/// A table, a plan, and the records that the journal of a run would contain.
struct Scene {
    harness: Harness,
    table: String,
    state: PathBuf,
    plan: PathBuf,
    /// Items with their planted defect, by the text of their key.
    items: BTreeMap<String, (Item, PlantedDefect)>,
}

/// Items whose new attribute existed before the migration.
struct PreexistingKeys(BTreeSet<String>);

#[async_trait::async_trait]
impl HistoryReader for PreexistingKeys {
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

    fn before(&self) -> Arc<dyn HistoryReader> {
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

    /// Keys of the recorded mismatches, by verdict.
    fn recorded(&self, verified: &VerificationResult, verdict: Verdict) -> BTreeSet<String> {
        let found = StateFile::open(&self.state).unwrap().mismatches(verified.run.id, verdict, u32::MAX).unwrap();
        let keys: BTreeSet<String> = found.iter().map(|found| found.key.to_text()).collect();
        assert_eq!(keys.len(), found.len(), "an item is listed twice");
        keys
    }
}

/// The input of a verification whose repair may remove values that the plan does not imply.
fn input(before: Arc<dyn HistoryReader>) -> VerifyInput {
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

/// RUNBOOK: "finds every item that differs"
#[tokio::test(flavor = "multi_thread")]
async fn all_finds_every_planted_defect_and_nothing_else() {
    let scene = Scene::new(40_000, "segments = 16").await;
    scene.harness.proxy().reset_tally();
    let (_, verified) = scene.verify(ALL, 1).await;
    let tally = scene.harness.proxy().tally();
    let found = report(&verified);
    assert_eq!((found.compared, found.matching), (40_000, 40_000 - 3 * PLANTED as u64));
    assert_eq!([found.missing, found.stale, found.unexpected], [PLANTED as u64; 3]);
    assert_eq!((found.raced, found.mismatches, found.repaired), (0, 3 * PLANTED as u64, 0));
    for kind in [PlantedDefect::Missing, PlantedDefect::Stale, PlantedDefect::Unexpected] {
        assert_eq!(scene.recorded(&verified, verdict_of(kind).unwrap()), scene.keys(kind), "{kind:?}");
    }
    // The report has all 16 segments.
    assert_eq!((found.segments_read, found.segments.len()), (16, 16));
    assert_eq!(found.segments.iter().map(|s| s.compared).sum::<u64>(), 40_000);
    assert_eq!(found.segments.iter().map(|s| s.missing + s.stale + s.unexpected).sum::<u64>(), 3 * PLANTED as u64);
    assert_eq!(found.examples.len(), 30);
    assert_stored(&scene, &verified);
    // Verification writes nothing, and reads every suspect a second time.
    assert_eq!((tally.write_units(), tally.operation("UpdateItem").requests), (0.0, 0));
    assert_eq!(tally.operation("GetItem").requests, 3 * PLANTED as u64);
    assert_eq!(verified.spend.state.spent.write, 0.0);
    assert!((verified.spend.state.spent.read - tally.read_units()).abs() < 0.01 * tally.read_units());

    sampled(&scene, tally.read_units()).await;
    repaired(&scene).await;
}

/// Checks that a sample of the same table costs half as much per item, and that its findings are correct.
async fn sampled(scene: &Scene, units_of_all: f64) {
    scene.harness.proxy().reset_tally();
    let (record, verified) = scene.verify(VerificationParameters { sample_clusters: Some(600), ..ALL }, 7).await;
    let tally = scene.harness.proxy().tally();
    let found = report(&verified);
    let sample = found.sample.as_ref().unwrap();
    assert_eq!((record.segments_to_read, sample.drawn, sample.clusters), (600, 600, 4_992));
    let mismatches = found.missing + found.stale + found.unexpected;
    assert!(mismatches > 30 && u64::from(sample.differing) <= mismatches, "{found:?}");
    // Each suspect was read a second time before it counted. Preexisting new values were not among the suspects.
    assert_eq!(tally.operation("GetItem").requests, mismatches);
    for kind in [PlantedDefect::Missing, PlantedDefect::Stale, PlantedDefect::Unexpected] {
        assert!(scene.recorded(&verified, verdict_of(kind).unwrap()).is_subset(&scene.keys(kind)), "{kind:?}");
    }
    // The engine distinguishes 4,096 ranges of the hash. Many of the 4,992 clusters are therefore empty, and the report
    // says so.
    assert!(sample.empty > 60 && sample.at_most_percent_of_filled.unwrap() > sample.at_most_percent);
    let scanned = tally.read_units() - mismatches as f64;
    let share = found.compared as f64 / 40_000.0;
    assert!(scanned < units_of_all * share * 0.5 + 600.0 * 0.5, "{scanned} units for a share of {share}");
    assert_eq!(tally.write_units(), 0.0);
    assert_stored(scene, &verified);
}

/// Repairs a quiet table. Checks that every defect is gone, that overwritten values are recorded, and that nothing else
/// changes.
async fn repaired(scene: &Scene) {
    let (_, verified) = scene.verify(VerificationParameters { repair: true, ..ALL }, 2).await;
    let found = report(&verified);
    assert_eq!((found.repaired, found.mismatches), (3 * PLANTED as u64, 0));
    assert_stored(scene, &verified);
    let now = scene.harness.dump(&scene.table).await;
    assert_eq!(now.len(), scene.items.len());
    let job = scene.job().await;
    let store = scene.store(&job);
    for (key, (before, what)) in &scene.items {
        let mut expected = before.clone();
        match what {
            PlantedDefect::Missing | PlantedDefect::Stale => drop(expected.insert("new".into(), before["old"].clone())),
            PlantedDefect::Unexpected => drop(expected.remove("new")),
            _ => {}
        }
        assert_eq!(bytes_of(&now[key]), bytes_of(&expected), "{key}");
        if matches!(what, PlantedDefect::Stale | PlantedDefect::Unexpected) {
            let journal = store.pre_images(ItemKey::from_text(key).unwrap(), None).await.unwrap();
            assert_eq!(journal.len(), 1, "{key}");
            assert_eq!(
                (journal[0].path.clone(), journal[0].value.as_ref()),
                (Path::attribute("new"), before.get("new"))
            );
        }
    }
    assert_eq!(StateFile::open(&scene.state).unwrap().summary().unwrap().pre_images, 2 * PLANTED as u64);
    store.close().await.unwrap();
    scene.harness.proxy().reset_tally();
    let (_, verified) = scene.verify(ALL, 3).await;
    assert_eq!((report(&verified).mismatches, scene.harness.proxy().tally().operation("GetItem").requests), (0, 0));
}

/// If a suspect is equal or gone at the second read, the first read happened between two writes of a live writer. This
/// is not a mismatch.
/// RUNBOOK: "the tool reads the item again, because a race is not a mismatch"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_is_not_a_mismatch() {
    for parameters in [
        ALL,
        VerificationParameters { sample_clusters: Some(u32::MAX), ..ALL },
        VerificationParameters { repair: true, ..ALL },
    ] {
        let scene = Scene::new(2_000, "segments = 4").await;
        let missing = scene.keys(PlantedDefect::Missing);
        let stale = scene.keys(PlantedDefect::Stale);
        let to_fix = missing.clone();
        let to_delete = stale.clone();
        let writer = start_writer(&scene);
        // Just before the second read of an item, its writer changes the item. This write bypasses the proxy and
        // finishes before the read is forwarded.
        let rule = move |request: &RequestInfo| {
            if request.operation == "GetItem" {
                let key = ItemKey::from_text(&request.body()["Key"].to_string()).unwrap();
                let fix = to_fix.contains(&key.to_text());
                let delete = to_delete.contains(&key.to_text());
                if fix || delete {
                    let (done, is_done) = std::sync::mpsc::channel();
                    writer.send((key, delete, done)).unwrap();
                    is_done.recv().unwrap();
                }
            }
            Fault::Pass
        };
        scene.harness.proxy().set_faults(Some(Arc::new(rule)));
        let (_, verified) = scene.verify(parameters, 1).await;
        scene.harness.proxy().set_faults(None);
        let found = report(&verified);
        assert_eq!((found.raced, found.missing, found.stale), (2 * PLANTED as u64, 0, 0), "{found:?}");
        assert_eq!((found.compared, found.unexpected), (2_000, PLANTED as u64));
        assert_eq!(scene.recorded(&verified, Verdict::Unexpected), scene.keys(PlantedDefect::Unexpected));
        assert_stored(&scene, &verified);
    }
}

/// Starts a writer that bypasses the proxy. For each key that it receives, the writer deletes the item or writes both
/// attributes, and confirms the change.
fn start_writer(scene: &Scene) -> mpsc::UnboundedSender<(ItemKey, bool, std::sync::mpsc::Sender<()>)> {
    let (sender, mut requests) = mpsc::unbounded_channel::<(ItemKey, bool, std::sync::mpsc::Sender<()>)>();
    let endpoint = scene.harness.local().unwrap().engine().endpoint();
    let table = scene.table.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let client = crate::harness::client(&endpoint);
            while let Some((key, deletes, done)) = requests.recv().await {
                // The number selects the change in `write_live`: 0 deletes the item, 4 writes both attributes.
                write_live(&client, &table, &key, if deletes { 0 } else { 4 }).await;
                done.send(()).unwrap();
            }
        });
    });
    sender
}

/// The last change by live writers to each item.
#[derive(Debug, Clone, PartialEq)]
enum LastWrite {
    /// Both attributes were written, in one write.
    Both(String),
    /// Only the old attribute was written.
    Old(String),
    /// Both attributes were removed.
    Removed,
    /// The item was deleted.
    Deleted,
}

/// Makes the next change to an item. Most changes come from a writer that obeys `write = both`, and some from a writer
/// that does not know the new attribute.
async fn write_live(client: &Client, table: &str, key: &ItemKey, n: u64) -> LastWrite {
    let key: HashMap<String, AttributeValue> = crate::harness::to_sdk(key.attributes());
    let update = || client.update_item().table_name(table).set_key(Some(key.clone()));
    let text = format!("{SECRET}-written-{n}");
    let value = AttributeValue::S(text.clone());
    match n % 8 {
        0 => {
            client.delete_item().table_name(table).set_key(Some(key)).send().await.unwrap();
            LastWrite::Deleted
        }
        1 => {
            update()
                .update_expression("REMOVE #o, #n")
                .expression_attribute_names("#o", "old")
                .expression_attribute_names("#n", "new")
                .send()
                .await
                .unwrap();
            LastWrite::Removed
        }
        2 | 3 => {
            update()
                .update_expression("SET #o = :v")
                .expression_attribute_names("#o", "old")
                .expression_attribute_values(":v", value)
                .send()
                .await
                .unwrap();
            LastWrite::Old(text)
        }
        _ => {
            update()
                .update_expression("SET #o = :v, #n = :v")
                .expression_attribute_names("#o", "old")
                .expression_attribute_names("#n", "new")
                .expression_attribute_values(":v", value)
                .send()
                .await
                .unwrap();
            LastWrite::Both(text)
        }
    }
}

/// Half of the tool's writes are delayed until a writer has changed their item, to force races instead of relying on
/// chance.
/// RUNBOOK: "is safe with live writers and loses none of their updates. The journal keeps every value that it overwrites"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_does_not_lose_updates_of_live_writers() {
    let scene = Scene::new(4_000, "segments = 4\npage_limit = 100").await;
    let (hint, mut hints) = mpsc::unbounded_channel::<ItemKey>();
    let written = Arc::new(AtomicU64::new(0));
    let seen = Mutex::new(BTreeSet::new());
    let done = Arc::clone(&written);
    let hold = move |request: &RequestInfo| {
        // Only the tool's writes have conditions. The write of each item is delayed once.
        if request.operation != "UpdateItem" || request.body().get("ConditionExpression").is_none() {
            return Fault::Pass;
        }
        let key = ItemKey::from_text(&request.body()["Key"].to_string()).unwrap();
        let mut seen = seen.lock().unwrap();
        if !request.operation_sequence.is_multiple_of(2) || !seen.insert(key.to_text()) {
            return Fault::Pass;
        }
        let queued = seen.len() as u64 - done.load(Ordering::Relaxed);
        let _ = hint.send(key);
        Fault::Delay(Duration::from_millis(100 + 40 * queued))
    };
    scene.harness.proxy().set_faults(Some(Arc::new(hold)));
    let writer = {
        let client = scene.harness.client().clone();
        let table = scene.table.clone();
        let done = Arc::clone(&written);
        let others: Vec<String> = scene.items.keys().cloned().collect();
        tokio::spawn(async move {
            let mut log = BTreeMap::new();
            let mut random = fastrand::Rng::with_seed(5);
            let mut n = 0;
            loop {
                // Items whose write is delayed come first. If no write is delayed, the writer picks any item, until the
                // tool is done.
                let (key, hinted) = match tokio::time::timeout(Duration::from_millis(3), hints.recv()).await {
                    Ok(Some(key)) => (key, true),
                    Ok(None) => return log,
                    Err(_) => (ItemKey::from_text(&others[random.usize(..others.len())]).unwrap(), false),
                };
                if log.get(&key.to_text()) != Some(&LastWrite::Deleted) {
                    let last = write_live(&client, &table, &key, n).await;
                    log.insert(key.to_text(), last);
                    n += 1;
                }
                done.fetch_add(u64::from(hinted), Ordering::Relaxed);
            }
        })
    };
    let (_, verified) = scene.verify(VerificationParameters { repair: true, ..ALL }, 2).await;
    let tally = scene.harness.proxy().tally();
    // The fault rule owns the sender. Removing the rule ends the writer.
    scene.harness.proxy().set_faults(None);
    let log: BTreeMap<String, LastWrite> = writer.await.unwrap();
    let failed =
        tally.operation("UpdateItem").errors.get(&(400, "ConditionalCheckFailedException".to_owned())).copied();
    let found = report(&verified);
    println!(
        "{} items written live, {} writes of the tool found a changed item; {} repaired of {}, {} raced",
        log.len(),
        failed.unwrap_or(0),
        found.repaired,
        found.missing + found.stale + found.unexpected,
        found.raced
    );
    assert!(failed.unwrap_or(0) > 100, "too few races");
    // Each mismatch was repaired, or a live writer made it equal. Only preexisting new values remain.
    let left = unrepaired_keys(&scene, &verified);
    assert!(left.is_subset(&scene.keys(PlantedDefect::Preexisting)), "{left:?}");
    assert_eq!(found.mismatches, left.len() as u64);

    let check = |now: &BTreeMap<String, Item>, finished: bool| {
        for (key, (before, what)) in &scene.items {
            let text = |name: &str| now.get(key).and_then(|item| item.get(name));
            let value = |text: &str| Value::S(text.to_owned());
            match log.get(key) {
                Some(LastWrite::Deleted) => {
                    assert!(!now.contains_key(key), "{key} was deleted by its writer, but exists again")
                }
                Some(LastWrite::Removed) => {
                    assert_eq!(
                        (text("old"), text("new")),
                        (None, None),
                        "the writer of {key} removed both values, but one exists again"
                    )
                }
                Some(LastWrite::Both(last)) => {
                    assert_eq!((text("old"), text("new")), (Some(&value(last)), Some(&value(last))), "{key}");
                }
                Some(LastWrite::Old(last)) => {
                    assert_eq!(text("old"), Some(&value(last)), "{key}");
                    let was_preexisting = *what == PlantedDefect::Preexisting;
                    assert!(!finished || was_preexisting || text("new") == Some(&value(last)), "{key}");
                }
                None => {
                    let new = match what {
                        PlantedDefect::Unexpected | PlantedDefect::Neither => None,
                        PlantedDefect::Preexisting => before.get("new"),
                        _ => before.get("old"),
                    };
                    assert_eq!((text("old"), text("new")), (before.get("old"), new), "{key}");
                }
            }
        }
    };
    check(&scene.harness.dump(&scene.table).await, false);
    // One writer does not know the new attribute. The next repair corrects the items that this writer changed behind
    // the scan position.
    let (_, verified) = scene.verify(VerificationParameters { repair: true, ..ALL }, 3).await;
    let left = unrepaired_keys(&scene, &verified).len() as u64;
    check(&scene.harness.dump(&scene.table).await, true);
    let (_, verified) = scene.verify(ALL, 4).await;
    assert_eq!(report(&verified).mismatches, left, "the repair must leave only preexisting values unchanged");
}

/// The keys of the items that a repair left unchanged. Checks that there is a reason for each of these items.
fn unrepaired_keys(scene: &Scene, verified: &VerificationResult) -> BTreeSet<String> {
    let file = StateFile::open(&scene.state).unwrap();
    let found =
        Verdict::MISMATCHES.map(|verdict| file.mismatches(verified.run.id, verdict, u32::MAX).unwrap()).concat();
    assert!(found.iter().all(|found| found.repaired == found.why.is_none()));
    found.iter().filter(|found| !found.repaired).map(|found| found.key.to_text()).collect()
}

/// A verification is stopped, killed and resumed. Each item counts once, and the report appears when all segments are
/// done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_resumes_where_it_stopped() {
    for parameters in [
        ALL,
        VerificationParameters { repair: true, ..ALL },
        VerificationParameters { sample_clusters: Some(150), ..ALL },
    ] {
        let scene = Scene::new(4_000, "segments = 4\npage_limit = 50").await;
        let mut sessions = 0;
        let mut ids = BTreeSet::new();
        let mut reads = 0;
        let (record, verified) = loop {
            let job = Arc::new(scene.job().await);
            let store = scene.store(&job);
            let record = begin(&job, &store, parameters.clone(), false, sessions).await.unwrap();
            assert_eq!(record.resumed, sessions > 0);
            ids.insert(record.run.id);
            sessions += 1;
            // At the 20th page, the session is asked to stop, or its task is dropped like that of a killed process.
            let killed = sessions % 2 == 0;
            let stop = job.stop.clone();
            let (reached, at) = tokio::sync::oneshot::channel();
            let reached = Mutex::new(Some(reached));
            let rule = move |request: &RequestInfo| {
                if request.operation == "Scan" && request.operation_sequence == 20 {
                    reached.lock().unwrap().take().unwrap().send(()).unwrap();
                    if !killed {
                        stop.stop(StopReason::Interrupted);
                    }
                }
                Fault::Pass
            };
            scene.harness.proxy().reset_tally();
            scene.harness.proxy().set_faults(Some(Arc::new(rule)));
            let mut session = {
                let job = Arc::clone(&job);
                let store = store.clone();
                let record = record.clone();
                let before = scene.before();
                tokio::spawn(async move { verify(&job, &store, &record, input(before)).await })
            };
            let ended = tokio::select! {
                ended = &mut session => ended,
                _ = at => {
                    if killed {
                        session.abort();
                    }
                    session.await
                }
            };
            scene.harness.proxy().set_faults(None);
            reads += scene.harness.proxy().tally().operation("Scan").requests;
            store.close().await.unwrap();
            if let Ok(ended) = ended {
                let ended = ended.unwrap();
                match ended.stopped {
                    None => break (record, ended),
                    Some(reason) => assert_eq!((reason, ended.report), (StopReason::Interrupted, None)),
                }
            }
            assert!(sessions < 30, "the verification makes no progress");
        };
        let found = report(&verified);
        println!("{parameters:?}: {sessions} sessions, {reads} pages read");
        assert!(sessions > 3 && ids.len() == 1, "{sessions} sessions of {ids:?}");
        assert_eq!(found.run, record.run.id.number());
        let mismatches = found.missing + found.stale + found.unexpected;
        if parameters.sample_clusters.is_some() {
            assert_eq!(found.sample.as_ref().unwrap().drawn, 150);
        } else if parameters.repair {
            // If a killed session repaired an item but did not commit the page, the item now matches.
            assert!(mismatches <= 3 * PLANTED as u64 && found.mismatches == 0, "{found:?}");
            assert_eq!(found.compared, 4_000);
        } else {
            assert_eq!((found.compared, [found.missing, found.stale, found.unexpected]), (4_000, [PLANTED as u64; 3]));
        }
        assert_stored(&scene, &verified);
        // A different request, or a request after the end, begins a new verification.
        let job = scene.job().await;
        let store = scene.store(&job);
        assert!(!begin(&job, &store, parameters, false, 1).await.unwrap().resumed);
    }
}

/// Checks recorded diverged items. The records of items that are now equal or gone are closed. The other records stay
/// open.
/// RUNBOOK: "no failure and no diverged item is open"
#[tokio::test(flavor = "multi_thread")]
async fn diverged_items_that_are_now_equal_are_closed() {
    let scene = Scene::new(2_000, "segments = 4").await;
    let of = |what: PlantedDefect| scene.keys(what).into_iter().next().unwrap();
    let equal = of(PlantedDefect::Neither);
    let stale = of(PlantedDefect::Stale);
    let gone = key_of(&item("P#gone", "S#0", [])).to_text();
    let job = scene.job().await;
    let store = scene.store(&job);
    let new =
        NewRun { phase: "expand".into(), total_segments: 1, tool_version: "t".into(), table_items_estimate: None };
    let session = store.begin(BeginMode::ResumeOrNew, new).await.unwrap().run.session();
    let mut counts = Counts::default();
    (0..3).for_each(|_| counts.count(Outcome::Diverged));
    let diverged = [&equal, &stale, &gone]
        .map(|key| DivergedItem { key: ItemKey::from_text(key).unwrap(), paths: vec![Path::attribute("new")] });
    let event = SegmentEvent::PagesDone { first: 1, pages: 1, next: None, counts };
    let commit = Commit { session, segment: 0, event, failures: vec![], diverged: diverged.to_vec(), refused: vec![] };
    store.commit(commit).await.unwrap();
    store.end_session(session, RunStatus::Complete, None, 0).await.unwrap();
    store.close().await.unwrap();

    let open = || {
        let query = ListQuery { run: None, open_only: true, after: Cursor::START, limit: 9 };
        let rows = StateFile::open(&scene.state).unwrap().diverged(query).unwrap();
        rows.into_iter().map(|row| row.key.to_text()).collect::<Vec<_>>()
    };
    let (_, verified) = scene.verify(VerificationParameters { sample_clusters: Some(50), ..ALL }, 1).await;
    assert_eq!((report(&verified).diverged_closed, open().len()), (0, 3), "a sample closes none");
    let (_, verified) = scene.verify(ALL, 1).await;
    assert_eq!((report(&verified).diverged_closed, open()), (2, vec![stale]));
    let (_, verified) = scene.verify(VerificationParameters { repair: true, ..ALL }, 1).await;
    assert_eq!((report(&verified).diverged_closed, open()), (1, vec![]));
    let rows = StateFile::open(&scene.state).unwrap().diverged(ListQuery {
        run: None,
        open_only: false,
        after: Cursor::START,
        limit: 9,
    });
    let how: Vec<Option<String>> = rows.unwrap().into_iter().map(|row| row.resolved_as).collect();
    assert_eq!(how, [Some("verified".to_owned()), Some("verified".to_owned()), Some("gone".to_owned())]);
}

/// The large segments of a run are a separate stratum: a verification reads all clusters of these segments instead of a
/// random sample of the clusters.
#[tokio::test(flavor = "multi_thread")]
async fn large_collections_are_read_in_full() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let value = |n: usize, wrong: bool| if wrong { secret(format!("other-{n}")) } else { secret(n) };
    let of = |pk: String, n: usize, wrong: bool| {
        item(&pk, &format!("S#{n:06}"), [("old", secret(n)), ("new", value(n, wrong))])
    };
    let giant = (0..6_000).map(|n| of("GIANT".into(), n, n == 5_999));
    harness.load(&table, giant.chain((0..4_000).map(|n| of(format!("P#{n}"), n, false)))).await;
    let plan = harness.plan("verify", &table, "", &format!("{MOVE}[scan]\nsegments = 32\n"));
    let state = harness.dir().join("verify.db");
    let scene = Scene { harness, table, state, plan, items: BTreeMap::new() };
    let job = scene.job().await;
    let store = scene.store(&job);
    let new =
        NewRun { phase: "expand".into(), total_segments: 32, tool_version: "t".into(), table_items_estimate: None };
    let session = store.begin(BeginMode::ResumeOrNew, new).await.unwrap();
    job.work(&store, &session).await.unwrap();
    let job = scene.job().await;
    let record =
        begin(&job, &store, VerificationParameters { sample_clusters: Some(20), ..ALL }, false, 3).await.unwrap();
    assert_eq!(record.drawn.as_ref().unwrap().large.len(), 1, "{record:?}");
    let verified = verify(&job, &store, &record, input(Arc::new(store.clone()))).await.unwrap();
    let sample = report(&verified).sample.as_ref().unwrap();
    assert_eq!((sample.drawn, sample.large, sample.large_differing), (20, sample.clusters / 32, 1));
    assert!(report(&verified).compared >= 6_000 && report(&verified).compared < 7_000);
    assert_eq!(
        (sample.differing, report(&verified).stale),
        (0, 1),
        "a large segment is read completely, so its defect is found"
    );
    assert!(sample.statement.contains("around large item collections were read besides: 1 differ"), "{sample:?}");
    store.close().await.unwrap();
}

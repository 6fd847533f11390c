//! Tests the real binary with injected faults: lost replies, throttles, hangs, expired credentials, plans that fail for
//! every item, a full disk, unusable replies. Each run's report must be correct, and the next run must reach the
//! correct result.
//!
//! Every attribute value except keys contains a secret text, which must not appear in any output. Every run logs at the
//! most verbose level.

mod batches;
mod client;
mod credentials;
mod dead_letters;
mod disk;
mod drain;
mod lost_replies;
mod open_files;
mod outage;
mod replies;
mod stops;
mod transient;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::tool::{self, RunningTool, ToolOutput, item, run, secret, secret_number, tool};
use crate::harness::{Harness, bytes_of, from_sdk, key_of};
use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::item::{Item, Position, Value};
use backfill::internals::local::proxy::FaultRule;
use backfill::internals::local::{Fault, RequestInfo};
use backfill::internals::state::sqlite::StateFile;
use backfill::internals::state::{Cursor, ListQuery, SegmentStatus};
use nix::sys::signal::Signal;
use serde_json::{Map, Value as Json, json};

/// Retry settings that do not slow a test down.
const QUICK: &str = "[retry]\nbase = \"2ms\"\ncap = \"50ms\"\n";

/// Four segments, each with several small pages. So when a fault stops a run, some pages are committed and others are
/// not.
const SMALL_PAGES: &str = "[scan]\nsegments = 4\npage_limit = 10\n";

/// The plan of most scenarios: `old` becomes `new`.
const MOVE: &str = "[[change]]\nmove = \"old\"\nto = \"new\"\n";

/// Returns items that all need a write under [`MOVE`].
fn items(count: usize) -> impl Iterator<Item = Item> {
    (0..count).map(|n| {
        item(
            &format!("P#{}", n / 3),
            &format!("S#{n:05}"),
            [("old", secret(n)), ("kept", Value::L(vec![secret("list"), secret_number(n)]))],
        )
    })
}

/// Returns an item of [`items`] after [`MOVE`].
fn moved(item: &Item) -> Item {
    let mut item = item.clone();
    item.insert("new".into(), item["old"].clone());
    item
}

/// A test harness with one table and one plan. `before` contains the table's items before the run.
struct Scene {
    harness: Harness,
    table: String,
    before: BTreeMap<String, Item>,
    plan: PathBuf,
}

impl Scene {
    async fn new(items: impl Iterator<Item = Item>, migration: &str, rest: &str) -> Scene {
        Scene::with_harness(Harness::embedded(), items, migration, rest).await
    }

    async fn with_harness(harness: Harness, items: impl Iterator<Item = Item>, migration: &str, rest: &str) -> Scene {
        let table = harness.create_table().await;
        harness.load(&table, items).await;
        let before = harness.dump(&table).await;
        let plan = harness.plan("faults", &table, migration, rest);
        Scene { harness, table, before, plan }
    }

    /// Creates a scene with this number of items and a plan with [`MOVE`] and small pages. `more` is appended to the
    /// plan.
    async fn with_move(count: usize, more: &str) -> Scene {
        Scene::new(items(count), "", &format!("{MOVE}{SMALL_PAGES}{more}")).await
    }

    fn plan(&self) -> &str {
        self.plan.to_str().unwrap()
    }

    fn fault(&self, rule: impl Fn(&RequestInfo) -> Fault + Send + Sync + 'static) {
        self.harness.proxy().set_faults(Some(Arc::new(rule) as FaultRule));
    }

    fn remove_faults(&self) {
        self.harness.proxy().set_faults(None);
    }

    fn run(&self) -> ToolOutput {
        tool(&self.harness, &["run", self.plan(), "--yes", "--output", "json"])
    }

    fn start(&self) -> RunningTool {
        let mut command = self.harness.command();
        command.args(["run", self.plan(), "--yes", "--output", "json", "-vv"]);
        RunningTool::start(command)
    }

    fn state(&self) -> StateFile {
        StateFile::open(&self.state_path()).unwrap()
    }

    fn state_path(&self) -> PathBuf {
        self.harness.dir().join(".backfill/faults.db")
    }

    /// Asserts that every item equals `after` of the item before the run, byte for byte, and that the table contains no
    /// other items.
    async fn assert_table(&self, after: impl Fn(&Item) -> Item) {
        let now = self.harness.dump(&self.table).await;
        assert_eq!(now.len(), self.before.len());
        for (key, item) in &self.before {
            assert_eq!(bytes_of(&now[key]), bytes_of(&after(item)), "{key}");
        }
    }

    /// Resumes the run without the fault. Asserts that the run completes, that it has counted every item once, and that
    /// the table is correct.
    async fn resumes_correctly(&self) -> Json {
        self.remove_faults();
        let ran = self.run().exits(0);
        assert!(ran.messages().contains("resumes run 1"), "{}", ran.messages());
        let json = ran.json();
        assert_eq!(json["run"]["status"], "complete");
        assert_eq!(counts(&json)["scanned"], self.before.len());
        assert_eq!(failed(&json), 0);
        self.assert_table(moved).await;
        json
    }

    /// Asserts that the committed progress is correct. In each segment, the change must be done in all items up to the
    /// stored position, the counts must include exactly these items, and no failure must be recorded. Returns the
    /// number of these items.
    async fn check_committed(&self) -> u64 {
        let state = self.state();
        let summary = state.summary().unwrap();
        let run = summary.current.unwrap().run;
        let all = ListQuery { run: None, open_only: false, after: Cursor::START, limit: u32::MAX };
        assert_eq!(state.failures(all).unwrap(), [], "failures were recorded");
        let mut committed = 0;
        for (segment, stored) in state.segments_after(run.id, None, u32::MAX).unwrap() {
            let until = match &stored.status {
                SegmentStatus::Scanning(Position::Key(key)) => Some(key.clone()),
                SegmentStatus::Scanning(Position::Offset(offset)) => panic!("no file is read: {offset}"),
                SegmentStatus::Done => None,
                SegmentStatus::Pending => continue,
            };
            let items = self.segment(segment, run.total_segments).await;
            let end = until.map_or(items.len(), |key| items.iter().position(|i| key_of(i) == key).unwrap() + 1);
            for item in &items[..end] {
                assert_eq!(item.get("new"), Some(&item["old"]), "committed, but not done: {}", key_of(item));
            }
            assert_eq!(stored.counts.scanned, end as u64, "segment {segment}");
            committed += end as u64;
        }
        committed
    }

    /// Returns every item of a segment, in scan order.
    async fn segment(&self, segment: u32, total: u32) -> Vec<Item> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let scan = self.harness.client().scan().table_name(&self.table).limit(1000).consistent_read(true);
            let scan = scan.segment(segment.try_into().unwrap()).total_segments(total.try_into().unwrap());
            let page = scan.set_exclusive_start_key(start).send().await.unwrap();
            items.extend(page.items.unwrap_or_default().into_iter().map(from_sdk));
            start = page.last_evaluated_key.filter(|k| !k.is_empty());
            if start.is_none() {
                return items;
            }
        }
    }

    /// Returns a function that deletes an item directly on the server. It blocks until the item is deleted, because a
    /// fault rule calls it.
    fn behind(&self) -> impl Fn(HashMap<String, AttributeValue>) + Send + Sync + 'static {
        let endpoint = self.harness.local().unwrap().engine().endpoint();
        let table = self.table.clone();
        move |key| {
            let endpoint = endpoint.clone();
            let table = table.clone();
            let delete = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime
                    .block_on(
                        crate::harness::client(&endpoint).delete_item().table_name(table).set_key(Some(key)).send(),
                    )
                    .unwrap();
            };
            std::thread::spawn(delete).join().unwrap();
        }
    }
}

/// Returns the sort key of a request's item.
fn sort_key(request: &RequestInfo) -> String {
    request.body()["Key"]["sk"]["S"].as_str().unwrap_or_default().to_owned()
}

/// Creates a function that returns true only at its first call with the same text.
fn first_occurrence() -> impl Fn(String) -> bool + Send + Sync {
    let seen = Mutex::new(BTreeSet::new());
    move |text| seen.lock().unwrap().insert(text)
}

fn reply(status: u16, error: &str, message: &str) -> Fault {
    Fault::Reply { status, error: error.into(), message: message.into(), extra: Map::new() }
}

fn counts(json: &Json) -> &Json {
    &json["totals"]["counts"]
}

fn failed(json: &Json) -> u64 {
    counts(json)["conflict"].as_u64().unwrap() + counts(json)["rejected"].as_u64().unwrap()
}

/// Returns the number of failures in the state file, including resolved ones.
fn stored_failures(state: &StateFile) -> usize {
    state.failures(ListQuery { run: None, open_only: false, after: Cursor::START, limit: u32::MAX }).unwrap().len()
}

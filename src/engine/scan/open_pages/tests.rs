//! Tests how a session stops while pages wait for their set-aside items.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use crate::change::{Changes, GuardedWrite};
use crate::dynamodb::{
    Describe, GetReply, Page, PageRequest, Sink, Source, TableDescription, TableError, Tables, WriteReply,
};
use crate::engine::{Job, SessionResult, StopReason};
use crate::item::{Item, ItemKey, Position, Value};
use crate::ratelimit::{Budget, Budgets};
use crate::state::{BeginMode, Identity, NewRun, RunStatus, SegmentStatus};

/// A table with one segment, which consists of these pages. The table rejects writes to the partition key `refused`.
/// Writes to `slow-…` take 300 ms.
struct OneSegmentTable {
    pages: Vec<Vec<Item>>,
    scans: Mutex<usize>,
    written: Mutex<Vec<ItemKey>>,
}

fn item(pk: &str, sk: usize, needs_a_write: bool) -> Item {
    let mut item = Item::from([("pk".into(), Value::S(pk.into())), ("sk".into(), Value::S(sk.to_string()))]);
    if needs_a_write {
        item.insert("old".into(), Value::S("x".into()));
    }
    item
}

fn key(pk: &str, sk: usize) -> ItemKey {
    ItemKey::new(item(pk, sk, false))
}

impl OneSegmentTable {
    fn new(pages: Vec<Vec<Item>>) -> Arc<OneSegmentTable> {
        Arc::new(OneSegmentTable { pages, scans: Mutex::default(), written: Mutex::default() })
    }

    fn last_key(&self, page: usize) -> Option<ItemKey> {
        let last = self.pages[page].last()?;
        Some(ItemKey::new(
            last.iter().filter(|(name, _)| *name != "old").map(|(n, v)| (n.clone(), v.clone())).collect(),
        ))
    }

    fn written(&self, pk: &str) -> usize {
        let prefix = format!("\"{pk}");
        self.written.lock().unwrap().iter().filter(|key| key.to_text().contains(&prefix)).count()
    }
}

#[async_trait]
impl Describe for OneSegmentTable {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        Ok(TableDescription::for_tests())
    }
}

#[async_trait]
impl Source for OneSegmentTable {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        let behind = |key: &ItemKey| (0..self.pages.len()).find(|page| self.last_key(*page).as_ref() == Some(key));
        let page = request.start.as_ref().and_then(Position::key).and_then(behind).map_or(0, |before| before + 1);
        *self.scans.lock().unwrap() += 1;
        let next = if page + 1 < self.pages.len() { self.last_key(page) } else { None };
        let next = next.map(Position::Key);
        Ok(Page { items: self.pages[page].clone(), next, units: Some(1.0) })
    }
}

#[async_trait]
impl Sink for OneSegmentTable {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        let mut replies = Vec::new();
        for write in chunk {
            let text = write.key.to_text();
            if text.contains("\"refused\"") {
                replies.push(Err(TableError::Rejected { message: "Item size has exceeded the maximum".into() }));
                continue;
            }
            if text.contains("\"slow") {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            self.written.lock().unwrap().push(write.key.clone());
            replies.push(Ok(WriteReply::Applied { consumed: None, removed: None }));
        }
        replies
    }

    fn max_chunk(&self) -> usize {
        1
    }

    async fn get(&self, _: &ItemKey) -> Result<GetReply, TableError> {
        unreachable!("the test has no failed conditions")
    }
}

/// Runs an expand pass on the table, with a budget of two writes per second for each partition key. Stops the run when
/// `when` returns true.
async fn run_until(
    table: &Arc<OneSegmentTable>,
    when: impl Fn(&OneSegmentTable) -> bool,
) -> (SessionResult, SegmentStatus) {
    let text = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
                [[change]]\nmove = \"old\"\nto = \"new\"\n[scan]\nsegments = 1\n";
    let plan = crate::plan::load("plan", text).unwrap().plan;
    let description = TableDescription::for_tests();
    let changes = Changes::for_expand(&plan.changes, plan.strategy, description.key.clone(), Vec::new());
    let identity = Identity::from_plan(&plan, &description);
    let new =
        NewRun { phase: "expand".into(), total_segments: 1, tool_version: "t".into(), table_items_estimate: None };
    let dir = tempfile::tempdir().unwrap();
    let store = crate::state::open(&dir.path().join("s.db"), &identity, || "2026-01-01T00:00:00Z".to_owned()).unwrap();
    let session = store.begin(BeginMode::ResumeOrNew, new).await.unwrap();
    let wide = Budget { write: 1000.0, read: 1000.0 };
    let narrow = Budget { write: 2.0, read: 1000.0 };
    let budgets = Budgets { table: wide, per_key_range: wide, per_partition_key: narrow, indexes: Vec::new() };
    let job = Arc::new(Job::new(plan, Arc::new(changes), Tables::one(Arc::clone(table)), description, &budgets));
    let run = session.run.id;
    let working = {
        let job = Arc::clone(&job);
        let store = store.clone();
        tokio::spawn(async move { job.work(&store, &session).await })
    };
    while !when(table) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Wait until the last replies have reached the worker.
    tokio::time::sleep(Duration::from_millis(50)).await;
    job.stop.stop(StopReason::Interrupted);
    let ended = working.await.unwrap().unwrap();
    assert_eq!((ended.run.status, &ended.stopped), (RunStatus::Stopped, &Some(StopReason::Interrupted)));
    let segments = store.segments_after(run, None, 1).await.unwrap();
    (ended, segments.first().map_or(SegmentStatus::Pending, |(_, state)| state.status.clone()))
}

/// Stops the run when all pages have been read and some items of the second page have been written.
async fn stopped_in_the_second_page(first: Item) -> (SessionResult, SegmentStatus) {
    let second = (1..=5).map(|n| item("hot", n, true)).collect();
    let table = OneSegmentTable::new(vec![vec![first], second, vec![item("idle", 1, false)]]);
    let ended = run_until(&table, |table| *table.scans.lock().unwrap() >= 3 && table.written("hot") > 0).await;
    assert!(table.written("hot") < 5, "the run was stopped too late");
    ended
}

/// The first page is committed. The second page was abandoned, so the third page is not committed.
#[tokio::test(flavor = "multi_thread")]
async fn no_page_is_committed_after_an_abandoned_page() {
    let (ended, segment) = stopped_in_the_second_page(item("first", 1, false)).await;
    assert_eq!((ended.totals.pages, ended.totals.counts.scanned), (1, 1));
    assert_eq!(segment, SegmentStatus::Scanning(Position::Key(key("first", 1))));
}

/// Probation delays the commit of the first page, and the second page is abandoned. The third page must not be appended
/// to the first page.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_held_back_is_not_followed_by_a_gap() {
    let (ended, segment) = stopped_in_the_second_page(item("refused", 1, true)).await;
    let first = SegmentStatus::Scanning(Position::Key(key("refused", 1)));
    assert!(segment == SegmentStatus::Pending || segment == first, "{segment:?}");
    assert!(ended.totals.counts.scanned <= 1, "{:?}", ended.totals);
}

/// When the run is asked to stop, the first page is complete and the second page is being written. The first page must
/// be committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_complete_at_a_stop_is_committed() {
    let second = (1..=40).map(|n| item(&format!("slow-{n}"), 1, true)).collect();
    let table = OneSegmentTable::new(vec![vec![item("hot", 1, true), item("hot", 2, true)], second]);
    let (ended, segment) = run_until(&table, |table| table.written("hot") == 2).await;
    let slow = table.written("slow");
    assert!((1..40).contains(&slow), "{slow}");
    assert_eq!((ended.totals.pages, ended.totals.counts.scanned), (1, 2));
    assert_eq!((segment, ended.run.abandoned_pages), (SegmentStatus::Scanning(Position::Key(key("hot", 2))), 1));
}

//! Tests chunks and hot partition keys in virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::*;
use crate::change::HistoryLookup;
use crate::dynamodb::{Describe, GetReply, Page, PageRequest, Sink, Source, TableDescription, Tables};
use crate::engine::Job;
use crate::item::{ItemKey, Path, Value};
use crate::ratelimit::{Budget, Budgets};
use crate::state::{BeginMode, Commit, NewRun, RunId, RunStatus, SegmentEvent};

/// The number of units that one partition key may use per second.
const RATE: usize = 2;

/// A table that accepts chunks. The table records the arrival time of each chunk and the partition keys of its writes.
struct BatchingTable {
    began: Instant,
    max_chunk: usize,
    /// Whether the first write of each chunk fails permanently.
    fails_first: bool,
    chunks: Mutex<Vec<(Duration, Vec<String>)>>,
}

#[async_trait]
impl Describe for BatchingTable {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        Ok(TableDescription::for_tests())
    }
}

#[async_trait]
impl Source for BatchingTable {
    async fn read_page(&self, _: &PageRequest) -> Result<Page, TableError> {
        unreachable!("the test passes the items to the writer, so nothing is scanned")
    }
}

#[async_trait]
impl Sink for BatchingTable {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let items: std::collections::BTreeSet<String> = chunk.iter().map(|write| write.key.to_text()).collect();
        assert_eq!(items.len(), chunk.len(), "a chunk contains an item twice");
        let keys = chunk.iter().map(|write| partition(&write.key)).collect();
        self.chunks.lock().unwrap().push((self.began.elapsed(), keys));
        let reply = |at: usize| match at {
            0 if self.fails_first => {
                Err(TableError::Fatal { kind: FatalKind::Request, message: "no access".to_owned() })
            }
            _ => Ok(WriteReply::Applied { consumed: None, removed: None }),
        };
        (0..chunk.len()).map(reply).collect()
    }

    fn max_chunk(&self) -> usize {
        self.max_chunk
    }

    async fn get(&self, _: &ItemKey) -> Result<GetReply, TableError> {
        unreachable!("the test has no failed conditions")
    }
}

fn partition(key: &ItemKey) -> String {
    match key.attributes().get("pk") {
        Some(Value::S(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

fn item(pk: &str, sk: usize) -> Item {
    [("pk", pk.to_owned()), ("sk", sk.to_string()), ("old", "x".to_owned())]
        .map(|(name, text)| (name.to_owned(), Value::S(text)))
        .into()
}

/// Creates a table that accepts chunks, the client that sends requests to this table, and a writer.
fn table(max_chunk: usize) -> (Arc<BatchingTable>, Requests, Writer) {
    let session = SessionId { run: RunId::from_number(1), epoch: 1 };
    let history = crate::state::in_memory().history();
    table_with("[[change]]\nmove = \"old\"\nto = \"new\"\n", max_chunk, false, history, session)
}

/// Like [`table`], but with these changes, this history, and writes that can fail.
fn table_with(
    changes: &str,
    max_chunk: usize,
    fails_first: bool,
    history: Arc<dyn History>,
    session: SessionId,
) -> (Arc<BatchingTable>, Requests, Writer) {
    let strategy = if changes.contains("delete") { "strategy = \"in-place\"\n" } else { "" };
    let text =
        format!("[migration]\nname = \"m\"\n{strategy}[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n{changes}");
    let plan = crate::plan::load("plan", &text).unwrap_or_else(|errors| panic!("{errors}")).plan;
    let description = TableDescription::for_tests();
    let changes = Changes::for_expand(&plan.changes, plan.strategy, description.key.clone(), Vec::new());
    let changes = Arc::new(changes.with_split(&plan.changes, plan.strategy));
    let both = |units: f64| Budget { write: units, read: units };
    let wide = both(10_000.0);
    let narrow = both(RATE as f64);
    let budgets = Budgets { table: wide, per_key_range: wide, per_partition_key: narrow, indexes: Vec::new() };
    let batched = Arc::new(BatchingTable { began: Instant::now(), max_chunk, fails_first, chunks: Mutex::default() });
    let job = Job::new(plan, Arc::clone(&changes), Tables::one(Arc::clone(&batched)), description, &budgets);
    let writer = Writer::new(job.decisions(), history, session);
    (batched, job.requests(), writer)
}

/// Creates a page. Every third item has the partition key `hot`, and each other item has its own key.
fn page(items: usize) -> Vec<Item> {
    (0..items).map(|n| if n % 3 == 1 { item("hot", n) } else { item(&format!("cold-{n}"), n) }).collect()
}

#[tokio::test(start_paused = true)]
async fn items_of_a_hot_key_do_not_delay_other_chunks() {
    for max_chunk in [1, 2, 5, 25] {
        let (table, requests, writer) = table(max_chunk);
        let outcomes = writer.process_all(page(60), &requests).await.unwrap();
        assert_eq!((outcomes.counts.of(Outcome::Applied), outcomes.failures.len()), (60, 0));
        let chunks = std::mem::take(&mut *table.chunks.lock().unwrap());
        let (hot, cold): (Vec<_>, Vec<_>) = chunks
            .iter()
            .flat_map(|(at, keys)| keys.iter().map(move |key| (*at, key.as_str())))
            .partition(|(_, key)| *key == "hot");
        assert_eq!((hot.len(), cold.len()), (20, 40));
        // After a burst, the hot key is written at its own rate, so its twenty items take almost ten seconds.
        let last = |of: &[(Duration, &str)]| of.iter().map(|(at, _)| *at).max().unwrap();
        assert!(last(&hot) > Duration::from_secs(8), "{hot:?}");
        assert!(last(&cold) < Duration::from_millis(200), "{max_chunk} a chunk: {cold:?}");
        // The other items' chunks are full, even though the hot key waits.
        let cold_chunks = chunks.iter().filter(|(_, keys)| keys.iter().any(|key| key != "hot")).count();
        assert!(cold_chunks <= 40_usize.div_ceil(max_chunk) + 1, "{cold_chunks} chunks of at most {max_chunk}");
        assert!(chunks.iter().all(|(_, keys)| keys.len() <= max_chunk));
    }
}

/// Tests items with the hot key and items with other keys. The sink asserts that no chunk contains an item twice.
#[tokio::test(start_paused = true)]
async fn items_that_a_source_yields_twice_go_in_two_chunks() {
    for max_chunk in [2, 25] {
        let (table, requests, writer) = table(max_chunk);
        let twice = page(12).into_iter().flat_map(|item| [item.clone(), item]).collect();
        let outcomes = writer.process_all(twice, &requests).await.unwrap();
        assert_eq!(outcomes.counts.of(Outcome::Applied), 24);
        let sent: usize = table.chunks.lock().unwrap().iter().map(|(_, keys)| keys.len()).sum();
        assert_eq!(sent, 24);
    }
}

#[tokio::test(start_paused = true)]
async fn chunks_take_memory_in_proportion_to_their_members() {
    for (max_chunk, items) in [(1, 1_000), (3, 1_000), (25, 7)] {
        let (_, requests, _) = table(max_chunk);
        let pending = |n: usize| PendingWrite::new(GuardedWrite::for_test(&n.to_string()), Arc::default());
        let mut writes = (0..items).map(pending).collect::<Vec<_>>().into_iter();
        let mut set_aside = SetAsideItems::default();
        let chunks: Vec<_> = std::iter::from_fn(|| next_chunk(&mut writes, &requests, &mut set_aside)).collect();
        let lengths: Vec<usize> = chunks.iter().map(Vec::len).collect();
        assert_eq!((lengths.iter().sum::<usize>(), lengths.len()), (items, items.div_ceil(max_chunk)));
        assert!(lengths.iter().all(|length| *length <= max_chunk));
        assert_eq!(chunks.iter().map(Vec::capacity).collect::<Vec<_>>(), lengths);
        assert!(set_aside.keys.is_empty());
    }
}

fn new_run() -> NewRun {
    NewRun { phase: "expand".to_owned(), total_segments: 1, tool_version: "0".to_owned(), table_items_estimate: None }
}

/// A run wrote `new`, because the item needed no other write. If the run has completed, the item is complete, whatever
/// other writers do later. If the run was killed, the item may need another write.
#[tokio::test(start_paused = true)]
async fn an_item_that_a_complete_run_wrote_is_not_partly_written() {
    let changes = "[[change]]\nmove = \"old\"\nto = \"new\"\n[[change]]\nmove = \"old2\"\nto = \"new2\"\n";
    for is_complete in [true, false] {
        let store = crate::state::in_memory();
        let first = store.begin(BeginMode::ResumeOrNew, new_run()).await.unwrap().run.session();
        let mut written = item("k", 1);
        written.insert("new".to_owned(), written["old"].clone());
        let (_, requests, writer) = table_with(changes, 1, false, store.history(), first);
        let pre = PreImage::without_value(&Path::attribute("new"));
        let rows = vec![PreImageRow { key: writer.key_of(&written), pre }];
        store.append_pre_images(first, rows).await.unwrap();
        let (status, mode) = match is_complete {
            true => (RunStatus::Complete, BeginMode::Again),
            false => (RunStatus::Stopped, BeginMode::ResumeOrNew),
        };
        let counts = crate::state::Counts::default();
        let event = SegmentEvent::PagesDone { first: 1, pages: 1, next: None, counts };
        let (failures, diverged, refused) = (Vec::new(), Vec::new(), Vec::new());
        store.commit(Commit { session: first, segment: 0, event, failures, diverged, refused }).await.unwrap();
        store.end_session(first, status, None, 0).await.unwrap();
        let next = store.begin(mode, new_run()).await.unwrap().run.session();
        let writer = Writer { session: next, ..writer };
        written.extend(["old2", "new2"].map(|name| (name.to_owned(), Value::S(name.to_owned()))));
        let outcomes = writer.process_all(vec![written], &requests).await.unwrap();
        let found = (outcomes.counts.of(Outcome::Diverged), outcomes.counts.of(Outcome::Conflict));
        assert_eq!(found, if is_complete { (1, 0) } else { (0, 1) });
    }
}

/// A write of a chunk stops the run. The replies to the other writes of the chunk are still recorded. The deletes that
/// DynamoDB accepted are confirmed, so that a rollback restores the items.
#[tokio::test(start_paused = true)]
async fn a_failed_write_leaves_no_accepted_delete_unconfirmed() {
    let store = crate::state::in_memory();
    let session = store.begin(BeginMode::ResumeOrNew, new_run()).await.unwrap().run.session();
    let changes = "[select]\nwhere = 'type(item.old) == \"S\" && item.old == \"x\"'\n[[change]]\ndelete = true\nwriters = \"stopped\"\n";
    let (table, requests, writer) = table_with(changes, 4, true, store.history(), session);
    let items: Vec<Item> = (0..4).map(|n| item(&format!("cold-{n}"), n)).collect();
    let keys = items.iter().map(|item| writer.key_of(item)).collect();
    assert!(writer.process_all(items, &requests).await.is_err());
    assert_eq!(table.chunks.lock().unwrap().len(), 1, "all four writes are in one chunk");
    let records = store.history_of(keys, HistoryLookup::ForDecision).await.unwrap();
    let confirmed: Vec<Option<bool>> =
        records.iter().map(|record| record.deletion().map(|deletion| deletion.is_confirmed)).collect();
    assert_eq!(confirmed, [None, Some(true), Some(true), Some(true)]);
}

/// A table whose item changes just before the first write. At each write, it notes how many values the journal has.
struct RacedTable {
    store: crate::state::State,
    image: Item,
    journaled: Mutex<Vec<usize>>,
}

#[async_trait]
impl Describe for RacedTable {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        Ok(TableDescription::for_tests())
    }
}

#[async_trait]
impl Source for RacedTable {
    async fn read_page(&self, _: &PageRequest) -> Result<Page, TableError> {
        unreachable!("the test passes the item to the writer")
    }
}

#[async_trait]
impl Sink for RacedTable {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        let values = self.store.pre_images(chunk[0].key.clone(), None).await.unwrap();
        let mut journaled = self.journaled.lock().unwrap();
        journaled.push(values.len());
        vec![Ok(match journaled.len() {
            1 => WriteReply::ConditionFailed { image: Some(self.image.clone()) },
            _ => WriteReply::Applied { consumed: None, removed: None },
        })]
    }

    fn max_chunk(&self) -> usize {
        1
    }

    async fn get(&self, _: &ItemKey) -> Result<GetReply, TableError> {
        unreachable!("the reply has the image")
    }
}

/// DynamoDB refused the first write of an item that may need several, because a writer had changed a target. If the process
/// dies after the next write, the next process must not take the refused write for one that changed its target. So the
/// records show the refusal before the next write is sent.
#[tokio::test(start_paused = true)]
async fn a_refused_part_counts_as_refused_before_the_next_part_is_sent() {
    let store = crate::state::in_memory();
    let session = store.begin(BeginMode::ResumeOrNew, new_run()).await.unwrap().run.session();
    let with = |new: &str| {
        let mut one = item("k", 1);
        one.extend(
            [("new", new), ("old2", "y"), ("new2", "z")].map(|(name, text)| (name.to_owned(), Value::S(text.into()))),
        );
        one
    };
    let text = "[migration]\nname = \"m\"\non_existing = \"overwrite\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
                [[change]]\nmove = \"old\"\nto = \"new\"\n[[change]]\nmove = \"old2\"\nto = \"new2\"\n";
    let plan = crate::plan::load("plan", text).unwrap_or_else(|errors| panic!("{errors}")).plan;
    let description = TableDescription::for_tests();
    let changes = Changes::for_expand(&plan.changes, plan.strategy, description.key.clone(), Vec::new());
    let changes = Arc::new(changes.with_split(&plan.changes, plan.strategy));
    let wide = Budget { write: 10_000.0, read: 10_000.0 };
    let budgets = Budgets { table: wide, per_key_range: wide, per_partition_key: wide, indexes: Vec::new() };
    let table = Arc::new(RacedTable { store: store.clone(), image: with("theirs"), journaled: Mutex::default() });
    let job = Job::new(plan, changes, Tables::one(Arc::clone(&table)), description, &budgets);
    let writer = Writer::new(job.decisions(), store.history(), session);
    let outcomes = writer.process_all(vec![with("before")], &job.requests()).await.unwrap();
    assert_eq!(outcomes.counts.of(Outcome::Applied), 1);
    // Each write records the values of both targets.
    assert_eq!(*table.journaled.lock().unwrap(), [2, 2]);
}

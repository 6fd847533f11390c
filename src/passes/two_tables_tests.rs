//! Tests a pass that reads one table and writes to a different table, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::change::{Changes, GuardedWrite, Outcome};
use crate::dynamodb::memory::{Author, FaultPlan, MemoryConnection, MemoryTable};
use crate::dynamodb::{Describe, GetReply, Sink, TableDescription, TableError, Tables, WriteReply};
use crate::engine::Job;
use crate::item::{Item, ItemKey, Value};
use crate::ratelimit::{Budget, Budgets, resolve, sink_reads};
use crate::state::{BeginMode, Counts, Identity, NewRun};

/// A sink that is not the source. DynamoDB cannot copy values between tables, so the writes contain the values.
struct SinkTable(MemoryConnection);

#[async_trait]
impl Describe for SinkTable {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        self.0.describe().await
    }
}

#[async_trait]
impl Sink for SinkTable {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        let pinned: Vec<GuardedWrite> = chunk.iter().map(|write| write.pinned()).collect();
        self.0.write(&pinned.iter().collect::<Vec<_>>()).await
    }

    fn max_chunk(&self) -> usize {
        self.0.max_chunk()
    }

    async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError> {
        self.0.get(key).await
    }
}

fn key(n: usize) -> Item {
    [("pk", n), ("sk", 0)].map(|(name, n)| (name.to_owned(), Value::S(n.to_string()))).into()
}

fn table_with_items(items: impl IntoIterator<Item = (usize, &'static str)>) -> MemoryTable {
    table_with(TableDescription::for_tests(), items)
}

fn table_with(description: TableDescription, items: impl IntoIterator<Item = (usize, &'static str)>) -> MemoryTable {
    let latency = (Duration::from_millis(1), Duration::from_millis(5));
    let table = MemoryTable::new(description, latency, FaultPlan::NONE, 1);
    for (n, old) in items {
        let mut item = key(n);
        item.insert("old".into(), Value::S(old.into()));
        table.change(&ItemKey::new(key(n)), Author::Seed, |_| Some(item));
    }
    table
}

/// Returns the old and the new value of each item.
fn pairs(table: &MemoryTable) -> BTreeMap<String, (Option<Value>, Option<Value>)> {
    let pair = |item: &Item| (item.get("old").cloned(), item.get("new").cloned());
    table.history(|history| history.items().map(|(key, item)| (key.to_text(), pair(item))).collect())
}

#[tokio::test(start_paused = true)]
async fn a_pass_reads_one_table_and_writes_the_other() {
    const ITEMS: usize = 200;
    let first = table_with_items((0..ITEMS).map(|n| (n, "x")));
    // In the sink, a writer has deleted every tenth item. It has also changed the item before each deleted item.
    let other =
        table_with_items((0..ITEMS).filter(|n| n % 10 != 0).map(|n| (n, if n % 10 == 9 { "changed" } else { "x" })));
    let before = first.history(|history| history.changes());
    let text = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
                [[change]]\nmove = \"old\"\nto = \"new\"\n[scan]\nsegments = 4\n";
    let plan = crate::plan::load("plan", text).unwrap().plan;
    let description = TableDescription::for_tests();
    let changes = Changes::for_expand(&plan.changes, plan.strategy, description.key.clone(), Vec::new());
    let tables = Tables::two(Arc::new(first.connect(0)), Arc::new(SinkTable(other.connect(0))));
    let wide = Budget { write: 10_000.0, read: 10_000.0 };
    let budgets = Budgets { table: wide, per_key_range: wide, per_partition_key: wide, indexes: Vec::new() };
    let job = Job::new(plan, Arc::new(changes), tables, description, &budgets);
    let store = crate::state::in_memory();
    let new =
        NewRun { phase: "expand".into(), total_segments: 4, tool_version: "t".into(), table_items_estimate: None };
    let session = store.begin(BeginMode::ResumeOrNew, new).await.unwrap();
    let ended = job.work(&store, &session).await.unwrap();
    let counts = ended.totals.counts;
    assert_eq!((counts.scanned, counts.of(Outcome::Applied), counts.of(Outcome::Gone)), (200, 180, 20));
    assert_eq!(first.history(|history| history.changes()), before, "the pass must not write to the source");
    let expected = |n: usize| Some(Value::S(if n % 10 == 9 { "changed" } else { "x" }.into()));
    let expected = (0..ITEMS)
        .filter(|n| n % 10 != 0)
        .map(|n| (ItemKey::new(key(n)).to_text(), (expected(n), expected(n))))
        .collect::<BTreeMap<_, _>>();
    assert_eq!(pairs(&other), expected);
}

/// Creates a table with items and with these provisioned (read, write) units.
fn provisioned(units: (f64, f64), items: usize) -> MemoryTable {
    let description = TableDescription { provisioned: Some(units), ..TableDescription::for_tests() };
    table_with(description, (0..items).map(|n| (n, "x")))
}

/// Runs an expand pass from the source to the sink with default budgets. Returns the job, its counts, and its duration
/// in seconds.
async fn expand(source: &MemoryTable, sink: &MemoryTable) -> (Job, Counts, f64) {
    let text = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
                [[change]]\nmove = \"old\"\nto = \"new\"\n[scan]\nsegments = 4\n";
    let plan = crate::plan::load("plan", text).unwrap().plan;
    let tables = Tables::two(Arc::new(source.connect(0)), Arc::new(SinkTable(sink.connect(0))));
    let description = tables.describe().await.unwrap();
    let budgets = resolve(&plan.capacity, &description).unwrap().budgets;
    let changes = Changes::for_expand(&plan.changes, plan.strategy, description.key.clone(), Vec::new());
    let job = Job::new(plan, Arc::new(changes), tables, description, &budgets);
    let store = crate::state::in_memory();
    let new =
        NewRun { phase: "expand".into(), total_segments: 4, tool_version: "t".into(), table_items_estimate: None };
    let session = store.begin(BeginMode::ResumeOrNew, new).await.unwrap();
    let began = tokio::time::Instant::now();
    let counts = job.work(&store, &session).await.unwrap().totals.counts;
    (job, counts, began.elapsed().as_secs_f64())
}

/// The job uses a quarter of the source's read capacity and a quarter of the sink's write capacity.
#[tokio::test(start_paused = true)]
async fn the_source_bounds_the_scan_and_the_sink_bounds_the_writes() {
    let (source, sink) = (provisioned((8_000.0, 4_000.0), 100), provisioned((40.0, 20.0), 100));
    let (job, counts, seconds) = expand(&source, &sink).await;
    assert_eq!(job.budgets.table, Budget { write: 5.0, read: 2_000.0 });
    assert_eq!(job.budgets.per_partition_key, Budget { write: 5.0, read: 750.0 });
    assert_eq!(job.sink_reads.unwrap().budget(), 10.0);
    assert_eq!(counts.of(Outcome::Applied), 100);
    assert!(seconds > 100.0 / 5.0 - 2.0, "{seconds} s for 100 writes at 5 a second");
}

/// If a writer has deleted items in the sink, the job reads each of these items from the sink, within the sink's read
/// budget.
#[tokio::test(start_paused = true)]
async fn reads_of_single_items_keep_to_the_capacity_of_the_sink() {
    let (source, sink) = (provisioned((8_000.0, 4_000.0), 100), provisioned((20.0, 4_000.0), 0));
    let (_, counts, seconds) = expand(&source, &sink).await;
    assert_eq!(counts.of(Outcome::Gone), 100);
    assert!(seconds > 100.0 / 5.0 - 2.0, "{seconds} s for 100 reads at 5 a second");
}

/// The identity of a state includes the sink, so identities with different sinks do not match.
#[test]
fn a_state_belongs_to_both_tables() {
    let plan = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"old\"\nto = \"new\"\n";
    let plan = crate::plan::load("plan", plan).unwrap().plan;
    let table = |arn: &str, id: &str| TableDescription {
        arn: arn.into(),
        id: Some(id.into()),
        ..TableDescription::for_tests()
    };
    let to = |sink: Option<TableDescription>| {
        Identity::from_plan(&plan, &TableDescription { sink: sink.map(Box::new), ..table("source", "1") })
    };
    let ours = to(Some(table("sink", "2")));
    assert!(ours.matches(&to(Some(table("sink", "2")))));
    for other in [to(None), to(Some(table("other", "2"))), to(Some(table("sink", "3")))] {
        assert!(!ours.matches(&other) && !other.matches(&ours), "{other:?}");
    }
}

/// If the source and the sink are the same table, there is only one table description, and the sink has no budget of
/// its own.
#[tokio::test(start_paused = true)]
async fn one_table_describes_itself_alone() {
    let table = provisioned((40.0, 20.0), 0);
    let description = Tables::one(Arc::new(table.connect(0))).describe().await.unwrap();
    assert_eq!(description, TableDescription { provisioned: Some((40.0, 20.0)), ..TableDescription::for_tests() });
    assert_eq!(sink_reads(&description), None);
}

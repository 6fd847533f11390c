//! A pass that reads one table and writes another, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::change::{Changes, GuardedWrite, Outcome};
use crate::dynamodb::memory::{Author, Connection, FaultPlan, MemoryTable};
use crate::dynamodb::{Got, Sink, TableDescription, TableError, Tables, WriteReply};
use crate::engine::Job;
use crate::item::{Item, ItemKey, Value};
use crate::ratelimit::{Budget, Budgets};
use crate::state::{Begin, NewRun};

/// Another table as the sink. Its writes cannot copy from the first table, so they carry the values.
struct Other(Connection);

#[async_trait]
impl Sink for Other {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        let pinned: Vec<GuardedWrite> = chunk.iter().map(|write| write.pinned()).collect();
        self.0.write(&pinned.iter().collect::<Vec<_>>()).await
    }

    fn max_chunk(&self) -> usize {
        self.0.max_chunk()
    }

    async fn get(&self, key: &ItemKey) -> Result<Got, TableError> {
        self.0.get(key).await
    }
}

fn key(n: usize) -> Item {
    [("pk", n), ("sk", 0)].map(|(name, n)| (name.to_owned(), Value::S(n.to_string()))).into()
}

fn table_of(items: impl IntoIterator<Item = (usize, &'static str)>) -> MemoryTable {
    let latency = (Duration::from_millis(1), Duration::from_millis(5));
    let table = MemoryTable::new(TableDescription::of_a_test(), latency, FaultPlan::NONE, 1);
    for (n, old) in items {
        let mut item = key(n);
        item.insert("old".into(), Value::S(old.into()));
        table.change(&ItemKey::new(key(n)), Author::Seed, |_| Some(item));
    }
    table
}

/// The old and the new value of each item.
fn pairs(table: &MemoryTable) -> BTreeMap<String, (Option<Value>, Option<Value>)> {
    let pair = |item: &Item| (item.get("old").cloned(), item.get("new").cloned());
    table.history(|history| history.items().map(|(key, item)| (key.to_text(), pair(item))).collect())
}

#[tokio::test(start_paused = true)]
async fn a_pass_reads_one_table_and_writes_the_other() {
    const ITEMS: usize = 200;
    let first = table_of((0..ITEMS).map(|n| (n, "x")));
    // In the other table, a writer has deleted every tenth item and changed the item before it.
    let other = table_of((0..ITEMS).filter(|n| n % 10 != 0).map(|n| (n, if n % 10 == 9 { "changed" } else { "x" })));
    let before = first.history(|history| history.changes());
    let text = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
                [[change]]\nmove = \"old\"\nto = \"new\"\n[scan]\nsegments = 4\n";
    let plan = crate::plan::load("plan", text).unwrap().plan;
    let description = TableDescription::of_a_test();
    let changes = Changes::for_expand(&plan.changes, plan.strategy, description.key.clone(), Vec::new());
    let connection = Arc::new(first.connect(0));
    let tables = Tables { described: connection.clone(), source: connection, sink: Arc::new(Other(other.connect(0))) };
    let wide = Budget { write: 10_000.0, read: 10_000.0 };
    let budgets = Budgets { table: wide, per_key_range: wide, per_partition_key: wide, indexes: Vec::new() };
    let job = Job::new(plan, Arc::new(changes), tables, description, &budgets);
    let store = crate::state::of_a_test();
    let new =
        NewRun { phase: "expand".into(), total_segments: 4, tool_version: "t".into(), table_items_estimate: None };
    let session = store.begin(Begin::ResumeOrNew, new).await.unwrap();
    let ended = job.work(&store, &session).await.unwrap();
    let counts = ended.totals.counts;
    assert_eq!((counts.scanned, counts.of(Outcome::Applied), counts.of(Outcome::Gone)), (200, 180, 20));
    assert_eq!(first.history(|history| history.changes()), before, "the first table must not be written");
    let expected = |n: usize| Some(Value::S(if n % 10 == 9 { "changed" } else { "x" }.into()));
    let expected = (0..ITEMS)
        .filter(|n| n % 10 != 0)
        .map(|n| (ItemKey::new(key(n)).to_text(), (expected(n), expected(n))))
        .collect::<BTreeMap<_, _>>();
    assert_eq!(pairs(&other), expected);
}

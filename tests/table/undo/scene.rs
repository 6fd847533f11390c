//! Provides a scene for tests of undo passes: a table, a plan, a state file, and functions that run sessions of any
//! phase.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backfill::internals::change::Changes;
use backfill::internals::dynamodb::Tables;
use backfill::internals::dynamodb::sdk::{DynamoTable, connect};
use backfill::internals::engine::{Job, SessionResult, describe};
use backfill::internals::item::{Item, Num, Value};
use backfill::internals::local::{Fault, RequestInfo};
use backfill::internals::plan::{Plan, load};
use backfill::internals::ratelimit::{Budget, Budgets};
use backfill::internals::state::sqlite::StateFile;
use backfill::internals::state::{BeginMode, Identity, NewRun, RunStatus, State, phase};
use tokio::sync::Notify;

use crate::harness::{Harness, bytes_of};

/// A budget that is so large that no request waits for permits.
const PLENTY: Budget = Budget { write: 40_000.0, read: 40_000.0 };

pub(super) const MOVE: &str = "[[change]]\nmove = \"old\"\nto = \"new\"\n";

/// A plan with every kind of change. It includes a nested source, a target in a map that is missing in some items, and
/// a name that needs quotes.
pub(super) const EVERY_KIND: &str = "[[change]]\nmove = \"old\"\nto = \"new\"\n[[change]]\ncopy = \"doc.x\"\n\
    to = 'made.inner.\"zip code\"'\n[[change]]\nset = \"marker\"\nvalue = 2\n[[change]]\nset = \"made.version\"\n\
    value = \"v1\"\n[[change]]\nremove = \"legacy\"\n";

/// A table with a plan and a state file.
pub(super) struct Scene {
    pub(super) harness: Harness,
    pub(super) table: String,
    plan: Plan,
    tables: Tables,
}

/// The point at which a session is killed. The proxy injects `fault` into write number `at`.
#[derive(Debug, Clone)]
pub(super) struct KillPoint {
    pub(super) at: u64,
    pub(super) fault: Fault,
}

impl Scene {
    pub(super) async fn new(items: Vec<Item>, migration: &str, changes: &str) -> Scene {
        Scene::with_consistency(items, migration, changes, true).await
    }

    /// Creates a scene. If `consistent` is true, the plan's scans are strongly consistent.
    pub(super) async fn with_consistency(items: Vec<Item>, migration: &str, changes: &str, consistent: bool) -> Scene {
        let harness = Harness::start();
        let table = harness.create_table().await;
        harness.load(&table, items.into_iter()).await;
        let scan = format!("{changes}[scan]\nsegments = 4\nconsistent = {consistent}\n");
        let path = harness.plan("undone", &table, migration, &scan);
        let plan = load("plan", &std::fs::read_to_string(path).unwrap()).unwrap().plan;
        let tables = Tables::one(Arc::new(DynamoTable::new(&connect(&plan.table).await.unwrap(), &table)));
        Scene { harness, table, plan, tables }
    }

    pub(super) fn state_path(&self) -> PathBuf {
        self.harness.dir().join("undone.db")
    }

    pub(super) fn state(&self) -> StateFile {
        StateFile::open(&self.state_path()).unwrap()
    }

    /// Returns the table as text that shows every byte.
    pub(super) async fn bytes(&self) -> BTreeMap<String, String> {
        self.harness.dump(&self.table).await.into_iter().map(|(key, item)| (key, bytes_of(&item))).collect()
    }

    /// Waits until the writes of a dead process have arrived.
    pub(super) async fn wait_until_quiet(&self) {
        let mut now = BTreeMap::new();
        while now != self.bytes().await {
            now = self.bytes().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Asserts that the table equals `before`, byte for byte.
    pub(super) async fn assert_is(&self, before: &BTreeMap<String, String>, what: &str) {
        let now = self.bytes().await;
        let keys: std::collections::BTreeSet<&String> = now.keys().chain(before.keys()).collect();
        let wrong: Vec<_> = keys.iter().filter(|key| now.get(**key) != before.get(**key)).collect();
        let first = wrong.first().map(|key| (before.get(**key), now.get(**key)));
        assert!(wrong.is_empty(), "{what}: {} items differ; the first one, before and after: {first:?}", wrong.len());
    }

    /// Completes a phase. Returns how it ended, and the number of writes.
    pub(super) async fn complete(&self, phase: &str, mode: BeginMode) -> (SessionResult, u64) {
        self.harness.proxy().set_faults(None);
        self.harness.proxy().reset_tally();
        let ended = self.session(phase, mode, None, None).await.unwrap();
        assert_eq!((ended.run.status, &ended.stopped), (RunStatus::Complete, &None));
        (ended, self.harness.proxy().tally().operation("UpdateItem").requests)
    }

    /// Runs one session of a phase. With a `kill_point`, kills the session without any cleanup when it sends write
    /// number `kill_point.at`, unless it ends first.
    pub(super) async fn session(
        &self,
        phase: &str,
        mode: BeginMode,
        page_limit: Option<u32>,
        kill_point: Option<KillPoint>,
    ) -> Option<SessionResult> {
        let job = self.job(phase, page_limit).await;
        let store = self.store_of(&job).await;
        let session = store.begin(mode, new_run(phase)).await.unwrap();
        let killed = self.kill_at(kill_point);
        let mut working = {
            let store = store.clone();
            tokio::spawn(async move { job.work(&store, &session).await })
        };
        let ended = tokio::select! {
            ended = &mut working => Some(ended.unwrap().unwrap()),
            () = killed.notified() => None,
        };
        if ended.is_none() {
            working.abort();
            let _ = working.await;
        }
        drop(store);
        ended
    }

    /// Creates a job for a phase.
    pub(super) async fn job(&self, phase: &str, page_limit: Option<u32>) -> Job {
        let description = describe(self.tables.source_metadata.as_ref(), Duration::from_secs(5)).await.unwrap();
        let mut plan = self.plan.clone();
        plan.scan.page_limit = page_limit;
        let budgets = Budgets { table: PLENTY, per_key_range: PLENTY, per_partition_key: PLENTY, indexes: Vec::new() };
        let changes = Arc::new(self.changes(phase, &description.key));
        Job::new(plan, changes, self.tables.clone(), description, &budgets)
    }

    /// Opens a job's state file. Creates the file if it does not exist.
    pub(super) async fn store_of(&self, job: &Job) -> State {
        let identity = Identity::from_plan(&job.plan, &job.description);
        self.open(&identity).await
    }

    /// Opens the state file as soon as the previous session has released it.
    async fn open(&self, identity: &Identity) -> State {
        for _ in 0..100 {
            if let Ok(store) =
                backfill::internals::state::open(&self.state_path(), identity, || "2026-01-01T00:00:00Z".to_owned())
            {
                return store;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the lock of the state file was not released")
    }

    /// Opens the state file to inspect its records.
    pub(super) async fn store(&self) -> State {
        let identity = self.state().summary().unwrap().identity;
        self.open(&identity).await
    }

    pub(super) fn changes(&self, phase: &str, key: &backfill::internals::item::KeySchema) -> Changes {
        let plan = &self.plan;
        let key = key.clone();
        let changes = match phase {
            phase::EXPAND => Changes::for_expand(&plan.changes, plan.strategy, key, Vec::new()),
            phase::CONTRACT => Changes::for_contract(&plan.changes, plan.strategy, key, Vec::new()),
            phase::OLD_EQUAL_NEW => Changes::for_old_from_new(&plan.changes, plan.strategy, key, Vec::new()),
            phase::ROLLBACK => Changes::for_undo(&plan.changes, plan.strategy, key, Vec::new()),
            other => panic!("{other}"),
        };
        changes.with_rules(plan.item_rules())
    }

    fn kill_at(&self, kill_point: Option<KillPoint>) -> Arc<Notify> {
        let killed = Arc::new(Notify::new());
        let Some(kill_point) = kill_point else { return killed };
        let seen = AtomicU64::new(0);
        let kill = Arc::clone(&killed);
        self.harness.proxy().set_faults(Some(Arc::new(move |request: &RequestInfo| {
            // Only the tool's writes have conditions.
            if request.operation != "UpdateItem" || request.body().get("ConditionExpression").is_none() {
                return Fault::Pass;
            }
            match seen.fetch_add(1, Ordering::Relaxed) {
                n if n == kill_point.at => {
                    kill.notify_one();
                    kill_point.fault.clone()
                }
                // Other writes of the dead process can be in flight and still arrive.
                n if n > kill_point.at && n % 2 == 0 => Fault::Reset,
                _ => Fault::Pass,
            }
        })));
        killed
    }
}

/// Returns a new run of a phase on this table.
pub(super) fn new_run(phase: &str) -> NewRun {
    NewRun { phase: phase.into(), total_segments: 4, tool_version: "test".into(), table_items_estimate: None }
}

pub(super) fn s(text: &str) -> Value {
    Value::S(text.into())
}

pub(super) fn n(number: usize) -> Value {
    Value::N(Num::parse(&number.to_string()).unwrap())
}

pub(super) fn map(members: &[(&str, Value)]) -> Value {
    Value::M(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

/// Returns an item with a unique key.
pub(super) fn item(number: usize, attributes: &[(&str, Value)]) -> Item {
    let key = [("pk".to_owned(), s(&format!("p{}", number % 23))), ("sk".to_owned(), s(&format!("{number:05}")))];
    key.into_iter().chain(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone()))).collect()
}

/// Returns items of every shape that matters to a plan. Targets are missing, equal their source, differ from their
/// source, or exist without a source. Some items have neither the source nor the target. The values have every type.
pub(super) fn every_shape(count: usize) -> Vec<Item> {
    let values = [
        s("text"),
        Value::N(Num::parse("3.14").unwrap()),
        Value::Bool(true),
        Value::Null,
        Value::Ss(vec!["a".into(), "b".into()]),
        Value::L(vec![n(1), map(&[("k", s(""))])]),
        map(&[("deep", map(&[("er", Value::B(vec![0, 255]))]))]),
    ];
    let of = |number: usize| {
        let value = values[number % values.len()].clone();
        let other = values[(number + 1) % values.len()].clone();
        let mut attributes = match number % 8 {
            0..=3 => vec![("old", value)],
            4 => vec![("old", value.clone()), ("new", value)],
            5 => vec![("old", value), ("new", other)],
            6 => vec![("new", value)],
            _ => vec![],
        };
        attributes.extend(match number % 5 {
            0 | 1 => vec![("doc", map(&[("x", n(number)), ("y", s("stays"))]))],
            2 => vec![("doc", map(&[("x", n(number))])), ("made", map(&[]))],
            3 => vec![("doc", map(&[("x", n(1))])), ("made", map(&[("inner", map(&[("zip code", n(1))]))]))],
            _ => vec![],
        });
        attributes.extend([vec![], vec![("marker", n(2))], vec![("marker", s("1"))]][number % 3].clone());
        attributes.extend((number % 7 < 4).then(|| ("legacy", s(&format!("fax {number}")))));
        item(number, &attributes)
    };
    (0..count).map(of).collect()
}

//! An application that runs at the same time as the tool. The application uses the code in docs/examples/flag, and has
//! several instances, each with its own cache of the flag. All instances read and write all items. The application
//! checks every read against the writes.

mod instance;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use backfill::internals::item::{Item, Value};
use tokio::sync::RwLock;
use tokio::task::JoinSet;

use crate::example::{Flag, Write};
use crate::harness::tool::SECRET;
use crate::harness::{Harness, client};
use crate::history::{Content, History};
use instance::Instance;

/// The attribute that the plan moves.
pub(crate) const OLD: &str = "old";
/// The attribute to which the plan moves [`OLD`].
pub(crate) const NEW: &str = "new";

/// The number of hot keys. All instances write these keys often, so that their requests conflict.
const HOT: usize = 12;

/// An instance's operation on an item, or the reason why the instance did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OperationKind {
    /// The instance read a value.
    Read,
    /// The instance wrote a value.
    Write,
    /// The instance read a value and then replaced it, on the condition that the item still had that value.
    Replace,
    /// The instance removed the value.
    Remove,
    /// The instance put an item that did not exist before.
    Insert,
    /// The instance deleted an item.
    Delete,
    /// The instance did nothing, because it could not read the flag.
    Unknown,
    /// The instance got no answer to its request.
    Lost,
}

/// Asserts that the application carried out every kind of operation often enough.
#[track_caller]
pub(crate) fn assert_many_of_each_kind(figures: &BTreeMap<OperationKind, u64>) {
    use OperationKind::{Delete, Insert, Read, Remove, Replace, Write};
    for kind in [Read, Write, Replace, Remove, Insert, Delete] {
        assert!(figures.get(&kind).is_some_and(|n| *n > 10), "too few of {kind:?}");
    }
}

/// The behaviour of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// The application obeys the flag as docs/flag.md requires.
    Obedient,
    /// The first instance reads the flag only once, and never notices a change.
    NeverRereadsFlag,
    /// To remove a value, the application removes only the attribute that it currently writes.
    RemovesOneName,
    /// The application computes the new value from the old one. Every new value begins with the prefix [`COMPUTED`].
    Computes,
}

/// The prefix of every new value in plans that compute the new value from the old one.
pub(crate) const COMPUTED: &str = "n:";

/// The source of the flag that the instances obey.
pub(crate) enum FlagSource {
    /// The flag is the item in this table with `key` as its `id`.
    Flag { table: String, key: String },
    /// The test itself sets the flag for all instances at the same time.
    Manual(Arc<RwLock<Flag>>),
}

/// A running application.
pub(crate) struct Application {
    shared: Arc<Shared>,
    instances: JoinSet<()>,
}

struct Shared {
    client: Client,
    table: String,
    flag_source: FlagSource,
    habit: Habit,
    keys: Vec<String>,
    histories: Mutex<BTreeMap<String, History>>,
    wrong: Mutex<Vec<String>>,
    figures: Mutex<BTreeMap<OperationKind, u64>>,
    /// The keys that the application writes before all others.
    hints: Hints,
    stop: AtomicBool,
}

/// Keys that the application writes before other keys, newest first.
pub(crate) type Hints = Arc<Mutex<Vec<String>>>;

/// Returns the attribute value for a number.
pub(crate) fn value(n: u64) -> Value {
    Value::S(format!("{SECRET}-{n}"))
}

/// Returns the number in a value of either attribute.
pub(crate) fn number(value: &Value) -> Option<u64> {
    let Value::S(text) = value else { return None };
    text.strip_prefix(COMPUTED).unwrap_or(text).strip_prefix(SECRET)?.strip_prefix('-')?.parse().ok()
}

/// Returns a flag that a test passes to the application directly, for a migration without a flag.
pub(crate) fn flag_state(write: Write, read_new: bool) -> Flag {
    let read_percent = if read_new { 100 } else { 0 };
    Flag { write, read_new, read_percent, old_stale: write == Write::New, max_cache: Duration::from_secs(30) }
}

impl Application {
    /// Starts the application on the current items of a table, and on some keys that do not exist yet. At the start, an
    /// item's value is the value of its old attribute. One key in five is only read and never written, unless it is a
    /// hot key or a test lists it among the hints.
    pub(crate) async fn start(
        harness: &Harness,
        table: &str,
        flag_source: FlagSource,
        habit: Habit,
        instances: u64,
    ) -> Application {
        let mut histories: BTreeMap<String, History> = BTreeMap::new();
        for item in harness.dump(table).await.into_values() {
            let content = item.get(OLD).map_or(Content::NoValue, |v| Content::Value(number(v).unwrap()));
            histories.insert(pk(&item).to_owned(), History::new(content));
        }
        for n in 0..histories.len() / 10 {
            histories.insert(format!("NEW#{n}"), History::new(Content::NoItem));
        }
        let shared = Arc::new(Shared {
            client: client(&harness.server_endpoint()),
            table: table.to_owned(),
            flag_source,
            habit,
            keys: histories.keys().cloned().collect(),
            histories: Mutex::new(histories),
            wrong: Mutex::default(),
            figures: Mutex::default(),
            hints: Arc::default(),
            stop: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for n in 0..instances {
            tasks.spawn(Instance::new(Arc::clone(&shared), n).work());
        }
        Application { shared, instances: tasks }
    }

    /// Waits until the application has completed `more` further operations. Panics if this takes too long.
    pub(crate) async fn wait_for_operations(&self, more: u64) {
        let goal = self.operations() + more;
        for _ in 0..6_000 {
            if self.operations() >= goal {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the application makes no progress: {:?}", self.shared.figures.lock().unwrap());
    }

    /// Returns the number of answered requests.
    pub(crate) fn operations(&self) -> u64 {
        let figures = self.shared.figures.lock().unwrap();
        figures
            .iter()
            .filter(|(kind, _)| !matches!(kind, OperationKind::Unknown | OperationKind::Lost))
            .map(|(_, n)| n)
            .sum()
    }

    /// Sets the flag for all instances. First waits until no request under the older flag is in flight.
    pub(crate) async fn set_flag(&self, flag_state: Flag) {
        let FlagSource::Manual(manual) = &self.shared.flag_source else {
            panic!("the instances read the flag from a table, so a test cannot set it directly")
        };
        *manual.write().await = flag_state;
    }

    /// Returns the hints, which are the keys that the application writes before all others. A test can append keys.
    pub(crate) fn hints(&self) -> Hints {
        Arc::clone(&self.shared.hints)
    }

    /// Returns the wrong reads that the application has found so far.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.shared.wrong.lock().unwrap().clone()
    }

    /// Panics if the application has found wrong reads.
    #[track_caller]
    pub(crate) fn assert_no_wrong_reads(&self, when: &str) {
        let wrong = self.wrong();
        assert!(wrong.is_empty(), "{when}: {} reads were wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    }

    /// Returns all contents that each item could have had between these times, by partition key.
    pub(crate) fn possible(&self, began: Instant, ended: Instant) -> BTreeMap<String, Vec<Content>> {
        let histories = self.shared.histories.lock().unwrap();
        histories.iter().map(|(key, history)| (key.clone(), history.possible(began, ended))).collect()
    }

    /// Stops the application. Returns the number of operations by kind.
    pub(crate) async fn stop(&mut self) -> BTreeMap<OperationKind, u64> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.instances.join_next().await {
            ended.unwrap();
        }
        self.shared.figures.lock().unwrap().clone()
    }

    /// Checks a table after the application has stopped. Every item must have its value in the attribute `at`, lack the
    /// other attribute, and still have its attribute `kept`.
    pub(crate) fn assert_only_at(&self, items: &BTreeMap<String, Item>, at: &str) {
        let other = if at == OLD { NEW } else { OLD };
        self.check_items(items, at, |key, item| assert!(!item.contains_key(other), "{key} still has `{other}`"));
    }

    /// Panics if a new value is not the value that the plan computes.
    pub(crate) fn assert_computed(&self, items: &BTreeMap<String, Item>) {
        self.check_items(items, NEW, |key, item| {
            let new = item.get(NEW).map(|new| matches!(new, Value::S(text) if text.starts_with(COMPUTED)));
            assert_ne!(new, Some(false), "{key} has a new value that was not computed");
        });
    }

    /// Checks a table like [`assert_only_at`](Self::assert_only_at), but requires each item's value in both attributes.
    pub(crate) fn assert_equal_in_both(&self, items: &BTreeMap<String, Item>) {
        self.check_items(items, OLD, |key, item| assert_eq!(item.get(OLD), item.get(NEW), "{key}"));
    }

    fn check_items(&self, items: &BTreeMap<String, Item>, at: &str, check: impl Fn(&str, &Item)) {
        let now = Instant::now();
        let by_pk: BTreeMap<&str, &Item> = items.values().map(|item| (pk(item), item)).collect();
        let mut histories = self.shared.histories.lock().unwrap();
        for (key, history) in histories.iter_mut() {
            let item = by_pk.get(key.as_str());
            let content = item.map_or(Content::NoItem, |item| content_of(item.get(at)));
            history.read(content, now, Instant::now()).unwrap_or_else(|wrong| panic!("{key}: {wrong}"));
            if let Some(item) = item {
                check(key, item);
                assert_eq!(item.get("kept"), Some(&Value::S(format!("{SECRET} of {key}"))), "{key}");
            }
        }
        assert!(by_pk.keys().all(|key| histories.contains_key(*key)), "the table has items that nobody wrote");
    }
}

/// Returns an item's partition key.
pub(crate) fn pk(item: &Item) -> &str {
    let Value::S(pk) = &item["pk"] else { panic!("{item:?}") };
    pk
}

fn content_of(found: Option<&Value>) -> Content {
    found.map_or(Content::NoValue, |found| Content::Value(number(found).unwrap()))
}

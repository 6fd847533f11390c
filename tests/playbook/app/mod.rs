//! An application beside the tool: several instances, each with its own cache of the flag, over the code of
//! docs/examples/flag. All of them read and write all items, and every read is held against what they did.

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
use crate::harness::{Bed, client};
use crate::history::{Content, History};
use instance::Instance;

/// The attribute that moves.
pub(crate) const OLD: &str = "old";
/// Where it moves to.
pub(crate) const NEW: &str = "new";

/// Keys that are written by all the time, so that instances meet.
const HOT: usize = 12;

/// What an instance did, or could not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Read a value.
    Read,
    /// Wrote a value.
    Write,
    /// Read a value and wrote another in its place, if it was still there.
    Replace,
    /// Removed the value.
    Remove,
    /// Put an item that was not there.
    Insert,
    /// Deleted an item.
    Delete,
    /// It did not know the flag.
    Unknown,
    /// It sent something and has no answer.
    Lost,
}

/// How an application goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// As docs/flag.md says.
    Obedient,
    /// Its first instance obeys for ever what it read of the flag first.
    NeverLooksAgain,
    /// It removes only what it writes.
    RemovesOneName,
}

/// Where instances learn what to do.
pub(crate) enum Orders {
    /// From the flag: this item (the value of `id`) of this table.
    Flag { table: String, key: String },
    /// From the test, all at once.
    Hand(Arc<RwLock<Flag>>),
}

/// An application at work.
pub(crate) struct Application {
    shared: Arc<Shared>,
    instances: JoinSet<()>,
}

struct Shared {
    client: Client,
    table: String,
    orders: Orders,
    habit: Habit,
    keys: Vec<String>,
    histories: Mutex<BTreeMap<String, History>>,
    wrong: Mutex<Vec<String>>,
    figures: Mutex<BTreeMap<Kind, u64>>,
    /// Keys that are written next.
    hints: Hints,
    stop: AtomicBool,
}

/// Keys that somebody wants written soon: the newest comes first.
pub(crate) type Hints = Arc<Mutex<Vec<String>>>;

/// The text of a value.
pub(crate) fn value(n: u64) -> Value {
    Value::S(format!("{SECRET}-{n}"))
}

/// Which value a text is.
pub(crate) fn number(value: &Value) -> Option<u64> {
    let Value::S(text) = value else { return None };
    text.strip_prefix(SECRET)?.strip_prefix('-')?.parse().ok()
}

/// Where no flag is: what the application is told by hand.
pub(crate) fn order(write: Write, read_new: bool) -> Flag {
    let read_percent = if read_new { 100 } else { 0 };
    Flag { write, read_new, read_percent, old_stale: write == Write::New, max_cache: Duration::from_secs(30) }
}

impl Application {
    /// Starts on the items of a table as they are, and a few that are not there yet. What the items hold at the old name
    /// is their value. Of each five partition keys one is only read.
    pub(crate) async fn start(bed: &Bed, table: &str, orders: Orders, habit: Habit, instances: u64) -> Application {
        let mut histories: BTreeMap<String, History> = BTreeMap::new();
        for item in bed.dump(table).await.into_values() {
            let content = item.get(OLD).map_or(Content::Without, |v| Content::Value(number(v).unwrap()));
            histories.insert(pk(&item).to_owned(), History::of(content));
        }
        for n in 0..histories.len() / 10 {
            histories.insert(format!("NEW#{n}"), History::of(Content::Gone));
        }
        let shared = Arc::new(Shared {
            client: client(&bed.behind()),
            table: table.to_owned(),
            orders,
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

    /// Waits until it has done so much more. Every instance goes on meanwhile, whatever the tool does.
    pub(crate) async fn works(&self, more: u64) {
        let goal = self.operations() + more;
        for _ in 0..6_000 {
            if self.operations() >= goal {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the application does not work: {:?}", self.shared.figures.lock().unwrap());
    }

    /// Requests that were answered.
    pub(crate) fn operations(&self) -> u64 {
        let figures = self.shared.figures.lock().unwrap();
        figures.iter().filter(|(kind, _)| !matches!(kind, Kind::Unknown | Kind::Lost)).map(|(_, n)| n).sum()
    }

    /// Tells all instances at once what to do; when it returns, nobody does anything else.
    pub(crate) async fn told(&self, order: Flag) {
        let Orders::Hand(hand) = &self.shared.orders else { panic!("they obey a flag") };
        *hand.write().await = order;
    }

    /// Where to say which items it should write at once.
    pub(crate) fn hints(&self) -> Hints {
        Arc::clone(&self.shared.hints)
    }

    /// What it has found wrong so far.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.shared.wrong.lock().unwrap().clone()
    }

    /// Panics with what it has found wrong, if anything.
    #[track_caller]
    pub(crate) fn is_content(&self, when: &str) {
        let wrong = self.wrong();
        assert!(wrong.is_empty(), "{when}: {} reads were wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    }

    /// What each item may hold between these times, by its partition key.
    pub(crate) fn possible(&self, began: Instant, ended: Instant) -> BTreeMap<String, Vec<Content>> {
        let histories = self.shared.histories.lock().unwrap();
        histories.iter().map(|(key, history)| (key.clone(), history.possible(began, ended))).collect()
    }

    /// Stops it, and gives what it has done.
    pub(crate) async fn stop(&mut self) -> BTreeMap<Kind, u64> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.instances.join_next().await {
            ended.unwrap();
        }
        self.shared.figures.lock().unwrap().clone()
    }

    /// Holds a table that it has left against what it did: every item has its value at this name, and nothing at the
    /// other one; what else an item has is as it was.
    pub(crate) fn left(&self, items: &BTreeMap<String, Item>, at: &str) {
        let other = if at == OLD { NEW } else { OLD };
        self.left_items(items, at, |key, item| assert!(!item.contains_key(other), "{key} still has `{other}`"));
    }

    /// The same where every item has its value at both names.
    pub(crate) fn left_both(&self, items: &BTreeMap<String, Item>) {
        self.left_items(items, OLD, |key, item| assert_eq!(item.get(OLD), item.get(NEW), "{key}"));
    }

    fn left_items(&self, items: &BTreeMap<String, Item>, at: &str, check: impl Fn(&str, &Item)) {
        let now = Instant::now();
        let by_pk: BTreeMap<&str, &Item> = items.values().map(|item| (pk(item), item)).collect();
        let mut histories = self.shared.histories.lock().unwrap();
        for (key, history) in histories.iter_mut() {
            let item = by_pk.get(key.as_str());
            let content = item.map_or(Content::Gone, |item| content_of(item.get(at)));
            history.read(content, now, Instant::now()).unwrap_or_else(|wrong| panic!("{key}: {wrong}"));
            if let Some(item) = item {
                check(key, item);
                assert_eq!(item.get("kept"), Some(&Value::S(format!("{SECRET} of {key}"))), "{key}");
            }
        }
        assert!(by_pk.keys().all(|key| histories.contains_key(*key)), "items came from nowhere");
    }
}

/// An item's partition key.
pub(crate) fn pk(item: &Item) -> &str {
    let Value::S(pk) = &item["pk"] else { panic!("{item:?}") };
    pk
}

fn content_of(found: Option<&Value>) -> Content {
    found.map_or(Content::Without, |found| Content::Value(number(found).unwrap()))
}

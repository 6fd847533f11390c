//! Tests derived items against live writers, faults and kills, in virtual time. The application changes and deletes
//! sources, and puts and changes the derived items itself. Several sources share a derived key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{expand, undo};
use crate::change::{Outcome, PreImage};
use crate::dynamodb::memory::{Author, FaultPlan, MemoryTable, SimulatedFault, Version};
use crate::dynamodb::{TableDescription, Tables};
use crate::engine::Job;
use crate::item::{Item, ItemKey, Value};
use crate::machine::{Random, Rng};
use crate::plan::Plan;
use crate::ratelimit::{Budget, Budgets};
use crate::state::{BeginMode, Cursor, ListQuery, NewRun, PreImageRow, State, phase};

const USERS: usize = 30;

/// Number of email addresses. There are fewer addresses than users, so some users share one.
const ADDRESSES: usize = 24;

const PLAN: &str = "[migration]\nname = \"m\"\non_not_computable = \"fail\"\n\
                    [table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
                    [select]\nwhere = 'item.sk == \"PROFILE\" && has(item.email)'\n\
                    [[change]]\nput = { key = { pk = '\"EMAIL#\" + item.email', sk = '\"LOOKUP\"' }, \
                    attributes = { user = \"item.pk\", name = 'has(item.name) ? item.name : \"none\"' } }\n\
                    [scan]\nsegments = 3\npage_limit = 4\n[limits]\nmax_failures = 1000\n";

fn text(text: impl Into<String>) -> Value {
    Value::S(text.into())
}

fn key(pk: String, sk: &str) -> ItemKey {
    ItemKey::new([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))].into())
}

fn user_key(n: usize) -> ItemKey {
    key(format!("USER#{n}"), "PROFILE")
}

fn user_key_of(pk: &str) -> ItemKey {
    key(pk.to_owned(), "PROFILE")
}

fn lookup_key(address: usize) -> ItemKey {
    key(format!("EMAIL#a{address}"), "LOOKUP")
}

fn new_user(n: usize, rng: &mut Rng) -> Item {
    let mut item = user_key(n).attributes().clone();
    if rng.u8(0..8) > 0 {
        item.insert("email".to_owned(), text(format!("a{}", rng.usize(0..ADDRESSES))));
    }
    if rng.bool() {
        item.insert("name".to_owned(), text(format!("n{}", rng.u8(..))));
    }
    item
}

/// The derived item of a user, by the rules of the plan. `None` if the plan does not select the user.
fn derived(user: &Item) -> Option<Item> {
    let Value::S(email) = user.get("email")? else { return None };
    let mut item = key(format!("EMAIL#{email}"), "LOOKUP").attributes().clone();
    item.insert("user".to_owned(), user["pk"].clone());
    item.insert("name".to_owned(), user.get("name").cloned().unwrap_or_else(|| text("none")));
    Some(item)
}

fn is_lookup(key: &ItemKey) -> bool {
    key.attributes()["sk"] == text("LOOKUP")
}

struct Scene {
    table: MemoryTable,
    plan: Plan,
    store: State,
    crash: Box<dyn FnMut() -> State>,
    rng: Rng,
    seed: u64,
    processes: u32,
}

impl Scene {
    fn new(seed: u64, share: f64, preferred: Option<SimulatedFault>) -> Scene {
        let mut rng = Rng::with_seed(seed);
        let latency = (Duration::from_millis(1), Duration::from_millis(20));
        let faults = FaultPlan { share, late: Duration::from_secs(3), stale: Duration::from_secs(2), preferred };
        let table = MemoryTable::new(TableDescription::for_tests(), latency, faults, seed);
        for n in 0..USERS {
            let user = new_user(n, &mut rng);
            table.change(&user_key(n), Author::Seed, |_| Some(user.clone()));
            // Some lookup items exist before the migration. Each of them either equals the derived item or differs from
            // it.
            if let Some(mut item) = derived(&user).filter(|_| rng.u8(0..6) == 0) {
                if rng.bool() {
                    item.insert("user".to_owned(), text("another"));
                }
                let key =
                    ItemKey::new([("pk", "pk"), ("sk", "sk")].map(|(a, b)| (a.to_owned(), item[b].clone())).into());
                table.change(&key, Author::Seed, |_| Some(item));
            }
        }
        let plan = crate::plan::load("plan", PLAN).unwrap_or_else(|errors| panic!("{errors}")).plan;
        let (store, crash) = crate::state::in_memory_with_crashes();
        Scene { table, plan, store, crash: Box::new(crash), rng, seed, processes: 0 }
    }

    /// Starts the application, which makes this number of changes.
    fn start_application(&mut self, changes: u32) -> AbortOnDropHandle<()> {
        let table = self.table.clone();
        let mut rng = Rng::with_seed(self.rng.u64(..));
        AbortOnDropHandle::new(tokio::spawn(async move {
            for _ in 0..changes {
                sleep(Duration::from_millis(rng.u64(0..12))).await;
                change(&table, &mut rng);
            }
        }))
    }

    /// Runs a pass to its end. The process is killed several times, and each time another process resumes the pass.
    async fn pass(&mut self, phase: &str, kills: u32) {
        let description = TableDescription::for_tests();
        for attempt in 0.. {
            let changes = match phase {
                phase::EXPAND => expand::changes(&self.plan, &description),
                _ => undo::changes(&self.plan, &description),
            };
            let wide = Budget { write: 1_000.0, read: 1_000.0 };
            let budgets = Budgets { table: wide, per_key_range: wide, per_partition_key: wide, indexes: Vec::new() };
            let tables = Tables::one(Arc::new(self.table.connect(self.processes)));
            let mut job = Job::new(self.plan.clone(), Arc::new(changes), tables, description.clone(), &budgets);
            job.machine.random = Random::with_seed(self.seed + u64::from(self.processes));
            self.processes += 1;
            let new =
                NewRun { phase: phase.into(), total_segments: 3, tool_version: "t".into(), table_items_estimate: None };
            let session = self.store.begin(BeginMode::ResumeOrNew, new).await.unwrap();
            let patience = match attempt < kills {
                true => Duration::from_millis(self.rng.u64(20..400)),
                false => Duration::from_secs(3_600),
            };
            if let Ok(ended) = timeout(patience, job.work(&self.store, &session)).await {
                assert_eq!(ended.unwrap().stopped, None, "seed {}", self.seed);
                return;
            }
            self.store = (self.crash)();
        }
        unreachable!()
    }

    /// Returns all versions, in the order of their numbers.
    fn versions(&self) -> Vec<(ItemKey, Version)> {
        let mut all: Vec<(ItemKey, Version)> = self.table.history(|history| {
            let versions = history.all();
            versions.flat_map(|(key, all)| all.iter().map(|version| (key.clone(), version.clone()))).collect()
        });
        all.sort_by_key(|(_, version)| version.number);
        all
    }

    fn item(&self, key: &ItemKey) -> Option<Item> {
        self.table.history(|history| history.items().find(|(other, _)| *other == key).map(|(_, item)| item.clone()))
    }

    /// Checks every version that the tool wrote. Returns the number of puts and of deletes.
    fn check_history(&self) -> (u64, u64) {
        let seed = self.seed;
        let mut now: BTreeMap<String, Version> = BTreeMap::new();
        let (mut puts, mut deletes) = (0, 0);
        let mut own: Vec<Item> = Vec::new();
        for (key, version) in self.versions() {
            let before = now.get(&key.to_text()).cloned();
            if let Author::Tool(_) = version.author {
                assert!(is_lookup(&key), "seed {seed}: the tool changed the source {key}");
                match (before.as_ref().and_then(|before| before.item.as_ref()), &version.item) {
                    (None, Some(put)) => {
                        let Value::S(user) = &put["user"] else { panic!("{put:?}") };
                        let source = now.get(&user_key_of(user).to_text());
                        let source = source.and_then(|version| version.item.as_ref());
                        let expected = source.and_then(derived);
                        assert_eq!(expected.as_ref(), Some(put), "seed {seed}: {key} was put from stale inputs");
                        own.push(put.clone());
                        puts += 1;
                    }
                    (Some(removed), None) => {
                        // The tool cannot detect that the application deleted the item and put an equal one.
                        assert!(
                            own.contains(removed),
                            "seed {seed}: a rollback deleted {removed:?}, which it never put"
                        );
                        deletes += 1;
                    }
                    other => panic!("seed {seed}: the tool replaced {key}: {other:?}"),
                }
            }
            now.insert(key.to_text(), version);
        }
        (puts, deletes)
    }
}

/// One change of the application.
fn change(table: &MemoryTable, rng: &mut Rng) {
    let n = rng.usize(0..USERS);
    let address = rng.usize(0..ADDRESSES);
    let name = text(format!("app{}", rng.u8(..)));
    let author = Author::Application;
    match rng.u8(0..12) {
        0..=2 => drop(table.change(&user_key(n), author, |item| {
            let mut item = item?.clone();
            item.insert("email".to_owned(), text(format!("a{address}")));
            Some(item)
        })),
        3 => drop(table.change(&user_key(n), author, |item| {
            let mut item = item?.clone();
            item.remove("email");
            Some(item)
        })),
        4 | 5 => drop(table.change(&user_key(n), author, |item| {
            let mut item = item?.clone();
            item.insert("name".to_owned(), name);
            Some(item)
        })),
        6 => drop(table.change(&user_key(n), author, |_| None)),
        7 => drop(table.change(&user_key(n), author, |_| Some(new_user(n, rng)))),
        8 => {
            // The application puts the lookup item of a user itself.
            let user = table
                .history(|history| history.items().find(|(key, _)| **key == user_key(n)).map(|(_, item)| item.clone()));
            if let Some(item) = user.as_ref().and_then(derived) {
                let Value::S(pk) = item["pk"].clone() else { return };
                table.change(&key(pk, "LOOKUP"), author, |_| Some(item));
            }
        }
        9 => drop(table.change(&lookup_key(address), author, |item| {
            let mut item = item?.clone();
            item.insert("note".to_owned(), name);
            Some(item)
        })),
        10 => drop(table.change(&lookup_key(address), author, |_| None)),
        _ => {
            let mut item = lookup_key(address).attributes().clone();
            item.insert("user".to_owned(), text("another"));
            table.change(&lookup_key(address), author, |_| Some(item));
        }
    }
}

/// Live writers lose nothing. Every derived item is put from the values that its source had at that moment, and only if
/// no item had its key. A rollback deletes only items that the migration put. It reports items if it cannot determine
/// whether the migration put them.
#[tokio::test(start_paused = true)]
async fn live_writers_lose_nothing_and_no_derived_item_is_stale() {
    let mut seen = BTreeSet::new();
    let (mut all_puts, mut all_deletes, mut left) = (0, 0, 0);
    for seed in 0..300 {
        let mut scene = Scene::new(seed, 0.1, None);
        let application = scene.start_application(250);
        scene.pass(phase::EXPAND, 3).await;
        scene.check_history();
        application.await.unwrap();
        // A late write of a killed process may still arrive.
        sleep(Duration::from_secs(10)).await;
        let (puts, deletes) = scene.check_history();
        assert_eq!(deletes, 0, "seed {seed}: a run deletes nothing");
        let run = scene.store.current_run(phase::EXPAND).await.unwrap().unwrap();
        let counts = scene.store.totals(run.id).await.unwrap().counts;
        seen.extend(Outcome::ALL.into_iter().filter(|outcome| counts.of(*outcome) > 0).map(Outcome::name));
        // The writers of derived items stop.
        scene.pass(phase::ROLLBACK, 2).await;
        let (_, deletes) = scene.check_history();
        let reported = scene.reported().await;
        for address in 0..ADDRESSES {
            let key = lookup_key(address);
            let Some(item) = scene.left_by_tool(&key) else { continue };
            assert!(reported.contains(&key.to_text()), "seed {seed}: {item:?} stays and is not reported");
            left += 1;
        }
        all_puts += puts;
        all_deletes += deletes;
    }
    // The application changes or deletes most derived items before the rollback.
    assert!(all_deletes > 100 && left * 8 < all_deletes, "{all_puts} puts, {all_deletes} deletes, {left} left");
    for outcome in ["applied", "already_applied", "nothing_to_do", "diverged"] {
        assert!(seen.contains(outcome), "{outcome} never occurred: {seen:?}");
    }
}

/// Without an application and without faults, each address gets one lookup item, a second pass writes nothing, and a
/// rollback restores the table.
#[tokio::test(start_paused = true)]
async fn a_quiet_table_is_restored_exactly() {
    for seed in 0..40 {
        let mut scene = Scene::new(seed, 0.0, None);
        let before: Vec<(ItemKey, Item)> = scene.items();
        scene.pass(phase::EXPAND, 0).await;
        for n in 0..USERS {
            let Some(expected) = scene.item(&user_key(n)).as_ref().and_then(derived) else { continue };
            let Value::S(pk) = expected["pk"].clone() else { panic!("{expected:?}") };
            assert!(scene.item(&key(pk, "LOOKUP")).is_some(), "seed {seed}: user {n} has no lookup item");
        }
        scene.pass(phase::ROLLBACK, 0).await;
        assert_eq!(scene.items(), before, "seed {seed}");
    }
}

/// After a lost reply or a late transaction, an item is never put twice, and an item that another writer put is never
/// deleted. Even if a rollback follows immediately, no late transaction puts an item after the rollback.
#[tokio::test(start_paused = true)]
async fn lost_and_late_transactions_are_settled() {
    for (seed, fault) in (0..60).zip([SimulatedFault::LostReply, SimulatedFault::LateRequest].into_iter().cycle()) {
        let mut scene = Scene::new(seed, 0.5, Some(fault));
        scene.pass(phase::EXPAND, 2).await;
        scene.check_history();
        scene.pass(phase::ROLLBACK, 1).await;
        sleep(Duration::from_secs(10)).await;
        scene.check_history();
        let reported = scene.reported().await;
        for key in (0..ADDRESSES).map(lookup_key) {
            let left = scene.left_by_tool(&key);
            assert!(left.is_none() || reported.contains(&key.to_text()), "seed {seed}: {left:?} is not reported");
        }
    }
}

/// The first process died before its transaction arrived. The second process put the item, and DynamoDB confirmed the
/// put. If the rollback deleted the item immediately, the late transaction would put it again.
#[tokio::test(start_paused = true)]
async fn a_rollback_waits_for_a_transaction_without_its_own_confirmation() {
    let mut waited = 0;
    for seed in 0..10 {
        let mut scene = Scene::new(seed, 0.0, None);
        let users: Vec<Item> = (0..USERS).filter_map(|n| scene.item(&user_key(n))).collect();
        let missing = |user: &Item| {
            let item = derived(user)?;
            let Value::S(pk) = item["pk"].clone() else { return None };
            let key = key(pk, "LOOKUP");
            scene.item(&key).is_none().then_some((user.clone(), key, item))
        };
        let Some((user, key, item)) = users.iter().find_map(missing) else { continue };
        let source = user_key_of(match &user["pk"] {
            Value::S(pk) => pk,
            other => panic!("{other:?}"),
        });
        let new = NewRun {
            phase: phase::EXPAND.into(),
            total_segments: 3,
            tool_version: "t".into(),
            table_items_estimate: None,
        };
        let session = scene.store.begin(BeginMode::ResumeOrNew, new).await.unwrap().run.session();
        let rows = [PreImage::source_of("pk", &source), PreImage::of_item("pk", &item)];
        let rows = rows.map(|pre| PreImageRow { key: key.clone(), pre }).to_vec();
        scene.store.history().append_pre_images(session, rows).await.unwrap();
        // The process dies.
        scene.store = (scene.crash)();
        scene.pass(phase::EXPAND, 0).await;
        let is_own = scene.left_by_tool(&key) == Some(item.clone());
        let table = scene.table.clone();
        let late = {
            let (key, item) = (key.clone(), item.clone());
            AbortOnDropHandle::new(tokio::spawn(async move {
                sleep(Duration::from_secs(50)).await;
                table.change(&key, Author::Tool(0), |existing| Some(existing.cloned().unwrap_or(item)));
            }))
        };
        scene.pass(phase::ROLLBACK, 0).await;
        late.await.unwrap();
        if is_own {
            waited += 1;
            assert_eq!(scene.item(&key), None, "seed {seed}: the late transaction put the item again");
        }
    }
    assert!(waited > 3, "{waited}");
}

impl Scene {
    /// Returns the keys that the rollback reports.
    async fn reported(&self) -> BTreeSet<String> {
        let rollback = self.store.current_run(phase::ROLLBACK).await.unwrap().unwrap();
        let query = || ListQuery { run: Some(rollback.id), open_only: true, after: Cursor::START, limit: 1_000 };
        let failed = self.store.failures(query()).await.unwrap();
        let diverged = self.store.list_diverged(query()).await.unwrap();
        let failed = failed.into_iter().map(|row| row.key.to_text());
        failed.chain(diverged.into_iter().flatten().map(|row| row.key.to_text())).collect()
    }

    /// Returns the item with this key if its last write came from the tool.
    fn left_by_tool(&self, key: &ItemKey) -> Option<Item> {
        let last = self.versions().into_iter().rfind(|(other, _)| other == key);
        let (_, Version { author: Author::Tool(_), item, .. }) = last? else { return None };
        item
    }

    fn items(&self) -> Vec<(ItemKey, Item)> {
        self.table.history(|history| history.items().map(|(key, item)| (key.clone(), item.clone())).collect())
    }
}

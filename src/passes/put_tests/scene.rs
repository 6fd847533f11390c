//! The application and the tables of the tests of derived items.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::dynamodb::memory::{Author, FaultPlan, MemoryTable, SimulatedFault, Version};
use crate::dynamodb::{TableDescription, Tables};
use crate::engine::Job;
use crate::item::{Item, ItemKey, KeyAttribute, KeySchema, Value};
use crate::machine::{Random, Rng};
use crate::passes::{expand, undo};
use crate::plan::Plan;
use crate::ratelimit::{Budget, Budgets};
use crate::state::{BeginMode, Cursor, ListQuery, NewRun, State, phase};

pub(super) const USERS: usize = 30;

/// Number of email addresses. There are fewer addresses than users, so some users share one.
pub(super) const ADDRESSES: usize = 24;

/// The table that gets the derived items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The table of the sources.
    Here,
    /// Another table, with another key.
    Elsewhere,
}

impl Place {
    pub(super) const ALL: [Place; 2] = [Place::Here, Place::Elsewhere];

    /// The names of the key attributes of a derived item.
    fn key_names(self) -> [&'static str; 2] {
        match self {
            Place::Here => ["pk", "sk"],
            Place::Elsewhere => ["address", "kind"],
        }
    }

    fn plan(self) -> String {
        let [pk, sk] = self.key_names();
        let table = match self {
            Place::Here => "",
            Place::Elsewhere => "table = \"lookup\", ",
        };
        format!(
            "[migration]\nname = \"m\"\non_not_computable = \"fail\"\n\
             [table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
             [select]\nwhere = 'item.sk == \"PROFILE\" && has(item.email)'\n\
             [[change]]\nput = {{ {table}key = {{ {pk} = '\"EMAIL#\" + item.email', {sk} = '\"LOOKUP\"' }}, \
             attributes = {{ user = \"item.pk\", name = 'has(item.name) ? item.name : \"none\"' }} }}\n\
             [scan]\nsegments = 3\npage_limit = 4\n[limits]\nmax_failures = 1000\n"
        )
    }

    pub(super) fn lookup_key(self, address: usize) -> ItemKey {
        let [pk, sk] = self.key_names();
        ItemKey::new([(pk.to_owned(), text(format!("EMAIL#a{address}"))), (sk.to_owned(), text("LOOKUP"))].into())
    }

    /// The derived item of a user, by the rules of the plan. `None` if the plan does not select the user.
    pub(super) fn derived(self, user: &Item) -> Option<Item> {
        let [pk, sk] = self.key_names();
        let Value::S(email) = user.get("email")? else { return None };
        let mut item: Item = [(pk.to_owned(), text(format!("EMAIL#{email}"))), (sk.to_owned(), text("LOOKUP"))].into();
        item.insert("user".to_owned(), user["pk"].clone());
        item.insert("name".to_owned(), user.get("name").cloned().unwrap_or_else(|| text("none")));
        Some(item)
    }

    /// The key of a derived item.
    pub(super) fn key_of(self, derived: &Item) -> ItemKey {
        ItemKey::new(self.key_names().map(|name| (name.to_owned(), derived[name].clone())).into())
    }

    /// The description of the other table.
    fn other(self) -> Option<TableDescription> {
        let names = self.key_names().map(|name| KeyAttribute { name: name.into(), kind: "S".into() });
        let [partition, sort] = names;
        let schema = KeySchema { partition, sort: Some(sort) };
        (self == Place::Elsewhere).then(|| TableDescription::new("lookup", "", schema))
    }

    pub(super) fn description(self) -> TableDescription {
        TableDescription { derived: self.other().map(Box::new), ..TableDescription::for_tests() }
    }
}

fn text(text: impl Into<String>) -> Value {
    Value::S(text.into())
}

fn key(pk: String, sk: &str) -> ItemKey {
    ItemKey::new([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))].into())
}

pub(super) fn user_key(n: usize) -> ItemKey {
    key(format!("USER#{n}"), "PROFILE")
}

pub(super) fn user_key_of(pk: &str) -> ItemKey {
    key(pk.to_owned(), "PROFILE")
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

pub(super) struct Scene {
    pub(super) place: Place,
    pub(super) table: MemoryTable,
    /// The table of the derived items.
    pub(super) lookups: MemoryTable,
    plan: Plan,
    pub(super) store: State,
    pub(super) crash: Box<dyn FnMut() -> State>,
    rng: Rng,
    seed: u64,
    processes: u32,
}

impl Scene {
    pub(super) fn new(place: Place, seed: u64, share: f64, preferred: Option<SimulatedFault>) -> Scene {
        let mut rng = Rng::with_seed(seed);
        let latency = (Duration::from_millis(1), Duration::from_millis(20));
        let faults = FaultPlan { share, late: Duration::from_secs(3), stale: Duration::from_secs(2), preferred };
        let table = MemoryTable::new(TableDescription::for_tests(), latency, faults, seed);
        let lookups = match place.other() {
            None => table.clone(),
            Some(description) => MemoryTable::new(description, latency, faults, seed + 1),
        };
        for n in 0..USERS {
            let user = new_user(n, &mut rng);
            table.change(&user_key(n), Author::Seed, |_| Some(user.clone()));
            // Some lookup items exist before the migration. Each of them either equals the derived item or differs from
            // it.
            if let Some(mut item) = place.derived(&user).filter(|_| rng.u8(0..6) == 0) {
                if rng.bool() {
                    item.insert("user".to_owned(), text("another"));
                }
                lookups.change(&place.key_of(&item), Author::Seed, |_| Some(item));
            }
        }
        let plan = crate::plan::load("plan", &place.plan()).unwrap_or_else(|errors| panic!("{errors}")).plan;
        let (store, crash) = crate::state::in_memory_with_crashes();
        Scene { place, table, lookups, plan, store, crash: Box::new(crash), rng, seed, processes: 0 }
    }

    /// Starts the application, which makes this number of changes.
    pub(super) fn start_application(&mut self, changes: u32) -> AbortOnDropHandle<()> {
        let (place, table, lookups) = (self.place, self.table.clone(), self.lookups.clone());
        let mut rng = Rng::with_seed(self.rng.u64(..));
        AbortOnDropHandle::new(tokio::spawn(async move {
            for _ in 0..changes {
                sleep(Duration::from_millis(rng.u64(0..12))).await;
                change(place, (&table, &lookups), &mut rng);
            }
        }))
    }

    /// Carries out a pass to its end. It is killed several times, and resumed by another process.
    pub(super) async fn pass(&mut self, phase: &str, kills: u32) {
        let description = self.place.description();
        for attempt in 0.. {
            let wide = Budget { write: 1_000.0, read: 1_000.0 };
            let budgets = Budgets { table: wide, per_key_range: wide, per_partition_key: wide, indexes: Vec::new() };
            let lookups = self.lookups.connect(self.processes);
            let tables = match self.place {
                Place::Here => Tables::one(Arc::new(lookups)),
                Place::Elsewhere => {
                    let table = self.table.connect(self.processes).with_other(&self.lookups);
                    Tables::one(Arc::new(table)).with_derived(Arc::new(lookups))
                }
            };
            let (changes, tables, description) = match phase {
                phase::EXPAND => (expand::changes(&self.plan, &description), tables, description.clone()),
                // A rollback works on the table of the derived items.
                _ => {
                    let changes = undo::changes(&self.plan, &description);
                    let tables = tables.of_derived().unwrap_or(tables);
                    (changes, tables, description.derived.as_deref().unwrap_or(&description).clone())
                }
            };
            let mut job = Job::new(self.plan.clone(), Arc::new(changes), tables, description, &budgets);
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
    fn versions(table: &MemoryTable) -> Vec<(ItemKey, Version)> {
        let mut all: Vec<(ItemKey, Version)> = table.history(|history| {
            let versions = history.all();
            versions.flat_map(|(key, all)| all.iter().map(|version| (key.clone(), version.clone()))).collect()
        });
        all.sort_by_key(|(_, version)| version.number);
        all
    }

    pub(super) fn item(&self, key: &ItemKey) -> Option<Item> {
        Scene::current(&self.table, key)
    }

    pub(super) fn lookup(&self, key: &ItemKey) -> Option<Item> {
        Scene::current(&self.lookups, key)
    }

    fn current(table: &MemoryTable, key: &ItemKey) -> Option<Item> {
        table.history(|history| history.items().find(|(other, _)| *other == key).map(|(_, item)| item.clone()))
    }

    /// Returns whether this derived item follows from its source as it was when the version was written. If the source is
    /// in another table, it may have changed several times in the same millisecond.
    fn follows_from_source(&self, now: &BTreeMap<String, Version>, put: &Item, written: &Version) -> bool {
        let Value::S(user) = &put["user"] else { panic!("{put:?}") };
        let key = user_key_of(user);
        let follows =
            |source: &Version| source.item.as_ref().and_then(|item| self.place.derived(item)) == Some(put.clone());
        match self.place {
            Place::Here => now.get(&key.to_text()).is_some_and(follows),
            Place::Elsewhere => self.table.history(|history| {
                let versions = history.all().find(|(other, _)| **other == key).map_or(&[][..], |(_, all)| all);
                let before = versions.iter().rfind(|version| version.at < written.at);
                before.into_iter().chain(versions.iter().filter(|version| version.at == written.at)).any(follows)
            }),
        }
    }

    /// Checks every version that the tool wrote. Returns the number of puts and of deletes.
    pub(super) fn check_history(&self) -> (u64, u64) {
        let seed = self.seed;
        let mut now: BTreeMap<String, Version> = BTreeMap::new();
        let (mut puts, mut deletes) = (0, 0);
        let mut own: Vec<Item> = Vec::new();
        if self.place == Place::Elsewhere {
            let is_own = |(_, version): &(ItemKey, Version)| matches!(version.author, Author::Tool(_));
            assert!(!Scene::versions(&self.table).iter().any(is_own), "seed {seed}: the tool changed a source");
        }
        for (key, version) in Scene::versions(&self.lookups) {
            let before = now.get(&key.to_text()).cloned();
            if let Author::Tool(_) = version.author {
                let [_, sk] = self.place.key_names();
                assert!(key.attributes()[sk] == text("LOOKUP"), "seed {seed}: the tool changed the source {key}");
                match (before.as_ref().and_then(|before| before.item.as_ref()), &version.item) {
                    (None, Some(put)) => {
                        let follows = self.follows_from_source(&now, put, &version);
                        assert!(follows, "seed {seed}: {key} was put from stale inputs: {put:?}");
                        own.push(put.clone());
                        puts += 1;
                    }
                    (Some(removed), None) => {
                        // If the application has deleted the item and put an equal one, the tool cannot see this.
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
fn change(place: Place, (table, lookups): (&MemoryTable, &MemoryTable), rng: &mut Rng) {
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
            if let Some(item) = user.as_ref().and_then(|user| place.derived(user)) {
                lookups.change(&place.key_of(&item), author, |_| Some(item));
            }
        }
        9 => drop(lookups.change(&place.lookup_key(address), author, |item| {
            let mut item = item?.clone();
            item.insert("note".to_owned(), name);
            Some(item)
        })),
        10 => drop(lookups.change(&place.lookup_key(address), author, |_| None)),
        _ => {
            let mut item = place.lookup_key(address).attributes().clone();
            item.insert("user".to_owned(), text("another"));
            lookups.change(&place.lookup_key(address), author, |_| Some(item));
        }
    }
}

impl Scene {
    /// Returns the keys that the rollback reports.
    pub(super) async fn reported(&self) -> BTreeSet<String> {
        let rollback = self.store.current_run(phase::ROLLBACK).await.unwrap().unwrap();
        let query = || ListQuery { run: Some(rollback.id), open_only: true, after: Cursor::START, limit: 1_000 };
        let failed = self.store.failures(query()).await.unwrap();
        let diverged = self.store.list_diverged(query()).await.unwrap();
        let failed = failed.into_iter().map(|row| row.key.to_text());
        failed.chain(diverged.into_iter().flatten().map(|row| row.key.to_text())).collect()
    }

    /// Returns the item with this key if the tool wrote it last.
    pub(super) fn left_by_tool(&self, key: &ItemKey) -> Option<Item> {
        let last = Scene::versions(&self.lookups).into_iter().rfind(|(other, _)| other == key);
        let (_, Version { author: Author::Tool(_), item, .. }) = last? else { return None };
        item
    }

    /// Returns the items of both tables.
    pub(super) fn items(&self) -> Vec<(ItemKey, Item)> {
        let of = |table: &MemoryTable| -> Vec<(ItemKey, Item)> {
            table.history(|history| history.items().map(|(key, item)| (key.clone(), item.clone())).collect())
        };
        match self.place {
            Place::Here => of(&self.table),
            Place::Elsewhere => [of(&self.table), of(&self.lookups)].concat(),
        }
    }
}

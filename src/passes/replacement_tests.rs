//! Tests computed values that replace an attribute, with `on_existing = "skip"`, against live writers, faults and
//! kills, in virtual time. The computed values are numbers and lists of numbers, so the journal contains their digests
//! by number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::expand;
use super::verify::{Parity, TableStage, Truth};
use crate::change::HistoryLookup;
use crate::dynamodb::memory::{Author, FaultPlan, MemoryTable, Version};
use crate::dynamodb::{TableDescription, Tables};
use crate::engine::Job;
use crate::item::{Item, ItemKey, Num, Value};
use crate::machine::{Random, Rng};
use crate::plan::Plan;
use crate::ratelimit::{Budget, Budgets};
use crate::state::{BeginMode, NewRun, State, phase};

const ITEMS: usize = 24;

/// The plan never computes this number. So if a target has this number, the application wrote it.
const THEIRS: &str = "7777";

const PLAN: &str = "[migration]\nname = \"m\"\non_existing = \"skip\"\non_not_computable = \"fail\"\n\
                    [table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
                    [[change]]\nconvert = \"old\"\nto = \"N\"\ninto = \"amount\"\nreplaces = \"old\"\n\
                    [[change]]\ncompute = \"pair\"\nas = '[item.n, item.n]'\nreplaces = \"n\"\n\
                    [scan]\nsegments = 2\npage_limit = 5\n[limits]\nmax_failures = 1000\n";

const TARGETS: [&str; 2] = ["amount", "pair"];

fn number(text: &str) -> Value {
    Value::N(Num::parse(text).unwrap())
}

fn key(n: usize) -> ItemKey {
    ItemKey::new([("pk", n / 4), ("sk", n)].map(|(name, n)| (name.to_owned(), Value::S(n.to_string()))).into())
}

/// Changes an old attribute. Sometimes also sets or removes a target.
fn change(item: &mut Item, rng: &mut Rng) {
    let some = format!("{}.{}", rng.u8(1..), rng.u8(1..9));
    match rng.u8(0..8) {
        0..=2 => drop(item.insert("old".to_owned(), Value::S(some))),
        3..=5 => drop(item.insert("n".to_owned(), number(&some))),
        6 => drop(item.insert(TARGETS[rng.usize(0..2)].to_owned(), number(THEIRS))),
        7.. => drop(item.remove(TARGETS[rng.usize(0..2)])),
    }
}

/// Returns the new value that this item's old attribute implies. `None` if the item has no old value.
fn implied(target: &str, item: &Item) -> Option<Value> {
    match (target, item.get("old"), item.get("n")) {
        ("amount", Some(Value::S(old)), _) => Some(number(old)),
        ("pair", _, Some(n)) => Some(Value::L(vec![n.clone(), n.clone()])),
        _ => None,
    }
}

struct Scene {
    table: MemoryTable,
    plan: Plan,
    store: State,
    crash: Box<dyn FnMut() -> State>,
    rng: Rng,
    seed: u64,
}

impl Scene {
    fn new(seed: u64) -> Scene {
        let rng = Rng::with_seed(seed);
        let latency = (Duration::from_millis(1), Duration::from_millis(20));
        let faults =
            FaultPlan { share: 0.15, late: Duration::from_secs(1), stale: Duration::from_secs(1), preferred: None };
        let table = MemoryTable::new(TableDescription::for_tests(), latency, faults, seed);
        for n in 0..ITEMS {
            let mut item = key(n).attributes().clone();
            item.insert("old".to_owned(), Value::S(format!("{n}.50")));
            item.insert("n".to_owned(), number(&n.to_string()));
            table.change(&key(n), Author::Seed, |_| Some(item));
        }
        let plan = crate::plan::load("plan", PLAN).unwrap_or_else(|errors| panic!("{errors}")).plan;
        let (store, crash) = crate::state::in_memory_with_crashes();
        Scene { table, plan, store, crash: Box::new(crash), rng, seed }
    }

    fn start_application(&mut self) -> AbortOnDropHandle<()> {
        let table = self.table.clone();
        let mut rng = Rng::with_seed(self.rng.u64(..));
        AbortOnDropHandle::new(tokio::spawn(async move {
            for _ in 0..120 {
                sleep(Duration::from_millis(rng.u64(0..12))).await;
                table.change(&key(rng.usize(0..ITEMS)), Author::Application, |item| {
                    let mut item = item.cloned()?;
                    change(&mut item, &mut rng);
                    Some(item)
                });
            }
        }))
    }

    /// Executes the run to its end. The process is killed twice, and each time another process resumes the run.
    async fn run(&mut self) {
        let description = TableDescription::for_tests();
        for process in 0.. {
            let changes = expand::changes(&self.plan, &description);
            let wide = Budget { write: 1_000.0, read: 1_000.0 };
            let budgets = Budgets { table: wide, per_key_range: wide, per_partition_key: wide, indexes: Vec::new() };
            let tables = Tables::one(Arc::new(self.table.connect(process)));
            let mut job = Job::new(self.plan.clone(), Arc::new(changes), tables, description.clone(), &budgets);
            job.machine.random = Random::with_seed(self.seed + u64::from(process));
            let phase = phase::EXPAND.into();
            let new = NewRun { phase, total_segments: 2, tool_version: "t".into(), table_items_estimate: None };
            let session = self.store.begin(BeginMode::ResumeOrNew, new).await.unwrap();
            let patience = match process {
                0..2 => Duration::from_millis(self.rng.u64(20..200)),
                2.. => Duration::from_secs(3_600),
            };
            if let Ok(ended) = timeout(patience, job.work(&self.store, &session)).await {
                assert_eq!(ended.unwrap().stopped, None, "seed {}", self.seed);
                return;
            }
            self.store = (self.crash)();
        }
    }

    /// Returns the items, each with the author of the value at each target.
    fn items(&self) -> Vec<(ItemKey, Item, BTreeMap<&'static str, Author>)> {
        self.table.history(|history| {
            let of = |(key, versions): (&ItemKey, &[Version])| {
                let now = versions.last()?.item.clone()?;
                let author = |target: &&'static str| {
                    let there = now.get(*target)?;
                    let had =
                        |version: &&Version| version.item.as_ref().and_then(|item| item.get(*target)) == Some(there);
                    Some((*target, versions.iter().rev().take_while(had).last()?.author))
                };
                Some((key.clone(), now.clone(), TARGETS.iter().filter_map(author).collect()))
            };
            history.all().filter_map(of).collect()
        })
    }
}

/// A target that the migration filled never counts as preexisting, even if the old attribute changed before the tool
/// knew that its write had taken effect. Otherwise, the gate would accept a stale value.
#[tokio::test(start_paused = true)]
async fn a_computed_number_never_counts_as_preexisting() {
    let (mut stale, mut skipped) = (0, 0);
    for seed in 0..100 {
        let mut scene = Scene::new(seed);
        let application = scene.start_application();
        scene.run().await;
        application.await.unwrap();
        let parity = Parity::new(&scene.plan.changes, scene.plan.strategy, TableStage::Expanded, Truth::Old)
            .with_rules(scene.plan.item_rules());
        for (key, item, authors) in scene.items() {
            let history =
                scene.store.history_of(vec![key.clone()], HistoryLookup::ForDecision).await.unwrap().remove(0);
            let verdict = parity.compare(&item, &history).verdict;
            for (target, author) in authors {
                let there = &item[target];
                if implied(target, &item).as_ref() == Some(there) {
                    continue;
                }
                let is_preexisting = history.is_preexisting_value(&target.parse().unwrap(), there);
                if matches!(author, Author::Tool(_)) {
                    assert!(!is_preexisting, "seed {seed}: {target} of {item:?} is from the tool");
                    assert!(verdict.is_mismatch(), "seed {seed}: {verdict:?} for {target} of {item:?}");
                    stale += 1;
                } else {
                    skipped += u32::from(is_preexisting);
                }
            }
        }
    }
    assert!(stale > 30 && skipped > 30, "{stale} stale values, {skipped} values that the application had written");
}

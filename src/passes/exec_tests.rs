//! Tests `exec` against live writers and faults, in virtual time. A fake program lets the application change the table
//! while it "computes", and never gives the same answer twice.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::{expand, undo};
use crate::change::{Changes, Outcome, ProgramAnswer, ProgramQuestion, input_digest};
use crate::dynamodb::memory::{Author, FaultPlan, MemoryTable};
use crate::dynamodb::{TableDescription, Tables};
use crate::engine::Job;
use crate::exec::{ExecError, OnAnswered, Programs};
use crate::item::{Item, ItemKey, Num, Value};
use crate::machine::{Random, Rng};
use crate::plan::Plan;
use crate::ratelimit::{Budget, Budgets};
use crate::state::{BeginMode, NewRun, State, phase};

const ITEMS: usize = 60;

/// The answer consists of the SHA-256 of its inputs and a serial number.
#[derive(Debug)]
struct StandIn {
    table: MemoryTable,
    rng: Mutex<Rng>,
    serial: AtomicU64,
    /// Number of remaining changes of the application.
    changes_left: AtomicU64,
}

#[async_trait]
impl Programs for StandIn {
    async fn ask(
        &self,
        questions: &[ProgramQuestion],
        progress: OnAnswered<'_>,
    ) -> Result<Vec<ProgramAnswer>, ExecError> {
        let mut answers = Vec::new();
        for question in questions {
            // The application works before, while and after the program computes.
            self.let_application_work();
            let wait = self.rng.lock().unwrap().u64(0..20);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            answers.push(match self.rng.lock().unwrap().u8(0..20) {
                0 => Err("gave no answer for this item".to_owned()),
                1.. => Ok(Item::from([
                    ("of".to_owned(), Value::S(question.digest.clone())),
                    ("serial".to_owned(), Value::N(Num::parse(&serial.to_string()).unwrap())),
                ])),
            });
        }
        self.let_application_work();
        progress();
        Ok(answers)
    }
}

impl StandIn {
    fn let_application_work(&self) {
        let left = self.changes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_err() {
            return;
        }
        let mut rng = self.rng.lock().unwrap();
        let key = key(rng.usize(0..ITEMS));
        let what = rng.u8(0..12);
        let text = Value::S(format!("application {}", rng.u32(..)));
        self.table.change(&key, Author::Application, |item| {
            let mut item = item.cloned();
            match (&mut item, what) {
                // The item is deleted, or a new item is created with its key.
                (Some(_), 0) => return None,
                (None, 0..=3) => item = Some(new_item(&key, text)),
                (None, _) => return None,
                (Some(item), 1) => drop(item.remove("a")),
                (Some(item), 2) => drop(item.remove("b")),
                (Some(item), 3) => drop(item.insert("of".to_owned(), text)),
                (Some(item), 4) => drop(item.remove("marker")),
                (Some(item), 5) => drop(item.insert("other".to_owned(), text)),
                (Some(item), 6..=8) => drop(item.insert("b".to_owned(), text)),
                (Some(item), _) => drop(item.insert("a".to_owned(), text)),
            }
            item
        });
    }
}

fn key(n: usize) -> ItemKey {
    ItemKey::new([("pk", n / 4), ("sk", n)].map(|(name, n)| (name.to_owned(), Value::S(n.to_string()))).into())
}

fn new_item(key: &ItemKey, text: Value) -> Item {
    let mut item = key.attributes().clone();
    item.insert("a".to_owned(), text);
    item
}

fn inputs(item: &Item) -> Item {
    let inputs = ["a", "b"].into_iter().filter_map(|name| Some((name.to_owned(), item.get(name)?.clone())));
    inputs.collect()
}

const TARGETS: [&str; 3] = ["of", "serial", "marker"];

fn without_targets(item: &Item) -> Item {
    item.iter().filter(|(name, _)| !TARGETS.contains(&name.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}

struct Scene {
    table: MemoryTable,
    plan: Plan,
    store: State,
    crash: Box<dyn FnMut() -> State>,
    stand_in: Arc<StandIn>,
    seed: u64,
}

impl Scene {
    fn new(seed: u64) -> Scene {
        let mut rng = Rng::with_seed(seed);
        let latency = (Duration::from_millis(1), Duration::from_millis(20));
        let plan =
            FaultPlan { share: 0.1, late: Duration::from_secs(3), stale: Duration::from_secs(2), preferred: None };
        let table = MemoryTable::new(TableDescription::for_tests(), latency, plan, seed);
        for n in 0..ITEMS {
            let mut item = new_item(&key(n), Value::S(n.to_string()));
            match rng.u8(0..6) {
                0 => drop(item.remove("a")),
                1 => drop(item.insert("b".to_owned(), Value::Null)),
                2 => drop(item.insert("serial".to_owned(), Value::S("there before".to_owned()))),
                3.. => {}
            }
            table.change(&key(n), Author::Seed, |_| Some(item));
        }
        let existing = rng.choice(["keep", "overwrite", "skip"]).unwrap();
        let text = format!(
            "[migration]\nname = \"m\"\non_existing = \"{existing}\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
             [[change]]\nexec = [\"p\"]\ninputs = [\"a\", \"b\"]\noutputs = [\"of\", \"serial\"]\nmarker = \"marker\"\n\
             [scan]\nsegments = 3\npage_limit = 7\n"
        );
        let plan = crate::plan::load("plan", &text).unwrap().plan;
        let stand_in = Arc::new(StandIn {
            table: table.clone(),
            rng: Mutex::new(rng),
            serial: AtomicU64::new(0),
            changes_left: AtomicU64::new(150),
        });
        let (store, crash) = crate::state::in_memory_with_crashes();
        Scene { table, plan, store, crash: Box::new(crash), stand_in, seed }
    }

    fn job(&self, process: u32, changes: Changes) -> Job {
        let wide = Budget { write: 1_000.0, read: 1_000.0 };
        let budgets = Budgets { table: wide, per_key_range: wide, per_partition_key: wide, indexes: Vec::new() };
        let tables = Tables::one(Arc::new(self.table.connect(process)));
        let mut job = Job::new(self.plan.clone(), Arc::new(changes), tables, TableDescription::for_tests(), &budgets);
        job.machine.random = Random::with_seed(self.seed + u64::from(process));
        job.programs = Some(Arc::clone(&self.stand_in) as Arc<dyn Programs>);
        job
    }

    /// Runs a pass to its end. The process is killed several times, and each time another process resumes the pass.
    async fn pass(&mut self, phase: &str) {
        let description = TableDescription::for_tests();
        for process in 0.. {
            let changes = match phase {
                phase::EXPAND => expand::changes(&self.plan, &description),
                _ => undo::changes(&self.plan, &description),
            };
            let job = self.job(process, changes);
            let new =
                NewRun { phase: phase.into(), total_segments: 3, tool_version: "t".into(), table_items_estimate: None };
            let session = self.store.begin(BeginMode::ResumeOrNew, new).await.unwrap();
            let patience = match process {
                0..4 => Duration::from_millis(self.stand_in.rng.lock().unwrap().u64(50..1_500)),
                4.. => Duration::from_secs(3_600),
            };
            if let Ok(ended) = tokio::time::timeout(patience, job.work(&self.store, &session)).await {
                assert_eq!(ended.unwrap().stopped, None);
                return;
            }
            self.store = (self.crash)();
        }
        unreachable!()
    }

    /// Checks every version that the tool wrote.
    fn check_history(&self) {
        self.table.history(|history| {
            for (key, versions) in history.all() {
                for pair in versions.windows(2).filter(|pair| matches!(pair[1].author, Author::Tool(_))) {
                    let (Some(before), Some(after)) = (&pair[0].item, &pair[1].item) else {
                        panic!("seed {}: the tool created or deleted {key:?}", self.seed)
                    };
                    assert_eq!(without_targets(before), without_targets(after), "seed {}", self.seed);
                }
            }
        });
    }
}

/// After a run with live writers, every value that the tool wrote was computed from the inputs that the item had at
/// that moment. Undo then removes exactly the tool's values.
#[tokio::test(start_paused = true)]
async fn live_writers_lose_nothing_and_no_value_is_stale() {
    let mut seen = BTreeSet::new();
    let (mut restored, mut reported) = (0, 0);
    for seed in 0..300 {
        let mut scene = Scene::new(seed);
        scene.pass(phase::EXPAND).await;
        scene.check_history();
        let mut own: BTreeSet<u64> = BTreeSet::new();
        scene.table.history(|history| {
            for (key, versions) in history.all() {
                for version in versions.iter().filter(|version| matches!(version.author, Author::Tool(_))) {
                    let item = version.item.as_ref().unwrap();
                    let digest = Some(Value::S(input_digest(&inputs(item))));
                    assert_eq!(item.get("marker"), digest.as_ref(), "seed {seed}: {key:?}");
                    assert_eq!(item.get("of"), digest.as_ref(), "seed {seed}: stale answer in {key:?}");
                    own.insert(version.number);
                }
            }
        });
        assert!(!own.is_empty(), "seed {seed}");
        let counts = scene.store.totals(scene.store.current_run(phase::EXPAND).await.unwrap().unwrap().id).await;
        let counts = counts.unwrap().counts;
        seen.extend(Outcome::ALL.into_iter().filter(|outcome| counts.of(*outcome) > 0).map(Outcome::name));
        let before: Vec<(ItemKey, Item)> = scene.items();
        scene.stand_in.changes_left.store(0, Ordering::Relaxed);
        scene.pass(phase::ROLLBACK).await;
        scene.check_history();
        for ((key, before), (_, after)) in before.iter().zip(scene.items()) {
            let written = scene.table.history(|history| {
                let (_, versions) = history.all().find(|(other, _)| *other == key).unwrap();
                versions.iter().any(|version| own.contains(&version.number))
            });
            if written && before.get("marker").is_some() && before.get("of") == before.get("marker") {
                // Undo restores the application's value that the tool had overwritten. There is one exception. If a
                // late write of a killed process arrives after the program has given a different answer, undo cannot
                // determine the author of the value. Undo then leaves the item unchanged and reports it.
                let is_taken_back = !after.contains_key("marker") && after.get("of") != before.get("of");
                assert!(is_taken_back || *before == after, "seed {seed}: {key:?}: {before:?} {after:?}");
                *(if is_taken_back { &mut restored } else { &mut reported }) += 1;
            }
            if !written {
                assert_eq!(*before, after, "seed {seed}: undo changed {key:?}, which the run never wrote");
            }
        }
    }
    assert!(reported * 100 < restored, "{reported} of {restored} items were only reported");
    for outcome in ["applied", "already_applied", "nothing_to_do", "diverged", "skipped", "rejected", "gone"] {
        assert!(seen.contains(outcome), "{outcome} never occurred: {seen:?}");
    }
}

impl Scene {
    fn items(&self) -> Vec<(ItemKey, Item)> {
        self.table.history(|history| history.items().map(|(key, item)| (key.clone(), item.clone())).collect())
    }
}

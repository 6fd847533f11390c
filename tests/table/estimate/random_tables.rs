//! Tests random plans on random tables with indexes. A run does exactly what the dry run predicts for each item. The
//! engine rejects every write that the tool's rules forbid.
//!
//! `BACKFILL_TEST_SEED` sets the first seed, and `BACKFILL_TEST_TABLES` sets the number of tables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backfill::internals::change::{Changes, Decision, IndexKeyFault, ItemHistory, KeyFault, Rule};
use backfill::internals::dynamodb::sdk::{DynamoTable, connect};
use backfill::internals::dynamodb::{Sink, TableDescription, TableError};
use backfill::internals::engine::describe;
use backfill::internals::item::{IndexSchema, Item, Num, Projection, Value};
use backfill::internals::passes::{PredictedOutcome, Prediction};
use backfill::internals::plan::LoadedPlan;
use backfill::internals::preflight::{check_plan, run_changes};
use fastrand::Rng;

use super::rules::failures;
use crate::harness::{Harness, bytes_of, index, key_of};
use crate::spend::whole_run::{CAPACITY, tool};

/// The number of items in a table. The number is small enough that the run does not stop with "the plan fails for every
/// item", even if DynamoDB rejects all writes.
const ITEMS: usize = 90;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

/// RUNBOOK: "A run does what the dry run predicts, item for item, if nobody writes meanwhile"
#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_random_tables_does_what_its_dry_run_predicts() {
    let first = number("BACKFILL_TEST_SEED", 1);
    let mut seen = BTreeMap::<&str, usize>::new();
    let mut rules = BTreeSet::new();
    for seed in first..first + number("BACKFILL_TEST_TABLES", 4) {
        println!("seed {seed}");
        let scene = Scene::new(seed).await;
        for (class, count) in scene.check(&mut rules).await {
            *seen.entry(class).or_default() += count;
        }
    }
    println!("{seen:?}\n{rules:#?}");
    assert!(seen["would_change"] > 0 && seen["rejected"] > 0 && seen["would_exceed_400_kb"] > 0, "{seen:?}");
    assert!(rules.len() > 5, "{rules:?}");
}

struct Scene {
    harness: Harness,
    table: String,
    plan: PathBuf,
    loaded: LoadedPlan,
    dynamo: Arc<DynamoTable>,
    description: TableDescription,
    before: BTreeMap<String, Item>,
}

impl Scene {
    async fn new(seed: u64) -> Scene {
        let mut rng = Rng::with_seed(seed);
        let harness = Harness::embedded();
        let indexes = indexes(&mut rng);
        let table = harness.create_indexed_table(&indexes).await;
        harness.load(&table, (0..ITEMS).map(|n| item(&mut rng, n, &indexes)).collect::<Vec<_>>().into_iter()).await;
        let mut found = None;
        let mut tries = 0;
        let mut dynamo = None;
        while found.is_none() {
            tries += 1;
            let (migration, changes) = plan(&mut rng);
            let path = harness.plan(&format!("plan-{tries}"), &table, &migration, &format!("{changes}{CAPACITY}"));
            let Ok(loaded) = backfill::internals::plan::load("p", &std::fs::read_to_string(&path).unwrap()) else {
                continue;
            };
            if dynamo.is_none() {
                let reached = Arc::new(DynamoTable::new(&connect(&loaded.plan.table).await.unwrap(), &table));
                let description = describe(reached.as_ref(), Duration::from_secs(5)).await.unwrap();
                dynamo = Some((reached, description));
            }
            let (_, description) = dynamo.as_ref().unwrap();
            found = (check_plan(&loaded, description).is_ok() && run_changes(&loaded.plan, description).is_ok())
                .then_some((path, loaded));
        }
        let (plan, loaded) = found.unwrap();
        let (dynamo, description) = dynamo.unwrap();
        let before = harness.dump(&table).await;
        Scene { harness, table, plan, loaded, dynamo, description, before }
    }

    /// Compares the predictions, the dry run, the run and the engine's replies. Returns the number of items of each
    /// class.
    async fn check(&self, rules: &mut BTreeSet<String>) -> BTreeMap<&'static str, usize> {
        println!("{}", self.loaded.plan.meaning());
        let changes = run_changes(&self.loaded.plan, &self.description).unwrap();
        self.engine_rejects(&changes, rules).await;
        let mut prediction = Prediction::default();
        let mut classes = BTreeMap::<PredictedOutcome, BTreeSet<String>>::new();
        for (key, item) in &self.before {
            classes.entry(prediction.add(item, &changes, &ItemHistory::default())).or_default().insert(key.clone());
        }
        let of = |class| classes.get(&class).cloned().unwrap_or_default();
        let refused: BTreeSet<String> =
            of(PredictedOutcome::Rejected).union(&of(PredictedOutcome::WouldExceed)).cloned().collect();
        let exit = match (refused.is_empty(), of(PredictedOutcome::Diverged).is_empty()) {
            (false, _) => 4,
            (true, false) => 5,
            (true, true) => 0,
        };
        let dry = tool(&self.harness, &self.plan, &["--dry-run"], exit);
        let run = tool(&self.harness, &self.plan, &["--yes"], exit);
        let counts = &run["totals"]["counts"];
        for class in PredictedOutcome::ALL {
            assert_eq!(dry[class.name()], of(class).len(), "{}", class.name());
        }
        for (outcome, items) in [
            ("applied", of(PredictedOutcome::WouldChange).len()),
            ("already_applied", of(PredictedOutcome::AlreadyApplied).len()),
            ("nothing_to_do", of(PredictedOutcome::NothingToDo).len()),
            ("diverged", of(PredictedOutcome::Diverged).len()),
            ("skipped", of(PredictedOutcome::Skipped).len()),
            ("rejected", refused.len()),
            ("not_computable", of(PredictedOutcome::NotComputable).len()),
            ("conflict", 0),
            ("gone", 0),
        ] {
            assert_eq!(counts[outcome], items, "{outcome}: {counts:#}");
        }
        assert_eq!(failures(&self.harness, &self.plan), refused, "the failures are exactly the predicted ones");
        let after = self.harness.dump(&self.table).await;
        let changed = |key: &&String| bytes_of(&after[*key]) != bytes_of(&self.before[*key]);
        let changed: BTreeSet<String> = self.before.keys().filter(changed).cloned().collect();
        assert_eq!(changed, of(PredictedOutcome::WouldChange));
        PredictedOutcome::ALL.into_iter().map(|class| (class.name(), of(class).len())).collect()
    }

    /// For each rule that the engine implements, checks that the engine rejects the writes that the rule forbids.
    async fn engine_rejects(&self, changes: &Changes, rules: &mut BTreeSet<String>) {
        for item in self.before.values() {
            let Decision::Refused(write, rule) = changes.decide(item) else { continue };
            rules.insert(rule.to_string());
            let unknown = [KeyFault::PartitionTooLong, KeyFault::SortTooLong];
            if matches!(&rule, Rule::IndexKey(IndexKeyFault { fault, .. }) if unknown.contains(fault)) {
                continue;
            }
            let reply = self.dynamo.write(&[&write]).await.remove(0);
            assert!(matches!(reply, Err(TableError::Rejected { .. })), "{rule}: {reply:?} for {}", key_of(item));
        }
    }
}

/// Draws indexes: a global index with a key of one attribute, sometimes a global index with a key of two attributes,
/// and sometimes a local index.
fn indexes(rng: &mut Rng) -> Vec<IndexSchema> {
    let mut kind = || ["S", "S", "N", "B"][rng.usize(0..4)];
    let k1 = kind();
    let k2 = kind();
    let k3 = kind();
    let mut all = vec![index("by-k1", &[("k1", k1)], Projection::All, false)];
    if rng.bool() {
        all.push(index("by-k2", &[("k2", k2), ("k1", k1)], Projection::KeysOnly, false));
    }
    if rng.bool() {
        all.push(index("local-k3", &[("pk", "S"), ("k3", k3)], Projection::All, true));
    }
    all
}

const TARGETS: [&str; 8] = ["k1", "k1", "k2", "k3", "new", "doc.x", "doc.y.z", "deep.in.it"];

fn plan(rng: &mut Rng) -> (String, String) {
    let strategy = ["expand-contract", "in-place"][rng.usize(0..2)];
    let existing = ["keep", "overwrite", "skip"][rng.usize(0..3)];
    let change = |rng: &mut Rng| {
        let source = ["a", "b", "c", "doc.s"][rng.usize(0..4)];
        let target = TARGETS[rng.usize(0..TARGETS.len())];
        match rng.usize(0..6) {
            0 => format!("[[change]]\nset = \"{target}\"\nvalue = {}\n", ["5", "\"text\"", "true"][rng.usize(0..3)]),
            1 => format!("[[change]]\ncopy = \"{source}\"\nto = \"{target}\"\n"),
            2 => format!("[[change]]\nremove = \"{source}\"\n"),
            _ => format!("[[change]]\nmove = \"{source}\"\nto = \"{target}\"\n"),
        }
    };
    let changes: String = (0..rng.usize(1..4)).map(|_| change(rng)).collect();
    (format!("strategy = \"{strategy}\"\non_existing = \"{existing}\""), changes)
}

/// Draws a value of any type. Many values are exactly at one of DynamoDB's limits.
fn value(rng: &mut Rng) -> Value {
    let bytes = [0, 1, 9, 1_023, 1_024, 1_025, 2_047, 2_048, 2_049, 3_000][rng.usize(0..10)];
    match rng.usize(0..14) {
        0..=4 => Value::S("v".repeat(bytes)),
        5 | 6 => Value::N(Num::parse(["0", "-1.50", "9.9E+125", "12345678901234567890"][rng.usize(0..4)]).unwrap()),
        7 => Value::B(vec![7; bytes]),
        8 => Value::Bool(rng.bool()),
        9 => Value::Null,
        10 => Value::Ss(vec!["x".into(), "y".into()]),
        11 | 12 => (0..rng.usize(27..31)).fold(Value::S("leaf".into()), |inner, n| match n % 2 {
            0 => Value::L(vec![inner]),
            _ => Value::M([("m".to_owned(), inner)].into()),
        }),
        _ => Value::S("v".repeat(rng.usize(190_000..210_000))),
    }
}

fn item(rng: &mut Rng, n: usize, indexes: &[IndexSchema]) -> Item {
    let mut item = Item::new();
    for name in ["a", "b", "c", "new"] {
        // An item gets at most one large value, because two large values would bring the item close to the size limit.
        let room = item.values().all(|there| !matches!(there, Value::S(text) if text.len() > 100_000));
        let wanted = if name == "new" { 0.1 } else { 0.7 };
        let made = value(rng);
        if rng.f64() < wanted && (room || !matches!(&made, Value::S(text) if text.len() > 100_000)) {
            item.insert(name.to_owned(), made);
        }
    }
    match rng.usize(0..4) {
        0 => {}
        1 => drop(item.insert("doc".into(), Value::S("no map".into()))),
        2 => drop(item.insert("doc".into(), Value::M(Item::new()))),
        _ => drop(item.insert("doc".into(), Value::M([("s".to_owned(), Value::S("d".into()))].into()))),
    }
    // If an attribute is an index key, it gets a valid key value, because the engine rejects all other values.
    for key in indexes.iter().flat_map(|index| &index.key).filter(|key| key.name != "pk") {
        let valid = match key.kind.as_str() {
            "S" => Value::S(format!("k{n}")),
            "N" => Value::N(Num::parse(&n.to_string()).unwrap()),
            _ => Value::B(vec![1, 2]),
        };
        if rng.usize(0..5) == 0 {
            item.insert(key.name.clone(), valid);
        }
    }
    item.insert("pk".into(), Value::S(format!("P#{}", n % 11)));
    item.insert("sk".into(), Value::S(format!("S#{n}")));
    item
}

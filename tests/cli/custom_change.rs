//! Tests custom changes: the example program on a real engine, and the binary's refusal of such a plan.

use std::process::ExitCode;

use backfill::internals::item::{Item, Value, item_from_json};
use backfill::{Migration, Options, RunOptions};

use super::*;

#[expect(dead_code, unreachable_pub, reason = "the example is a program of its own")]
#[path = "../../examples/custom_change.rs"]
mod example;

const PLAN: &str = include_str!("../../examples/custom_change.toml");

fn person(n: usize, attributes: Json) -> Item {
    let mut person = item(&format!("{n:03}"), "x", []);
    person.extend(item_from_json(&attributes).unwrap());
    person
}

async fn scene(items: Vec<Item>) -> (Harness, String, PathBuf) {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    harness.load(&table, items.into_iter()).await;
    let (_, changes) = PLAN.split_once("[[change]]").unwrap();
    let plan = harness.plan("phones", &table, "", &format!("[[change]]{changes}"));
    (harness, table, plan)
}

fn options(harness: &Harness) -> Options {
    let mut options = Options::default();
    options.state = Some(harness.dir().join("phones.db"));
    options
}

/// The example program runs the plan and verifies the table. If the function has no result for an item, the item is a
/// failure, and the failure states the reason.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_computes_writes_and_verifies() {
    let people = vec![
        person(1, json!({"phone": {"S": "0151 234"}, "country": {"S": "DE"}})),
        person(2, json!({"phone": {"S": "0 44 55"}, "country": {"S": "FR"}})),
        person(3, json!({"name": {"S": "without a number"}})),
    ];
    let (harness, table, plan) = scene(people.clone()).await;
    let code = Box::pin(example::migrate(plan.to_str().unwrap(), options(&harness))).await.unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    let after = harness.dump(&table).await;
    let of = |n: usize| &after[&harness::key_of(&people[n]).to_text()];
    assert_eq!(of(0)["phone_e164"], Value::S("+49151234".into()));
    assert_eq!(of(0)["phone_is_mobile"], Value::Bool(true));
    assert_eq!(of(1)["phone_e164"], Value::S("+334455".into()));
    assert_eq!(of(1)["phone_is_mobile"], Value::Bool(false));
    assert_eq!(bytes_of(of(2)), bytes_of(&people[2]));

    let (harness, _, plan) = scene(vec![person(1, json!({"phone": {"S": "S3CRET"}}))]).await;
    let code = Box::pin(example::migrate(plan.to_str().unwrap(), options(&harness))).await.unwrap();
    assert_eq!(code, ExitCode::from(4));
}

/// The binary has no custom changes, so it refuses the plan and says how to run it.
#[tokio::test(flavor = "multi_thread")]
async fn the_binary_refuses_a_custom_change() {
    let (harness, _, plan) = scene(Vec::new()).await;
    refused(&harness, 2, &["run", plan.to_str().unwrap(), "--yes"])
        .says(&["does not supply the custom change `phone`", "examples/custom_change.rs"]);
    let opened = Migration::open(&plan, options(&harness));
    assert!(opened.err().unwrap().to_string().contains("`phone`"));
}

struct Counter(std::sync::atomic::AtomicU64);

impl backfill::ports::change::CustomChange for Counter {
    fn name(&self) -> &str {
        "phone"
    }

    fn version(&self) -> &str {
        "1"
    }

    fn compute(&self, _: &Item) -> Result<Option<Item>, &'static str> {
        let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let text = Value::S(n.to_string());
        Ok(Some(Item::from([("phone_e164".to_owned(), text.clone()), ("phone_is_mobile".to_owned(), text)])))
    }
}

/// If a function returns two different results for the same inputs, the run stops before it writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_with_two_results_stops_the_run() {
    let people: Vec<Item> = (0..50).map(|n| person(n, json!({"phone": {"S": "0151"}}))).collect();
    let (harness, table, plan) = scene(people).await;
    let before = harness.dump(&table).await;
    let mut options = options(&harness);
    options.custom_changes = vec![Arc::new(Counter(0.into()))];
    options.observer = Arc::new(Agree);
    let migration = Migration::open(&plan, options).unwrap();
    let outcome = Box::pin(migration.run(&RunOptions::default())).await.unwrap();
    let why = outcome.stopped().unwrap().to_string();
    assert!(why.contains("`phone` computed two different results"), "{why}");
    assert_eq!(harness.dump(&table).await, before);
}

struct Agree;

impl backfill::Observer for Agree {
    fn confirm(&self, _: &backfill::Question<'_>) -> backfill::Answer {
        backfill::Answer::Yes
    }
}

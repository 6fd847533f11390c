//! Tests computed values that replace an old attribute, with the real binary and a running application: all steps of a
//! migration, every step back, every rollback, and kills. The application computes the new value itself.

use std::time::Duration;

use backfill::internals::cutover::{ReadFrom, WriteTo};
use backfill::internals::item::{Item, Value};

use crate::app::{Application, Habit, NEW, OLD};
use crate::harness::Harness;
use crate::harness::tool::item;
use crate::scene::{QUICKLY, Scene, items, seeded_rng};

/// The new value is a prefix and the old value. The inverse removes the prefix.
const REPLACE: &str = "[[change]]\ncompute = \"new\"\nas = '\"n:\" + item.old'\nreplaces = \"old\"\n\
    inverse = 'item.new.substring(2)'\n";

/// Items whose old value is not text are failures.
const FAIL: &str = "on_not_computable = \"fail\"";

/// The number of application operations between two commands.
const BETWEEN: u64 = 120;

/// The maximum number of kills for each command.
const KILLS: u32 = 3;

const TO_READ_NEW: [&str; 5] = [
    "cutover --to dual-write --yes",
    "run --yes",
    "verify --all",
    "cutover --to read-new --percent 10 --yes",
    "cutover --to read-new --yes",
];

async fn scene(count: u64) -> Scene {
    Scene::flagged(Harness::start(), items(count), FAIL, &format!("{REPLACE}{QUICKLY}")).await
}

/// Runs these commands in order. Each command must succeed, and the application must not read a stale value.
async fn run_all(scene: &Scene, app: &Application, commands: &[&str]) {
    for words in commands {
        scene.run_ok(words).await;
        app.wait_for_operations(BETWEEN).await;
        app.assert_no_wrong_reads(words);
    }
}

async fn assert_ends_at(scene: &Scene, mut app: Application, name: &str) {
    println!("  {:?}", app.stop().await);
    app.assert_no_wrong_reads("in the end");
    let items = scene.dump().await;
    app.assert_only_at(&items, name);
    if name == NEW {
        app.assert_computed(&items);
    }
}

/// RUNBOOK: "A computed value that replaces an attribute goes through the same steps as a move"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_migration_with_kills() {
    let mut rng = seeded_rng();
    let scene = scene(200).await;
    let app = scene.application(Habit::Computes).await;
    app.wait_for_operations(BETWEEN).await;
    scene.slow_pages(Some(Duration::from_millis(150)));
    let mut killed = 0;
    for words in TO_READ_NEW.into_iter().chain(["cutover --to write-new --yes", "contract --yes"]) {
        let ran = scene.run_with_kills(words, KILLS, &mut rng, &app, &mut killed).await;
        assert_eq!(ran.code, 0, "{words}: {:.6000}", ran.messages());
        app.wait_for_operations(BETWEEN).await;
        app.assert_no_wrong_reads(words);
    }
    println!("  {killed} kills");
    assert_ends_at(&scene, app, NEW).await;
}

/// The application writes only new values before the rollback. The inverse computes the old values, even if every pass
/// is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_rollback_after_new_only_writes_computes_the_old_values() {
    let mut rng = seeded_rng();
    let scene = scene(150).await;
    let app = scene.application(Habit::Computes).await;
    run_all(&scene, &app, &TO_READ_NEW).await;
    run_all(&scene, &app, &["cutover --to write-new --yes"]).await;
    app.wait_for_operations(3 * BETWEEN).await;
    scene.slow_pages(Some(Duration::from_millis(150)));
    let mut killed = 0;
    let ran = scene.run_with_kills("rollback --yes", 2 * KILLS, &mut rng, &app, &mut killed).await;
    assert_eq!(ran.code, 0, "{:.6000}", ran.messages());
    let flag = scene.flag().await;
    assert_eq!((flag.write, flag.read, flag.old_stale), (WriteTo::Old, ReadFrom::Old, false));
    assert_ends_at(&scene, app, OLD).await;
}

/// A repair fixes values that changed before dual writes. Afterwards, starting from each step, readers and writers go
/// back one step at a time, and then forward once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_can_go_back() {
    let scene = scene(150).await;
    let app = scene.application(Habit::Computes).await;
    run_all(&scene, &app, &["run --yes"]).await;
    app.wait_for_operations(3 * BETWEEN).await;
    run_all(&scene, &app, &["cutover --to dual-write --yes"]).await;
    assert_eq!(scene.run_command("verify --all").await.code, 5, "values written only to the old attribute differ");
    scene.run_refused("cutover --to read-new --yes", "verify --all --repair").await;
    run_all(&scene, &app, &["verify --all --repair --yes", "verify --all", "cutover --to read-new --yes"]).await;
    run_all(&scene, &app, &["cutover --back", "cutover --to read-new --yes"]).await;
    run_all(&scene, &app, &["cutover --to write-new --yes", "cutover --back"]).await;
    let flag = scene.flag().await;
    assert_eq!((flag.write, flag.read, flag.old_stale), (WriteTo::Both, ReadFrom::Old, false));
    run_all(&scene, &app, &["rollback --yes"]).await;
    assert_ends_at(&scene, app, OLD).await;
}

/// Tests a conversion with an inverse conversion. An application writes a new value from which the inverse computes an
/// old value that does not convert back to it. This value stays, and the rollback reports its item.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_breaks_the_law_is_reported() {
    let date = |pk: &str, text: &str| item(pk, "x", [("old", Value::S(text.to_owned()))]);
    let items = vec![date("day", "2025-01-31"), date("stays", "2025-01-31"), date("noon", "2025-01-31")];
    let plan = "[[change]]\nconvert = \"old\"\nto = \"epoch-seconds\"\ninto = \"new\"\nformats = [\"%Y-%m-%d\"]\n\
                zone = \"UTC\"\nreplaces = \"old\"\n\
                inverse = { to = \"text\", format = \"%Y-%m-%d\", unit = \"seconds\", zone = \"UTC\" }\n";
    let scene = Scene::flagged(Harness::start(), items, "", &format!("{plan}{QUICKLY}")).await;
    for words in TO_READ_NEW.into_iter().chain(["cutover --to write-new --yes"]) {
        scene.run_ok(words).await;
    }
    // 2025-02-01 begins at 1738368000. A date without a time cannot represent noon of that day.
    put(&scene, date("day", "2025-01-31"), "1738368000").await;
    put(&scene, date("noon", "2025-01-31"), "1738411200").await;
    let forecast = scene.run_command("rollback --dry-run").await;
    assert!(
        forecast.stdout.contains("not counted: applications have written only the new attribute"),
        "{}",
        forecast.stdout
    );
    let back = scene.run_command("cutover --back").await;
    assert_eq!(back.code, 4, "readers did not go back: {}", back.messages());
    assert!(back.stdout.contains("The step back is not complete: items failed"), "{}", back.stdout);
    assert_eq!(scene.flag().await.read, ReadFrom::New);
    let refused = scene.run_command("rollback --yes").await;
    assert_eq!(refused.code, 4, "{}", refused.messages());
    let failures = scene.run_command("failures list --output json").await;
    assert!(failures.stdout.contains("`old` cannot be restored from `new`"), "{}", failures.stdout);
    assert!(!failures.stdout.contains("1738411200"), "{}", failures.stdout);
    put(&scene, date("noon", "2025-01-31"), "1738454400").await;
    scene.run_ok("rollback --yes").await;
    let olds: Vec<(String, Option<Value>, bool)> = scene
        .dump()
        .await
        .into_values()
        .map(|item| (crate::app::pk(&item).to_owned(), item.get("old").cloned(), item.contains_key("new")))
        .collect();
    let text = |text: &str| Some(Value::S(text.to_owned()));
    let expected = [("day", "2025-02-01"), ("noon", "2025-02-02"), ("stays", "2025-01-31")];
    assert_eq!(olds, expected.map(|(pk, date)| (pk.to_owned(), text(date), false)));
}

/// Puts an item with this new value.
async fn put(scene: &Scene, mut item: Item, new: &str) {
    item.insert("new".to_owned(), Value::N(backfill::internals::item::Num::parse(new).unwrap()));
    scene.harness.load(&scene.table, std::iter::once(item)).await;
}

/// Both `check` and the step to new-only writes report that the plan has no inverse. `contract` journals every old
/// value, because the new value does not contain it.
/// RUNBOOK: "Without an `inverse`, the plan is irreversible after write-new"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_without_an_inverse_is_irreversible_after_write_new() {
    let plan = "[[change]]\ncompute = \"new\"\nas = 'size(item.old)'\nreplaces = \"old\"\n";
    let one = item("1", "x", [("old", Value::S("four".to_owned()))]);
    let scene = Scene::flagged(Harness::start(), vec![one], FAIL, &format!("{plan}{QUICKLY}")).await;
    let check = scene.run_command("check").await;
    assert!(check.stdout.contains("irreversible after write-new"), "{}", check.stdout);
    assert!(check.stdout.contains("which replaces old (no inverse)"), "{}", check.stdout);
    for words in TO_READ_NEW {
        scene.run_ok(words).await;
    }
    let next = "cutover --to write-new --force REASON";
    let refused = scene.run_refused("cutover --to write-new --yes", next).await;
    assert!(refused.messages().contains("irreversible after write-new"), "{}", refused.messages());
    scene.run_ok("cutover --back").await;
    scene.run_ok("cutover --to read-new --yes").await;
    scene.run_ok("cutover --to write-new --force accepted --yes").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.run_ok("contract --yes").await;
    let item = scene.dump().await.into_values().next().unwrap();
    assert!(!item.contains_key("old") && item.contains_key("new"), "{item:?}");
    assert_eq!(scene.journal_of("1", "x").await, [Value::S("four".to_owned())], "the journal has the old value");
}

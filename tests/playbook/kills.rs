//! Kills every command at random moments and reruns it. Tests that the final result is the same as without kills. Also
//! tests that each value is still in its item or in the journal after every kill.
//!
//! A random seed decides the moments of the kills. The test prints the seed, and `BACKFILL_TEST_SEED` sets it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use backfill::internals::cutover::{ReadFrom, WriteTo};
use backfill::internals::item::{Item, Value, item_to_json};
use backfill::internals::local::Fault;
use fastrand::Rng;
use nix::sys::signal::Signal;

use crate::app::{Habit, NEW, OLD, OperationKind, pk};
use crate::harness::tool::{RunningTool, secret};
use crate::harness::{Harness, bytes_of, in_batches, key_of, to_sdk, updated_items, value_to_sdk};
use crate::quiet::{EVERY_KIND, every_shape};
use crate::scene::{MOVE, QUICKLY, Scene, items, seeded_rng};

/// The maximum number of kills for each command.
const KILLS: u32 = 4;

/// The delay of each page. With this delay, a phase over a few hundred items takes about two seconds.
const PAGE: Duration = Duration::from_millis(250);

/// Runs a whole migration, with kills, while an application is running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_migration_completes() {
    let mut rng = seeded_rng();
    let scene = Scene::flagged(Harness::start(), items(300), "", &format!("{MOVE}{QUICKLY}")).await;
    let mut app = scene.application(Habit::Obedient).await;
    scene.slow_pages(Some(PAGE));
    let mut killed = 0;
    for words in [
        "cutover --to dual-write --yes",
        "run --yes",
        "verify --all",
        "cutover --to read-new --percent 30 --yes",
        "cutover --to read-new --yes",
        "cutover --to write-new --yes",
        "contract --yes",
    ] {
        let ran = scene.run_with_kills(words, KILLS, &mut rng, &app, &mut killed).await;
        assert_eq!(ran.code, 0, "{words}: {:.6000}", ran.messages());
        app.wait_for_operations(50).await;
        app.assert_no_wrong_reads(words);
    }
    println!("  {killed} kills; {:?}", app.stop().await);
    // The first attempt at each command is always killed.
    assert!(killed >= 7, "only {killed} kills");
    app.assert_no_wrong_reads("in the end");
    app.assert_only_at(&scene.dump().await, NEW);
}

/// A run is killed repeatedly while live writers write both attributes. Writes of the killed processes still arrive,
/// and live writers write, create or delete the items that the run is about to write. In the end, every item has the
/// application's last value in both attributes, and the items that the application deleted are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_run_loses_no_live_write() {
    let mut rng = seeded_rng();
    let scene = Scene::flagged(Harness::start(), items(700), "", &format!("{MOVE}{QUICKLY}")).await;
    let mut app = scene.application(Habit::Obedient).await;
    scene.run_ok("cutover --to dual-write --yes").await;
    scene.harness.proxy().reset_tally();
    // The application's requests bypass the proxy, so these faults do not affect them.
    let hints = app.hints();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    scene.harness.proxy().set_faults(Some(Arc::new(move |request| {
        let items = updated_items(request);
        counter.fetch_add(items.len() as u64, Relaxed);
        if items.is_empty() || request.operation_sequence.is_multiple_of(3) {
            return Fault::Pass;
        }
        hints.lock().unwrap().extend(items);
        Fault::Delay(Duration::from_millis(request.operation_sequence % 100))
    })));
    let enough = scene.harness.size_for_server(6, 2);
    let mut killed = 0;
    while killed < enough {
        let mut running = RunningTool::start(scene.command("run --yes"));
        let goal = sent.load(Relaxed) + rng.u64(1..60);
        while sent.load(Relaxed) < goal && !running.has_ended() {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        running.signal(Signal::SIGKILL);
        let ran = tokio::task::spawn_blocking(move || running.end()).await.unwrap();
        if ran.code >= 0 {
            assert_eq!(ran.code, 0, "{}", ran.messages());
            break;
        }
        killed += 1;
        scene.assert_nothing_lost(&app).await;
        app.assert_no_wrong_reads("after a kill");
    }
    scene.run_ok("run --yes").await;
    let figures = app.stop().await;
    let updates = scene.harness.proxy().tally().operation("UpdateItem");
    let raced = updates.errors.get(&(400, "ConditionalCheckFailedException".to_owned())).copied().unwrap_or(0);
    println!("  {killed} kills; {} writes of the tool, {raced} found a changed item; {figures:?}", sent.load(Relaxed));
    assert!(2 * killed >= enough, "too few kills: {killed}");
    // The reply to a batch has no status of its own for each statement.
    assert!(in_batches() || raced >= scene.harness.size_for_server(10, 1), "too few races: {raced}");
    for kind in [OperationKind::Write, OperationKind::Remove, OperationKind::Insert, OperationKind::Delete] {
        assert!(figures.get(&kind).is_some_and(|n| *n > 10), "too few of {kind:?}");
    }
    app.assert_no_wrong_reads("in the end");
    app.assert_equal_in_both(&scene.dump().await);
}

/// While an application is running, the test moves readers back during dual writes, and later rolls back from new-only
/// writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_commands_go_back_completely() {
    let mut rng = seeded_rng();
    let scene = Scene::flagged(Harness::start(), items(200), "", &format!("{MOVE}{QUICKLY}")).await;
    let mut app = scene.application(Habit::Obedient).await;
    for words in ["cutover --to dual-write --yes", "run --yes", "verify --all", "cutover --to read-new --yes"] {
        scene.run_ok(words).await;
    }
    scene.slow_pages(Some(PAGE));
    let mut killed = 0;
    let back = scene.run_with_kills("cutover --back", KILLS, &mut rng, &app, &mut killed).await;
    assert_eq!(back.code, 0, "{}", back.messages());
    // `cutover --back` goes back exactly one stage, even if it is killed and rerun several times. But if an attempt had
    // already completed when it was killed, the next attempt can go back one more stage.
    let flag = scene.flag().await;
    assert_eq!(flag.read, ReadFrom::Old);
    println!("  {flag}");
    if flag.write == WriteTo::Old {
        scene.run_ok("cutover --to dual-write --yes").await;
        assert!([0, 5].contains(&scene.run_command("verify --all --repair --yes").await.code));
    }
    for words in ["verify --all", "cutover --to read-new --yes", "cutover --to write-new --yes"] {
        scene.run_ok(words).await;
    }
    app.wait_for_operations(300).await;
    let ran = scene.run_with_kills("rollback --yes", 3 * KILLS, &mut rng, &app, &mut killed).await;
    assert_eq!(ran.code, 0, "{}", ran.messages());
    println!("  {killed} kills; {:?}", app.stop().await);
    // The first attempt at each of the two commands is always killed.
    assert!(killed >= 2, "only {killed} kills");
    app.assert_no_wrong_reads("in the end");
    app.assert_only_at(&scene.dump().await, OLD);
}

/// Checks the items of a quiet table: each earlier value of an item must still be in the item or in the journal.
async fn every_value_has_a_copy(scene: &Scene, before: &BTreeMap<String, Item>) {
    let now = scene.dump().await;
    for (key, item) in before {
        let leaves = |item: &Item| item.values().flat_map(leaves_of).collect::<BTreeSet<String>>();
        let mut copies = leaves(&now[key]);
        let lost = |copies: &BTreeSet<String>| leaves(item).difference(copies).cloned().collect::<Vec<_>>();
        if lost(&copies).is_empty() {
            continue;
        }
        let Value::S(sk) = &item["sk"] else { panic!("{item:?}") };
        copies.extend(scene.journal_of(pk(item), sk).await.iter().flat_map(leaves_of));
        let lost = lost(&copies);
        assert!(lost.is_empty(), "{key}: no copy of {lost:?}; it has {}", item_to_json(&now[key]));
    }
}

/// Returns the scalars and sets that a value contains. An empty document contains none.
fn leaves_of(value: &Value) -> Vec<String> {
    match value {
        Value::M(map) => map.values().flat_map(leaves_of).collect(),
        Value::L(list) => list.iter().flat_map(leaves_of).collect(),
        leaf => vec![leaf.to_json().to_string()],
    }
}

/// Runs a plan with every kind of change on two quiet tables. First runs the commands `first` on both. Then runs the
/// commands `then`, with kills on one table and without kills on the other. Both must produce the same exit codes and
/// tables.
async fn assert_same_end(migration: &str, first: &[&str], then: &[&str]) {
    let mut rng = seeded_rng();
    let (steady, killed) =
        tokio::join!(outcomes(migration, first, then, None), outcomes(migration, first, then, Some(&mut rng)));
    for ((words, code, table), (_, steady_code, steady_table)) in killed.iter().zip(&steady) {
        assert_eq!(code, steady_code, "{migration} {words}");
        let differs: Vec<_> = table.iter().filter(|(key, item)| steady_table.get(*key) != Some(item)).collect();
        assert!(differs.is_empty() && table.len() == steady_table.len(), "{migration} {words}: {:?}", differs.first());
    }
}

/// Replaces `NOW` in a command with the current time.
fn with_current_time(words: &str) -> String {
    words.replace("NOW", &jiff::Timestamp::now().to_string())
}

/// Returns whether some of these commands confirm facts with options, because the plan has no flag.
fn confirms_facts(commands: &[&str]) -> bool {
    commands.iter().any(|words| words.contains("--readers"))
}

/// A command, its exit code, and the resulting table.
type End = (String, i32, BTreeMap<String, String>);

async fn outcomes(migration: &str, first: &[&str], then: &[&str], mut rng: Option<&mut Rng>) -> Vec<End> {
    let shapes = every_shape(240);
    let rest = format!("{EVERY_KIND}{QUICKLY}");
    let scene = match (migration.contains("in-place"), confirms_facts(then)) {
        (false, false) => Scene::flagged(Harness::start(), shapes, migration, &rest).await,
        (true, _) => Scene::unflagged(Harness::start(), shapes, migration, &rest).await,
        (_, true) => {
            Scene::unflagged(Harness::start(), shapes, migration, &format!("{rest}[cutover]\nsoak = \"0s\"\n")).await
        }
    };
    let mut before = scene.dump().await;
    for words in first {
        match *words {
            SOME_NEW => write_new_values(&scene, &mut before).await,
            _ => drop(scene.run_command(words).await),
        }
    }
    scene.slow_pages(rng.is_some().then_some(PAGE));
    let mut ends = Vec::new();
    let mut killed = 0;
    for words in then {
        let mut ran = None;
        for attempt in 0..rng.as_ref().map_or(0, |_| KILLS) {
            ran = scene.kill_once(&with_current_time(words), attempt, rng.as_deref_mut().unwrap()).await;
            if ran.is_some() {
                break;
            }
            killed += 1;
            every_value_has_a_copy(&scene, &before).await;
        }
        let ran = match ran {
            Some(ran) => ran,
            None => scene.run_command(&with_current_time(words)).await,
        };
        every_value_has_a_copy(&scene, &before).await;
        let table = scene.dump().await.into_iter().map(|(key, item)| (key, bytes_of(&item)));
        ends.push(((*words).to_owned(), ran.code, table.collect()));
    }
    println!("  {killed} kills");
    assert!(rng.is_none() || killed >= then.len(), "only {killed} kills");
    ends
}

/// A placeholder in a list of commands, for an application that writes only the new attribute of some items.
const SOME_NEW: &str = "(some new values)";

/// Writes only the new attribute of some items. Also changes `items` in this way, because the journal does not have to
/// contain values that an application has overwritten.
async fn write_new_values(scene: &Scene, items: &mut BTreeMap<String, Item>) {
    for (n, item) in items.values_mut().enumerate().filter(|(n, _)| n % 3 == 0) {
        let request =
            scene.harness.client().update_item().table_name(&scene.table).update_expression("SET #new = :new");
        let request = request.set_key(Some(to_sdk(key_of(item).attributes())));
        let later = secret(format!("later {n}"));
        let value = value_to_sdk(&later);
        item.insert(NEW.to_owned(), later);
        request
            .expression_attribute_names("#new", NEW)
            .expression_attribute_values(":new", value)
            .send()
            .await
            .unwrap();
    }
}

/// The commands from dual writes to new-only writes. At the end, an application writes new values of some items.
const WRITE_NEW: [&str; 7] = [
    "cutover --to dual-write --yes",
    "run --yes",
    "verify --all --repair --yes",
    "verify --all",
    "cutover --to read-new --yes",
    "cutover --to write-new --yes",
    SOME_NEW,
];

/// A `contract` that is killed at random moments resumes and reaches the same result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_contract_gives_the_same_result() {
    Box::pin(assert_same_end("on_existing = \"overwrite\"", &WRITE_NEW, &["contract --yes"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_rollback_from_new_only_writes_gives_the_same_result() {
    Box::pin(assert_same_end("", &WRITE_NEW, &["rollback --yes"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_repair_and_rollback_give_the_same_result() {
    Box::pin(assert_same_end("", &[], &["run --yes", "verify --all --repair --yes", "rollback --yes"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_in_place_migration_gives_the_same_result() {
    let migration = "strategy = \"in-place\"\non_existing = \"overwrite\"";
    Box::pin(assert_same_end(migration, &[], &["run --yes", "verify --all", "rollback --yes"])).await;
}

/// Kills the commands of a plan without a flag, from the first to the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_commands_without_a_flag_give_the_same_result() {
    let then = [
        "cutover --to dual-write --yes --dual-writes-since 2026-01-01T00:00:00Z",
        "run --yes",
        "verify --all --repair --yes",
        "verify --all",
        "cutover --to read-new --yes --readers-moved",
        "cutover --to write-new --yes --old-writes-stopped",
        "contract --yes",
    ];
    Box::pin(assert_same_end("on_existing = \"overwrite\"", &[], &then)).await;
}

/// Kills the commands of a plan without a flag during a rollback from new-only writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_rollback_without_a_flag_gives_the_same_result() {
    let then = [
        "cutover --to read-new --yes --readers-moved",
        "cutover --to write-new --yes --old-writes-stopped",
        "rollback --yes --dual-writes-since NOW --readers-back --new-writes-stopped",
    ];
    let first = [
        "cutover --to dual-write --yes --dual-writes-since 2026-01-01T00:00:00Z",
        "run --yes",
        "verify --all --repair --yes",
        "verify --all",
    ];
    Box::pin(assert_same_end("", &first, &then)).await;
}

/// Some items were too large to change, and an application has since replaced them with small ones. Despite kills,
/// `failures retry` changes all of these items, each exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_retry_settles_every_failure() {
    let mut rng = seeded_rng();
    let large = |n: u64, size: usize| {
        let mut one = crate::harness::tool::item(&format!("LARGE#{n}"), "x", []);
        one.insert(OLD.to_owned(), secret(format!("{n}-{}", "x".repeat(size))));
        one
    };
    let all = items(30).into_iter().chain((0..40).map(|n| large(n, 250 * 1024))).collect();
    let scene = Scene::flagged(Harness::start(), all, "", &format!("{MOVE}{QUICKLY}")).await;
    scene.run_ok("cutover --to dual-write --yes").await;
    assert_eq!(scene.run_command("run --yes").await.code, 4);
    for n in 0..40 {
        let put = scene.harness.client().put_item().table_name(&scene.table);
        put.set_item(Some(to_sdk(&large(n, 10)))).send().await.unwrap();
    }
    let before = scene.dump().await;
    // Each of the forty items needs two successive requests.
    let updates = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&updates);
    scene.harness.proxy().set_faults(Some(Arc::new(move |request| match request.operation.as_str() {
        "UpdateItem" => {
            seen.fetch_add(1, Relaxed);
            Fault::Delay(Duration::from_millis(50))
        }
        _ => Fault::Pass,
    })));
    let mut killed = 0;
    let mut settled = BTreeSet::new();
    while killed < KILLS {
        let until = updates.load(Relaxed) + rng.u64(1..40);
        let due = async {
            let began = Instant::now();
            // If only a few items remain, the retry ends before it has sent this number of updates.
            while updates.load(Relaxed) < until && began.elapsed() < Duration::from_secs(3) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if let Some(ended) = scene.kill_when("failures retry --yes", due).await {
            assert_eq!(ended.code, 0, "{}", ended.messages());
            break;
        }
        killed += 1;
        every_value_has_a_copy(&scene, &before).await;
        // A changed item must stay changed.
        let now: BTreeSet<String> = moved(&scene).await;
        assert!(settled.is_subset(&now), "{settled:?} {now:?}");
        settled = now;
    }
    scene.run_ok("failures retry --yes").await;
    println!("  {killed} kills, {} resolved before the last kill", settled.len());
    assert!(killed > 0, "no kills");
    let end = scene.dump().await;
    for (key, mut item) in before {
        if let Some(old) = item.get(OLD).cloned() {
            item.insert(NEW.to_owned(), old);
        }
        assert_eq!(bytes_of(&end[&key]), bytes_of(&item), "{key}");
    }
    scene.run_ok("verify --all").await;
}

/// Returns the keys of the items with the new attribute.
async fn moved(scene: &Scene) -> BTreeSet<String> {
    scene.dump().await.into_iter().filter(|(_, item)| item.contains_key(NEW)).map(|(key, _)| key).collect()
}

//! The real binary through the whole life of a migration, with the application at work all along.

use std::time::Duration;

use backfill::internals::cutover::{ReadFrom, WriteTo};
use backfill::internals::state::sqlite::StateFile;

use crate::app::{Application, Habit, Kind, NEW, OLD, order};
use crate::example::Write;
use crate::harness::Bed;
use crate::scene::{MOVE, QUICKLY, Scene, items};

/// So many operations between two commands.
const BETWEEN: u64 = 150;

async fn scene(count: u64) -> Scene {
    Scene::flagged(Bed::start(), items(count), "", &format!("{MOVE}{QUICKLY}")).await
}

/// Commands in this order, each of them done, with work between them, and nothing read that is stale.
async fn all(scene: &Scene, app: &Application, commands: &[&str]) {
    for words in commands {
        scene.done(words).await;
        app.works(BETWEEN).await;
        app.is_content(words);
    }
}

/// From dual writes on to readers at the new attribute.
const TO_READ_NEW: [&str; 5] = [
    "cutover --to dual-write --yes",
    "run --yes",
    "verify --all",
    "cutover --to read-new --percent 10 --yes",
    "cutover --to read-new --yes",
];

/// And on to the end.
const TO_THE_END: [&str; 2] = ["cutover --to write-new --yes", "contract --yes"];

/// Stops the application, and holds the table against what it did.
async fn ends_at(scene: &Scene, mut app: Application, name: &str) {
    let figures = app.stop().await;
    println!("  {figures:?}");
    app.is_content("in the end");
    app.left(&scene.dump().await, name);
    for kind in [Kind::Read, Kind::Write, Kind::Replace, Kind::Remove, Kind::Insert, Kind::Delete] {
        assert!(figures.get(&kind).is_some_and(|n| *n > 10), "too few of {kind:?}");
    }
}

/// "At no instant does a read return a value older than the application's own last write, checked on every read."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_life() {
    let scene = scene(300).await;
    let app = scene.application(Habit::Obedient).await;
    app.works(BETWEEN).await;
    // The application has time for a lot beside each phase.
    scene.slow_pages(Some(Duration::from_millis(150)));
    all(&scene, &app, &TO_READ_NEW).await;
    all(&scene, &app, &TO_THE_END).await;
    let flag = scene.flag().await;
    assert_eq!((flag.write, flag.read, flag.contracting), (WriteTo::New, ReadFrom::New, true));
    ends_at(&scene, app, NEW).await;
}

/// Readers go back, then writers, then writers while the tool is at work; and in the end the whole way forward. What was
/// copied before writers went back is stale by then, and is repaired from the old attribute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn back_during_dual_writes_and_during_a_run() {
    let scene = scene(200).await;
    let app = scene.application(Habit::Obedient).await;
    app.works(BETWEEN).await;
    all(&scene, &app, &TO_READ_NEW).await;
    all(&scene, &app, &["cutover --back", "cutover --back"]).await;
    let flag = scene.flag().await;
    assert_eq!((flag.write, flag.read), (WriteTo::Old, ReadFrom::Old));
    all(&scene, &app, &["cutover --to dual-write --yes"]).await;

    // A run is under way; writers go back beside it, and need nothing of what it holds.
    scene.slow_pages(Some(Duration::from_millis(400)));
    let (run, back) = tokio::join!(scene.give("run --again --yes"), async {
        let began = || StateFile::open(&scene.state_path()).unwrap().summary().unwrap().holder.is_some();
        for _ in 0..200 {
            if began() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(began(), "the run did not begin, or is over already");
        scene.done("cutover --back").await
    });
    scene.slow_pages(None);
    assert!([0, 5].contains(&run.code), "{}", run.said());
    assert!(back.said().contains("write = old"), "{}", back.said());
    app.is_content("back during a run");
    app.works(BETWEEN).await;

    all(&scene, &app, &["cutover --to dual-write --yes"]).await;
    assert_eq!(scene.give("run --again --yes").await.code, 5, "values that were written at the old name alone differ");
    assert_eq!(scene.give("verify --all").await.code, 5);
    scene.refused("cutover --to read-new --yes", "verify --all --repair").await;
    all(&scene, &app, &["verify --all --repair --yes", "verify --all", "cutover --to read-new --yes"]).await;
    all(&scene, &app, &TO_THE_END).await;
    ends_at(&scene, app, NEW).await;
}

/// Values were written at the new name alone; the way back keeps every one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_after_new_only_writes() {
    let scene = scene(200).await;
    let app = scene.application(Habit::Obedient).await;
    app.works(BETWEEN).await;
    all(&scene, &app, &TO_READ_NEW).await;
    all(&scene, &app, &["cutover --to write-new --yes"]).await;
    app.works(4 * BETWEEN).await;
    all(&scene, &app, &["rollback --yes"]).await;
    let flag = scene.flag().await;
    assert_eq!((flag.write, flag.read, flag.old_stale), (WriteTo::Old, ReadFrom::Old, false));
    ends_at(&scene, app, OLD).await;
}

/// The same with dual writes alone behind it, after readers had moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_during_dual_writes() {
    let scene = scene(200).await;
    let app = scene.application(Habit::Obedient).await;
    all(&scene, &app, &TO_READ_NEW).await;
    all(&scene, &app, &["rollback --yes"]).await;
    ends_at(&scene, app, OLD).await;
}

/// "From `write = new` on it goes through rollback's order": readers are back, and nothing they read is stale.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn back_after_new_only_writes_and_forward_again() {
    let scene = scene(150).await;
    let app = scene.application(Habit::Obedient).await;
    all(&scene, &app, &TO_READ_NEW).await;
    all(&scene, &app, &["cutover --to write-new --yes", "cutover --back"]).await;
    let flag = scene.flag().await;
    assert_eq!((flag.write, flag.read, flag.old_stale), (WriteTo::Both, ReadFrom::Old, false));
    all(&scene, &app, &["verify --all", "cutover --to read-new --yes"]).await;
    all(&scene, &app, &TO_THE_END).await;
    ends_at(&scene, app, NEW).await;
}

/// Dual writes come only after the run: what changed meanwhile differs, is found, and is repaired while the application
/// goes on; none of its writes is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dual_writes_after_the_run_are_repaired_beside_the_application() {
    let scene = scene(200).await;
    let app = scene.application(Habit::Obedient).await;
    all(&scene, &app, &["run --yes"]).await;
    app.works(4 * BETWEEN).await;
    all(&scene, &app, &["cutover --to dual-write --yes"]).await;
    assert_eq!(scene.give("verify --all").await.code, 5);
    scene.refused("cutover --to read-new --yes", "verify --all --repair").await;
    all(&scene, &app, &["verify --all --repair --yes", "verify --all", "cutover --to read-new --yes"]).await;
    all(&scene, &app, &TO_THE_END).await;
    ends_at(&scene, app, NEW).await;
}

/// No flag: the application is moved by hand, and each fact is stated when it is so, by the name that the tool asks for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_flag_the_whole_life() {
    let rest = format!("{MOVE}{QUICKLY}[cutover]\nsoak = \"1s\"\nmax_age = \"1h\"\n");
    let scene = Scene::stated(Bed::start(), items(200), "", &rest).await;
    let app = scene.application_by_hand(order(Write::Old, false)).await;
    app.works(BETWEEN).await;
    scene.refused("cutover --to dual-write --yes", "cutover --to dual-write --dual-writes-since TIME").await;
    app.told(order(Write::Both, false)).await;
    let since = jiff::Timestamp::now();
    all(&scene, &app, &[&format!("cutover --to dual-write --dual-writes-since {since} --yes"), "run --yes"]).await;
    all(&scene, &app, &["verify --all"]).await;
    scene.give("cutover --to read-new --percent 10 --yes --readers-moved").await.exits(3);
    let asked = scene.give("cutover --to read-new --yes").await.exits(3);
    assert!(asked.said().contains(&scene.spelt("cutover --to read-new --readers-moved")), "{}", asked.said());
    app.told(order(Write::Both, true)).await;
    all(&scene, &app, &["cutover --to read-new --readers-moved --yes"]).await;
    let asked = scene.give("cutover --to write-new --yes").await.exits(3);
    assert!(asked.said().contains("--old-writes-stopped"), "{}", asked.said());
    app.told(order(Write::New, true)).await;
    all(&scene, &app, &["cutover --to write-new --old-writes-stopped --yes"]).await;
    app.works(4 * BETWEEN).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    all(&scene, &app, &["contract --yes"]).await;
    ends_at(&scene, app, NEW).await;
}

/// No flag, and back from new-only writes: the tool asks for each move of the application when it is due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_flag_back_from_new_only_writes() {
    let rest = format!("{MOVE}{QUICKLY}[cutover]\nsoak = \"1s\"\nmax_age = \"1h\"\n");
    let scene = Scene::stated(Bed::start(), items(150), "", &rest).await;
    let app = scene.application_by_hand(order(Write::Both, false)).await;
    let since = jiff::Timestamp::now();
    all(&scene, &app, &[&format!("cutover --to dual-write --dual-writes-since {since} --yes"), "run --yes"]).await;
    all(&scene, &app, &["verify --all"]).await;
    app.told(order(Write::Both, true)).await;
    all(&scene, &app, &["cutover --to read-new --readers-moved --yes"]).await;
    app.told(order(Write::New, true)).await;
    all(&scene, &app, &["cutover --to write-new --old-writes-stopped --yes"]).await;
    app.works(2 * BETWEEN).await;

    let asks = |option: &'static str, said: String| assert!(said.contains(option), "no {option} in: {said}");
    asks("--dual-writes-since", scene.give("rollback --yes").await.exits(3).said());
    let mut both = order(Write::Both, true);
    both.old_stale = true;
    app.told(both).await;
    let since = jiff::Timestamp::now();
    // Old is made equal new, and verified; then readers are to go back.
    let words = format!("rollback --dual-writes-since {since} --yes");
    asks("--readers-back", scene.give(&words).await.exits(3).said());
    app.works(BETWEEN).await;
    app.told(order(Write::Both, false)).await;
    asks("--new-writes-stopped", scene.give("rollback --readers-back --yes").await.exits(3).said());
    app.told(order(Write::Old, false)).await;
    // A refused command keeps nothing, so both are stated.
    all(&scene, &app, &["rollback --readers-back --new-writes-stopped --yes"]).await;
    ends_at(&scene, app, OLD).await;
}

/// "Or `--now` accepts stale reads, recorded": they happen, and the application's check finds them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn back_at_once_reads_stale_values_and_says_so() {
    // So many that most of what was written at the new name alone is not written again before somebody reads it.
    let scene = scene(800).await;
    let mut app = scene.application(Habit::Obedient).await;
    all(&scene, &app, &TO_READ_NEW).await;
    all(&scene, &app, &["cutover --to write-new --yes"]).await;
    app.works(4 * BETWEEN).await;
    app.is_content("before it goes back at once");
    scene.done("cutover --back --now --yes").await;
    app.works(4 * BETWEEN).await;
    app.stop().await;
    assert!(!app.wrong().is_empty());
    let flag = scene.flag().await;
    assert_eq!((flag.write, flag.read, flag.old_stale), (WriteTo::Both, ReadFrom::Old, true));
    let reason = scene.raw_flag().await.unwrap()["reason"].clone();
    assert!(matches!(&reason, backfill::internals::item::Value::S(text) if text.contains("--now")), "{reason:?}");
}

//! Tests all steps of a migration with the real binary, while an application is running.

use std::time::Duration;

use backfill::internals::cutover::{ReadFrom, WriteTo};
use backfill::internals::state::sqlite::StateFile;

use crate::app::{Application, Habit, NEW, OLD, assert_many_of_each_kind, flag_state};
use crate::example::Write;
use crate::harness::Harness;
use crate::scene::{MOVE, QUICKLY, Scene, items};

/// The number of application operations after each command.
const BETWEEN: u64 = 150;

async fn scene(count: u64) -> Scene {
    Scene::flagged(Harness::start(), items(count), "", &format!("{MOVE}{QUICKLY}")).await
}

/// Runs these commands in order. Each command must succeed, and the application must not read a stale value.
async fn run_all(scene: &Scene, app: &Application, commands: &[&str]) {
    for words in commands {
        scene.run_ok(words).await;
        app.wait_for_operations(BETWEEN).await;
        app.assert_no_wrong_reads(words);
    }
}

/// The commands from dual writes until all readers use the new attribute.
const TO_READ_NEW: [&str; 5] = [
    "cutover --to dual-write --yes",
    "run --yes",
    "verify --all",
    "cutover --to read-new --percent 10 --yes",
    "cutover --to read-new --yes",
];

/// The commands after [`TO_READ_NEW`], up to the end of the migration.
const TO_THE_END: [&str; 2] = ["cutover --to write-new --yes", "contract --yes"];

/// Stops the application, and checks the table against the application's writes.
async fn assert_ends_at(scene: &Scene, mut app: Application, name: &str) {
    let figures = app.stop().await;
    println!("  {figures:?}");
    app.assert_no_wrong_reads("in the end");
    app.assert_only_at(&scene.dump().await, name);
    assert_many_of_each_kind(&figures);
}

/// No read ever returns a value that is older than the application's own last write. The application checks every read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_migration_with_a_flag() {
    let scene = scene(300).await;
    let app = scene.application(Habit::Obedient).await;
    app.wait_for_operations(BETWEEN).await;
    // Slow pages give the application time for many operations during each phase.
    scene.slow_pages(Some(Duration::from_millis(150)));
    run_all(&scene, &app, &TO_READ_NEW).await;
    run_all(&scene, &app, &TO_THE_END).await;
    let flag = scene.flag().await;
    assert_eq!((flag.write, flag.read, flag.contracting), (WriteTo::New, ReadFrom::New, true));
    assert_ends_at(&scene, app, NEW).await;
}

/// First readers go back to the old attribute, and then writers. Later, writers go back a second time, during a run.
/// Finally, the migration completes. Copies that were made before writers went back are stale by then, and the repair
/// refreshes them from the old attribute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn back_during_dual_writes_and_during_a_run() {
    let scene = scene(200).await;
    let app = scene.application(Habit::Obedient).await;
    app.wait_for_operations(BETWEEN).await;
    run_all(&scene, &app, &TO_READ_NEW).await;
    run_all(&scene, &app, &["cutover --back", "cutover --back"]).await;
    let flag = scene.flag().await;
    assert_eq!((flag.write, flag.read), (WriteTo::Old, ReadFrom::Old));
    run_all(&scene, &app, &["cutover --to dual-write --yes"]).await;

    // Writers go back during a run. The run holds the state file and the lease, but `cutover --back` needs neither of
    // them.
    scene.slow_pages(Some(Duration::from_millis(400)));
    let (run, back) = tokio::join!(scene.run_command("run --again --yes"), async {
        let began = || StateFile::open(&scene.state_path()).unwrap().summary().unwrap().holder.is_some();
        for _ in 0..200 {
            if began() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(began(), "the run has not begun, or has already ended");
        scene.run_ok("cutover --back").await
    });
    scene.slow_pages(None);
    assert!([0, 5].contains(&run.code), "{}", run.messages());
    assert!(back.messages().contains("write = old"), "{}", back.messages());
    app.assert_no_wrong_reads("back during a run");
    app.wait_for_operations(BETWEEN).await;

    run_all(&scene, &app, &["cutover --to dual-write --yes"]).await;
    assert_eq!(scene.run_command("run --again --yes").await.code, 5, "values written only to the old attribute differ");
    assert_eq!(scene.run_command("verify --all").await.code, 5);
    scene.run_refused("cutover --to read-new --yes", "verify --all --repair").await;
    run_all(&scene, &app, &["verify --all --repair --yes", "verify --all", "cutover --to read-new --yes"]).await;
    run_all(&scene, &app, &TO_THE_END).await;
    assert_ends_at(&scene, app, NEW).await;
}

/// Before the rollback, the application writes only the new attribute. The rollback keeps every value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_after_new_only_writes() {
    let scene = scene(200).await;
    let app = scene.application(Habit::Obedient).await;
    app.wait_for_operations(BETWEEN).await;
    run_all(&scene, &app, &TO_READ_NEW).await;
    run_all(&scene, &app, &["cutover --to write-new --yes"]).await;
    app.wait_for_operations(4 * BETWEEN).await;
    run_all(&scene, &app, &["rollback --yes"]).await;
    let flag = scene.flag().await;
    assert_eq!((flag.write, flag.read, flag.old_stale), (WriteTo::Old, ReadFrom::Old, false));
    assert_ends_at(&scene, app, OLD).await;
}

/// Rolls back during dual writes, after readers have moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_during_dual_writes() {
    let scene = scene(200).await;
    let app = scene.application(Habit::Obedient).await;
    run_all(&scene, &app, &TO_READ_NEW).await;
    run_all(&scene, &app, &["rollback --yes"]).await;
    assert_ends_at(&scene, app, OLD).await;
}

/// From `write = new`, `cutover --back` first takes the same steps as a rollback. Then readers go back. They never read
/// a stale value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn back_after_new_only_writes_and_forward_again() {
    let scene = scene(150).await;
    let app = scene.application(Habit::Obedient).await;
    run_all(&scene, &app, &TO_READ_NEW).await;
    run_all(&scene, &app, &["cutover --to write-new --yes", "cutover --back"]).await;
    let flag = scene.flag().await;
    assert_eq!((flag.write, flag.read, flag.old_stale), (WriteTo::Both, ReadFrom::Old, false));
    run_all(&scene, &app, &["verify --all", "cutover --to read-new --yes"]).await;
    run_all(&scene, &app, &TO_THE_END).await;
    assert_ends_at(&scene, app, NEW).await;
}

/// Dual writes begin only after the run. Verification finds the values that changed in between, and the repair fixes
/// them while the application continues. No write of the application is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_change_before_dual_writes_are_repaired() {
    let scene = scene(200).await;
    let app = scene.application(Habit::Obedient).await;
    run_all(&scene, &app, &["run --yes"]).await;
    app.wait_for_operations(4 * BETWEEN).await;
    run_all(&scene, &app, &["cutover --to dual-write --yes"]).await;
    assert_eq!(scene.run_command("verify --all").await.code, 5);
    scene.run_refused("cutover --to read-new --yes", "verify --all --repair").await;
    run_all(&scene, &app, &["verify --all --repair --yes", "verify --all", "cutover --to read-new --yes"]).await;
    run_all(&scene, &app, &TO_THE_END).await;
    assert_ends_at(&scene, app, NEW).await;
}

/// The plan has no flag, so the test itself switches the application from one attribute to the other. As soon as a fact
/// is true, the test confirms it with the option for which the tool asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_migration_without_a_flag() {
    let rest = format!("{MOVE}{QUICKLY}[cutover]\nsoak = \"1s\"\nmax_age = \"1h\"\n");
    let scene = Scene::unflagged(Harness::start(), items(200), "", &rest).await;
    let app = scene.manual_application(flag_state(Write::Old, false)).await;
    app.wait_for_operations(BETWEEN).await;
    scene.run_refused("cutover --to dual-write --yes", "cutover --to dual-write --dual-writes-since TIME").await;
    app.set_flag(flag_state(Write::Both, false)).await;
    let since = jiff::Timestamp::now();
    run_all(&scene, &app, &[&format!("cutover --to dual-write --dual-writes-since {since} --yes"), "run --yes"]).await;
    run_all(&scene, &app, &["verify --all"]).await;
    scene.run_command("cutover --to read-new --percent 10 --yes --readers-moved").await.exits(3);
    let asked = scene.run_command("cutover --to read-new --yes").await.exits(3);
    assert!(
        asked.messages().contains(&scene.command_line("cutover --to read-new --readers-moved")),
        "{}",
        asked.messages()
    );
    app.set_flag(flag_state(Write::Both, true)).await;
    run_all(&scene, &app, &["cutover --to read-new --readers-moved --yes"]).await;
    let asked = scene.run_command("cutover --to write-new --yes").await.exits(3);
    assert!(asked.messages().contains("--old-writes-stopped"), "{}", asked.messages());
    app.set_flag(flag_state(Write::New, true)).await;
    run_all(&scene, &app, &["cutover --to write-new --old-writes-stopped --yes"]).await;
    app.wait_for_operations(4 * BETWEEN).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    run_all(&scene, &app, &["contract --yes"]).await;
    assert_ends_at(&scene, app, NEW).await;
}

/// The migration of a plan without a flag goes back from new-only writes. The tool asks the operator to move the
/// application step by step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_from_new_only_writes_without_a_flag() {
    let rest = format!("{MOVE}{QUICKLY}[cutover]\nsoak = \"1s\"\nmax_age = \"1h\"\n");
    let scene = Scene::unflagged(Harness::start(), items(150), "", &rest).await;
    let app = scene.manual_application(flag_state(Write::Both, false)).await;
    let since = jiff::Timestamp::now();
    run_all(&scene, &app, &[&format!("cutover --to dual-write --dual-writes-since {since} --yes"), "run --yes"]).await;
    run_all(&scene, &app, &["verify --all"]).await;
    app.set_flag(flag_state(Write::Both, true)).await;
    run_all(&scene, &app, &["cutover --to read-new --readers-moved --yes"]).await;
    app.set_flag(flag_state(Write::New, true)).await;
    run_all(&scene, &app, &["cutover --to write-new --old-writes-stopped --yes"]).await;
    app.wait_for_operations(2 * BETWEEN).await;

    let asks = |option: &'static str, said: String| assert!(said.contains(option), "no {option} in: {said}");
    asks("--dual-writes-since", scene.run_command("rollback --yes").await.exits(3).messages());
    let mut both = flag_state(Write::Both, true);
    both.old_stale = true;
    app.set_flag(both).await;
    let since = jiff::Timestamp::now();
    // The rollback makes old values equal to new ones, and verifies the result. Only after that does it ask the
    // operator to move readers back.
    let words = format!("rollback --dual-writes-since {since} --yes");
    asks("--readers-back", scene.run_command(&words).await.exits(3).messages());
    app.wait_for_operations(BETWEEN).await;
    app.set_flag(flag_state(Write::Both, false)).await;
    asks("--new-writes-stopped", scene.run_command("rollback --readers-back --yes").await.exits(3).messages());
    app.set_flag(flag_state(Write::Old, false)).await;
    // A refused command records no confirmation, so this command repeats both confirmations.
    run_all(&scene, &app, &["rollback --readers-back --new-writes-stopped --yes"]).await;
    assert_ends_at(&scene, app, OLD).await;
}

/// `--now` accepts stale reads, and the tool records this. The application then reads stale values, and its checks find
/// these reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cutover_back_now_reads_stale_values_and_records_that() {
    // With this number of items, the application reads most of the stale items before it rewrites them.
    let scene = scene(800).await;
    let mut app = scene.application(Habit::Obedient).await;
    run_all(&scene, &app, &TO_READ_NEW).await;
    run_all(&scene, &app, &["cutover --to write-new --yes"]).await;
    app.wait_for_operations(4 * BETWEEN).await;
    app.assert_no_wrong_reads("before `cutover --back --now`");
    scene.run_ok("cutover --back --now --yes").await;
    app.wait_for_operations(4 * BETWEEN).await;
    app.stop().await;
    assert!(!app.wrong().is_empty());
    let flag = scene.flag().await;
    assert_eq!((flag.write, flag.read, flag.old_stale), (WriteTo::Both, ReadFrom::Old, true));
    let reason = scene.raw_flag().await.unwrap()["reason"].clone();
    assert!(matches!(&reason, backfill::internals::item::Value::S(text) if text.contains("--now")), "{reason:?}");
}

//! Tests what happens if a process dies after the last commit of a phase, but before an event records that the phase is
//! complete. The next command first records the completion, and then does its own work.

use backfill::internals::state::sqlite::StateFile;
use serde_json::Value as Json;

use crate::harness::Harness;
use crate::scene::{MOVE, QUICKLY, Scene, items};

async fn scene() -> Scene {
    Scene::flagged(Harness::start(), items(30), "", &format!("{MOVE}{QUICKLY}")).await
}

/// Returns the migration's events in the state file.
fn history(scene: &Scene) -> Vec<Json> {
    let records = StateFile::open(&scene.state_path()).unwrap().events().unwrap();
    records.into_iter().map(|record| serde_json::from_str(&record.event).unwrap()).collect()
}

/// Removes the last event of this kind, and all later events, from the state file. The file then looks as if the
/// process had died before it wrote that event.
fn forget_events_from(scene: &Scene, kind: &str, phase: &str) {
    let is = |event: &Json| event["type"] == kind && (phase.is_empty() || event["phase"] == phase);
    let at = history(scene).iter().rposition(is).unwrap_or_else(|| panic!("no {kind} {phase}"));
    let connection = rusqlite::Connection::open(scene.state_path()).unwrap();
    let sql = "DELETE FROM events WHERE id IN (SELECT id FROM events ORDER BY id LIMIT -1 OFFSET ?1)";
    assert!(connection.execute(sql, [at]).unwrap() > 0);
}

fn begun(scene: &Scene, phase: &str) -> usize {
    history(scene).iter().filter(|event| event["type"] == "phase_begun" && event["phase"] == phase).count()
}

/// `run` without `--again` only records the missing completion of a pass. `run --again` records it too, and then runs
/// another pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovers_from_a_death_before_the_end_of_expand_is_recorded() {
    let scene = scene().await;
    for words in ["cutover --to dual-write --yes", "run --yes"] {
        scene.run_ok(words).await;
    }
    forget_events_from(&scene, "phase_complete", "expand");
    for words in ["verify --all", "cutover --to read-new --yes", "cutover --to write-new --yes", "contract --yes"] {
        scene.run_refused(words, "run").await;
    }
    let status = scene.run_ok("status").await;
    assert!(status.stdout.contains("next: backfill run "), "{}", status.stdout);
    let again = scene.run_ok("run --again --yes").await;
    assert!(again.stdout.contains("Run 2 (expand) is complete"), "{}{}", again.stdout, again.messages());
    assert_eq!(begun(&scene, "expand"), 2);

    forget_events_from(&scene, "phase_complete", "expand");
    let run = scene.run_ok("run --yes").await;
    assert!(run.messages().contains("already complete"), "{}", run.messages());
    assert_eq!(
        (begun(&scene, "expand"), history(&scene).last().unwrap()["type"].as_str()),
        (2, Some("phase_complete"))
    );

    forget_events_from(&scene, "phase_complete", "expand");
    scene.run_ok("failures retry --yes").await;
    scene.run_ok("run --restart --yes").await;
    scene.run_ok("verify --all").await;
}

/// A verification whose completion is not recorded does not open the gate, so the operator must run `verify` again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovers_from_a_death_before_the_end_of_another_phase_is_recorded() {
    let scene = scene().await;
    for words in ["cutover --to dual-write --yes", "run --yes", "verify --all"] {
        scene.run_ok(words).await;
    }
    forget_events_from(&scene, "verified", "");
    scene.run_refused("cutover --to read-new --yes", "verify --all").await;
    let verify = scene.run_ok("verify --all").await;
    assert!(verify.stdout.contains("matching"), "{}", verify.stdout);
    for words in ["cutover --to read-new --yes", "cutover --to write-new --yes"] {
        scene.run_ok(words).await;
    }

    // Return from new-only writes to dual writes, and kill the command during its verification. Then remove the event
    // that records the completion of the old-from-new pass.
    scene.slow_pages(Some(std::time::Duration::from_millis(300)));
    let running = crate::harness::tool::RunningTool::start(scene.command("cutover --back"));
    while !history(&scene).iter().any(|event| event["type"] == "phase_complete" && event["phase"] == "old_from_new") {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    running.signal(nix::sys::signal::Signal::SIGKILL);
    tokio::task::spawn_blocking(move || running.end()).await.unwrap();
    scene.slow_pages(None);
    forget_events_from(&scene, "phase_complete", "old_from_new");
    scene.run_ok("cutover --back").await;
    assert_eq!(begun(&scene, "old_from_new"), 1, "the completion is only recorded");

    for words in ["cutover --to read-new --yes", "cutover --to write-new --yes"] {
        scene.run_ok(words).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    scene.run_ok("contract --yes").await;
    forget_events_from(&scene, "phase_complete", "contract");
    for words in ["cutover --back", "rollback --yes", "verify --all", "run --again --yes"] {
        scene.run_refused(words, "contract").await;
    }
    let contract = scene.run_ok("contract --yes").await;
    assert!(contract.stdout.contains("complete"), "{}", contract.stdout);
    assert_eq!(begun(&scene, "contract"), 1);
    scene.run_refused("rollback --yes", "status").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovers_from_a_death_before_the_end_of_rollback_is_recorded() {
    let scene = scene().await;
    let before = scene.dump().await;
    for words in ["cutover --to dual-write --yes", "run --yes", "rollback --yes"] {
        scene.run_ok(words).await;
    }
    forget_events_from(&scene, "phase_complete", "undo");
    for words in ["run --yes", "verify --all", "cutover --to dual-write --yes", "contract --yes"] {
        scene.run_refused(words, "rollback").await;
    }
    scene.run_ok("rollback --yes").await;
    assert_eq!(begun(&scene, "undo"), 1);
    assert_eq!(scene.dump().await, before);
    scene.run_refused("run --yes", "cutover --to dual-write --state .backfill/rename-2.db").await;
}

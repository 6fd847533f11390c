//! Tests what `status` prints about the flag, and about the state file's owner, while other commands run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backfill::internals::local::Fault;
use backfill::internals::local::proxy::FaultRule;
use nix::sys::signal::Signal;
use serde_json::Value as Json;

use crate::clocks::{end, running};
use crate::scene::Scene;

async fn json(scene: &Scene, words: &str) -> Json {
    scene.run_ok(&format!("{words} --output json")).await.json()
}

fn write_of(status: &Json) -> &str {
    status["playbook"]["flag_seen"]["flag"]["write"].as_str().unwrap_or("none")
}

/// `cutover --back` does not lock the state file. Even so, `status` shows the flag change that this command made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_shows_the_current_flag() {
    let (scene, run) = running(&[]).await;
    // The run holds the state file, so `cutover --back` cannot record the flag's state.
    scene.run_ok("cutover --back").await;
    let now = json(&scene, "status").await;
    let offline = json(&scene, "status --offline").await;
    assert_eq!((write_of(&now), &now["playbook"]["flag_may_be_stale"]), ("old", &Json::Null), "{now:#}");
    assert_eq!(write_of(&offline), "both", "{offline:#}");
    assert!(offline["playbook"]["flag_may_be_stale"].as_str().unwrap().contains("--offline"));
    run.signal(Signal::SIGTERM);
    end(run).await;
    // No process holds the state file any more, so the command records the flag's state.
    scene.run_ok("cutover --to dual-write --yes").await;
    scene.run_ok("cutover --back").await;
    assert_eq!(write_of(&json(&scene, "status --offline").await), "old");

    let hangs: FaultRule =
        Arc::new(
            |request| {
                if request.operation == "GetItem" { Fault::Delay(Duration::from_secs(20)) } else { Fault::Pass }
            },
        );
    scene.harness.proxy().set_faults(Some(hangs));
    let began = Instant::now();
    let status = scene.run_ok("status").await;
    scene.harness.proxy().set_faults(None);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(status.stdout.contains("may be stale: it could not be read within 2 s"), "{}", status.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_distinguishes_a_running_process_from_a_stopped_one() {
    let (scene, run) = running(&[]).await;
    let status = scene.run_ok("status").await.stdout;
    let pid = run.pid();
    assert!(status.contains(&format!("running: process {pid} on host ")), "{status}");
    assert!(status.contains(" s)") && status.contains("  rate "), "{status}");
    run.signal(Signal::SIGSTOP);
    let status = scene.run_ok("status").await.stdout;
    assert!(status.contains("stopped by a signal") && status.contains(&format!("kill -CONT {pid}")), "{status}");
    let found = json(&scene, "status").await;
    assert_eq!((&found["process"]["state"], &found["process"]["pid"]), (&"stopped".into(), &pid.into()), "{found:#}");
    run.signal(Signal::SIGCONT);
    run.signal(Signal::SIGTERM);
    end(run).await;
    assert_eq!(json(&scene, "status").await["process"], Json::Null);
}

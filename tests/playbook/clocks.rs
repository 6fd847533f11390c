//! Tests with clocks that differ, jump or stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::item::{Num, Value};
use backfill::internals::local::Fault;
use backfill::internals::local::proxy::FaultRule;
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;

use crate::harness::Harness;
use crate::harness::tool::{RunningTool, ToolOutput};
use crate::scene::{MOVE, NAME, QUICKLY, Scene, items};

/// The flag was set by a host whose clock is two days ahead. No command waits for two days.
/// RUNBOOK: "If the clocks of two hosts differ, the tool says so. This does not change the wait"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wait_depends_on_another_hosts_clock() {
    let scene = Scene::flagged(Harness::start(), items(20), "", &format!("{MOVE}{QUICKLY}")).await;
    for words in ["cutover --to dual-write --yes", "run --yes", "verify --all", "cutover --to read-new --yes"] {
        scene.run_ok(words).await;
    }
    // Writes the flag as if the other host, whose clock is ahead, had just changed it. This host has not seen the new
    // version.
    let dated_ahead = || async {
        let version = scene.flag().await.version;
        scene
            .tamper(|item| {
                let then = Timestamp::now() + SignedDuration::from_hours(48);
                item.insert("changed_at".to_owned(), Value::S(then.to_string()));
                item.insert("version".to_owned(), Value::N(Num::parse(&(version + 1).to_string()).unwrap()));
            })
            .await;
    };
    dated_ahead().await;
    scene.run_ok("cutover --back").await;
    assert_eq!(scene.flag().await.read_percent, 0);
    dated_ahead().await;
    let back = scene.run_ok("cutover --back").await;
    assert!(back.messages().contains("the clocks of the hosts differ."), "{}", back.messages());
    assert!(back.took < Duration::from_secs(20), "{:?}", back.took);
    assert_eq!(scene.flag().await.write, backfill::internals::cutover::WriteTo::Old);
    dated_ahead().await;
    let forward = scene.run_ok("cutover --to dual-write --yes").await;
    assert!(forward.took < Duration::from_secs(20), "{:?}", forward.took);
    scene.run_ok("verify --all").await;
    scene.run_ok("cutover --to read-new --yes").await;
}

/// Plan sections that make a run so slow that the test can act during the run. The run still stops quickly.
const SLOWLY: &str = "[scan]\nsegments = 4\npage_limit = 10\n[retry]\nbase = \"2ms\"\ncap = \"50ms\"\n[capacity]\nwrite = 40\nread = 8000\n";

/// Returns the number of write requests to the table.
fn writes(scene: &Scene) -> u64 {
    scene.harness.proxy().tally().operation("UpdateItem").requests
}

/// Creates a scenario with a run that has begun to write. The run's process gets these environment variables.
pub(crate) async fn running(environment: &[(&str, &str)]) -> (Scene, RunningTool) {
    let scene = Scene::flagged(Harness::start(), items(300), "", &format!("{MOVE}{SLOWLY}")).await;
    scene.run_ok("cutover --to dual-write --yes").await;
    let mut command = scene.command("run --yes");
    command.envs(environment.iter().copied());
    let mut run = RunningTool::start(command);
    let before = writes(&scene);
    while writes(&scene) < before + 20 {
        assert!(!run.has_ended(), "the run ended before it wrote");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (scene, run)
}

pub(crate) async fn end(run: RunningTool) -> ToolOutput {
    tokio::task::spawn_blocking(move || run.end()).await.unwrap()
}

/// Returns the whole output of a run.
fn said(ran: &ToolOutput) -> String {
    format!("{}{}", ran.stdout, ran.messages())
}

/// Waits until the writes in flight have arrived. Then counts the writes in the next two seconds.
async fn count_writes(scene: &Scene) -> u64 {
    tokio::time::sleep(Duration::from_millis(400)).await;
    let before = writes(scene);
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    writes(scene) - before
}

/// A process is stopped for longer than the cache time of the flag that it has read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_process_rereads_the_flag_before_it_sends_anything() {
    let (scene, run) = running(&[]).await;
    run.signal(Signal::SIGSTOP);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let version = scene.flag().await.version;
    scene
        .tamper(|item| {
            item.insert("read".to_owned(), Value::S("new".to_owned()));
            item.insert("read_percent".to_owned(), Value::N(Num::parse("100").unwrap()));
            item.insert("version".to_owned(), Value::N(Num::parse(&(version + 1).to_string()).unwrap()));
        })
        .await;
    let before = writes(&scene);
    run.signal(Signal::SIGCONT);
    let ran = end(run).await.exits(6);
    // Requests that the process sent before it was paused can still arrive.
    assert!(writes(&scene) <= before + 10, "{} writes were sent after the flag had moved", writes(&scene) - before);
    let said = said(&ran);
    assert!(said.contains("the flag was moved") && said.contains("at 100 %"), "{said}");
}

/// Returns the path of the library that sets a process's wall clock. The Debian package is `faketime`.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let found = folders.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|library| library.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "libfaketime is missing: apt-get install faketime");
        println!("SKIPPED: libfaketime is missing (apt-get install faketime)");
    }
    found
}

/// The machine sleeps for an hour. During the sleep, the monotonic clock stops and the wall clock continues.
/// Afterwards, the run renews its lease and continues. If another host has taken the lease, the run sends no more
/// requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_slept_renews_its_lease_before_it_sends_anything() {
    let Some(library) = faketime() else { return };
    for taken in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let clock = folder.path().join("clock");
        std::fs::write(&clock, "+0").unwrap();
        let environment = [
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        let (scene, run) = running(&environment).await;
        if taken {
            let lease = AttributeValue::S(format!("{NAME}#lease"));
            let update = scene.harness.client().update_item().table_name(&scene.flags).key("id", lease);
            let update = update.update_expression("SET #owner = :other ADD fence :one");
            let update = update.expression_attribute_names("#owner", "owner");
            let update = update.expression_attribute_values(":other", AttributeValue::S("another host".into()));
            update.expression_attribute_values(":one", AttributeValue::N("1".into())).send().await.unwrap();
        }
        std::fs::write(&clock, "+3600").unwrap();
        let written = count_writes(&scene).await;
        let ran = end(run).await;
        if taken {
            assert_eq!(written, 0, "the run sent writes although another host has the lease");
            assert_eq!(ran.code, 6, "{}", ran.messages());
            assert!(said(&ran).contains("taken over by another host"), "{}", said(&ran));
        } else {
            assert_eq!(ran.code, 0, "{}", ran.messages());
            assert!(written > 0, "the run must continue immediately");
            let items = scene.harness.dump(&scene.table).await;
            let wrong = items.values().filter(|item| item.get("new") != item.get("old")).count();
            assert_eq!((items.len(), wrong), (300, 0), "no item may be missing or wrong");
        }
    }
}

/// Reads of the flag repeatedly take longer than the cache time. The run sends fewer writes, loses no progress, and
/// completes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_reads_of_the_flag_do_not_end_a_run() {
    let (scene, run) = running(&[]).await;
    let late: FaultRule =
        Arc::new(
            |request| {
                if request.operation == "GetItem" { Fault::Delay(Duration::from_millis(1_300)) } else { Fault::Pass }
            },
        );
    scene.harness.proxy().set_faults(Some(late));
    tokio::time::sleep(Duration::from_secs(4)).await;
    scene.harness.proxy().set_faults(None);
    end(run).await.exits(0);
}

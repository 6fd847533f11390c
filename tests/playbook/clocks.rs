//! Clocks that differ, jump, or stand still.

use std::time::Duration;

use backfill::item::Value;
use jiff::{SignedDuration, Timestamp};

use crate::common::Bed;
use crate::scene::{MOVE, QUICKLY, Scene, items};

/// The clock of the host that set the flag is two days ahead: nobody waits for two days.
/// RUNBOOK: "where the clocks of two hosts differ, it is said, and no wait gets longer or shorter"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wait_goes_by_another_hosts_clock() {
    let scene = Scene::flagged(Bed::start(), items(20), "", &format!("{MOVE}{QUICKLY}")).await;
    for words in ["cutover --to dual-write --yes", "run --yes", "verify --all", "cutover --to read-new --yes"] {
        scene.done(words).await;
    }
    // As if that host had just made it what it is: this one has not seen this version.
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
    scene.done("cutover --back").await;
    assert_eq!(scene.flag().await.read_percent, 0);
    dated_ahead().await;
    let back = scene.done("cutover --back").await;
    assert!(back.said().contains("the clocks of the hosts differ."), "{}", back.said());
    assert!(back.took < Duration::from_secs(20), "{:?}", back.took);
    assert_eq!(scene.flag().await.write, backfill::cutover::WriteTo::Old);
    dated_ahead().await;
    let forward = scene.done("cutover --to dual-write --yes").await;
    assert!(forward.took < Duration::from_secs(20), "{:?}", forward.took);
    scene.done("verify --all").await;
    scene.done("cutover --to read-new --yes").await;
}

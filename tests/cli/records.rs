//! Tests what the state file records about the pace of runs.

use std::path::Path;

use backfill::internals::clock::now;
use backfill::internals::state::{self, RunId, StoredFact};

use super::*;

/// Returns the value of a fact in the state file.
async fn fact(state: &Path, fact: StoredFact) -> Option<String> {
    state::read(state).unwrap().fact(fact).await.unwrap()
}

fn history(run: i64) -> StoredFact {
    StoredFact::PaceHistory(RunId::from_number(run))
}

/// Failures can be retried long after the run, so the retry does not change the run's recorded pace and times.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_failures_is_not_part_of_the_pace_of_the_run() {
    let (harness, _, plan) = setup(20, "").await;
    let state = harness.dir().join(".backfill/plan.db");
    answer(&harness, "UpdateItem", 400, "ValidationException", "Item size has exceeded the maximum allowed size");
    tool(&harness, &["run", text(&plan), "--yes"]).exits(4);
    let before = [fact(&state, history(1)).await, fact(&state, StoredFact::ActivityClocks).await];
    assert!(before.iter().all(Option::is_some), "{before:?}");
    let pace = fact(&state, StoredFact::Pace).await;
    harness.proxy().set_faults(None);
    let retried = tool(&harness, &["failures", "retry", "--yes", text(&plan), "--output", "json"]).exits(0).json();
    assert_eq!(retried["counts"]["applied"], 20, "{retried:#}");
    assert_eq!([fact(&state, history(1)).await, fact(&state, StoredFact::ActivityClocks).await], before);
    assert_ne!(fact(&state, StoredFact::Pace).await, pace, "`status` shows the pace of the retry");
}

/// A pass deletes the pace records of old runs. It keeps the newest run of each phase, even if that run is old.
#[tokio::test(flavor = "multi_thread")]
async fn a_pass_deletes_the_pace_of_old_runs() {
    let (harness, _, plan) = setup(10, "").await;
    let path = harness.dir().join(".backfill/plan.db");
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    let identity = state::read(&path).unwrap().identity().await.unwrap();
    let store = state::open(&path, &identity, now).unwrap();
    store.set_fact(history(77), "old".to_owned()).await.unwrap();
    let clocks = store.fact(StoredFact::ActivityClocks).await.unwrap().unwrap();
    let with_old = clocks.replacen('{', "{\"77\":{\"waiting\":5.0},", 1);
    store.set_fact(StoredFact::ActivityClocks, with_old).await.unwrap();
    store.close().await.unwrap();
    tool(&harness, &["verify", text(&plan), "--sample", "5"]).exits(0);
    assert!(fact(&path, history(1)).await.is_some() && fact(&path, history(2)).await.is_some());
    assert_eq!(fact(&path, history(77)).await, None);
    let clocks: Json = serde_json::from_str(&fact(&path, StoredFact::ActivityClocks).await.unwrap()).unwrap();
    let runs: Vec<&String> = clocks.as_object().unwrap().keys().collect();
    assert_eq!(runs, ["1", "2"]);
}

//! Tests eventually consistent reads that return an earlier state of the table, as DynamoDB can. A pass whose outcome
//! "nothing to do" proves something must read the current state.

use std::sync::Arc;

use backfill::internals::change::Outcome;
use backfill::internals::item::{Item, item_to_json};
use backfill::internals::local::{Fault, RequestInfo};
use backfill::internals::preflight::estimate_from_description;
use backfill::internals::state::{BeginMode, phase};
use serde_json::{Map, Value as Json, json};

use super::scene::{EVERY_KIND, MOVE, Scene, every_shape, item, s};

/// Freezes the result of eventually consistent scans. From now on, they return the table's current state.
async fn stale_from_now(scene: &Scene) {
    let items: Vec<Json> = scene.harness.dump(&scene.table).await.values().map(item_to_json).collect();
    scene.harness.proxy().set_faults(Some(Arc::new(move |request: &RequestInfo| {
        let body = request.body();
        if request.operation != "Scan" || body["ConsistentRead"] == true {
            return Fault::Pass;
        }
        // The first segment returns all items, because this test does not know the segment of an item.
        let items = if body["Segment"] == 0 { items.as_slice() } else { &[] };
        let extra = json!({
            "Items": items, "Count": items.len(), "ScannedCount": items.len(),
            "ConsumedCapacity": { "TableName": body["TableName"], "CapacityUnits": 0.5 },
        });
        let extra: Map<String, Json> = extra.as_object().cloned().unwrap_or_default();
        Fault::Reply { status: 200, error: "Made.Up".into(), message: String::new(), extra }
    })));
}

/// Completes a pass with the current faults. Returns the numbers of written and of diverged items.
async fn pass(scene: &Scene, phase: &str, mode: BeginMode) -> (u64, u64) {
    let ended = scene.session(phase, mode, None, None).await.unwrap();
    assert_eq!(ended.stopped, None, "{phase}");
    (ended.totals.counts.of(Outcome::Applied), ended.totals.counts.of(Outcome::Diverged))
}

/// RUNBOOK: "A rollback right after a run undoes the whole run"
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_right_after_a_run_undoes_the_whole_run() {
    for migration in ["", "strategy = \"in-place\"", "on_existing = \"overwrite\""] {
        let scene = Scene::with_consistency(every_shape(200), migration, EVERY_KIND, false).await;
        let before = scene.bytes().await;
        stale_from_now(&scene).await;
        let (written, _) = pass(&scene, phase::EXPAND, BeginMode::ResumeOrNew).await;
        let (undone, diverged) = pass(&scene, phase::ROLLBACK, BeginMode::ResumeOrNew).await;
        assert_eq!((undone, diverged), (written, 0), "{migration}");
        scene.assert_is(&before, migration).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_only_writes_reach_the_old_attribute_despite_stale_reads() {
    let scene = Scene::with_consistency((0..60).map(|i| item(i, &[("old", s("x"))])).collect(), "", MOVE, false).await;
    pass(&scene, phase::EXPAND, BeginMode::ResumeOrNew).await;
    stale_from_now(&scene).await;
    let late = (0..20).map(|i| item(i, &[("old", s("x")), ("new", s("later"))]));
    scene.harness.load(&scene.table, late).await;
    assert_eq!(pass(&scene, phase::OLD_EQUAL_NEW, BeginMode::ResumeOrNew).await, (20, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_right_after_the_last_writes_removes_every_old_value() {
    let scene = Scene::with_consistency((0..60).map(|i| item(i, &[("old", s("x"))])).collect(), "", MOVE, false).await;
    stale_from_now(&scene).await;
    pass(&scene, phase::EXPAND, BeginMode::ResumeOrNew).await;
    assert_eq!(pass(&scene, phase::CONTRACT, BeginMode::ResumeOrNew).await, (60, 0));
}

/// An application wrote a value to the new name just before the run. This value does not come from the migration, so it
/// stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_baseline_sees_values_that_were_just_written() {
    let scene = Scene::with_consistency((0..60).map(|i| item(i, &[("old", s("x"))])).collect(), "", MOVE, false).await;
    stale_from_now(&scene).await;
    let theirs: Vec<Item> = (0..20).map(|i| item(i, &[("old", s("x")), ("new", s(["x", "theirs"][i % 2]))])).collect();
    scene.harness.load(&scene.table, theirs.into_iter()).await;
    let before = scene.bytes().await;
    assert_eq!(pass(&scene, phase::EXPAND, BeginMode::ResumeOrNew).await, (40, 10));
    pass(&scene, phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    scene.assert_is(&before, "the table just before the run").await;
}

/// A second pass finds items that were inserted after the first pass, even if the plan needs no baseline.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_pass_sees_items_that_were_just_inserted() {
    for changes in [MOVE, "[[change]]\nset = \"marker\"\nvalue = 1\n"] {
        let scene =
            Scene::with_consistency((0..40).map(|i| item(i, &[("old", s("x"))])).collect(), "", changes, false).await;
        pass(&scene, phase::EXPAND, BeginMode::ResumeOrNew).await;
        stale_from_now(&scene).await;
        scene.harness.load(&scene.table, (40..60).map(|i| item(i, &[("old", s("x"))]))).await;
        assert_eq!(pass(&scene, phase::EXPAND, BeginMode::Again).await.0, 20, "{changes}");
    }
}

/// RUNBOOK: "their forecasts count each read twice"
#[tokio::test(flavor = "multi_thread")]
async fn forecasts_count_strong_reads_at_twice_the_price() {
    let scene = Scene::with_consistency((0..40).map(|i| item(i, &[("old", s("x"))])).collect(), "", MOVE, false).await;
    let plain = "[[change]]\nset = \"marker\"\nvalue = 1\n";
    let plain = Scene::with_consistency((0..40).map(|i| item(i, &[("old", s("x"))])).collect(), "", plain, false).await;
    let units = estimate_from_description(&plain.job(phase::EXPAND, None).await).read_units;
    for phase in [phase::EXPAND, phase::OLD_EQUAL_NEW, phase::ROLLBACK, phase::CONTRACT] {
        let twice = estimate_from_description(&scene.job(phase, None).await).read_units;
        assert_eq!((twice.low, twice.high), (2.0 * units.low, 2.0 * units.high), "{phase}");
    }
}

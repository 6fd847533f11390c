//! Rollbacks of copies in place, whose targets an application wrote after the run. On a real engine, with a state file.

use backfill::internals::change::Outcome;
use backfill::internals::item::{Item, Value};
use backfill::internals::state::{BeginMode, phase};

use super::scene::{Scene, item, s};
use crate::harness::key_of;

const IN_PLACE: &str = "strategy = \"in-place\"\n";

/// A pass creates the targets. An application writes another value to each, and the next pass overwrites it, because the plan
/// overwrites existing values, or because a NULL counts as missing. The rollback restores the application's values. The
/// report of the rollback contains no item.
/// RUNBOOK: "the rollback restores the overwritten value"
#[tokio::test(flavor = "multi_thread")]
async fn an_overwritten_value_of_an_application_comes_back() {
    let overwrites = format!("{IN_PLACE}on_existing = \"overwrite\"\n");
    for (migration, options, theirs) in
        [(overwrites.as_str(), "", s("theirs")), (IN_PLACE, "null_is_missing = true\n", Value::Null)]
    {
        let changes = format!(
            "[[change]]\ncopy = \"old\"\nto = \"new\"\n{options}[[change]]\nset = \"tier\"\nvalue = \"free\"\n{options}"
        );
        let scene = Scene::new((0..40).map(|n| item(n, &[("old", s("v"))])).collect(), migration, &changes).await;
        let (_, writes) = scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
        assert_eq!(writes, 40);
        let written = |n| item(n, &[("old", s("v")), ("new", theirs.clone()), ("tier", theirs.clone())]);
        let own: Vec<Item> = (0..20).map(written).collect();
        scene.harness.load(&scene.table, own.clone().into_iter()).await;
        let (_, writes) = scene.complete(phase::EXPAND, BeginMode::Again).await;
        assert_eq!(writes, 20, "the second pass overwrites the application's values");
        let (ended, _) = scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
        assert_eq!(ended.totals.counts.of(Outcome::Diverged), 0);
        let after = scene.harness.dump(&scene.table).await;
        for expected in own.into_iter().chain((20..40).map(|n| item(n, &[("old", s("v"))]))) {
            assert_eq!(after[&key_of(&expected).to_text()], expected, "{migration}");
        }
    }
}

/// An application writes another value to a target that the run created, and no later pass overwrites it. It also inserts
/// items with equal values. The rollback keeps all of these values. It reports the items that the run wrote.
/// RUNBOOK: "An application wrote the target of a copy in place"
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_an_application_wrote_at_a_copy_stays_and_is_reported() {
    let scene = Scene::new(
        (0..20).map(|n| item(n, &[("old", s("v"))])).collect(),
        IN_PLACE,
        "[[change]]\ncopy = \"old\"\nto = \"new\"\n",
    )
    .await;
    scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
    let changed = || (0..5).map(|n| item(n, &[("old", s("v")), ("new", s("theirs"))]));
    let inserted = || (20..25).map(|n| item(n, &[("old", s("w")), ("new", s("w"))]));
    scene.harness.load(&scene.table, changed().chain(inserted())).await;
    let (ended, writes) = scene.complete(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    assert_eq!((ended.totals.counts.of(Outcome::Diverged), writes), (5, 15));
    let after = scene.harness.dump(&scene.table).await;
    for expected in changed().chain(inserted()).chain((5..20).map(|n| item(n, &[("old", s("v"))]))) {
        assert_eq!(after[&key_of(&expected).to_text()], expected);
    }
}
